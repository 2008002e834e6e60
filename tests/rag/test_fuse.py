import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.fuse import reciprocal_rank, weighted

SCORES = st.dictionaries(st.integers(0, 30), st.floats(0.01, 50), max_size=20)


@given(SCORES, SCORES, st.floats(0, 1), st.floats(0, 1))
def test_weighted_matches_a_slow_reference(dense, lexical, weight, share):
    def rank(scores, i):
        return 1 + sum((-scores[j], j) < (-scores[i], i) for j in scores)

    scores = {}
    for i in set(dense) | set(lexical):
        low, high = (min(dense.values()), max(dense.values())) if dense else (0, 0)
        d = b = 0.0
        if i in dense:
            d = (1 - share) * (dense[i] - low) / ((high - low) or 1) + share / rank(dense, i)
        if i in lexical:
            b = (1 - share) * lexical[i] / max(lexical.values()) + share / rank(lexical, i)
        scores[i] = weight * d + (1 - weight) * b
    fused = weighted(dense, lexical, dense_weight=weight, rank_share=share)
    assert {i: pytest.approx(s, abs=1e-9) for i, s in fused} == scores
    assert [s for _, s in fused] == sorted((s for _, s in fused), reverse=True)


def test_weight_0_and_1_keep_one_ranking():
    dense, lexical = {1: 0.9, 2: 0.5, 3: 0.1}, {3: 9.0, 2: 5.0, 1: 1.0}
    assert [i for i, _ in weighted(dense, lexical, dense_weight=1)] == [1, 2, 3]
    assert [i for i, _ in weighted(dense, lexical, dense_weight=0)] == [3, 2, 1]


def test_equal_scores_are_ordered_by_id():
    assert [i for i, _ in weighted({5: 1.0, 2: 1.0}, {}, dense_weight=1)] == [2, 5]


def test_nothing_found_by_either():
    assert weighted({}, {}, dense_weight=0.5) == []
    assert reciprocal_rank([[], []]) == []


def test_reciprocal_ranks_by_hand():
    fused = dict(reciprocal_rank([[(1, 9.0), (2, 8.0)], [(2, 1.0)]], k=60))
    assert fused == {1: pytest.approx(1 / 61), 2: pytest.approx(1 / 62 + 1 / 61)}


def test_a_repeated_id_is_refused():
    with pytest.raises(ValueError, match="repeats"):
        reciprocal_rank([[(1, 1.0), (1, 0.5)]])
