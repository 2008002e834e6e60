"""Checks that premise-hypothesis files are read, and what is learned from their rows."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from tokenizers import Tokenizer

from rag.errors import TrainingDataError
from rag.generate.fusion import SpecialIds
from rag.training.batches import collate
from rag.training.examples import Composer, Mix
from rag.training.statements import Statement, as_rows, read_statements

ROWS = [
    {"premise": "Ada was born in Aachen.", "hypothesis": "Ada was born.", "label": "entailment"},
    {"premise": "Ada was born.", "hypothesis": "Ada was born in Hamm.", "label": "neutral"},
    {"premise": "Ada was born.", "hypothesis": "No Ada.", "label": "contradiction", "source": "x"},
]


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_statements_are_read_as_they_stand(tmp_path: Path) -> None:
    said = read_statements(write(tmp_path / "nli.jsonl", list(ROWS)))
    assert said == [
        Statement("Ada was born in Aachen.", "Ada was born.", "entailment", "statements"),
        Statement("Ada was born.", "Ada was born in Hamm.", "neutral", "statements"),
        Statement("Ada was born.", "No Ada.", "contradiction", "x"),
    ]


def test_rows_say_whether_the_passage_says_so(tmp_path: Path) -> None:
    rows = as_rows(read_statements(write(tmp_path / "nli.jsonl", list(ROWS))))
    assert [row.entailed for row in rows] == [True, False, False]
    assert [row.source for row in rows] == ["statements", "statements", "x"]
    assert len({row.id for row in rows}) == 3
    assert rows[1].question == "Ada was born in Hamm."
    assert rows[1].context == "Ada was born."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "maybe"}, "row 2: 'label' must be one of entailment"),
        ({"premise": " "}, "row 2: 'premise' must be text"),
        ({"hypothesis": 7}, "row 2: 'hypothesis' must be text"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = write(tmp_path / "nli.jsonl", [ROWS[0], {**ROWS[1], **change}])
    with pytest.raises(TrainingDataError, match=message):
        read_statements(path)


def test_what_is_no_object_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="row 1: expected an object, got list"):
        read_statements(write(tmp_path / "nli.jsonl", [[1]]))
    with pytest.raises(TrainingDataError, match="no rows"):
        read_statements(write(tmp_path / "empty.jsonl", []))


def test_only_absence_is_learned(tmp_path: Path, tokenizer: Tokenizer) -> None:
    composer = Composer(
        as_rows(read_statements(write(tmp_path / "n.jsonl", list(ROWS)))), tokenizer, reserved_id=1
    )
    examples = [composer.compose(i, Random(0), Mix()) for i in range(3)]
    assert [example.absent for example in examples] == [False, True, True]
    assert all(example.target is None and example.span is None for example in examples)
    batch = collate(examples, SpecialIds(start=3, separator=4, padding=0), start_id=3, end_id=4)
    assert not batch.target_mask.any()
    assert (batch.gold_positions == -1).all()
    assert batch.absent.tolist() == [False, True, True]
