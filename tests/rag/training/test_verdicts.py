"""Checks the fitted temperature and thresholds against an obvious, slow search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.errors import ModelError, UsageError
from rag.training.thresholds import LEAST
from rag.training.verdicts import fit_temperature, fit_verdicts, verdict_figures
from rag.verify.cross_encoder import CONTRADICTION, ENTAILMENT
from rag.verify.saved import Verdicts

DIGESTS = {"train": "a" * 64, "statements": None}
LABEL_SETS = ({0}, {1}, {2}, {1, 2})


def claims(seed: int, rows: int, *, sharpness: float = 2.0, rounded: bool = False):
    """Logits that lean to a right label, and label sets."""
    rng = np.random.default_rng(seed)
    allowed = np.zeros((rows, 3), dtype=bool)
    for row in allowed:
        row[list(LABEL_SETS[rng.integers(4)])] = True
    logits = sharpness * (rng.normal(size=(rows, 3)) + allowed)
    return (logits.round() if rounded else logits), allowed


def probabilities(logits, temperature: float):
    shifted = np.exp(logits / temperature - (logits / temperature).max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def surprise(logits, allowed, temperature: float) -> float:
    right = [
        sum(p for p, ok in zip(row, own, strict=True) if ok)
        for row, own in zip(probabilities(logits, temperature), allowed, strict=True)
    ]
    return float(-np.mean(np.log(right)))


def slow_threshold(scores, right, precision: float) -> float:
    """Every probability that occurs is tried as the threshold."""
    reached, fallback = [], []
    for least in sorted(set(scores.tolist())):
        over = [ok for score, ok in zip(scores, right, strict=True) if score >= least]
        share = sum(over) / len(over)
        if len(over) >= LEAST:
            fallback.append((share, least))
            if share >= precision:
                reached.append(least)
    return min(reached) if reached else max(fallback)[1]


@settings(max_examples=60)
@given(
    st.integers(0, 10_000),
    st.integers(LEAST, 80),
    st.sampled_from((0.5, 0.75, 0.9, 1.0)),
    st.booleans(),
)
def test_thresholds_are_those_of_a_slow_search(seed, rows, precision, rounded) -> None:
    logits, allowed = claims(seed, rows, rounded=rounded)
    if not (allowed[:, ENTAILMENT].any() and allowed[:, CONTRADICTION].any()):
        return
    verdicts = fit_verdicts(logits, allowed, precision, fitted_on=DIGESTS)
    scores = probabilities(logits, verdicts.temperature)
    for least, label in (
        (verdicts.supported, ENTAILMENT),
        (verdicts.contradicted, CONTRADICTION),
    ):
        ranked = np.floor(1e6 * scores[:, label] + 1e-3) / 1e6
        wanted = slow_threshold(ranked, allowed[:, label], precision)
        assert least == pytest.approx(wanted, abs=1e-7)


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_temperature_is_the_likeliest_on_a_fine_grid(seed: int, sharpness: float) -> None:
    logits, allowed = claims(seed, 60, sharpness=sharpness)
    found = fit_temperature(logits, allowed)
    grid = np.geomspace(0.25, 8.0, 300)
    best = min(surprise(logits, allowed, t) for t in grid)
    assert 0.25 <= found <= 8.0
    assert surprise(logits, allowed, found) <= best + 1e-6


def test_overconfidence_is_cooled_by_what_it_was_heated() -> None:
    logits, allowed = claims(1, 400, sharpness=1.0)
    warmer = fit_temperature(2.0 * logits, allowed) / fit_temperature(logits, allowed)
    assert warmer == pytest.approx(2.0, rel=1e-3)


def test_temperatures_stay_in_their_range() -> None:
    allowed = np.eye(3, dtype=bool)[np.arange(30) % 3]
    assert fit_temperature(np.where(allowed, 1.0, 0.0), allowed) == pytest.approx(0.25)
    assert fit_temperature(np.where(allowed, 0.0, 100.0), allowed) == pytest.approx(8.0)


def test_where_nothing_tells_temperatures_apart_it_is_one() -> None:
    allowed = np.eye(3, dtype=bool)[np.arange(30) % 3]
    assert fit_temperature(np.zeros((30, 3)), allowed) == 1.0


def test_equal_rows_are_over_the_threshold_together() -> None:
    allowed = np.eye(3, dtype=bool)[np.arange(30) % 3]
    verdicts = fit_verdicts(np.zeros((30, 3)), allowed, fitted_on=DIGESTS)
    assert verdicts.supported == verdicts.contradicted == pytest.approx(1 / 3)
    assert verdicts.fitted_on == DIGESTS


def test_either_of_two_right_labels_counts_as_contradicted() -> None:
    allowed = np.zeros((40, 3), dtype=bool)
    allowed[:20, ENTAILMENT] = True
    allowed[20:, 1:] = True
    logits = np.where(allowed, 3.0, 0.0)
    logits[20:, 1] = 0.0
    verdicts = fit_verdicts(logits, allowed, fitted_on=DIGESTS)
    figures = verdict_figures(logits, allowed, verdicts)
    assert figures == {
        "supported_precision": 100.0,
        "supported_recall": 100.0,
        "contradicted_precision": 100.0,
        "contradicted_recall": 100.0,
    }


def test_figures_count_what_gets_a_verdict() -> None:
    logits = np.log(np.array([[0.9, 0.05, 0.05], [0.8, 0.1, 0.1], [0.3, 0.3, 0.4]]))
    allowed = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0]], dtype=bool)
    verdicts = Verdicts(temperature=1.0, supported=0.7, contradicted=0.9)
    assert verdict_figures(logits, allowed, verdicts) == {
        "supported_precision": 50.0,
        "supported_recall": 50.0,
    }


def test_too_little_to_fit_on_is_refused() -> None:
    logits, allowed = claims(0, 60)
    for rows in (0, 1, LEAST - 1):
        with pytest.raises(UsageError, match=f"need 20 held-out claims, there are {rows}: hold"):
            fit_verdicts(logits[:rows], allowed[:rows], fitted_on=DIGESTS)
    for label, name in ((ENTAILMENT, "supported"), (CONTRADICTION, "contradicted")):
        without = ~allowed[:, label]
        with pytest.raises(UsageError, match=f"no held-out claim is {name}: hold out more"):
            fit_verdicts(logits[without], allowed[without], fitted_on=DIGESTS)


def test_unusable_input_is_refused() -> None:
    logits, allowed = claims(0, 30)
    with pytest.raises(ValueError, match=r"precision is 0; it must be above 0"):
        fit_verdicts(logits, allowed, 0, fitted_on=DIGESTS)
    with pytest.raises(ValueError, match=r"logits of shape \(30, 2\)"):
        fit_verdicts(logits[:, :2], allowed[:, :2], fitted_on=DIGESTS)
    with pytest.raises(ValueError, match=r"labels of shape \(29, 3\)"):
        fit_verdicts(logits, allowed[1:], fitted_on=DIGESTS)
    with pytest.raises(ValueError, match="no right label"):
        fit_verdicts(logits, allowed & False, fitted_on=DIGESTS)
    logits[3, 1] = np.nan
    with pytest.raises(ModelError, match="not finite"):
        fit_verdicts(logits, allowed, fitted_on=DIGESTS)
