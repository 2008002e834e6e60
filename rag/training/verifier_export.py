"""From settings to a servable verifier: train, average, fit the verdicts, save, report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import PartialState  # type: ignore[import-untyped]

from rag.errors import UsageError
from rag.protocols import Embedder
from rag.training.best_weights import Figures, best_weights, halfway
from rag.training.export import REPORT, shown, versions
from rag.training.held_out import split_rows, split_statements
from rag.training.resume import RUNNING, check_folder, file_digests, files_of
from rag.training.run import OnStep
from rag.training.verdicts import fit_verdicts, verdict_figures
from rag.training.verifier import starting_model, train_verifier
from rag.training.verifier_measures import Held, measured, scores, verdict_claims
from rag.training.verifier_settings import VerifierTraining
from rag.verify.cross_encoder import PairModel
from rag.verify.saved import (
    EMBEDDED,
    SavedVerifier,
    Verdicts,
    embedded_framing,
    embedded_tokenizer,
    is_verifier,
    load_verifier,
    save_verifier,
)

SUPPORTED_PRECISION = 0.8  # on what was held out; a decision comes after this verdict
CONTRADICTED_PRECISION = 0.9  # this one raises an alarm


def train_verifier_and_export(
    settings: VerifierTraining,
    *,
    embedder: Embedder | None = None,
    on_step: OnStep = lambda progress, terms: None,
) -> dict[str, Any]:
    """Train, or go on with the run in `settings.out`, and save a servable verifier there.

    Writes `verifier/` and `report.json`.

    Args:
        settings: the run.
        embedder: finds passages that sound as if they answered; None takes others of a title.
        on_step: called after each step with the progress and the loss terms.

    Returns:
        the report; without "digest" if a signal ended the run.

    Raises:
        NotFound: a file is not there.
        AlreadyExists: the output folder holds something else.
        UsageError: the run in the folder had other settings, or nothing is left to learn from.
        TrainingDataError: a file has unusable rows.
        ModelError: the base is not usable, or the loss became infinite.
    """
    resumed = check_folder(settings)
    model, trained = train_verifier(settings, embedder, starting_model(settings), on_step=on_step)
    report = {"resumed": resumed, **trained, "settings": shown(settings), "versions": versions()}
    if not trained["interrupted"] and PartialState().is_main_process:
        report |= export_verifier(settings, model, trained["dev"], embedder=embedder)
        text = json.dumps(report, indent=1, ensure_ascii=False)
        (settings.out / REPORT).write_text(text + "\n", encoding="utf-8")
    return report


def export_verifier(
    settings: VerifierTraining,
    model: PairModel,
    figures: Figures,
    *,
    embedder: Embedder | None = None,
) -> dict[str, Any]:
    """Save what a finished run has learned.

    The verdicts are fitted on the folder read back, so on the weights as they are served.

    Args:
        settings: the run.
        model: with the run's last weights; changed in place.
        figures: held-out figures of these weights.
        embedder: see `train_verifier_and_export`.

    Returns:
        the report's part: which weights, their figures, folder, digest and verdicts, and whether
        the verifier can serve.
    """

    def own_figures() -> Figures:
        return held_out_figures(settings, model, embedder)

    weights, figures = best_weights(settings.out, model, figures, measured=own_figures, score=score)
    if settings.base != EMBEDDED and is_verifier(settings.base):
        start = load_verifier(settings.base).model.state_dict()
        mixed, figures = halfway(start, model, figures, measured=own_figures, score=score)
        weights += ", in equal parts with those at the start" if mixed else ""
    folder = settings.out / "verifier"
    described: dict[str, Any] = {
        "trained_from": trained_from(settings),
        "settings": {n: v for n, v in shown(settings).items() if n not in RUNNING},
    }
    save_verifier(folder, model, **described)
    device = next(model.parameters()).device.type
    verdicts, judging = judged(settings, load_verifier(str(folder), device=device), embedder)
    part = {"weights": weights, "dev": dict(figures), **judging}
    save_verifier(folder, model, verdicts=verdicts, card=card(settings, part), **described)
    return {**part, "verifier": str(folder), "digest": load_verifier(str(folder)).digest}


def judged(
    settings: VerifierTraining, saved: SavedVerifier, embedder: Embedder | None
) -> tuple[Verdicts | None, dict[str, Any]]:
    """Fit the verdicts on what was held out.

    Returns:
        the verdicts, None where too little was held out; and the report's part: whether the
        verifier can serve, why not, the verdicts, and how often they are right.
    """
    rows = split_rows(settings.train, settings.held_out)[1]
    said = split_statements(settings.statements, settings.validation)[1]
    files = files_of(settings)
    used = {"train": files["train"] if rows else None}
    used["statements"] = files["statements"] if said else None
    pairs, allowed = verdict_claims(rows, said, embedder, settings.shares, settings.seed)
    logits = scores(saved.model, pairs, saved.tokenizer, saved.framing)[0]
    try:
        verdicts = fit_verdicts(
            logits,
            allowed,
            SUPPORTED_PRECISION,
            contradicted_precision=CONTRADICTED_PRECISION,
            fitted_on=file_digests(used),
        )
    except UsageError as error:
        why_not = f"{error}, titles with --held-out or statements with --validation"
        return None, {"serves": False, "why_not": why_not, "verdicts": None}
    return verdicts, {
        "serves": True,
        "why_not": None,
        "verdicts": verdicts.model_dump(mode="json"),
        "judged": verdict_figures(logits, allowed, verdicts),
        "judged_claims": len(pairs),
    }


def held_out_figures(
    settings: VerifierTraining, model: PairModel, embedder: Embedder | None
) -> dict[str, float]:
    """Figures on what was held out, in the precision of the training."""
    rows = split_rows(settings.train, settings.held_out)[1]
    said = split_statements(settings.statements, settings.validation)[1]
    tokenizer, framing = embedded_tokenizer(), embedded_framing()
    held = Held.of(rows, said, embedder, tokenizer, framing, settings.seed)
    device = next(model.parameters()).device.type
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(settings.mixed_precision)
    with torch.autocast(device, dtype=dtype) if dtype else nullcontext():
        return measured(model, held)


def score(figures: Figures) -> float:
    """One number for held-out figures, in percent: the mean over the kinds of figure.

    The kinds are accuracy (itself the mean over sources), claims and rankings.

    >>> score({"a_accuracy": 60.0, "b_accuracy": 80.0, "mrr": 50.0})
    60.0
    """
    accuracies = [value for name, value in figures.items() if name.endswith("_accuracy")]
    kinds = [figures[name] for name in ("claims_auc", "mrr") if name in figures]
    if accuracies:
        kinds.append(sum(accuracies) / len(accuracies))
    return sum(kinds) / len(kinds) if kinds else 0.0


def trained_from(settings: VerifierTraining) -> str:
    """What the training started from, in words."""
    if settings.base == EMBEDDED:
        return "all-MiniLM-L6-v2"
    base = shown(settings)["base"]
    return str(base) if is_verifier(settings.base) else f"the encoder of {base}"


def card(settings: VerifierTraining, part: Mapping[str, Any]) -> str:
    """A model card: origin, data, settings, figures, limits."""
    files = " and ".join(f"`{path.name}`" for path in files_of(settings).values() if path)
    lines = [
        "# Verifier",
        "",
        "A cross-encoder with a head for entailment and one for relevance, trained from "
        f"{trained_from(settings)} on {files} with `rag train verifier`; weights: "
        f"{part['weights']}. The licences of the base and of the files apply.",
        "",
        f"Planned for {settings.examples} examples, learning rates {settings.rate:g} and "
        f"{settings.head_rate:g} (heads), precision {settings.mixed_precision}, seed "
        f"{settings.seed}; all settings are in `verifier.json`.",
        "",
        f"Titles held out from training: {', '.join(settings.held_out) or 'none'}; share of the "
        f"statements' premises held out: {settings.validation if settings.statements else 0:g}.",
        "",
        *_table("on what was held out", part["dev"]),
        *_verdict_lines(part),
        "It judges English by single texts of up to 256 tokens; of longer ones it doesn't see the "
        "end. It says whether a text bears a claim out, not whether the text is right, and it is "
        "wrong at times: its verdicts' thresholds hold for texts like those held out.",
    ]
    return "\n".join(lines) + "\n"


def _verdict_lines(part: Mapping[str, Any]) -> list[str]:
    if not part["serves"]:
        return ["Without fitted verdicts it can't serve.", ""]
    verdicts = part["verdicts"]
    return [
        f"A claim is supported from probability {verdicts['supported']:.4f} and contradicted from "
        f"{verdicts['contradicted']:.4f}, at temperature {verdicts['temperature']:.3f}: fitted on "
        f"{part['judged_claims']} held-out claims and statements, with the aim that "
        f"{100 * SUPPORTED_PRECISION:g} % of the first and {100 * CONTRADICTED_PRECISION:g} % of "
        "the second are right.",
        "",
        *_table("of these verdicts, on the same claims", part["judged"]),
    ]


def _table(title: str, figures: Figures) -> list[str]:
    if not figures:
        return []
    rows = [f"| {name} | {value:.1f} |" for name, value in figures.items()]
    return [f"| {title} | percent |", "|---|---|", *rows, ""]
