"""Checks answer scores on hand-computed cases."""

from __future__ import annotations

import pytest

from rag.training.scores import best, exact_match, rouge_l, token_f1


@pytest.mark.parametrize(
    ("prediction", "gold", "f1", "exact"),
    [
        ("The Normans", "normans", 1.0, 1.0),
        ("10th century", "the 10th and 11th century", 2 / 3, 0.0),
        ("a b c", "c c d", 0.4, 0.0),
        ("", "normans", 0.0, 0.0),
        ("the", "an", 1.0, 1.0),
    ],
)
def test_squad_scores(prediction: str, gold: str, f1: float, exact: float) -> None:
    # "a" is an article: "a b c" counts as "b c".
    assert token_f1(prediction, gold) == pytest.approx(f1)
    assert exact_match(prediction, gold) == exact


@pytest.mark.parametrize(
    ("prediction", "gold", "expected"),
    [
        ("the cat sat", "the cat sat", 1.0),
        ("the cat sat on it", "on it the cat", 4 / 9),
        ("police killed the gunman", "police kill the gunman", 0.75),
        ("", "x", 0.0),
        ("x", "y", 0.0),
    ],
)
def test_rouge_l(prediction: str, gold: str, expected: float) -> None:
    assert rouge_l(prediction, gold) == pytest.approx(expected)


def test_the_best_gold_answer_counts() -> None:
    assert best(token_f1, "Paris", ["London", "in Paris", "Paris"]) == 1.0
