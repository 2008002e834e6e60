"""From settings to a servable generator: train, average, choose, save, report."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from random import Random
from typing import Any

import torch
from accelerate import PartialState  # type: ignore[import-untyped]

from rag.errors import UsageError
from rag.generate.base import Base
from rag.generate.manifest import MANIFEST, Decision, put_decision, read_manifest
from rag.generate.saved import load_generator, save_generator
from rag.models import resolve
from rag.protocols import Embedder
from rag.training.adapters import MANIFEST as ADAPTER
from rag.training.adapters import merge_lora, save_adapter
from rag.training.best_weights import best_weights
from rag.training.data import read_questions
from rag.training.decision import BATCH, fit_decision
from rag.training.evaluate import evaluate
from rag.training.generator import dev_questions, train
from rag.training.progress import Progress
from rag.training.resume import RUNNING, check_folder
from rag.training.settings import GeneratorTraining
from rag.training.start import EMBEDDED, is_generator, starting_base
from rag.training.verifier_settings import VerifierTraining

logger = logging.getLogger(__name__)

DECISION_ROWS = 1_000
PROGRESS_EVERY = 160  # answers of the decision's questions between two log lines
REPORT = "report.json"
PACKAGES = ("grounded-rag", "torch", "transformers", "tokenizers", "accelerate", "peft")


def train_and_export(
    settings: GeneratorTraining,
    *,
    embedder: Embedder | None = None,
    on_step: Callable[[Progress, dict[str, float]], object] = lambda progress, terms: None,
) -> dict[str, Any]:
    """Train, or go on with the run in `settings.out`, and save a servable generator there.

    Writes `generator/`, with adapters on a saved generator also `adapter/`, and `report.json`.

    Args:
        settings: the run.
        embedder: the one that answers will be served with; the decision weighs what it finds
            near.
        on_step: called after each step with the progress and the loss terms.

    Returns:
        the report; without "digest" if a signal ended the run.

    Raises:
        NotFound: a question file is not there.
        AlreadyExists: the output folder holds something else.
        UsageError: the run in the folder was started with other settings.
        TrainingDataError: a question file has unusable rows.
        ModelError: the base or the teacher is not usable, or the loss became infinite.
    """
    resumed = check_folder(settings)
    base = starting_base(settings)
    trained = train(settings, base, on_step=on_step)
    report = {"resumed": resumed, **trained, "settings": shown(settings), "versions": versions()}
    if not trained["interrupted"] and PartialState().is_main_process:
        report |= export(settings, base, trained["dev"], embedder=embedder)
        text = json.dumps(report, indent=1, ensure_ascii=False)
        (settings.out / REPORT).write_text(text + "\n", encoding="utf-8")
    return report


def export(
    settings: GeneratorTraining,
    base: Base,
    figures: Mapping[str, float],
    *,
    embedder: Embedder | None = None,
) -> dict[str, Any]:
    """Save what a finished run has learned.

    The decision is fitted on the folder read back, so on the weights as they are served.

    Args:
        settings: the run.
        base: with the run's last weights; changed in place.
        figures: dev figures of these weights.
        embedder: see `train_and_export`.

    Returns:
        the report's part: which weights, their dev figures, folders and digests.
    """
    weights, figures = choose_weights(settings, base, figures)
    part: dict[str, Any] = {"weights": weights, "dev": dict(figures)}
    adapter = settings.out / "adapter"
    adapted = bool(settings.lora_rank) and is_generator(settings.base)
    if adapted:
        digest = read_manifest(resolve(settings.base).path)[1]
        save_adapter(adapter, base.model, generator=digest)
    if settings.lora_rank:
        merge_lora(base.model)
    folder = settings.out / "generator"
    save_generator(
        folder,
        base,
        trained_from=trained_from(settings),
        settings={n: v for n, v in shown(settings).items() if n not in RUNNING},
        card=card(settings, part),
    )
    device = next(base.model.parameters()).device.type
    saved = load_generator(folder, device=device)
    decision, deciding = decided(settings, saved.base, embedder)
    part |= {"generator": str(folder), "digest": put_decision(folder / MANIFEST, decision)}
    if adapted:
        digest = put_decision(adapter / ADAPTER, decision)
        part |= {"adapter": str(adapter), "adapter_digest": digest}
    return {**part, **deciding}


def decided(
    settings: GeneratorTraining, base: Base, embedder: Embedder | None
) -> tuple[Decision | None, dict[str, Any]]:
    """Fit the decision on the held-out titles, else on dev.

    Returns:
        the decision, None where there are too few questions; and the report's part: whether the
        generator can serve, why not, and the rows that the decision was fitted on.
    """
    source = settings.train
    rows = [row for row in read_questions(source) if row.title in settings.held_out]
    if not rows and settings.dev is not None:
        source = settings.dev
        rows = read_questions(source)
    rows = Random(settings.plan.seed).sample(rows, min(len(rows), DECISION_ROWS))

    def progress(done: int, total: int) -> None:
        if done == total or done // PROGRESS_EVERY != (done - BATCH) // PROGRESS_EVERY:
            logger.info("decision: %d of %d answers written", done, total)

    try:
        decision = fit_decision(base, rows, embedder=embedder, progress=progress)
    except UsageError as error:
        return None, {"serves": False, "why_not": f"{error}; give them with --dev or --held-out"}
    fitted_on = {"file": source.name, "rows": sorted(row.id for row in rows)}
    return decision, {"serves": True, "why_not": None, "decided_on": fitted_on}


def choose_weights(
    settings: GeneratorTraining, base: Base, figures: Mapping[str, float]
) -> tuple[str, Mapping[str, float]]:
    """Put the average of the kept snapshots into the model, unless dev prefers the last weights.

    Returns:
        which weights the model has now, and their dev figures.
    """
    return best_weights(
        settings.out, base.model, figures, measured=lambda: measured(settings, base), score=score
    )


def score(figures: Mapping[str, float]) -> float:
    """One number for dev figures: mean of F1 and absence AUC over sources, in percent."""
    ends = ("_f1", "_absent_auc")
    names = [n for n in figures if n.endswith(ends) and not n.endswith("_span_f1")]
    return sum(figures[n] for n in names) / len(names) if names else 0.0


def measured(settings: GeneratorTraining, base: Base) -> dict[str, float]:
    """Dev figures in the precision of the training; {} without dev questions."""
    questions = dev_questions(settings)
    if not questions:
        return {}
    device = next(base.model.parameters()).device.type
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(settings.mixed_precision)
    with torch.autocast(device, dtype=dtype) if dtype else nullcontext():
        return evaluate(base, questions)


def shown(settings: GeneratorTraining | VerifierTraining) -> dict[str, Any]:
    """Settings for readers elsewhere: files and folders by their last name only."""
    values = asdict(settings)
    for name in ("base", "teacher"):
        if values.get(name) and not values[name].startswith(("hub:", "bundled:")):
            values[name] = Path(values[name]).name
    named = {n: v.name if isinstance(v, Path) else v for n, v in values.items()}
    result: dict[str, Any] = json.loads(json.dumps(named))
    return result


def trained_from(settings: GeneratorTraining) -> str:
    """What the training started from, in words."""
    base = "all-MiniLM-L6-v2" if settings.base == EMBEDDED else str(shown(settings)["base"])
    return base if settings.warm_start else f"random weights of the architecture of {base}"


def versions() -> dict[str, str]:
    """Versions of the packages that decide the result; those not installed are left out."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def card(settings: GeneratorTraining, part: Mapping[str, Any]) -> str:
    """A model card: origin, data, figures, limits."""
    held_out = ", ".join(settings.held_out) or "none"
    lines = [
        "# Generator",
        "",
        f"Encoder-decoder with copy attention, trained from {trained_from(settings)} on "
        f"`{settings.train.name}` with `rag train generator`; weights: {part['weights']}. "
        "The licences of the base and of that file apply.",
        "",
        f"Titles held out from training: {held_out}.",
        "",
        "| on dev, with the gold passage given | percent |",
        "|---|---|",
        *(f"| {name} | {value:.1f} |" for name, value in part["dev"].items()),
        "",
        "It answers from passages only and says when they hold no answer; what it writes in its "
        "own words can be wrong, so its answers are to be verified.",
    ]
    return "\n".join(lines) + "\n"
