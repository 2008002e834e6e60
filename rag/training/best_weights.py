"""Chooses between a run's last weights and the average of its kept snapshots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from rag.training.average import average_weights, put_weights, snapshots

Figures = Mapping[str, float]


def best_weights(
    folder: Path,
    model: nn.Module,
    figures: Figures,
    *,
    measured: Callable[[], Figures],
    score: Callable[[Figures], float],
) -> tuple[str, Figures]:
    """Put the average of the kept snapshots into the model, unless the last weights score better.

    Without figures nothing says that the average is better, so the last weights stay.

    Args:
        folder: of the run.
        model: with the run's last weights; changed in place.
        figures: of these weights, on what was held out.
        measured: measures the model as it is.
        score: one number for figures; more is better.

    Returns:
        which weights the model has now, in words, and their figures.
    """
    paths = snapshots(folder)
    if len(paths) < 2 or not figures:
        return "last", figures
    put_weights(model, average_weights(paths))
    averaged = measured()
    if score(averaged) < score(figures):
        put_weights(model, average_weights(paths[-1:]))
        return "last", figures
    return f"average of {len(paths)} snapshots", averaged
