"""Fits from which probabilities a verifier calls a claim supported or contradicted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rag.errors import ModelError, UsageError
from rag.training.thresholds import LEAST, threshold_for
from rag.verify.cross_encoder import CONTRADICTION, ENTAILMENT, LABELS
from rag.verify.saved import Verdicts

TEMPERATURES = (0.25, 8.0)
GRID = 33  # temperatures tried at a time
ROUNDS = 6  # each looks between the neighbours of the last round's best
STEP = 1e-6  # of thresholds
SAME = 1e-9  # differences of the mean log likelihood that mean nothing

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def fit_verdicts(
    logits: NDArray[np.floating],
    allowed: Flags,
    precision: float = 0.9,
    *,
    contradicted_precision: float | None = None,
    fitted_on: Mapping[str, str | None],
) -> Verdicts:
    """Fit temperature and thresholds on held-out claims.

    With p_T = softmax(logits / T) the temperature is the T in `TEMPERATURES` that minimises
    -mean(log(sum of p_T over the right labels)), as in Guo et al. (2017) but with several labels
    that may be right; where none is better than 1 it is 1.

    A threshold is that of `threshold_for`, among the probabilities of its label in steps of
    `STEP`; a row is right for "contradicted" if that is one of its right labels.

    Args:
        logits: (n, 3) label logits, as the verifier gives them.
        allowed: (n, 3), true on every right label; at least one a row.
        precision: wanted of "supported".
        contradicted_precision: wanted of "contradicted"; None for the same.
        fitted_on: sha256 of the files that the claims are from, by name.

    Raises:
        UsageError: there are fewer than `LEAST` rows, or none for one of the verdicts.
        ModelError: a logit is not finite.
        ValueError: shapes differ, a row has no right label, or there is no such precision.
    """
    values: Floats = np.asarray(logits, dtype=np.float64)
    against = precision if contradicted_precision is None else contradicted_precision
    _check(values, allowed, min(precision, against))
    temperature = fit_temperature(values, allowed)
    probabilities = np.exp(_log_softmax(values / temperature))
    return Verdicts(
        temperature=temperature,
        supported=_threshold(probabilities[:, ENTAILMENT], allowed[:, ENTAILMENT], precision),
        contradicted=_threshold(
            probabilities[:, CONTRADICTION], allowed[:, CONTRADICTION], against
        ),
        fitted_on=dict(fitted_on),
    )


def fit_temperature(logits: Floats, allowed: Flags) -> float:
    """The temperature of the likeliest right labels, to about four digits.

    With several right labels the likelihood can have several peaks, so a grid is searched and
    refined instead of following a slope.
    """
    low, high = TEMPERATURES
    for _ in range(ROUNDS):
        grid = np.geomspace(low, high, GRID)
        best = int(np.argmin([_surprise(logits / t, allowed) for t in grid]))
        low, high = grid[max(0, best - 1)], grid[min(GRID - 1, best + 1)]
    found = float(grid[best])
    better = _surprise(logits, allowed) - _surprise(logits / found, allowed) > SAME
    return found if better else 1.0


def verdict_figures(
    logits: NDArray[np.floating], allowed: Flags, verdicts: Verdicts
) -> dict[str, float]:
    """How often the verdicts are right, and how much of what they could say they say.

    Returns:
        in percent: precision and recall of "supported" and of "contradicted"; a precision is
        left out where no row gets the verdict.
    """
    scaled = np.asarray(logits, dtype=np.float64) / verdicts.temperature
    probabilities = np.exp(_log_softmax(scaled))
    figures = {}
    for name, label, least in (
        ("supported", ENTAILMENT, verdicts.supported),
        ("contradicted", CONTRADICTION, verdicts.contradicted),
    ):
        said, right = probabilities[:, label] >= least, allowed[:, label]
        if said.any():
            figures[f"{name}_precision"] = 100 * float(right[said].mean())
        if right.any():
            figures[f"{name}_recall"] = 100 * float(said[right].mean())
    return figures


def _check(logits: Floats, allowed: Flags, precision: float) -> None:
    if not 0 < precision <= 1:
        raise ValueError(f"precision is {precision}; it must be above 0 and at most 1")
    if logits.shape != (len(logits), len(LABELS)) or logits.shape != allowed.shape:
        raise ValueError(
            f"logits of shape {logits.shape} and labels of shape {allowed.shape} are not both "
            f"(rows, {len(LABELS)})"
        )
    if not allowed.any(axis=1).all():
        raise ValueError("a held-out claim has no right label")
    if not np.isfinite(logits).all():
        raise ModelError("a logit is not finite: the training has diverged")
    if len(logits) < LEAST:
        raise UsageError(
            f"verdicts need {LEAST} held-out claims, there are {len(logits)}: hold out more"
        )
    for label, kind in ((ENTAILMENT, "supported"), (CONTRADICTION, "contradicted")):
        if not allowed[:, label].any():
            raise UsageError(f"no held-out claim is {kind}: hold out more")


def _threshold(probabilities: Floats, right: Flags, precision: float) -> float:
    # Judging in float32 resolves no more: without steps, rounding would part equal rows.
    stepped = np.floor(probabilities / STEP + 1e-3) * STEP
    return threshold_for(stepped, right, precision)


def _surprise(logits: Floats, allowed: Flags) -> float:
    """Mean negative log of the right labels' probability together."""
    log_probs = np.where(allowed, _log_softmax(logits), -np.inf)  # (n, 3)
    return float(-np.logaddexp.reduce(log_probs, axis=1).mean())


def _log_softmax(logits: Floats) -> Floats:
    result: Floats = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return result
