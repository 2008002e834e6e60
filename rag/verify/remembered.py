"""A cross-encoder that scores a pair once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from rag.verify.cross_encoder import Pair
from rag.verify.scorer import Scores


class Scorer(Protocol):
    """A cross-encoder."""

    digest: str
    sha256: str

    def score(self, pairs: Sequence[Pair]) -> Scores:
        """Judge pairs of claim and text."""


class Remembered:
    """Keeps what a cross-encoder said; for the pairs of one question, which are few.

    Not for longer: what an erased document said would live on.

    Args:
        scorer: the cross-encoder.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._known: dict[Pair, Scores] = {}
        self.digest = scorer.digest
        self.sha256 = scorer.sha256

    def score(self, pairs: Sequence[Pair]) -> Scores:
        """Judge pairs; those that were judged before as they were then."""
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._known]
        if new or not pairs:
            scores = self._scorer.score(new)
            self._known |= {pair: _row(scores, i) for i, pair in enumerate(new)}
        if not pairs:
            return scores
        rows = [self._known[pair] for pair in pairs]
        labels = [row.labels for row in rows if row.labels is not None]
        relevance = [row.relevance for row in rows if row.relevance is not None]
        return Scores(
            np.concatenate(labels) if labels else None,
            np.concatenate(relevance) if relevance else None,
        )


def _row(scores: Scores, i: int) -> Scores:
    """What was said of one pair."""
    return Scores(
        None if scores.labels is None else scores.labels[i : i + 1],
        None if scores.relevance is None else scores.relevance[i : i + 1],
    )
