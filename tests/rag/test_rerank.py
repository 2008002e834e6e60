"""Checks the order that a reranker gives passages, with relevances that are known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rag.errors import ModelError
from rag.rerank import CrossReranker

RELEVANCE = {"low": -2.0, "middle": 0.5, "high": 3.0}


@pytest.fixture
def scorer(pair_scorer):
    return pair_scorer(relevance=lambda question, text: RELEVANCE[text])


@pytest.fixture
def found(passage_of):
    """Passages in the order of the search, with its scores."""

    def make(*texts: str, scores=(0.9, 0.5, 0.4, 0.3, 0.2)):
        return [
            replace(passage_of(text, index=i), score=score)
            for i, (text, score) in enumerate(zip(texts, scores, strict=False))
        ]

    return make


def texts(passages) -> list[str]:
    return [passage.text for passage in passages]


def test_the_most_relevant_comes_first(scorer, found) -> None:
    passages = found("low", "high", "middle")
    ranked = CrossReranker(scorer).rerank("Which?", passages, 3)
    assert texts(ranked) == ["high", "middle", "low"]
    assert scorer.calls == [[("Which?", "low"), ("Which?", "high"), ("Which?", "middle")]]
    assert [passage.scores for passage in ranked] == [
        {"dense": 0.5, "fused": fused, "relevance": RELEVANCE[text]}
        for text, fused in zip(texts(ranked), (0.5, 0.4, 0.9), strict=True)
    ]
    assert [passage.score for passage in ranked] == [3.0, 0.5, -2.0], "what ranks is what is shown"
    assert "relevance" not in passages[0].scores


@pytest.mark.parametrize(
    ("weight", "order"),
    [
        (0.0, ["high", "middle", "low"]),
        (5.5, ["middle", "high", "low"]),
        (10.0, ["low", "middle", "high"]),
    ],
)
def test_the_search_s_score_counts_beside_the_relevance(scorer, found, weight, order) -> None:
    passages = found("low", "middle", "high", scores=(0.9, 0.6, 0.1))
    ranked = CrossReranker(scorer, fused_weight=weight).rerank("Which?", passages, 3)
    assert texts(ranked) == order
    sums = [RELEVANCE[p.text] + weight * p.scores["fused"] for p in ranked]
    assert sums == sorted(sums, reverse=True)
    assert [passage.score for passage in ranked] == pytest.approx(sums)


def test_what_is_not_read_keeps_its_order_after_the_rest(scorer, found) -> None:
    passages = found("low", "middle", "high", "high", "low")
    ranked = CrossReranker(scorer, depth=2).rerank("Which?", passages, 5)
    assert [passage.chunk_id for passage in ranked] == [1, 0, 2, 3, 4]
    assert len(scorer.pairs) == 2
    assert [p.score for p in ranked] == pytest.approx([0.5, -2.0, -2.0, -2.1, -2.2])
    assert ["relevance" in passage.scores for passage in ranked] == [True, True, *[False] * 3]


@pytest.mark.parametrize("k", [0, 1, 2, 9])
def test_k_are_returned(scorer, found, k) -> None:
    ranked = CrossReranker(scorer, depth=2).rerank("Which?", found("low", "high", "middle"), k)
    assert texts(ranked) == ["high", "low", "middle"][:k]


def test_nothing_found_nothing_asked(scorer) -> None:
    assert CrossReranker(scorer).rerank("Which?", [], 5) == []
    assert scorer.calls == []


def test_equally_relevant_ones_keep_their_order(scorer, found) -> None:
    ranked = CrossReranker(scorer).rerank("Which?", found("low", "high", "low", "high"), 4)
    assert [passage.chunk_id for passage in ranked] == [1, 3, 0, 2]


def test_headings_are_read_with_the_text(pair_scorer, found) -> None:
    scorer = pair_scorer(relevance=lambda question, text: float("Fridges" in text))
    plain, headed = found("low", "middle")
    ranked = CrossReranker(scorer).rerank("?", [plain, replace(headed, context="A > Fridges")], 2)
    assert [text for _, text in scorer.pairs] == ["low", "A > Fridges\nmiddle"]
    assert texts(ranked) == ["middle", "low"], "but what is quoted stays the text alone"


def test_a_model_of_entailment_alone_is_refused(pair_scorer, found) -> None:
    with pytest.raises(ModelError, match="RAG_RERANKER"):
        CrossReranker(pair_scorer(lambda claim, text: 0.9)).rerank("?", found("low"), 1)


def test_the_digest_is_that_of_the_model(scorer) -> None:
    assert CrossReranker(scorer).digest == scorer.digest
