"""Checks that two writers share one probability and one threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.training.cascade import Cases, cascade_threshold, fitted_cascade, served_by
from rag.training.decision import ANSWERABLE, half_and_half
from rag.training.thresholds import LEAST, threshold_for


def cases(count: int, seed: int, sharpness: float) -> tuple[Cases, np.ndarray]:
    rng = np.random.default_rng(seed)
    answerable = np.arange(count) % 2 == 0
    right = answerable & (rng.random(count) < 0.8)
    features = np.where(right, sharpness, -sharpness)[:, None] + rng.normal(size=(count, 1))
    return Cases(("absent",), features, right, np.ones(count, dtype=bool)), answerable


def fit(*writers: Cases, answerable: np.ndarray, precision: float = 0.9):
    kinds = [ANSWERABLE if own else "withdrawn" for own in answerable]
    groups = [str(i) for i in range(len(kinds))]
    return fitted_cascade(writers, kinds=kinds, groups=groups, precision=precision)


def share_right(cascade, *writers: Cases) -> float:
    served = cascade.served >= 0
    good = np.any([(cascade.served == i) & own.right for i, own in enumerate(writers)], axis=0)
    return float(good[served].mean())


def test_all_that_is_served_is_as_often_right_as_wanted() -> None:
    first, answerable = cases(4_000, 0, 0.4)
    second, _ = cases(4_000, 1, 1.0)
    one = fit(first, answerable=answerable)
    both = fit(first, second, answerable=answerable)
    assert len({decision.threshold for decision in both.decisions}) == 1
    assert share_right(one, first) == pytest.approx(0.9, abs=0.03)
    assert share_right(both, first, second) == pytest.approx(0.9, abs=0.02)
    assert (both.served >= 0).sum() > 1.5 * (one.served >= 0).sum(), "the second one adds"
    assert (both.served == 1).any()


def test_what_may_not_be_served_is_not_and_counts_for_nothing() -> None:
    first, answerable = cases(2_000, 2, 1.0)
    barred = np.arange(2_000) % 4 == 0
    cascade = fit(Cases(first.names, first.features, first.right, ~barred), answerable=answerable)
    assert (cascade.served[barred] == -1).all()
    assert (cascade.served[~barred] == 0).any()


@given(
    st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=80),
    st.sampled_from([0.5, 0.8, 0.9]),
)
def test_one_writer_is_the_plain_threshold(rows, precision) -> None:
    probabilities = np.array([p / 20 for p, _ in rows])
    right = np.array([own for _, own in rows])
    weights = np.ones(len(rows))
    ours = cascade_threshold([probabilities], [right], precision, weights)
    assert ours == threshold_for(probabilities, right, precision)


def test_a_later_answer_is_served_only_where_earlier_ones_are_not() -> None:
    probabilities = [np.array([0.9, 0.2, 0.2, -1.0]), np.array([0.99, 0.8, 0.1, 0.7])]
    assert served_by(probabilities, 0.5).tolist() == [0, 1, -1, 1]


def test_no_threshold_rests_on_few_answers() -> None:
    probabilities = np.linspace(0, 1, 200)
    right = probabilities > 0.98
    weights = half_and_half([ANSWERABLE] * 200)
    threshold = cascade_threshold([probabilities], [right], 0.9, weights)
    assert (probabilities >= threshold).sum() == LEAST
