"""Checks that training files are read, and that bad rows are named with what is wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import TrainingDataError
from rag.training.data import GoldAnswer, QuestionRow, parse_row, read_questions, write_questions

GOOD = {
    "id": "a",
    "source": "own",
    "title": "t",
    "question": "Where?",
    "context": "He lives in Łódź now.",
    "answers": [{"text": "Łódź", "start": 12}],
}


def write(path: Path, rows: list[object]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_plain_and_gzipped_files_read_alike(tmp_path: Path) -> None:
    plain = write(tmp_path / "q.jsonl", [GOOD, {**GOOD, "id": "b", "answers": []}])
    zipped = tmp_path / "q.jsonl.gz"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    rows = read_questions(plain)
    assert rows == read_questions(zipped)
    assert rows[0].answers == (GoldAnswer("Łódź", 12),)
    assert rows[1].answers == ()


def test_source_and_title_may_be_left_out() -> None:
    row = {name: value for name, value in GOOD.items() if name not in ("source", "title")}
    assert parse_row(json.dumps(row)).source == "own"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"answers": [{"text": "Łódź", "start": 11}]}, r"answers\[0\]: the context at 11 reads"),
        ({"answers": [{"text": "Łódź", "start": 400}]}, r"answers\[0\]: the context at 400"),
        ({"answers": [{"text": "?!", "start": 300}]}, r"answers\[0\]: the context at 300"),
        ({"answers": [{"text": "Łódź", "start": -1}]}, r"answers\[0\]\.start must be null or"),
        ({"answers": [{"text": "Łódź", "start": True}]}, r"answers\[0\]\.start must be null or"),
        ({"answers": [{"text": " ", "start": None}]}, r"answers\[0\]\.text must be text"),
        ({"answers": ["Łódź"]}, r"answers\[0\] must be an object"),
        ({"answers": None}, "'answers' must be a list"),
        ({"question": "  "}, "'question' must be text"),
        ({"context": 7}, "'context' must be text"),
        ({"id": None}, "'id' must be text"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    path = write(tmp_path / "q.jsonl", [{**GOOD, "id": "first"}, "", {**GOOD, **change}])
    with pytest.raises(TrainingDataError, match=f"row 3: {complaint}"):
        read_questions(path)


def test_lines_that_are_no_objects_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", [GOOD, "{broken", "[1]"])
    with pytest.raises(TrainingDataError) as caught:
        read_questions(path)
    assert "2 bad rows" in str(caught.value)
    assert "row 2: not JSON" in str(caught.value)
    assert "row 3: expected an object, got list" in str(caught.value)


def test_repeated_ids_and_empty_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="row 2: id 'a' is already the id of row 1"):
        read_questions(write(tmp_path / "twice.jsonl", [GOOD, GOOD]))
    with pytest.raises(TrainingDataError, match="no rows"):
        read_questions(write(tmp_path / "empty.jsonl", [""]))


def test_long_lists_of_problems_are_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", ["x"] * 25)
    with pytest.raises(TrainingDataError, match="25 bad rows") as caught:
        read_questions(path)
    assert "row 10:" in str(caught.value)
    assert "row 11:" not in str(caught.value)
    assert "and 15 more" in str(caught.value)


def test_binary_files_are_refused(tmp_path: Path) -> None:
    for name in ("q.jsonl", "q.jsonl.gz"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00binary")
        with pytest.raises(TrainingDataError, match="not readable"):
            read_questions(tmp_path / name)


@pytest.mark.parametrize("text", ["he lives in łódź.", "He Lives in Łódź!"])
def test_case_and_punctuation_of_an_answer_may_differ(text: str) -> None:
    answers = [{"text": text, "start": 0}]
    row = parse_row(json.dumps({**GOOD, "context": "He lives in Łódź, now.", "answers": answers}))
    assert row.answers[0].start == 0


@given(st.text(), st.text(min_size=1).filter(str.strip), st.text())
def test_any_slice_of_a_context_is_accepted(before: str, answer: str, after: str) -> None:
    context = before + answer + after
    answers = [{"text": answer, "start": len(before)}]
    line = json.dumps({**GOOD, "context": context, "answers": answers})
    assert parse_row(line).answers == (GoldAnswer(answer, len(before)),)


def test_halves_of_surrogate_pairs_are_written_and_read(tmp_path: Path) -> None:
    row = QuestionRow(
        "1", "own", "t", "Who \ud800?", "Ada sang, fél \udc00.", (GoldAnswer("Ada", 0),)
    )
    write_questions(tmp_path / "q.jsonl", [row])
    assert read_questions(tmp_path / "q.jsonl") == [row]
