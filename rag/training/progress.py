"""The log of a training run: metrics as JSON lines, a progress line, a picture of the loss."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

STEPS_PER_LINE = 20  # training steps averaged into one metrics row


class RunLog:
    """Writes metrics.jsonl and loss.png into a run's folder.

    Args:
        folder: of the run.
        enabled: false on all but the main process.
    """

    def __init__(self, folder: Path, *, enabled: bool = True) -> None:
        self.folder = folder
        self.enabled = enabled
        self._recent: list[dict[str, float]] = []
        self._last = (0, 0.0)
        if enabled:
            folder.mkdir(parents=True, exist_ok=True)

    def start(self, settings: dict[str, Any], *, resumed_at: int) -> None:
        """Note the beginning or the resumption of a run."""
        self._write({"event": "start", "resumed_at": resumed_at, "settings": settings})

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
        means = {
            name: round(sum(row[name] for row in self._recent) / len(self._recent), 4)
            for name in names
        }
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
        rows = [json.loads(line) for line in self._path.read_text().splitlines()]
        steps = [row for row in rows if row["event"] == "step"]
        dev = [row for row in rows if row["event"] == "dev"]
        if not steps:
            return
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 7), layout="constrained")
        FigureCanvasAgg(figure)
        losses, scores = figure.subplots(2, 1, sharex=True)
        for name in ("token", "pointer", "span", "absence"):
            if name in steps[-1]:
                losses.plot(
                    [row["examples"] for row in steps], [row.get(name) for row in steps], label=name
                )
        losses.set_ylabel("loss")
        losses.legend()
        names = sorted({n for row in dev for n in row if n.endswith(("_f1", "_absent_auc"))})
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
        return self.folder / "metrics.jsonl"

    def _write(self, row: dict[str, Any]) -> None:
        if self.enabled:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, default=str) + "\n")
