"""Checks that made questions are answered at their offset and do not give the answer away."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.training.data import parse_row, read_questions, write_questions
from rag.training.synthetic import ask, clozes, passages, synthetic_rows

TEXT = """William invaded England in 1066 with 700 ships. The Battle of Hastings was fought near \
Senlac Hill. He was crowned in London.

Marie Curie discovered radium in Paris. Radium is a radioactive metal that glows."""

PIECES = st.sampled_from([*TEXT.replace("\n", " \n").split(" "), "\n\n", "1999", "\t", "é", "U.S."])


def asked(sentence: str) -> dict[str, str | None]:
    return {
        sentence[c.start : c.end]: ask(sentence, c, Random(0), dropped=0.0)
        for c in clozes(sentence)
    }


def test_openings_fit_what_is_asked_for() -> None:
    assert asked("William invaded England in 1066 with 700 ships.") == {
        "1066": "In what year William invaded England with 700 ships?",
        "700": "How many ships William invaded England in 1066 with?",
        "England": "What William invaded in 1066 with 700 ships?",
    }
    assert asked("Marie Curie discovered radium in Paris.") == {
        "Marie Curie": "Who discovered radium in Paris?",
        "Paris": "Where Marie Curie discovered radium?",
    }
    assert asked("Radium is a radioactive metal that glows.") == {
        "a radioactive metal": "What is Radium that glows?",
    }


def test_sentences_that_lean_on_others_are_not_asked_about() -> None:
    assert clozes("He was crowned in London on Christmas.") == []
    assert clozes("Too short 1066.") == []


def test_rows_are_those_that_training_reads(tmp_path: Path) -> None:
    rows = list(synthetic_rows([("History", TEXT), (" ", TEXT)], per_passage=2))
    assert {row.context for row in rows} == set(TEXT.split("\n\n"))
    assert len(rows) == 8
    write_questions(tmp_path / "made.jsonl", rows)
    assert read_questions(tmp_path / "made.jsonl") == rows
    assert rows == list(synthetic_rows([("History", TEXT), (" ", TEXT)], per_passage=2))
    assert rows != list(synthetic_rows([("History", TEXT), (" ", TEXT)], per_passage=2, seed=1))


def test_words_are_left_out() -> None:
    def overlap(dropped: float) -> float:
        rows = list(synthetic_rows([("t", TEXT)] * 30, dropped=dropped))
        return sum(len(row.question.split()) for row in rows) / len(rows)

    assert overlap(0.5) < overlap(0.2) < overlap(0.0)


def test_long_paragraphs_are_cut_between_sentences() -> None:
    text = "  " + "Some people sang all day in Rome. " * 60 + "\n\n \nThe end."
    found = [text[start:end] for start, end in passages(text)]
    assert all(len(one) <= 900 and one.endswith(".") and one[0].isupper() for one in found)
    assert " ".join(found).split() == text.split()


@given(st.lists(PIECES, max_size=80), st.floats(0, 1), st.integers(0, 3))
def test_every_answer_is_at_its_offset(pieces: list[str], dropped: float, seed: int) -> None:
    check(" ".join(pieces), dropped, seed)


@given(st.text(), st.text())
def test_any_text_will_do(one: str, other: str) -> None:
    check(f"{one} {TEXT} {other}", 0.3, 0)


def check(text: str, dropped: float, seed: int) -> None:
    rows = list(synthetic_rows([("t", text), ("u", text)], dropped=dropped, seed=seed))
    assert len({row.id for row in rows}) == len(rows)
    for row in rows:
        (answer,) = row.answers
        assert answer.start is not None
        assert row.context[answer.start : answer.start + len(answer.text)] == answer.text
        assert row.context in text
        assert answer.text.lower() not in row.question.lower()
        assert parse_row(json.dumps(asdict(row))) == row


@pytest.mark.parametrize("text", ["", " \n\n ", "no names or numbers are in this sentence at all"])
def test_nothing_to_ask(text: str) -> None:
    assert list(synthetic_rows([("t", text)])) == []
