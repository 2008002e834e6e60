"""Checks that a finished run is saved so that it can be served, and what is refused before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rag.errors import AlreadyExists, DigestMismatch, ModelError, NotFound, UsageError
from rag.generate.base import Base
from rag.generate.manifest import Decision, read_manifest
from rag.generate.saved import load_generator, save_generator, tensors
from rag.training import export as exporting
from rag.training.adapters import AdapterSwitch
from rag.training.average import average_weights, snapshots
from rag.training.batches import BatchPlan
from rag.training.data import read_questions
from rag.training.examples import Mix
from rag.training.export import choose_weights, score, shown, train_and_export
from rag.training.generator import train
from rag.training.precision import chosen_precision
from rag.training.settings import GeneratorTraining
from rag.training.start import starting_base


@pytest.fixture
def base_folder(make_base, tmp_path: Path) -> Path:
    """The tiny base as a BART of its own."""
    base: Base = make_base()
    folder = tmp_path / "bart"
    base.model.seq2seq.save_pretrained(folder)
    text = base.tokenizer.to_str().replace('"[NONE]"', '"[unused0]"')
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def plan(question_file: Path, base_folder: Path, tmp_path: Path) -> GeneratorTraining:
    return GeneratorTraining(
        train=question_file,
        dev=question_file,
        out=tmp_path / "run",
        base=str(base_folder),
        examples=400,
        mixed_precision="no",
        mix=Mix(several=0.3),
        plan=BatchPlan(seed=1, padded_tokens=600, pool=16, easy_examples=30, easy_tokens=40),
        stop_after_steps=4,
    )


def test_a_run_ends_as_a_servable_generator_and_a_report(plan: GeneratorTraining) -> None:
    steps = []
    report = train_and_export(plan, on_step=lambda progress, terms: steps.append(progress.step))
    assert steps == [1, 2, 3, 4]
    saved = load_generator(report["generator"])
    assert saved.digest == report["digest"]
    assert report == json.loads((plan.out / "report.json").read_text())
    assert report["resumed"] is False
    assert report["settings"]["train"] == "questions.jsonl", "no folders of this machine"
    assert {"token", "pointer", "span", "absence"} <= report["losses"].keys()
    assert "squad2_f1" in report["dev"]
    assert report["versions"]["torch"] == torch.__version__
    assert (plan.out / "loss.png").is_file() or report["step"] < 20
    card = (plan.out / "generator" / "README.md").read_text()
    assert "trained from bart" in card
    assert str(plan.out.parent) not in card + (plan.out / "generator/generator.json").read_text()

    again = train_and_export(replace(plan, stop_after_steps=2))
    assert again["resumed"] is True
    assert again["step"] == 6
    assert again["digest"] != report["digest"]


def test_the_same_seed_starts_and_ends_alike(plan: GeneratorTraining, tmp_path: Path) -> None:
    one = train_and_export(plan)
    torch.manual_seed(123)
    assert train_and_export(replace(plan, out=tmp_path / "other"))["digest"] == one["digest"]


def test_averaged_weights_are_saved_unless_dev_prefers_the_last(
    plan: GeneratorTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(plan, checkpoint_minutes=0.0, milestone_minutes=0.0)
    base = starting_base(plan)
    train(plan, base)
    paths = snapshots(plan.out)
    assert len(paths) == 3
    mean = average_weights(paths)
    last = {n: p.detach().clone() for n, p in base.model.named_parameters() if n in mean}
    monkeypatch.setattr("rag.training.export.measured", lambda *_: {"own_f1": 50.0})
    assert choose_weights(plan, base, {"own_f1": 60.0})[0] == "last"
    now = dict(base.model.named_parameters())
    assert all(torch.equal(now[name], last[name]) for name in mean)
    chosen, figures = choose_weights(plan, base, {"own_f1": 40.0})
    assert (chosen, figures) == ("average of 3 snapshots", {"own_f1": 50.0})
    assert all(torch.equal(now[name], mean[name]) for name in mean)


def test_the_score_leaves_the_span_head_alone_out() -> None:
    figures = {"a_f1": 40.0, "a_span_f1": 90.0, "a_absent_auc": 80.0, "a_em": 1.0}
    assert score(figures) == 60.0
    assert score({}) == 0.0


def test_adapters_are_saved_apart_and_merged(plan: GeneratorTraining, tmp_path: Path) -> None:
    generator = tmp_path / "general"
    save_generator(generator, starting_base(plan), trained_from="bart")
    report = train_and_export(replace(plan, base=str(generator), lora_rank=2))
    with_adapter = load_generator(generator, adapter=Path(report["adapter"]))
    merged = load_generator(report["generator"])
    assert with_adapter.adapters is not None
    assert with_adapter.adapters.active == "adapter"
    assert not any("lora" in name for name in tensors(merged.base.model))
    question, passage = [[5, 6]], [[[10, 11, 12]]]
    outputs = []
    for saved in (with_adapter, merged):
        with torch.inference_mode():
            encoded = saved.base.model.encode(saved.base.fuse(question, passage))
            mixture = saved.base.model.decode(encoded, torch.tensor([[3, 10]]))[0]
            outputs.append(mixture.log_probs())
    torch.testing.assert_close(*outputs, atol=2e-2, rtol=1e-2)  # merged weights are in fp16
    again = train_and_export(replace(plan, base=str(generator), lora_rank=2, stop_after_steps=1))
    assert again["step"] == 5


@pytest.mark.parametrize(
    "change",
    [{"layout": "concatenated"}, {"copying": False}, {"warm_start": False}],
    ids=lambda change: next(iter(change)),
)
def test_ablations_train_measure_and_load(plan: GeneratorTraining, change) -> None:
    report = train_and_export(replace(plan, **change))
    base = load_generator(report["generator"]).base
    assert base.layout.concatenated == (change.get("layout") == "concatenated")
    assert base.layout.copying == change.get("copying", True)
    assert (base.model.span_guide is None) == (change.get("copying") is False)
    assert report["dev"]
    if change.get("copying") is False:
        assert report["dev"]["squad2_copied"] == 0.0
        assert set(report["losses"]) == {"token", "pointer"}
        assert report["losses"]["pointer"] == 0.0


def test_a_random_start_keeps_no_weights(plan: GeneratorTraining) -> None:
    warm, random = (
        tensors(starting_base(replace(plan, warm_start=w)).model) for w in (True, False)
    )
    weights = [name for name in warm if name.endswith("proj.weight")]
    assert weights
    assert not any(torch.equal(warm[name], random[name]) for name in weights)


def test_wrong_calls_are_refused_before_training(plan: GeneratorTraining, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no file .*none\.jsonl"):
        train_and_export(replace(plan, train=tmp_path / "none.jsonl"))
    with pytest.raises(AlreadyExists, match="no training run: give another --out"):
        train_and_export(replace(plan, out=tmp_path))
    with pytest.raises(UsageError, match="layout is 'sideways'"):
        train_and_export(replace(plan, layout="sideways"))
    with pytest.raises(UsageError, match="all rows are held out"):
        train_and_export(
            replace(
                plan,
                held_out=tuple({row.title for row in read_questions(plan.train)}),
            )
        )
    with pytest.raises(ModelError, match="no model folder"):
        train_and_export(replace(plan, out=tmp_path / "r", base=str(tmp_path / "nowhere")))
    train_and_export(replace(plan, out=tmp_path / "s", stop_after_steps=1))
    with pytest.raises(UsageError, match="was started with seed 1, not 2"):
        train_and_export(replace(plan, out=tmp_path / "s", plan=replace(plan.plan, seed=2)))
    with pytest.raises(UsageError, match="was started with lora_rank 0, not 4"):
        train_and_export(replace(plan, out=tmp_path / "s", lora_rank=4))


def test_settings_are_shown_without_folders(plan: GeneratorTraining) -> None:
    text = json.dumps(shown(replace(plan, teacher="/a/b/big")))
    assert "/" not in text
    assert '"big"' in text
    assert shown(replace(plan, base="hub:facebook/bart-base@main"))["base"].startswith("hub:")


def test_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert chosen_precision("fp16") == "fp16"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="fp16 needs a GPU that torch sees: give bf16"):
        chosen_precision("fp16")
    assert chosen_precision("auto") in ("no", "bf16", "fp16")
    with pytest.raises(UsageError, match="precision is 'int3'"):
        chosen_precision("int3")


def test_automatic_precision_is_what_the_hardware_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, bf16, cpu, expected in (
        (True, True, False, "bf16"),
        (True, False, True, "fp16"),
        (False, False, True, "bf16"),
        (False, False, False, "no"),
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda value=cuda: value)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda value=bf16, **_: value)
        # Not by the module's name: another test imports that module anew.
        known = chosen_precision.__globals__
        monkeypatch.setitem(known, "cpu_has_bf16", lambda value=cpu: value)
        assert chosen_precision("auto") == expected


DECISION = Decision(features=("absent",), weights=(-1.0,), intercept=0.5, threshold=0.25)


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Base, list[str]]]:
    """What decisions were fitted on: models and ids of rows."""
    seen = []

    def fit(base, rows, **_):
        seen.append((base, [row.id for row in rows]))
        return DECISION

    monkeypatch.setattr(exporting, "fit_decision", fit)
    return seen


def test_the_decision_is_fitted_on_what_is_served(plan: GeneratorTraining, fitted) -> None:
    report = train_and_export(plan)
    saved = load_generator(report["generator"])
    ((base, ids),) = fitted
    ours, theirs = tensors(base.model), tensors(saved.base.model)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not base.model.training
    assert saved.manifest.decision == DECISION
    assert saved.digest == report["digest"]
    assert saved.absent_threshold == 1.0, "no gate in front of the decision"
    assert report["serves"]
    assert report["decided_on"] == {"file": "questions.jsonl", "rows": sorted(ids)}
    assert len(ids) == len(read_questions(plan.train))


def test_held_out_titles_are_decided_on_first(plan: GeneratorTraining, fitted) -> None:
    report = train_and_export(replace(plan, held_out=("1",)))
    assert report["decided_on"]["rows"] == [f"1-{i}" for i in range(4)]


def test_without_enough_questions_the_report_says_why(plan: GeneratorTraining) -> None:
    report = train_and_export(plan)
    assert report["serves"] is False
    assert "give them with --dev or --held-out" in report["why_not"]
    assert "decided_on" not in report
    assert read_manifest(Path(report["generator"]))[0].decision is None


def test_a_merged_models_decision_goes_with_its_adapter(
    plan: GeneratorTraining, fitted, tmp_path: Path
) -> None:
    generator = tmp_path / "general"
    save_generator(generator, starting_base(plan), trained_from="bart")
    report = train_and_export(replace(plan, base=str(generator), lora_rank=2))
    switch = AdapterSwitch(load_generator(generator))
    assert switch.add("own", Path(report["adapter"])) == report["adapter_digest"]
    assert switch.decision("own") == DECISION


def test_without_dev_the_last_weights_are_kept(plan: GeneratorTraining) -> None:
    plan = replace(plan, dev=None, checkpoint_minutes=0.0, milestone_minutes=0.0)
    report = train_and_export(plan)
    assert len(snapshots(plan.out)) == 3
    assert report["weights"] == "last"


def test_a_folder_that_cannot_be_read_back_is_no_export(
    plan: GeneratorTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = exporting.save_generator

    def damaged(folder: Path, *arguments, **named) -> str:
        digest = save(folder, *arguments, **named)
        (folder / "weights.safetensors").write_bytes(b"")
        return digest

    monkeypatch.setattr(exporting, "save_generator", damaged)
    with pytest.raises(DigestMismatch):
        train_and_export(plan)
    assert not (plan.out / "report.json").exists()


def test_a_finished_run_is_exported_again_as_it_was(plan: GeneratorTraining) -> None:
    plan = replace(plan, examples=30, stop_after_steps=None)
    steps = []
    reports = [
        train_and_export(plan, on_step=lambda progress, _: steps.append(progress.step))
        for _ in range(2)
    ]
    assert steps == list(range(1, reports[0]["step"] + 1))
    assert reports[0]["digest"] == reports[1]["digest"]


def test_changed_settings_are_refused_by_both_ways_in(plan: GeneratorTraining) -> None:
    train_and_export(replace(plan, stop_after_steps=1))
    changed = replace(plan, held_out=("1",))
    for call in (train, train_and_export):
        with pytest.raises(UsageError, match=r"started with held_out \[\], not \['1'\]"):
            call(changed)
