"""Whether a folder holds a run to go on with, started with the same settings and files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol

from rag.errors import AlreadyExists, NotFound, UsageError
from rag.training.checkpoints import checkpoints
from rag.training.progress import METRICS, logged

RUNNING = frozenset(
    "out minutes stop_after_steps share_cores checkpoint_minutes milestone_minutes "
    "measure_minutes".split()
)
"""Settings of how a run is run; the same weights have the same digest whatever these are."""
EARLIER = ("base", "warm_start", "layout", "copying", "guided", "lora_rank", "frozen_heads")
"""What is compared where the log has no digests: such runs could change the rest."""


class Resumable(Protocol):
    """Settings of a run; a dataclass.

    Attributes:
        FILES: names of the settings that are files, which are compared by their content.
        FREE: settings that a resumed run may change beside `RUNNING`.
    """

    FILES: ClassVar[tuple[str, ...]]
    FREE: ClassVar[frozenset[str]]

    @property
    def out(self) -> Path:
        """Folder of the run."""


def check_folder(settings: Resumable) -> bool:
    """Whether `settings.out` holds a run to go on with.

    Raises:
        NotFound: a question file is not there.
        AlreadyExists: the folder is no run's.
        UsageError: the run was started with other settings or other files.
    """
    files = files_of(settings)
    for path in files.values():
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
    before, now = starts[-1], json.loads(json.dumps(asdict(settings), default=str))  # type: ignore[call-overload]
    compared = {name: value for name, value in now.items() if name not in _free(settings)}
    for name, old, new in differences(before, compared, file_digests(files)):
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
        yield from _unlike(name, settings.get(name, value), value)


def files_of(settings: Resumable) -> dict[str, Path | None]:
    """The run's files by the names of their settings."""
    return {name: getattr(settings, name) for name in settings.FILES}


def file_digests(files: Mapping[str, Path | None]) -> dict[str, str | None]:
    """sha256 of the files; None for those that a run has not."""
    return {name: None if path is None else _sha256(path) for name, path in files.items()}


def _free(settings: Resumable) -> frozenset[str]:
    return RUNNING | settings.FREE | frozenset(settings.FILES)


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
