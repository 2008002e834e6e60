"""Checks that a training run learns, and that a stopped one goes on as if it had not stopped."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rag.training.batches import BatchPlan
from rag.training.checkpoints import checkpoints, load_checkpoint
from rag.training.examples import Mix
from rag.training.generator import train
from rag.training.settings import GeneratorTraining, learning_rate_factor


@pytest.fixture
def plan(question_file: Path, tmp_path: Path) -> GeneratorTraining:
    return GeneratorTraining(
        train=question_file,
        out=tmp_path / "run",
        examples=400,
        warmup_steps=4,
        mixed_precision="no",
        mix=Mix(several=0.3),
        plan=BatchPlan(seed=1, padded_tokens=600, pool=16, easy_examples=30, easy_tokens=40),
        stop_after_steps=10,
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoints(folder)[-1] / "model.safetensors")


def moments(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoints(folder)[-1] / "optimizer.safetensors")


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_stopped_run_ends_where_an_unbroken_one_does(plan, make_base, tmp_path) -> None:
    whole = train(plan, make_base())
    assert whole["step"] == 10
    broken = replace(plan, out=tmp_path / "broken", stop_after_steps=4)
    train(broken, make_base())
    torch.manual_seed(999)  # whatever else the process draws does not matter
    report = train(replace(broken, stop_after_steps=6), make_base())
    assert report["step"] == 10
    for name in ("examples", "epoch", "pool", "batch", "losses"):
        assert report[name] == whole[name]
    assert_same(weights(plan.out), weights(broken.out))
    assert_same(moments(plan.out), moments(broken.out))


def test_a_killed_run_loses_only_the_steps_since_its_checkpoint(plan, make_base, tmp_path) -> None:
    train(plan, make_base())
    killed = replace(plan, out=tmp_path / "killed", checkpoint_minutes=0.0, stop_after_steps=7)
    train(killed, make_base())
    newest = checkpoints(killed.out)[-1]
    assert [path.name for path in checkpoints(killed.out)] == ["step-00000006", "step-00000007"]
    # Killed while writing the newest: what is half-written has another name.
    shutil.move(newest, killed.out / ".partial-1")
    (killed.out / ".partial-1" / "state.json").unlink()
    report = train(replace(killed, checkpoint_minutes=5.0, stop_after_steps=4), make_base())
    assert report["step"] == 10
    assert_same(weights(plan.out), weights(killed.out))


def test_weights_for_averaging_are_kept(plan, make_base) -> None:
    train(replace(plan, checkpoint_minutes=0.0, milestone_minutes=0.0), make_base())
    averages = sorted(plan.out.glob("average-*.safetensors"))
    assert len(averages) == 10
    newest = load_file(averages[-1])
    for name, weight in weights(plan.out).items():
        torch.testing.assert_close(newest[name].float(), weight, atol=1e-3, rtol=1e-3)


def test_another_models_checkpoint_is_refused(plan, make_base) -> None:
    train(replace(plan, stop_after_steps=1), make_base())
    model = make_base().model
    model.seq2seq.get_input_embeddings().requires_grad_(False)
    with pytest.raises(ValueError, match="of another model"):
        load_checkpoint(checkpoints(plan.out)[-1], model)


def test_progress_is_logged_and_drawn(plan, make_base, question_file) -> None:
    measured = replace(plan, dev=question_file, stop_after_steps=20)
    report = train(measured, make_base())
    rows = [json.loads(line) for line in (plan.out / "metrics.jsonl").read_text().splitlines()]
    assert [row["event"] for row in rows] == ["start", "step", "dev"]
    assert rows[1]["step"] == 20
    assert {"token", "pointer", "span", "absence"} <= rows[1].keys()
    assert rows[2]["squad2_f1"] == pytest.approx(report["dev"]["squad2_f1"], abs=0.01)
    assert {"squad2_em", "squad2_absent_auc", "squad2_span_f1"} <= rows[2].keys()
    assert (plan.out / "loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_losses_fall(plan, make_base) -> None:
    train(
        replace(
            plan,
            mix=Mix(typo=0.0, negative=0.0, swapped=0.0, opposite=0.0, removed=0.0),
            encoder_rate=3e-3,
            decoder_rate=3e-3,
            head_rate=1e-2,
            examples=20_000,
            stop_after_steps=160,
        ),
        make_base(),
    )
    lines = (plan.out / "metrics.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["event"] == "step"]
    for name, share in (("token", 0.5), ("pointer", 0.9), ("span", 0.9)):
        assert rows[-1][name] < share * rows[0][name], name


def test_learning_rate_rises_stays_and_falls(plan) -> None:
    plan = replace(plan, warmup_steps=10, examples=1000, decay=0.4)
    factors = [learning_rate_factor(plan, step, 10 * step) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9:61] == [1.0] * 52
    assert factors[80] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.01)
