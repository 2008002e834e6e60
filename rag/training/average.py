"""Averages the weights of several snapshots of one training run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rag.errors import ModelError

MOST_MILESTONES = 3


def snapshots(folder: Path, *, milestones: int = MOST_MILESTONES) -> list[Path]:
    """Weight files of a run worth averaging, oldest first, one per step.

    Args:
        folder: of the run.
        milestones: how many of the newest `average-*.safetensors` count; the complete
            checkpoints all do.
    """
    kept = sorted(folder.glob("average-*.safetensors"))[-milestones:] if milestones else []
    kept += sorted(folder.glob("step-*/model.safetensors"))
    return [path for _, path in sorted({_step(path): path for path in kept}.items())]


def average_weights(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Mean of each tensor over the files, in float32 (Izmailov et al., 2018).

    Raises:
        ModelError: there are no files, or they are not of one model.
    """
    if not paths:
        raise ModelError("there are no weights to average: train until the first checkpoint")
    sums: dict[str, Tensor] = {}
    for path in paths:
        weights = load_file(path)
        if not sums:
            sums = {name: torch.zeros_like(weight.float()) for name, weight in weights.items()}
        shapes = {name: weight.shape for name, weight in weights.items()}
        if shapes != {name: weight.shape for name, weight in sums.items()}:
            raise ModelError(f"{path} is not of the same model as {paths[0]}: average one run's")
        for name, weight in weights.items():
            sums[name] += weight.float() / len(paths)
    return sums


def put_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Set a model's parameters by name; those that are not named stay.

    Raises:
        ModelError: the model has no such parameter.
    """
    parameters = dict(model.named_parameters())
    unknown = sorted(weights.keys() - parameters.keys())
    if unknown:
        raise ModelError(f"the weights are of another model: it has no {unknown[0]}")
    with torch.no_grad():
        for name, weight in weights.items():
            parameters[name].copy_(weight)


def _step(path: Path) -> int:
    name = path.name if path.name.startswith("average-") else path.parent.name
    digits = re.search(r"\d+", name)
    return int(digits.group()) if digits else 0
