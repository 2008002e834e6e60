"""Checks that passages given as wrong hold no answer, and sound as if they did."""

from __future__ import annotations

from random import Random

import pytest

from rag.training import negatives as module
from rag.training.data import QuestionRow, holds_answer, parse_row
from rag.training.negatives import Negatives


@pytest.fixture
def rows(question_file) -> list[QuestionRow]:
    return [parse_row(line) for line in question_file.read_text().splitlines()]


@pytest.mark.parametrize("embedded", [False, True])
def test_no_negative_holds_an_answer(rows, embedder, embedded: bool) -> None:
    negatives = Negatives(rows, embedder if embedded else None)
    drawn = 0
    for row in rows:
        for seed in range(10):
            found = negatives.draw(row, 3, Random(seed))
            contexts = [context for _, context in found]
            assert len(set(contexts)) == len(contexts) <= 3
            assert row.context not in contexts
            assert not any(holds_answer(context, row.answers) for context in contexts)
            right = {r.context for r in rows if r.answers and r.question == row.question}
            assert right.isdisjoint(contexts)
            for title, context in found:
                theirs = next(r for r in rows if r.context == context)
                assert (theirs.title, theirs.source) == (title, row.source)
            drawn += len(found)
            assert negatives.draw(row, 3, Random(seed)) == found
    assert drawn > 100


def test_near_passages_come_first(embedder, monkeypatch) -> None:
    monkeypatch.setattr(module, "EASY", 0.0)
    monkeypatch.setattr(module, "DEPTH", 3)

    def row(number: int, question: str, context: str, source: str = "own") -> QuestionRow:
        return QuestionRow(str(number), source, str(number), question, context, ())

    rows = [
        row(0, "who cooled the vaccine fridge", "the vaccine fridge stands here"),
        row(1, "x", "the vaccine fridge was bought"),
        row(2, "x", "who cooled the vaccine"),
        *(row(i, "x", f"sheep eat grass number {i}") for i in range(3, 30)),
        row(90, "who cooled the vaccine fridge", "single vaccine fridge", source="qamr"),
    ]
    negatives = Negatives(rows, embedder)
    found = negatives.draw(rows[0], 2, Random(0))
    assert {context for _, context in found} == {rows[1].context, rows[2].context}
    assert "single vaccine fridge" not in embedder.embedded, "single sentences are not searched"


def test_a_lone_passage_has_no_negatives() -> None:
    row = QuestionRow("1", "own", "t", "Who?", "Ada sang.", ())
    assert Negatives([row], None).draw(row, 3, Random(0)) == []
