"""Checks the mean of snapshots, and which files are snapshots."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rag.errors import ModelError
from rag.training.average import average_weights, put_weights, snapshots


def snapshot(path: Path, value: float, *, shape: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.name.startswith("average")
    weight = torch.full((shape,), value, dtype=torch.float16 if half else torch.float32)
    save_file({"weight": weight}, path)
    return path


def test_the_mean_is_taken_in_float32(tmp_path: Path) -> None:
    paths = [
        snapshot(tmp_path / "average-00000001.safetensors", 2048.0),
        snapshot(tmp_path / "average-00000002.safetensors", 2050.0),
        snapshot(tmp_path / "step-00000003" / "model.safetensors", 1.0),
    ]
    weight = average_weights(paths)["weight"]
    assert weight.dtype == torch.float32
    assert weight.tolist() == pytest.approx([4099 / 3] * 2)


def test_newest_milestones_and_all_checkpoints_count_once_a_step(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        snapshot(tmp_path / f"average-{step:08d}.safetensors", 0.0)
    for step in (4, 5):
        snapshot(tmp_path / f"step-{step:08d}" / "model.safetensors", 0.0)
    found = [str(path.relative_to(tmp_path)) for path in snapshots(tmp_path, milestones=3)]
    assert found == [
        "average-00000002.safetensors",
        "average-00000003.safetensors",
        "step-00000004/model.safetensors",
        "step-00000005/model.safetensors",
    ]
    assert len(snapshots(tmp_path, milestones=0)) == 2
    assert snapshots(tmp_path / "empty") == []


def test_other_models_are_refused(tmp_path: Path) -> None:
    one = snapshot(tmp_path / "average-00000001.safetensors", 0.0)
    other = snapshot(tmp_path / "average-00000002.safetensors", 0.0, shape=3)
    with pytest.raises(ModelError, match="not of the same model"):
        average_weights([one, other])
    with pytest.raises(ModelError, match="no weights to average"):
        average_weights([])
    with pytest.raises(ModelError, match="has no other"):
        put_weights(torch.nn.Linear(1, 1), {"other": torch.zeros(1)})
