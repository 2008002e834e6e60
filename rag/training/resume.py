"""Whether a folder holds a run to go on with, started with the same settings and files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rag.errors import AlreadyExists, NotFound, UsageError
from rag.training.checkpoints import checkpoints
from rag.training.progress import METRICS, logged
from rag.training.settings import GeneratorTraining

FILES = ("train", "dev", "statements")
RUNNING = frozenset(
    "out minutes stop_after_steps share_cores checkpoint_minutes milestone_minutes "
    "measure_minutes".split()
)
"""Settings of how a run is run; the same weights have the same digest whatever these are."""
FREE = RUNNING | {"examples", "encoder_rate", "decoder_rate", "head_rate", *FILES}
"""Settings that a resumed run may change; files are compared by their content."""
EARLIER = ("base", "warm_start", "layout", "copying", "guided", "lora_rank", "frozen_heads")
"""What is compared where the log has no digests: such runs could change the rest."""


def check_folder(settings: GeneratorTraining) -> bool:
    """Whether `settings.out` holds a run to go on with.

    Raises:
        NotFound: a question file is not there.
        AlreadyExists: the folder is no run's.
        UsageError: the run was started with other settings or other files.
    """
    for path in (settings.train, settings.dev, settings.statements):
        if path is not None and not path.is_file():
            raise NotFound(f"there is no file {path}: give a JSON lines file")
    out = settings.out
    metrics = out / METRICS
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not metrics.is_file())):
        raise AlreadyExists(f"{out} is not empty and no training run: give another --out")
    if not checkpoints(out):
        return False
    starts = [row for row in logged(metrics) if row["event"] == "start" and not row["resumed_at"]]
    if not starts:
        raise AlreadyExists(f"{metrics} does not say how its run was started: give another --out")
    before, now = starts[-1], json.loads(json.dumps(asdict(settings), default=str))
    for name, old, new in differences(before, now, file_digests(settings)):
        raise UsageError(
            f"the run in {out} was started with {name} {old!r}, not {new!r}: "
            "give the same, or another --out"
        )
    return True


def differences(
    start: Mapping[str, Any], now: Mapping[str, Any], files: Mapping[str, str | None]
) -> Iterator[tuple[str, Any, Any]]:
    """What a start row's run and a new call differ in: (name, then, now)."""
    settings = start["settings"]
    if "files" not in start:
        for name in (*EARLIER, "teacher"):
            if settings.get(name, now[name]) != now[name]:
                yield name, settings[name], now[name]
        if settings["plan"]["seed"] != now["plan"]["seed"]:
            yield "seed", settings["plan"]["seed"], now["plan"]["seed"]
        return
    for name, wanted in files.items():
        if start["files"].get(name) != wanted:
            yield f"{name} file", start["files"].get(name), wanted
    for name, value in now.items():
        if name not in FREE:
            yield from _unlike(name, settings.get(name, value), value)


def file_digests(settings: GeneratorTraining) -> dict[str, str | None]:
    """sha256 of the run's files; None for those it has not."""
    found: dict[str, str | None] = {}
    for name in FILES:
        path: Path | None = getattr(settings, name)
        found[name] = None if path is None else _sha256(path)
    return found


def _unlike(name: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """Differing values by name; a setting that an older run did not know is not compared."""
    if isinstance(before, dict) and isinstance(now, dict) and name != "source_weights":
        for part, value in now.items():
            yield from _unlike(part, before.get(part, value), value)
    elif before != now:
        yield name, before, now


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
