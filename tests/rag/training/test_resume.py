"""Checks that a run is gone on with only as it was started."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from rag.errors import AlreadyExists, NotFound, UsageError
from rag.training.examples import Mix
from rag.training.losses import LossWeights
from rag.training.progress import RunLog
from rag.training.resume import check_folder, file_digests, files_of
from rag.training.settings import GeneratorTraining


@pytest.fixture
def settings(question_file: Path, tmp_path: Path) -> GeneratorTraining:
    return GeneratorTraining(train=question_file, dev=question_file, out=tmp_path / "run")


@pytest.fixture
def run(settings: GeneratorTraining) -> Path:
    """A run with a checkpoint."""
    log = RunLog(settings.out)
    log.start(asdict(settings), file_digests(files_of(settings)), resumed_at=0)
    (settings.out / "step-00000001").mkdir()
    return settings.out


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"held_out": ("1",)}, r"held_out \[\], not \['1'\]"),
        ({"mix": Mix(typo=0.5)}, r"typo 0\.12, not 0\.5"),
        ({"mix": Mix(source_weights={"own": 2.0})}, "source_weights "),
        ({"losses": LossWeights(absence=1.0)}, r"absence 0\.5, not 1\.0"),
        ({"teacher_answers": 0.5}, "teacher_answers "),
        ({"temperature": 1.0}, "temperature "),
        ({"mixed_precision": "no"}, "mixed_precision 'bf16', not 'no'"),
        ({"frozen_layers": 2}, "frozen_layers "),
        ({"weight_decay": 0.1}, "weight_decay "),
        ({"lora_rank": 4}, "lora_rank 0, not 4"),
        ({"dev": None}, "dev file "),
    ],
)
def test_settings_cannot_change_silently(settings, run, changes, complaint) -> None:
    with pytest.raises(UsageError, match=f"was started with {complaint}") as caught:
        check_folder(replace(settings, **changes))
    assert "\n" not in str(caught.value)


def test_how_a_run_is_run_may_change(settings, run) -> None:
    other = replace(
        settings,
        minutes=3.0,
        stop_after_steps=2,
        share_cores=True,
        checkpoint_minutes=1.0,
        milestone_minutes=1.0,
        measure_minutes=1.0,
        examples=7,
        encoder_rate=1e-5,
        decoder_rate=1e-5,
        head_rate=1e-5,
    )
    assert check_folder(other)


def test_files_are_compared_by_content(settings, run, tmp_path: Path) -> None:
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(settings.train.read_bytes())
    assert check_folder(replace(settings, train=moved))
    moved.write_bytes(moved.read_bytes() + b"\n")
    with pytest.raises(UsageError, match="started with train file "):
        check_folder(replace(settings, train=moved))
    with pytest.raises(UsageError, match="started with statements file None, not "):
        check_folder(replace(settings, statements=moved))


def test_the_last_beginning_counts(settings, run) -> None:
    log = RunLog(run)
    held = replace(settings, held_out=("1",))
    log.start(asdict(held), file_digests(files_of(held)), resumed_at=0)
    later = replace(settings, held_out=("2",))
    log.start(asdict(later), file_digests(files_of(later)), resumed_at=5)
    assert check_folder(held)
    for other in (settings, later):
        with pytest.raises(UsageError, match=r"held_out \['1'\], not "):
            check_folder(other)


def test_torn_lines_are_skipped(settings, run) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"event": "start", "resu')
    assert check_folder(settings)
    (run / "metrics.jsonl").write_text("[]\n{")
    with pytest.raises(AlreadyExists, match="does not say how its run was started"):
        check_folder(settings)


def test_runs_without_digests_are_compared_by_what_shapes_the_model(settings, run) -> None:
    values = json.loads(json.dumps(asdict(settings), default=str))
    del values["frozen_heads"], values["mix"]["removed"]
    row = {"event": "start", "resumed_at": 0, "settings": values}
    (run / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    assert check_folder(replace(settings, held_out=("1",), dev=None))
    with pytest.raises(UsageError, match="lora_rank 0, not 4"):
        check_folder(replace(settings, lora_rank=4))
    with pytest.raises(UsageError, match="seed 0, not 9"):
        check_folder(replace(settings, plan=replace(settings.plan, seed=9)))


def test_folders_of_others_are_left_alone(settings, tmp_path: Path) -> None:
    assert not check_folder(settings)
    with pytest.raises(NotFound, match="there is no file"):
        check_folder(replace(settings, statements=tmp_path / "none"))
    settings.out.mkdir()
    assert not check_folder(settings)
    (settings.out / "letter.txt").write_text("dear")
    with pytest.raises(AlreadyExists, match="no training run: give another --out"):
        check_folder(settings)
