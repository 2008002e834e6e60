"""Checks the reranking figures on ranks whose figures are known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eval.qa_data import Question
from eval.suites.reranking import DEPTH, QUESTIONS, _figures, _place, _table, sampled


def question(number: int, source: str = "squad2", answers: tuple[str, ...] = ("a",)) -> Question:
    return Question(f"{source}-{number}", source, "t", "Q?", f"Context {number}.", answers)


def test_figures_are_means_over_the_same_questions() -> None:
    before, after = [1, 4, None, 6], [1, 2, 10, None]
    figures = _figures(before, after)
    means = {name: figure[0] for name, figure in figures.items()}
    assert means == {
        "MRR@10, fusion": pytest.approx((1 + 1 / 4 + 0 + 1 / 6) / 4),
        "MRR@10, reranked": pytest.approx((1 + 1 / 2 + 1 / 10 + 0) / 4),
        "MRR@10, ahead": pytest.approx((0 + 1 / 4 + 1 / 10 - 1 / 6) / 4),
        "recall@5, fusion": 0.5,
        "recall@5, reranked": 0.5,
        "recall@5, ahead": 0.0,
        "first, fusion": 0.25,
        "first, reranked": 0.25,
        "first, ahead": 0.0,
    }
    for mean, low, high in figures.values():
        assert low <= mean <= high


def test_a_steady_gain_is_a_sure_one() -> None:
    figures = _figures([2] * 30, [1] * 30)
    assert figures["MRR@10, ahead"] == (0.5, 0.5, 0.5)
    assert figures["first, ahead"] == (1.0, 1.0, 1.0)


def test_the_rank_is_that_of_the_gold_context(passage_of) -> None:
    row = question(3)
    gold = passage_of("x", index=99)
    gold = replace(gold, document=replace(gold.document, uri=row.context_uri))
    others = [passage_of("x", index=i) for i in range(20)]
    assert _place(row, [gold, *others]) == 1
    assert _place(row, [*others[:3], gold, gold]) == 4
    assert _place(row, [*others[:DEPTH], gold]) is None
    assert _place(row, []) is None


def test_answerable_questions_of_each_source_are_asked() -> None:
    rows = [question(i, source) for source in ("a", "b") for i in range(QUESTIONS + 20)]
    rows += [question(i, "c") for i in range(5)]
    rows += [question(i, "c", ()) for i in range(5, 10)]
    asked = sampled(rows)
    counts = {source: sum(row.source == source for row in asked) for source in "abc"}
    assert counts == {"a": QUESTIONS, "b": QUESTIONS, "c": 5}
    assert all(row.answers for row in asked)
    assert sampled(rows) == asked


def test_the_table_has_a_row_for_each_figure() -> None:
    assert _table({"a": {"questions": 4, **_figures([1, 2], [1, 1])}}).row_count == 9
