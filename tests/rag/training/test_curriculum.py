"""Checks the order of rows by the difficulty of their answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from rag.generate.fusion import SpecialIds
from rag.training.batches import BatchPlan, BatchStream
from rag.training.curriculum import difficulty, ordered
from rag.training.data import GoldAnswer, QuestionRow, read_questions
from rag.training.examples import Composer, Mix

SPANS = (GoldAnswer("Aachen", 16), GoldAnswer("in Aachen", 13))


def row(*answers: GoldAnswer) -> QuestionRow:
    return QuestionRow("a", "own", "t", "Where?", "Ada was born in Aachen.", answers)


def test_short_spans_come_before_long_ones_written_answers_and_none() -> None:
    rows = [
        row(),
        row(GoldAnswer("No.", None)),
        row(SPANS[1]),
        row(*SPANS),
        row(GoldAnswer("x" * 50, None), SPANS[0]),
    ]
    assert [difficulty(one) for one in rows] == [(2, 0), (1, 3), (0, 9), (0, 6), (0, 6)]
    assert ordered([0, 1, 2, 3, 4, 3], rows) == [3, 4, 3, 2, 1, 0]


@pytest.fixture
def stream(question_file: Path, tokenizer: Tokenizer) -> BatchStream:
    composer = Composer(read_questions(question_file), tokenizer, reserved_id=1)
    plan = BatchPlan(seed=5, padded_tokens=300, pool=10, easy_examples=0)
    mix = Mix(source_weights={}, negative=0.5, swapped=0.2, opposite=0.2)
    special = SpecialIds(start=3, separator=4, padding=0)
    return BatchStream(composer, mix, plan, special, start_id=3, end_id=4)


def test_only_the_first_examples_are_in_order(stream: BatchStream) -> None:
    shuffled = [stream.epoch_rows(epoch) for epoch in range(3)]
    count = len(shuffled[0])
    stream.plan = replace(stream.plan, ordered_examples=count + 10)
    rows = stream.composer.rows
    first, second, third = (stream.epoch_rows(epoch) for epoch in range(3))
    assert first == ordered(shuffled[0], rows) != shuffled[0]
    assert second == ordered(shuffled[1][:10], rows) + shuffled[1][10:]
    assert third == shuffled[2]


def test_nothing_is_made_unanswerable_meanwhile(stream: BatchStream) -> None:
    def made(epoch: int) -> int:
        order = stream.epoch_rows(epoch)
        examples = [e for batch in stream.pool_batches(order, epoch, 0) for e in batch]
        asked = sum(not stream.composer.rows[index].answers for index in order[:10])
        return sum(example.absent for example in examples) - asked

    stream.plan = replace(stream.plan, ordered_examples=20)
    assert made(0) == 0
    assert made(3) > 0
