import numpy as np
import pytest

from eval.metrics import bootstrap_interval, contains, exact_match, token_f1


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
