"""Chooses between a run's last weights and averages: with its snapshots, with its start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor, nn

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


def halfway(
    start: Mapping[str, Tensor],
    model: nn.Module,
    figures: Figures,
    *,
    measured: Callable[[], Figures],
    score: Callable[[Figures], float],
) -> tuple[bool, Figures]:
    """Put the mean of the starting and the present weights into the model, if that scores better.

    What was learned before and what was learned now are often better together (Wortsman et al.,
    2022, "Robust fine-tuning of zero-shot models").

    Args:
        start: weights by name that the run started from.
        model: changed in place.
        figures: of the present weights; without any nothing is changed.
        measured: measures the model as it is.
        score: one number for figures; more is better.

    Returns:
        whether the model has the mean now, and its figures.
    """
    if not figures:
        return False, figures
    present = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    own = {name: start[name].to(tensor.device) for name, tensor in present.items()}
    put_weights(model, {name: (own[name] + tensor) / 2 for name, tensor in present.items()})
    mixed = measured()
    if score(mixed) > score(figures):
        return True, mixed
    put_weights(model, present)
    return False, figures
