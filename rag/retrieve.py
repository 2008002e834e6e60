"""A question to its best passages: dense and lexical search, fused."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, Protocol

import numpy as np

from rag import fuse
from rag.protocols import Embedder, Ids, LexicalIndex, VectorIndex
from rag.types import Filters, Passage


class PassageSource(Protocol):
    """Where chunk ids become passages, and filters become ids."""

    def passages(self, chunk_ids: Sequence[int]) -> Mapping[int, Passage]:
        """Return those chunks that may be shown, by id."""

    def allowed(self, filters: Filters) -> tuple[Sequence[int], Ids]:
        """Return the document keys and the sorted chunk ids that pass the filters."""


class HybridRetriever:
    """Searches both indexes and fuses what they find.

    The indexes may still hold chunks that have gone out of search since they were built; those
    are dropped here, and the search goes deeper until it has enough.

    Args:
        embedder: of the questions; the one the vectors were made with.
        vectors: the dense index.
        lexical: the BM25 index.
        source: chunk ids to passages.
        candidates: how many each index gives to fusion.
        method: "weighted" or "rrf".
        dense_weight, rank_share: for "weighted", see `rag.fuse`.
    """

    def __init__(
        self,
        embedder: Embedder,
        vectors: VectorIndex,
        lexical: LexicalIndex,
        source: PassageSource,
        *,
        candidates: int = 50,
        method: Literal["weighted", "rrf"] = "weighted",
        dense_weight: float,
        rank_share: float = 0.0,
    ) -> None:
        self._embedder = embedder
        self._vectors = vectors
        self._lexical = lexical
        self._source = source
        self._candidates = candidates
        self._method = method
        self._dense_weight = dense_weight
        self._rank_share = rank_share

    def retrieve(self, question: str, k: int, filters: Filters | None = None) -> list[Passage]:
        """Return up to k passages, best first, with both retrievers' scores beside the fused."""
        documents: Sequence[int] | None = None
        chunks: Ids | None = None
        if filters and not filters.empty:
            documents, chunks = self._source.allowed(filters)
            if not len(chunks):
                return []
        if not len(self._vectors):
            return []
        query = self._embedder.embed([question])  # (1, d)
        depth = max(self._candidates, k)
        while True:
            dense = self._vectors.search(query, depth, chunks)
            lexical = self._lexical.search(question, depth, documents)
            passages = self._source.passages([i for i, _ in dense] + [i for i, _ in lexical])
            exhausted = len(dense) < depth and len(lexical) < depth
            if len(passages) >= k or exhausted:
                break
            depth *= 4
        dense = [(i, score) for i, score in dense if i in passages]
        lexical = [(i, score) for i, score in lexical if i in passages]
        dense_scores = dict(dense)
        missing = sorted(i for i in passages if i not in dense_scores)
        if missing:
            ids = np.array(missing, dtype=np.int64)
            dense_scores |= dict(self._vectors.search(query, len(ids), ids))
        lexical_scores = dict(lexical)
        if self._method == "rrf":
            fused = fuse.reciprocal_rank([dense, lexical])
        else:
            fused = fuse.weighted(
                dense_scores,
                lexical_scores,
                dense_weight=self._dense_weight,
                rank_share=self._rank_share,
            )
        return [
            replace(
                passages[i],
                score=score,
                scores={"dense": dense_scores.get(i, 0.0), "bm25": lexical_scores.get(i, 0.0)},
            )
            for i, score in fused[:k]
        ]
