"""Checks dev figures against answers that are known."""

from __future__ import annotations

import itertools
from random import Random

import pytest
import torch

from rag.generate.base import Base
from rag.generate.copying import CopyGenerator
from rag.training.data import GoldAnswer, QuestionRow
from rag.training.evaluate import evaluate, sample_rows, span_answer
from rag.training.scores import auc

CONTEXT = "Ada was born in Aachen. Béla, 19-year-old, was not."


def row(id: str, source: str = "squad2", *answers: GoldAnswer) -> QuestionRow:
    return QuestionRow(id, source, "t", "Where was Ada born?", CONTEXT, answers)


@pytest.fixture
def base(make_base) -> Base:
    return make_base()


def test_figures_are_by_source_and_answerability(base: Base) -> None:
    rows = [
        row("a", "squad2", GoldAnswer("Aachen", 16)),
        row("b", "squad2"),
        row("c", "fairytaleqa", GoldAnswer("born there", None)),
    ]
    figures = evaluate(base, rows)
    assert figures["squad2_absent_auc"] == 50.0, "the same question twice"
    assert 0 <= figures["squad2_f1"] <= 100
    assert "fairytaleqa_rouge_l" in figures
    assert "fairytaleqa_absent_auc" not in figures
    assert base.model.training, "the model is left as it was"


def test_an_answer_that_is_given_scores_full(base: Base) -> None:
    written = CopyGenerator(base, "x", absent_threshold=2.0)
    text = written.write([("Where was Ada born?", [CONTEXT])])[0].text
    assert text
    figures = evaluate(base, [row("a", "squad2", GoldAnswer(text, None))])
    assert figures["squad2_f1"] == 100.0
    assert figures["squad2_rouge_l"] == 100.0


def test_the_span_heads_answer_is_its_best_span(base: Base) -> None:
    source = CopyGenerator(base, "x").encode("Where was Ada born?", [CONTEXT])
    assert source.encoded is not None
    assert source.encoded.spans is not None
    for word, scores in (
        ("born", source.encoded.spans.start),
        ("Aachen", source.encoded.spans.end),
    ):
        start = CONTEXT.index(word)
        places = [p is not None and p.start == start for p in source.places]
        with torch.inference_mode():
            scores[0, places.index(True)] = 0.0
    assert span_answer(source) == "born in Aachen"


def test_area_is_the_share_of_pairs_in_order() -> None:
    rng = Random(0)
    for _ in range(20):
        scores = [rng.randrange(5) / 5 for _ in range(12)]
        wanted = [rng.random() < 0.5 for _ in range(12)]
        ones = [s for s, w in zip(scores, wanted, strict=True) if w]
        others = [s for s, w in zip(scores, wanted, strict=True) if not w]
        if not ones or not others:
            continue
        pairs = [(a > b) + (a == b) / 2 for a, b in itertools.product(ones, others)]
        assert auc(scores, wanted) == pytest.approx(sum(pairs) / len(pairs))


def test_samples_are_fixed_and_by_kind() -> None:
    rows = [row(f"a{i}", "squad2", GoldAnswer("Aachen", 16)) for i in range(9)]
    rows += [row(f"b{i}") for i in range(9)]
    chosen = sample_rows(rows, {"squad2": 4, "squad2-": 20, "covidqa": 3})
    assert chosen == sample_rows(rows, {"squad2": 4, "squad2-": 20, "covidqa": 3})
    assert sum(bool(one.answers) for one in chosen) == 4
    assert len(chosen) == 13
