"""Checks that a training run learns, and that a stopped one goes on as if it had not stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from rag.errors import ModelError, UsageError
from rag.training import generator, held_out
from rag.training import run as running
from rag.training.batches import BatchPlan
from rag.training.checkpoints import checkpoints, load_checkpoint, save_checkpoint
from rag.training.examples import Mix
from rag.training.generator import train
from rag.training.run import learning_rate_factor
from rag.training.settings import GeneratorTraining
from rag.training.stop import Stop


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
    (killed.out / ".partial-step-00000007").mkdir()
    report = train(replace(killed, checkpoint_minutes=5.0, stop_after_steps=4), make_base())
    assert report["step"] == 10
    assert_same(weights(plan.out), weights(killed.out))
    assert not (killed.out / ".partial-step-00000007").exists()


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
    newest = checkpoints(plan.out)[-1]
    with pytest.raises(ValueError, match="of another model"):
        load_checkpoint(newest, model)
    model = make_base().model
    before = {name: p.clone() for name, p in model.named_parameters()}
    one_value = load_file(newest / "model.safetensors")
    name = "copy_attention.query.bias"
    save_file({**one_value, name: one_value[name][:1].clone()}, newest / "model.safetensors")
    with pytest.raises(ValueError, match=rf"{name} has shape \(1,\), not \(32,\)"):
        load_checkpoint(newest, model)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


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


def test_rates_without_warm_up_and_decay(plan) -> None:
    plan = replace(plan, warmup_steps=0, decay=0.0, examples=100)
    assert [learning_rate_factor(plan, step, 10 * step) for step in (0, 5, 10)] == [1.0] * 3


def test_a_finished_run_is_not_trained_on(plan, make_base) -> None:
    plan = replace(plan, examples=30, stop_after_steps=None)
    steps = []
    first = train(plan, make_base(), on_step=lambda progress, _: steps.append(progress.step))
    again = train(plan, make_base(), on_step=lambda progress, _: steps.append(progress.step))
    assert again == first
    assert steps == list(range(1, first["step"] + 1))
    assert again["losses"]


def interrupting(step: int):
    def on_step(progress, _) -> None:
        if progress.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return on_step


def test_a_signal_ends_the_run_after_its_step(plan, make_base) -> None:
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    report = train(plan, make_base(), on_step=interrupting(3))
    assert (report["step"], report["interrupted"]) == (3, True)
    assert checkpoints(plan.out)[-1].name == "step-00000003"
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_a_second_signal_interrupts_at_once() -> None:
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def interruptible():
    """Ctrl-C as on a terminal: processes that a script starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_only_the_loop_waits_for_its_step(plan, make_base, question_file, monkeypatch) -> None:
    def interrupted(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("went on")

    measured = replace(plan, dev=question_file, stop_after_steps=1)
    monkeypatch.setattr(generator, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(measured, make_base())
    monkeypatch.setattr(held_out, "read_questions", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(replace(plan, out=plan.out.parent / "new"), make_base())


def test_the_first_process_decides_for_all(plan, make_base, question_file, monkeypatch) -> None:
    told = []

    def broadcast(decisions: list[bool]) -> list[bool]:
        told.append(list(decisions))
        return [len(told) == 3, *decisions[1:]]

    waits = []
    monkeypatch.setattr(running, "broadcast_object_list", broadcast)
    monkeypatch.setattr(Accelerator, "wait_for_everyone", lambda self: waits.append(len(told)))
    report = train(replace(plan, dev=question_file), make_base())
    assert told[:3] == [[False, False, False]] * 3
    assert report["step"] == 3
    assert not report["interrupted"]
    # Before and after the one checkpoint, and after the measurement, nobody runs ahead.
    assert waits[-1] == 4
    assert 3 in waits


@pytest.mark.parametrize("what", ["loss", "gradients"])
def test_diverged_steps_are_not_taken(plan, make_base, monkeypatch, what: str) -> None:
    base = make_base()
    run = generator._Run(plan, base, lambda *_: None)
    examples, _ = next(run.batches(run.progress))
    before = {name: p.detach().clone() for name, p in base.model.named_parameters()}
    if what == "loss":
        monkeypatch.setattr(generator, "total_loss", lambda *_: torch.tensor(float("nan")))
    else:
        weight = next(p for p in base.model.parameters() if p.requires_grad)
        weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(ModelError, match=f"the {what} (is|are) not finite at step 1: lower"):
        run.step([examples])
    assert all(torch.equal(p, before[name]) for name, p in base.model.named_parameters())
    assert run.progress.step == 0


class Scaling(Accelerator):
    """Scales the loss as in fp16, on a CPU."""

    def __init__(self, **_: object) -> None:
        super().__init__(mixed_precision="no")
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)


def test_the_loss_scale_is_kept(plan, make_base, monkeypatch) -> None:
    monkeypatch.setattr(generator, "Accelerator", Scaling)
    train(replace(plan, stop_after_steps=4), make_base())
    run = generator._Run(plan, make_base(), lambda *_: None)
    assert run.progress.step == 4
    state = run.accelerator.scaler.state_dict()
    assert (state["scale"], state["_growth_tracker"]) == (2.0**12, 0)


def test_an_overflow_of_scaled_gradients_is_no_divergence(plan, make_base, monkeypatch) -> None:
    monkeypatch.setattr(generator, "Accelerator", Scaling)
    base = make_base()
    run = generator._Run(plan, base, lambda *_: None)
    examples, _ = next(run.batches(run.progress))
    weight = next(p for p in base.model.parameters() if p.requires_grad)
    before = weight.detach().clone()
    handle = weight.register_hook(lambda gradient: gradient * float("inf"))
    run.step([examples])
    assert torch.equal(weight, before)
    assert run.accelerator.scaler.get_scale() == 2.0**9
    handle.remove()
    run.step([examples])
    assert not torch.equal(weight, before)


def test_titles_that_no_row_has_cannot_be_held_out(plan, make_base) -> None:
    with pytest.raises(UsageError, match="has the title 'Tpyo': correct --held-out"):
        train(replace(plan, held_out=("0", "Tpyo")), make_base())
    run = generator._Run(replace(plan, held_out=("0",)), make_base(), lambda *_: None)
    assert {row.title for row in run.stream.composer.rows} >= {"1", "3"}
    assert "0" not in {row.title for row in run.stream.composer.rows}


def test_texts_are_hidden_and_cut_as_the_model_needs(plan, make_base) -> None:
    base = make_base()
    composer = generator._Run(plan, base, lambda *_: None).stream.composer
    assert composer.hidden == base.framing == {0, 1, 3, 4}
    assert composer.longest_row == base.max_positions


def test_checkpoints_are_replaced_whole(plan, make_base) -> None:
    model = make_base().model
    optimizer = torch.optim.AdamW(model.parameters())
    for note in ("one", "two"):
        path = save_checkpoint(plan.out, 7, model, optimizer, {"note": note}, milestone=True)
        assert load_checkpoint(path, model)["note"] == note
    assert {p.name for p in plan.out.iterdir()} == {"step-00000007", "average-00000007.safetensors"}
