"""Fits which answers are served where one writer follows another, with one threshold for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag.generate.manifest import Decision
from rag.training.decision import PRECISION, cross_fitted, half_and_half
from rag.training.thresholds import LEAST


@dataclass(frozen=True)
class Cases:
    """One writer's answers to n questions.

    Attributes:
        names: of the features.
        features: (n, features).
        right: (n,).
        may: (n,) whether an answer may be served at all: its claims are supported, it came to an
            end, what the question names is in what it cites.
    """

    names: tuple[str, ...]
    features: NDArray[np.float64]
    right: NDArray[np.bool_]
    may: NDArray[np.bool_]


@dataclass(frozen=True)
class Cascade:
    """Decisions of one threshold, and what they would have served of the cases.

    Attributes:
        decisions: one for each writer, in the order in which they are tried.
        served: (n,) the index of the writer whose answer is served, -1 for none; by models that
            have not seen the case's group.
    """

    decisions: tuple[Decision, ...]
    served: NDArray[np.int64]


def fitted_cascade(
    writers: Sequence[Cases],
    *,
    kinds: Sequence[str],
    groups: Sequence[str],
    precision: float = PRECISION,
    embedder_sha256: str | None = None,
    verifier_sha256: str | None = None,
) -> Cascade:
    """Fit each writer's "is this answer right?", and the probability from which any is served.

    Where the first writer's answer is below the threshold, the next one's is weighed. The threshold
    is the lowest at which the wanted share of all that is served is right; half of the questions
    have answers, the others are of their kinds in equal parts. The probabilities that it is chosen
    by come from models that have not seen the question's group.

    Args:
        writers: their answers to the same questions, in the order in which they are tried.
        kinds: (n,) `rag.training.decision.ANSWERABLE`, or why a question has no answer.
        groups: (n,) what must not be in two folds.
        precision: wanted share of right answers among those served.
        embedder_sha256: digest of the embedder that measured similarity.
        verifier_sha256: digest of the model that judged claims, if its verdicts are features.
    """
    weights = half_and_half(kinds)
    models = [cross_fitted(own.features, own.right, weights, groups) for own in writers]
    held = [np.where(own.may, model.held, -1.0) for own, model in zip(writers, models, strict=True)]
    right = [own.right for own in writers]
    threshold = cascade_threshold(held, right, precision, weights)
    decisions = tuple(
        Decision(
            features=own.names,
            weights=model.weights,
            intercept=model.intercept,
            threshold=round(threshold, 4),
            embedder_sha256=embedder_sha256 if "similarity" in own.names else None,
            verifier_sha256=verifier_sha256 if "entailed" in own.names else None,
        )
        for own, model in zip(writers, models, strict=True)
    )
    return Cascade(decisions, served_by(held, threshold))


def served_by(probabilities: Sequence[NDArray[np.float64]], threshold: float) -> NDArray[np.int64]:
    """The index of the first writer whose answer reaches the threshold, -1 for none; (n,).

    >>> served_by([np.array([0.9, 0.1]), np.array([0.95, 0.2])], 0.5).tolist()
    [0, -1]
    """
    served = np.full(len(probabilities[0]), -1)
    for index, own in reversed(list(enumerate(probabilities))):
        served[own >= threshold] = index
    return served


def cascade_threshold(
    probabilities: Sequence[NDArray[np.float64]],
    right: Sequence[NDArray[np.bool_]],
    precision: float,
    weights: NDArray[np.float64],
) -> float:
    """The lowest threshold from which on the wanted share of what is served is right.

    Where none reaches that, the one that comes nearest; in both cases one at which at least
    `LEAST` answers are served, if so many may be.

    Args:
        probabilities: (n,) of each writer; below 0 where its answer may not be served.
        right: (n,) of each writer.
        precision: the wanted share.
        weights: (n,) of the questions.
    """
    usable = np.unique(np.concatenate(probabilities))
    usable = usable[usable >= 0]
    most = int(np.any([own >= 0 for own in probabilities], axis=0).sum())
    best, nearest = 1.0, -1.0
    for threshold in usable[::-1]:
        served = served_by(probabilities, threshold)
        if (served >= 0).sum() < min(LEAST, most):
            continue
        good = np.any([(served == i) & own for i, own in enumerate(right)], axis=0)
        share = float(weights[good].sum() / weights[served >= 0].sum())
        if share >= precision or share > nearest:
            best, nearest = float(threshold), min(share, precision)
    return best
