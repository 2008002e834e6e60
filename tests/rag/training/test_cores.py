"""Checks how many cores a training run leaves to others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from rag.training.cores import SharedCores, free_cores


@pytest.fixture(autouse=True)
def _keep_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("busy", "cores", "expected"),
    [(0.0, 2, 2), (0.3, 2, 2), (0.5, 2, 1), (1.0, 2, 1), (1.9, 2, 1), (9.0, 2, 1), (2.1, 8, 6)],
)
def test_cores_others_keep_busy_are_theirs(busy: float, cores: int, expected: int) -> None:
    assert free_cores(busy, cores) == expected


def test_threads_follow_what_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = SharedCores()
    shared.enabled, shared.cores = True, 4
    clock = iter([(10.0, 100.0, 5.0), (11.0, 130.0, 15.0), (20.0, 130.0, 15.0)])
    shared._last = (0.0, 70.0, 0.0)
    monkeypatch.setattr(shared, "_now", lambda: next(clock))
    assert shared.adapt() == 1  # in ten seconds others worked for 25: two and a half cores
    assert torch.get_num_threads() == 1
    assert shared.adapt() == 1  # a second later: too early to look again
    assert shared.adapt() == 2  # in ten seconds others worked for 20
    assert torch.get_num_threads() == 2


def test_switched_off_nothing_changes() -> None:
    torch.set_num_threads(2)
    assert SharedCores(enabled=False).adapt(at_least_seconds=0.0) == 2
    assert torch.get_num_threads() == 2
