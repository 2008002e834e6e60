"""Two rankings to one: score-normalised or by reciprocal ranks."""

from collections.abc import Mapping, Sequence

Ranking = Sequence[tuple[int, float]]


def weighted(
    dense: Mapping[int, float],
    lexical: Mapping[int, float],
    *,
    dense_weight: float,
    rank_share: float = 0.0,
) -> list[tuple[int, float]]:
    """Combine two retrievers' scores, each normalised to [0, 1].

    A retriever's normalised score is its scaled score (dense: min–max; BM25: divided by the
    highest, as 0 is the least it can give) mixed with 1 / rank. The second part keeps a clear
    first place of one retriever from drowning in the other's middling scores.

    Args:
        dense: inner products by chunk id.
        lexical: BM25 scores by chunk id; a missing chunk counts as 0.
        dense_weight: share of the dense retriever, in [0, 1].
        rank_share: share of 1 / rank in a normalised score, in [0, 1].

    Returns:
        (chunk id, score in [0, 1]), best first, equal scores by id.

    >>> weighted({1: 0.9, 2: 0.1}, {2: 7.0}, dense_weight=0.6)
    [(1, 0.6), (2, 0.4)]
    """
    low = min(dense.values(), default=0.0)
    spread = (max(dense.values(), default=0.0) - low) or 1.0
    highest = max(lexical.values(), default=1.0)
    dense_scaled = {i: (score - low) / spread for i, score in dense.items()}
    lexical_scaled = {i: score / highest for i, score in lexical.items()}
    scores = dict.fromkeys(dense.keys() | lexical.keys(), 0.0)
    for scaled, weight in ((dense_scaled, dense_weight), (lexical_scaled, 1 - dense_weight)):
        for rank, (i, score) in enumerate(_best_first(scaled), start=1):
            scores[i] += weight * ((1 - rank_share) * score + rank_share / rank)
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
