"""Checks that a finished run is saved as a verifier that serves, and what its report says."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rag.training.average import average_weights
from rag.training.best_weights import best_weights, halfway
from rag.training.verifier_export import score, shown, train_verifier_and_export
from rag.training.verifier_settings import VerifierTraining
from rag.verify.saved import load_verifier
from rag.verify.scorer import open_scorer


@pytest.fixture
def plan(question_file: Path, statement_file: Path, tmp_path: Path) -> VerifierTraining:
    return VerifierTraining(
        train=question_file,
        statements=statement_file,
        out=tmp_path / "run",
        held_out=("0", "3"),
        validation=0.3,
        examples=400,
        warmup_steps=2,
        mixed_precision="no",
        base="embedded",
        padded_tokens=200,
        pool=40,
        stop_after_steps=2,
    )


def test_a_run_ends_as_a_servable_verifier_and_a_report(plan, embedder) -> None:
    steps = []
    report = train_verifier_and_export(
        plan, embedder=embedder, on_step=lambda progress, _: steps.append(progress.step)
    )
    assert steps == [1, 2]
    assert report == json.loads((plan.out / "report.json").read_text())
    saved = load_verifier(report["verifier"])
    assert saved.digest == report["digest"]
    assert report["resumed"] is False
    assert report["serves"] is True
    assert report["why_not"] is None
    assert report["weights"] == "last"
    assert report["versions"]["torch"] == torch.__version__
    assert {"claims_auc", "mrr"} <= report["dev"].keys()
    assert report["judged_claims"] > 20
    verdicts = saved.manifest.verdicts
    assert verdicts is not None
    assert verdicts.model_dump() == report["verdicts"]
    assert all(len(str(digest)) == 64 for digest in verdicts.fitted_on.values())
    assert saved.manifest.trained_from == "all-MiniLM-L6-v2"
    assert saved.manifest.settings["held_out"] == ["0", "3"]
    assert "minutes" not in saved.manifest.settings, "how a run is run is no part of the model"
    scorer = open_scorer(report["verifier"])
    assert scorer.verdicts == verdicts
    probabilities = scorer.score([("Ada was born.", "Ada was born in Aachen.")]).labels
    assert probabilities is not None
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-5)
    card = (plan.out / "verifier" / "README.md").read_text()
    for part in ("all-MiniLM-L6-v2", "`questions.jsonl`", "`statements.jsonl`", "0, 3", "mrr"):
        assert part in card
    manifest = (plan.out / "verifier" / "verifier.json").read_text()
    assert str(plan.out.parent) not in card + manifest + json.dumps(report["settings"])

    again = train_verifier_and_export(replace(plan, stop_after_steps=1), embedder=embedder)
    assert (again["resumed"], again["step"]) == (True, 3)
    assert again["digest"] != report["digest"]
    assert again["weights"].startswith(("last", "average of 2"))


def test_without_anything_held_out_it_cannot_serve(plan) -> None:
    free = replace(plan, held_out=(), validation=0.0, stop_after_steps=1)
    report = train_verifier_and_export(free)
    assert report["serves"] is False
    assert "there are 0: hold out more, titles with --held-out" in report["why_not"]
    assert (report["dev"], report["verdicts"]) == ({}, None)
    saved = load_verifier(report["verifier"])
    assert saved.manifest.verdicts is None
    assert "can't serve" in (plan.out / "verifier" / "README.md").read_text()


def test_an_interrupted_run_writes_no_verifier(plan) -> None:
    def on_step(progress, _) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    report = train_verifier_and_export(plan, on_step=on_step)
    assert report["interrupted"] is True
    assert "digest" not in report
    assert not (plan.out / "verifier").exists()
    assert not (plan.out / "report.json").exists()


def test_the_average_is_taken_unless_the_last_weights_score_better(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = torch.nn.Linear(2, 1)
    for step in (1, 2):
        folder = tmp_path / f"step-{step:08d}"
        folder.mkdir()
        tensors = {"weight": torch.full((1, 2), float(step)), "bias": torch.zeros(1)}
        save_file(tensors, folder / "model.safetensors")
    paths = sorted(tmp_path.glob("step-*/model.safetensors"))

    def chosen(figures, averaged):
        return best_weights(
            tmp_path, model, figures, measured=lambda: averaged, score=lambda f: f["mrr"]
        )

    assert chosen({"mrr": 60.0}, {"mrr": 50.0}) == ("last", {"mrr": 60.0})
    assert model.weight.tolist() == [[2.0, 2.0]]
    assert chosen({"mrr": 40.0}, {"mrr": 50.0}) == ("average of 2 snapshots", {"mrr": 50.0})
    assert torch.equal(model.weight, average_weights(paths)["weight"])
    model.weight.data.fill_(2.0)
    assert chosen({}, {"mrr": 50.0}) == ("last", {})
    assert model.weight.tolist() == [[2.0, 2.0]], "without figures nothing is averaged"


@pytest.mark.parametrize(("mixed", "weight"), [(50.0, 2.0), (61.0, 3.0)])
def test_start_and_end_are_averaged_where_that_scores_better(mixed, weight) -> None:
    model = torch.nn.Linear(2, 1, bias=False)
    model.weight.data.fill_(2.0)
    start = {"weight": torch.full((1, 2), 4.0)}
    figures = {"mrr": 60.0}
    took, found = halfway(
        start, model, figures, measured=lambda: {"mrr": mixed}, score=lambda f: f["mrr"]
    )
    assert (took, found["mrr"]) == (mixed > 60.0, max(mixed, 60.0))
    assert model.weight.tolist() == [[weight, weight]]
    assert halfway(start, model, {}, measured=dict, score=lambda f: 1.0) == (False, {})


def test_kinds_of_figures_count_alike() -> None:
    figures = {"a_accuracy": 60.0, "b_accuracy": 80.0, "claims_auc": 90.0, "mrr": 50.0}
    assert score(figures) == 70.0
    assert score({"mrr": 50.0}) == 50.0
    assert score({}) == 0.0


def test_settings_are_shown_without_folders(plan) -> None:
    named = shown(replace(plan, base="/a/b/own"))
    assert (named["base"], named["train"], named["out"]) == ("own", "questions.jsonl", "run")
    assert shown(plan)["base"] == "embedded"
    assert shown(replace(plan, base="bundled:generator"))["base"] == "bundled:generator"
