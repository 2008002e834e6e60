import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics import auc, bootstrap, bootstrap_interval, contains, exact_match, token_f1


def test_f1_and_exact_match_follow_squad():
    assert exact_match("The Norman Conquest!", ["norman conquest"]) == 1
    assert token_f1("in the year 1066", ["1066"]) == pytest.approx(0.5)
    assert token_f1("", ["1066"]) == 0
    assert token_f1("a b b", ["b b c", "x"]) == pytest.approx(2 * (2 / 2) * (2 / 3) / (1 + 2 / 3))


def test_contains_needs_whole_words_in_order():
    assert contains("It is 4 g a day.", ["4 g"]) == 1
    assert contains("It is 14 g a day.", ["4 g"]) == 0
    assert contains("g 4", ["4 g"]) == 0
    assert contains("anything", []) == 0


def test_the_bootstrap_interval_matches_the_normal_approximation():
    values = np.random.default_rng(1).random(2_000)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.003)
    assert high == pytest.approx(values.mean() + half, abs=0.003)
    assert bootstrap_interval([]) == (0.0, 0.0)


def test_the_bootstrap_of_a_mean_is_that_of_means():
    values = np.random.default_rng(2).random(300)
    mean, low, high = bootstrap(lambda rows: float(values[rows].mean()), len(values))
    assert mean == values.mean()
    assert (low, high) == pytest.approx(bootstrap_interval(values), abs=0.01)
    again = bootstrap(lambda rows: float(values[rows].mean()), len(values))
    assert again == (mean, low, high)
    assert bootstrap(lambda rows: 0.25, 5) == (0.25, 0.25, 0.25)


def test_the_bootstrap_leaves_out_what_is_not_a_number():
    calls = iter(range(10_000))
    _, low, high = bootstrap(lambda rows: 0.5 if next(calls) % 2 else float("nan"), 4)
    assert (low, high) == (0.5, 0.5)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30))
def test_auc_is_how_often_a_wanted_one_scores_higher(rows):
    rows = [*rows, (2, True), (3, False)]
    scores, wanted = (np.array(column) for column in zip(*rows, strict=True))
    wins = [(a > b) + (a == b) / 2 for a in scores[wanted] for b in scores[~wanted]]
    assert auc(scores.astype(float), wanted) == pytest.approx(np.mean(wins))
