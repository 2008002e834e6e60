"""Checks the log of a run that was killed and gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.training.progress import RunLog, logged


def test_a_resumed_runs_speed_is_of_its_own_steps(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.start({}, {}, resumed_at=100, examples=5_000, seconds=1_000.0)
    for step in range(101, 121):
        log.stepped(step, 5_000 + step - 100, 1_000.0 + (step - 100) / 4, 1.0, 0.5, {"token": 1.0})
    row = logged(tmp_path / "metrics.jsonl")[-1]
    assert (row["step"], row["examples_per_second"]) == (120, pytest.approx(4.0))


def test_torn_lines_are_skipped_and_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = RunLog(tmp_path)
    log.start({}, {}, resumed_at=0)
    for step in range(1, 21):
        log.stepped(step, step, float(step), 1.0, 0.5, {"token": 1.0})
    with path.open("ab") as file:
        file.write('{"event": "step", "token": 3, "é'.encode()[:-1])
    log.plot()
    assert (tmp_path / "loss.png").is_file()
    log.start({}, {}, resumed_at=20)
    assert [row["event"] for row in logged(path)] == ["start", "step", "start"]
