"""Reranks passages by a cross-encoder's relevance, blended with how the search ranked them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from rag.errors import ModelError
from rag.types import Passage
from rag.verify.cross_encoder import Pair
from rag.verify.scorer import Scores


class Scorer(Protocol):
    """A cross-encoder with a relevance head."""

    digest: str

    def rank(self, pairs: Sequence[Pair]) -> Scores:
        """Judge pairs of question and passage."""


@dataclass(frozen=True, slots=True)
class CrossReranker:
    """Orders passages by relevance.

    Args:
        scorer: the cross-encoder.
        fused_weight: log-odds that one unit of the fused score is worth beside the relevance; 0
            ranks by relevance alone.
        depth: passages read, best of the search first; those after them keep their order.
    """

    scorer: Scorer
    fused_weight: float = 0.0
    depth: int = 50

    @property
    def digest(self) -> str:
        """Name and sha256 of the cross-encoder."""
        return self.scorer.digest

    def rerank(self, question: str, passages: Sequence[Passage], k: int) -> list[Passage]:
        """Return the k most relevant passages, best first.

        A passage's score becomes that which ranks it; the search's own is "fused" among its scores,
        beside "relevance". Passages that were not read keep their distances, after the others.

        Raises:
            ModelError: the cross-encoder has no relevance head.
        """
        read, rest = passages[: self.depth], passages[self.depth :]
        if not read:
            return []
        relevance = self.scorer.rank([(question, shown(passage)) for passage in read]).relevance
        if relevance is None:
            raise ModelError(
                f"{self.scorer.digest} tells entailment, not relevance: name a reranker in "
                "RAG_RERANKER"
            )
        fused = np.array([passage.score for passage in read])
        ranks = relevance + self.fused_weight * fused
        ranked = [
            replace(
                read[i],
                score=round(float(ranks[i]), 6),
                scores={
                    **read[i].scores,
                    "fused": read[i].score,
                    "relevance": round(float(relevance[i]), 6),
                },
            )
            for i in np.argsort(-ranks, kind="stable")
        ]
        lowest = ranked[-1].score
        after = [replace(own, score=lowest - (rest[0].score - own.score)) for own in rest]
        return [*ranked, *after][:k]


def shown(passage: Passage) -> str:
    """A passage as the cross-encoder reads it: under its headings."""
    return f"{passage.context}\n{passage.text}" if passage.context else passage.text
