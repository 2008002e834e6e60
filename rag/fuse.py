"""Two rankings to one: score-normalised or by reciprocal ranks."""

from collections.abc import Mapping, Sequence

Ranking = Sequence[tuple[int, float]]


def weighted(
    dense: Mapping[int, float], lexical: Mapping[int, float], *, dense_weight: float
) -> list[tuple[int, float]]:
    """Combine scores after scaling each retriever's to [0, 1] (min–max).

    Args:
        dense: inner products by chunk id.
        lexical: BM25 scores by chunk id; a chunk that is missing shares no word with the question
            and counts as 0, the least BM25 can give.
        dense_weight: share of the dense score, in [0, 1].

    Returns:
        (chunk id, score in [0, 1]), best first, equal scores by id.

    >>> weighted({1: 0.9, 2: 0.1}, {2: 7.0}, dense_weight=0.6)
    [(1, 0.6), (2, 0.4)]
    """
    lexical_scaled = {i: score / max(lexical.values()) for i, score in lexical.items()}
    low = min(dense.values(), default=0.0)
    spread = (max(dense.values(), default=0.0) - low) or 1.0
    scores = {
        i: dense_weight * (dense.get(i, low) - low) / spread
        + (1 - dense_weight) * lexical_scaled.get(i, 0.0)
        for i in dense.keys() | lexical.keys()
    }
    return _best_first(scores)


def reciprocal_rank(rankings: Sequence[Ranking], *, k: int = 60) -> list[tuple[int, float]]:
    """Merge rankings by reciprocal rank fusion (Cormack et al., 2009).

    Args:
        rankings: (chunk id, score), best first; one per retriever.
        k: damping, in ranks.

    Returns:
        (chunk id, score), best first, equal scores by id.

    Raises:
        ValueError: a ranking repeats an id.

    >>> reciprocal_rank([[(1, 9.0), (2, 3.0)], [(2, 0.5)]])[0][0]
    2
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        if len({i for i, _ in ranking}) < len(ranking):
            raise ValueError("a ranking repeats an id")
        for rank, (i, _) in enumerate(ranking, start=1):
            scores[i] = scores.get(i, 0.0) + 1 / (k + rank)
    return _best_first(scores)


def _best_first(scores: Mapping[int, float]) -> list[tuple[int, float]]:
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))
