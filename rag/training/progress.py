"""The log of a training run: metrics as JSON lines, a progress line, a picture of the loss."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

logger = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
LOSSES = ("token", "pointer", "span", "absence")
SCORES = ("_f1", "_absent_auc")
STEPS_PER_LINE = 20  # training steps averaged into one metrics row


@dataclass
class Progress:
    """What a run must remember beside weights and moments; its place is (epoch, pool, batch)."""

    step: int = 0
    examples: int = 0
    seconds: float = 0.0
    epoch: int = 0
    pool: int = 0
    batch: int = 0
    milestone: float = 0.0


class RunLog:
    """Writes metrics.jsonl and loss.png into a run's folder.

    Args:
        folder: of the run.
        enabled: false on all but the main process.
        losses: terms that are drawn.
        scores: endings of the names of the figures that are drawn.
    """

    def __init__(
        self,
        folder: Path,
        *,
        enabled: bool = True,
        losses: Sequence[str] = LOSSES,
        scores: tuple[str, ...] = SCORES,
    ) -> None:
        self.folder = folder
        self._drawn = (tuple(losses), scores)
        self.enabled = enabled
        self._recent: list[dict[str, float]] = []
        self._last = (0, 0.0)
        if enabled:
            folder.mkdir(parents=True, exist_ok=True)

    def start(
        self,
        settings: dict[str, Any],
        files: Mapping[str, str | None],
        *,
        resumed_at: int,
        examples: int = 0,
        seconds: float = 0.0,
    ) -> None:
        """Note the beginning or the resumption of a run.

        Args:
            settings: of the run.
            files: sha256 of what it learns from and is measured on.
            resumed_at: steps done before.
            examples: examples seen before.
            seconds: time spent before.
        """
        self._last = (examples, seconds)
        row = {"event": "start", "resumed_at": resumed_at, "settings": settings}
        self._write({**row, "files": dict(files)})

    def stepped(
        self,
        step: int,
        examples: int,
        seconds: float,
        rate: float,
        norm: float,
        terms: dict[str, float],
    ) -> None:
        """Note a step; every so many steps their average becomes a row."""
        self._recent.append({"norm": norm, **terms})
        if step % STEPS_PER_LINE or not self.enabled:
            return
        names = sorted({name for row in self._recent for name in row})
        means = {}
        for name in names:
            values = [row[name] for row in self._recent if name in row]
            means[name] = round(sum(values) / len(values), 4)
        before_examples, before_seconds = self._last
        speed = (examples - before_examples) / max(1e-9, seconds - before_seconds)
        row = {
            "event": "step",
            "step": step,
            "examples": examples,
            "seconds": round(seconds, 1),
            "examples_per_second": round(speed, 2),
            "rate": round(rate, 4),
            **means,
        }
        self._recent, self._last = [], (examples, seconds)
        self._write(row)
        logger.info("%s", "  ".join(f"{k} {v}" for k, v in row.items() if k != "event"))

    def measured(self, step: int, examples: int, seconds: float, figures: dict[str, float]) -> None:
        """Note dev figures."""
        rounded = {name: round(value, 2) for name, value in figures.items()}
        row = {"step": step, "examples": examples, "seconds": round(seconds, 1)}
        self._write({"event": "dev", **row, **rounded})
        logger.info("dev at step %d: %s", step, rounded)

    def plot(self) -> None:
        """Draw the losses and dev figures so far."""
        if not self.enabled:
            return
        rows = logged(self._path)
        steps = [row for row in rows if row["event"] == "step"]
        dev = [row for row in rows if row["event"] == "dev"]
        if not steps:
            return
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 7), layout="constrained")
        FigureCanvasAgg(figure)
        losses, scores = figure.subplots(2, 1, sharex=True)
        for name in self._drawn[0]:
            rows = [row for row in steps if name in row]
            if rows:
                losses.plot(
                    [row["examples"] for row in rows], [row[name] for row in rows], label=name
                )
        losses.set_ylabel("loss")
        losses.legend()
        names = sorted({n for row in dev for n in row if n.endswith(self._drawn[1])})
        for name in names:
            values = [row.get(name) for row in dev]
            scores.plot([row["examples"] for row in dev], values, label=name)
        scores.set_ylabel("dev, percent")
        scores.set_xlabel("examples")
        if names:
            scores.legend()
        figure.savefig(self.folder / "loss.png", dpi=110)

    @property
    def _path(self) -> Path:
        return self.folder / METRICS

    def _write(self, row: dict[str, Any]) -> None:
        if not self.enabled:
            return
        with self._path.open("a+b") as file:
            torn = file.seek(0, os.SEEK_END) > 0 and self._last_byte(file) != b"\n"
            start = b"\n" if torn else b""
            file.write(start + json.dumps(row, default=str).encode() + b"\n")

    @staticmethod
    def _last_byte(file: BinaryIO) -> bytes:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def logged(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file; lines that a killed run left half-written are skipped."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "event" in row:
            rows.append(row)
    return rows
