"""From settings to a servable generator: train, average, choose, save, report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from random import Random
from typing import Any

import torch
from accelerate import PartialState  # type: ignore[import-untyped]

from rag.errors import AlreadyExists, NotFound, UsageError
from rag.generate.base import Base
from rag.generate.saved import Decision, read_manifest, save_generator
from rag.models import resolve
from rag.training.adapters import merge_lora, save_adapter
from rag.training.average import average_weights, put_weights, snapshots
from rag.training.checkpoints import checkpoints
from rag.training.data import read_questions
from rag.training.decision import fit_decision
from rag.training.evaluate import evaluate
from rag.training.generator import dev_questions, train
from rag.training.settings import GeneratorTraining, Progress
from rag.training.start import EMBEDDED, is_generator, starting_base

DECISION_ROWS = 1_000
METRICS, REPORT = "metrics.jsonl", "report.json"
DECIDING = (
    "base",
    "warm_start",
    "layout",
    "copying",
    "guided",
    "lora_rank",
    "frozen_heads",
    "teacher",
)
RUNNING = {"out", "minutes", "stop_after_steps", "share_cores", "checkpoint_minutes"}
RUNNING |= {"milestone_minutes", "measure_minutes"}
"""Settings of how a run is run; the same weights have the same digest whatever these are."""
PACKAGES = ("grounded-rag", "torch", "transformers", "tokenizers", "accelerate", "peft")


def train_and_export(
    settings: GeneratorTraining,
    *,
    on_step: Callable[[Progress, dict[str, float]], object] = lambda progress, terms: None,
) -> dict[str, Any]:
    """Train, or go on with the run in `settings.out`, and save a servable generator there.

    Writes `generator/`, with adapters on a saved generator also `adapter/`, and `report.json`.

    Args:
        settings: the run.
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
        report |= export(settings, base, trained["dev"])
        text = json.dumps(report, indent=1, ensure_ascii=False)
        (settings.out / REPORT).write_text(text + "\n", encoding="utf-8")
    return report


def check_folder(settings: GeneratorTraining) -> bool:
    """Whether `settings.out` holds a run to go on with.

    Raises:
        NotFound: a question file is not there.
        AlreadyExists: the folder is no run's.
        UsageError: the run was started with other settings.
    """
    for path in (settings.train, settings.dev, settings.statements):
        if path is not None and not path.is_file():
            raise NotFound(f"there is no file {path}: give a JSON lines file")
    out = settings.out
    metrics = out / METRICS
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not metrics.is_file())):
        raise AlreadyExists(f"{out} is not empty and no training run: give another --out")
    found = bool(checkpoints(out))
    if found:
        first = json.loads(metrics.read_text(encoding="utf-8").partition("\n")[0])["settings"]
        now = json.loads(json.dumps(asdict(settings), default=str))
        pairs = [(name, first.get(name, now[name]), now[name]) for name in DECIDING]
        pairs.append(("seed", first["plan"]["seed"], now["plan"]["seed"]))
        for name, before, wanted in pairs:
            if before != wanted:
                raise UsageError(
                    f"the run in {out} was started with {name} {before!r}, not {wanted!r}: "
                    "give the same, or another --out"
                )
    return found


def export(settings: GeneratorTraining, base: Base, figures: Mapping[str, float]) -> dict[str, Any]:
    """Save what a finished run has learned.

    Args:
        settings: the run.
        base: with the run's last weights; changed in place.
        figures: dev figures of these weights.

    Returns:
        the report's part: which weights, their dev figures, folders and digests.
    """
    weights, figures = choose_weights(settings, base, figures)
    part: dict[str, Any] = {"weights": weights, "dev": dict(figures)}
    if settings.lora_rank:
        if is_generator(settings.base):
            digest = read_manifest(resolve(settings.base).path)[1]
            folder = settings.out / "adapter"
            part["adapter_digest"] = save_adapter(folder, base.model, generator=digest)
            part["adapter"] = str(folder)
        merge_lora(base.model)
    folder = settings.out / "generator"
    decision, why = decided(settings, base)
    digest = save_generator(
        folder,
        base,
        trained_from=trained_from(settings),
        decision=decision,
        settings={n: v for n, v in shown(settings).items() if n not in RUNNING},
        card=card(settings, part),
    )
    served = {"serves": decision is not None, "why_not": why}
    return {**part, **served, "generator": str(folder), "digest": digest}


def decided(settings: GeneratorTraining, base: Base) -> tuple[Decision | None, str | None]:
    """Fit the decision on the held-out titles, else on dev.

    Returns:
        the decision; where there are too few questions none, and why.
    """
    rows = [row for row in read_questions(settings.train) if row.title in set(settings.held_out)]
    if not rows and settings.dev is not None:
        rows = read_questions(settings.dev)
    rows = Random(settings.plan.seed).sample(rows, min(len(rows), DECISION_ROWS))
    base.model.eval()
    try:
        return fit_decision(base, rows), None
    except UsageError as error:
        return None, f"{error}; give them with --dev or --held-out"


def choose_weights(
    settings: GeneratorTraining, base: Base, figures: Mapping[str, float]
) -> tuple[str, Mapping[str, float]]:
    """Put the average of the kept snapshots into the model, unless dev prefers the last weights.

    Returns:
        which weights the model has now, and their dev figures.
    """
    paths = snapshots(settings.out)
    if len(paths) < 2:
        return "last", figures
    put_weights(base.model, average_weights(paths))
    averaged = measured(settings, base)
    if score(averaged) < score(figures):
        put_weights(base.model, average_weights(paths[-1:]))
        return "last", figures
    return f"average of {len(paths)} snapshots", averaged


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


def shown(settings: GeneratorTraining) -> dict[str, Any]:
    """Settings for readers elsewhere: files and folders by their last name only."""
    values = asdict(settings)
    for name in ("base", "teacher"):
        if values[name] is not None and not values[name].startswith(("hub:", "bundled:")):
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
