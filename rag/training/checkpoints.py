"""Training checkpoints: safetensors and JSON only, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rag.publish import PARTIAL, new_partial, publish, put_file

KEPT = 2  # newest checkpoints that stay


def save_checkpoint(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    *,
    milestone: bool,
) -> Path:
    """Write `step-NNNNNNNN/` with model.safetensors, optimizer.safetensors and state.json.

    Args:
        folder: of the run.
        step: optimiser steps done.
        model: its trainable parameters are saved; the rest comes from the base.
        optimizer: AdamW over those parameters.
        state: anything JSON can hold.
        milestone: also keep the weights for later averaging, as average-NNNNNNNN.safetensors.

    Returns:
        the checkpoint's folder.
    """
    target = folder / f"step-{step:08d}"
    for left in folder.glob(f"{PARTIAL}step-*"):  # by a run that was killed while writing
        shutil.rmtree(left)
    partial = new_partial(target)
    names: dict[torch.Tensor, str] = {
        p: name for name, p in model.named_parameters() if p.requires_grad
    }
    weights = {name: p.detach().cpu().contiguous() for p, name in names.items()}
    save_file(weights, partial / "model.safetensors")
    moments = {
        f"{names[p]}/{key}": value.detach().cpu().contiguous()
        for p, values in optimizer.state.items()
        for key, value in values.items()
    }
    save_file(moments, partial / "optimizer.safetensors")
    (partial / "state.json").write_text(json.dumps({"step": step, **state}, indent=1))
    publish(partial, target)
    if milestone:
        half = {name: weight.half() for name, weight in weights.items()}
        partial_file = folder / f"{PARTIAL}average.safetensors"
        save_file(half, partial_file)
        put_file(partial_file, folder / f"average-{step:08d}.safetensors")
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(folder.glob("step-*"))


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> dict[str, Any]:
    """Load weights, and the optimiser's moments if it is given.

    Returns:
        the saved state, with "step".

    Raises:
        ValueError: the checkpoint is of another model.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    weights = load_file(path / "model.safetensors")
    if weights.keys() != parameters.keys():
        odd = sorted(weights.keys() ^ parameters.keys())
        raise ValueError(f"{path} is of another model; {len(odd)} names differ, as {odd[0]}")
    for name, weight in weights.items():
        if weight.shape != parameters[name].shape:
            raise ValueError(
                f"{path} is of another model: {name} has shape {tuple(weight.shape)}, "
                f"not {tuple(parameters[name].shape)}"
            )
    with torch.no_grad():
        for name, weight in weights.items():
            parameters[name].copy_(weight)
    if optimizer is not None:
        for key, value in load_file(path / "optimizer.safetensors").items():
            name, _, moment = key.rpartition("/")
            parameter = parameters[name]
            value = value.to(parameter.device) if value.ndim else value
            optimizer.state[parameter][moment] = value
    state: dict[str, Any] = json.loads((path / "state.json").read_text())
    return state
