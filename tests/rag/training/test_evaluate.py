"""Checks dev figures: answers are rendered from source characters and scored against gold."""

from __future__ import annotations

import pytest
import torch

from rag.generate.base import Base
from rag.generate.decode import Decoded
from rag.generate.fusion import fuse
from rag.training.data import GoldAnswer, QuestionRow
from rag.training.evaluate import evaluate, prepare, render, sample_rows, span_answers

CONTEXT = "Ada was born in Aachen. Béla, 19-year-old, was not."


def row(id: str, source: str = "squad2", *answers: GoldAnswer) -> QuestionRow:
    return QuestionRow(id, source, "t", "Where was Ada born?", CONTEXT, answers)


@pytest.fixture
def base(make_base) -> Base:
    return make_base()


def test_copied_runs_are_the_sources_characters(base: Base) -> None:
    (one,) = prepare([row("a")], base.tokenizer)
    first = 1 + len(one.question) + 1
    words = {CONTEXT[s:e]: i for i, (s, e) in enumerate(one.offsets)}
    born, aachen = words["born"], words["Aachen"]
    tokens = [one.passage[i] for i in (born, born + 1, aachen)]
    places = [first + born, first + born + 1, first + aachen]
    decoded = Decoded(tokens, [0.9, 0.9, 0.5], places, 0.0)
    assert render(decoded, one, base.special, base.tokenizer) == "born in Aachen"
    apart = Decoded(tokens, [0.9, 0.9, 0.5], [places[2], places[0], places[1]], 0.0)
    assert render(apart, one, base.special, base.tokenizer) == "Aachen born in"


def test_written_tokens_come_from_the_vocabulary(base: Base) -> None:
    (one,) = prepare([row("a")], base.tokenizer)
    first = 1 + len(one.question) + 1
    decoded = Decoded([one.passage[0], one.passage[1]], [0.9, 0.1], [first, first + 1], 0.0)
    assert render(decoded, one, base.special, base.tokenizer) == "Ada was"
    written = Decoded([one.passage[0]], [0.4], [first], 0.0)
    assert render(written, one, base.special, base.tokenizer) == "ada"


def test_figures_are_by_source_and_answerability(base: Base) -> None:
    rows = [
        row("a", "squad2", GoldAnswer("Aachen", 16)),
        row("b", "squad2"),
        row("c", "fairytaleqa", GoldAnswer("born there", None)),
    ]
    figures = evaluate(base, prepare(rows, base.tokenizer))
    assert figures["squad2_absent"] in (0.0, 100.0)
    assert 0 <= figures["squad2_f1"] <= 100
    assert "fairytaleqa_rouge_l" in figures
    assert "fairytaleqa_absent" not in figures
    assert base.model.training, "the model is left as it was"


def test_the_span_heads_answer_is_its_best_span(base: Base) -> None:
    (one,) = prepare([row("a")], base.tokenizer)
    batch = fuse([one.question], [[one.passage]], base.special)
    with torch.no_grad():
        encoded = base.model.eval().encode(batch)
    assert encoded.spans is not None
    first = 1 + len(one.question) + 1
    words = {CONTEXT[s:e]: i for i, (s, e) in enumerate(one.offsets)}
    encoded.spans.start[0, first + words["born"]] = 0.0
    encoded.spans.end[0, first + words["Aachen"]] = 0.0
    assert span_answers(encoded, [one], base.special) == ["born in Aachen"]


def test_samples_are_fixed_and_by_kind() -> None:
    rows = [row(f"a{i}", "squad2", GoldAnswer("Aachen", 16)) for i in range(9)]
    rows += [row(f"b{i}") for i in range(9)]
    chosen = sample_rows(rows, {"squad2": 4, "squad2-": 20, "covidqa": 3})
    assert chosen == sample_rows(rows, {"squad2": 4, "squad2-": 20, "covidqa": 3})
    assert sum(bool(one.answers) for one in chosen) == 4
    assert len(chosen) == 13
