"""Checks thresholds against trying every one of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.training.thresholds import LEAST, threshold_for

CASES = st.lists(
    st.tuples(st.integers(0, 12), st.booleans(), st.sampled_from([0.5, 1.0, 2.0])),
    min_size=1,
    max_size=60,
)


def by_trying(cases: list[tuple[float, bool, float]], precision: float) -> float:
    """Every probability as a threshold: the lowest precise enough, else the most precise."""

    def share(threshold: float) -> float:
        passing = [(right, weight) for p, right, weight in cases if p >= threshold]
        return sum(w for right, w in passing if right) / sum(w for _, w in passing)

    least = min(LEAST, len(cases))
    tried = [
        threshold
        for threshold in sorted({p for p, _, _ in cases}, reverse=True)
        if sum(p >= threshold for p, _, _ in cases) >= least
    ]
    precise = [threshold for threshold in tried if share(threshold) >= precision - 1e-12]
    return min(precise) if precise else max(tried, key=share)


@given(CASES, st.sampled_from([0.0, 0.3, 0.5, 0.75, 0.9, 1.0]), st.booleans())
def test_it_is_the_lowest_that_is_precise_enough(cases, precision, weighed) -> None:
    cases = [(p / 12, right, weight if weighed else 1.0) for p, right, weight in cases]
    probabilities, right, weights = (np.array(column) for column in zip(*cases, strict=True))
    found = threshold_for(probabilities, right, precision, weights=weights if weighed else None)
    assert found == by_trying(cases, precision)


def test_a_precision_is_not_believed_of_a_few() -> None:
    probabilities = np.linspace(1, 0, 100)
    right = np.arange(100) < LEAST - 5
    assert threshold_for(probabilities, right, 1.0) == probabilities[LEAST - 1]


def test_equal_probabilities_pass_together() -> None:
    probabilities = np.array([0.9] * 25 + [0.5] * 25)
    right = np.array([True] * 25 + [True, False] * 12 + [False])
    assert threshold_for(probabilities, right, 0.75) == 0.9, "of 50, 37 are right"
    assert threshold_for(probabilities, right, 0.74) == 0.5


def test_heavier_cases_count_more() -> None:
    probabilities = np.linspace(1, 0, 80)
    right = np.arange(80) % 2 == 0
    weights = np.where(right, 9.0, 1.0)
    assert threshold_for(probabilities, right, 0.9) > 0.5
    assert threshold_for(probabilities, right, 0.9, weights=weights) == pytest.approx(0.0)
