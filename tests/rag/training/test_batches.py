"""Checks batches: the order is the seed's, any position can be returned to, gold is in place."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from rag.errors import UsageError
from rag.generate.fusion import SpecialIds
from rag.generate.layout import Layout
from rag.training.batches import LONGEST_TARGET, BatchPlan, BatchStream, Position, collate
from rag.training.data import read_questions
from rag.training.examples import Composer, Example, Mix

SPECIAL = SpecialIds(start=3, separator=4, padding=0)
PLAN = BatchPlan(seed=5, padded_tokens=300, pool=10, easy_examples=20, easy_tokens=24)


@pytest.fixture
def stream(question_file: Path, tokenizer: Tokenizer) -> BatchStream:
    composer = Composer(read_questions(question_file), tokenizer, reserved_id=1)
    mix = Mix(source_weights={"squad2": 2.0, "qamr": 0.5}, several=0.5)
    return BatchStream(composer, mix, PLAN, SPECIAL, start_id=3, end_id=4)


def test_every_position_continues_the_same_stream(stream: BatchStream) -> None:
    whole = list(islice(stream.batches(Position()), 60))
    assert whole[-1][1].epoch >= 2
    for stop in (1, 7, 22, 59):
        rest = list(islice(stream.batches(whole[stop - 1][1]), 60 - stop))
        assert rest == whole[stop:]


def test_another_seed_is_another_order(stream: BatchStream) -> None:
    first = [batch for batch, _ in islice(stream.batches(Position()), 5)]
    stream.plan = replace(PLAN, seed=6)
    assert first != [batch for batch, _ in islice(stream.batches(Position()), 5)]


def test_sources_are_weighted(stream: BatchStream) -> None:
    counts = {"squad2": 0, "qamr": 0, "fairytaleqa": 0}
    for epoch in range(20):
        for index in stream.epoch_rows(epoch):
            counts[stream.composer.rows[index].source] += 1
    assert counts["squad2"] == 2 * 8 * 20
    assert counts["fairytaleqa"] == 8 * 20
    assert 40 < counts["qamr"] < 120


def test_batches_are_bounded_and_of_one_passage_count(stream: BatchStream) -> None:
    order = stream.epoch_rows(3)
    batches = stream.pool_batches(order, 3, 0)
    assert len(batches) < 10
    for batch in batches:
        assert len({len(example.passages) for example in batch}) == 1
        padded = len(batch) * len(batch[0].passages) * max(e.longest for e in batch)
        assert padded <= PLAN.padded_tokens or len(batch) == 1


def test_the_beginning_is_easy(stream: BatchStream) -> None:
    order = stream.epoch_rows(0)
    easy = [e for batch in stream.pool_batches(order, 0, 0) for e in batch]
    later = [e for batch in stream.pool_batches(order, 5, 0) for e in batch]
    assert all(len(example.passages) == 1 for example in easy)
    assert any(len(example.passages) > 1 for example in later)


def test_gold_positions_point_at_the_target(stream: BatchStream) -> None:
    copied = 0
    for examples, _ in islice(stream.batches(Position()), 30):
        batch = stream.collate(examples)
        source = batch.passages.input_ids.flatten(1)
        copyable = batch.passages.copy_mask.flatten(1)
        for b, example in enumerate(examples):
            count = len(example.target)
            assert batch.decoder_ids[b, : count + 1].tolist() == [3, *example.target]
            assert batch.targets[b, : count + 1].tolist() == [*example.target, 4]
            assert batch.target_mask[b].sum() == count + 1
            gold = batch.gold_positions[b]
            assert (gold[count:] == -1).all()
            assert bool(batch.absent[b]) == example.absent
            if example.span is None:
                assert (gold == -1).all()
                assert (batch.span[b] == -1).all()
                continue
            assert source[b, gold[:count]].tolist() == example.target
            assert copyable[b, gold[:count]].all()
            assert batch.span[b].tolist() == [gold[0], gold[count - 1]]
            copied += count
    assert copied > 30


def test_long_targets_are_cut_without_an_end() -> None:
    ids = list(range(5, 5 + LONGEST_TARGET + 9))
    example = Example([5, 6], [ids], ids, (0, 0, len(ids) - 1), False)
    batch = collate([example], SPECIAL, start_id=3, end_id=4)
    assert batch.targets.shape == (1, LONGEST_TARGET + 1)
    assert batch.target_mask.sum() == LONGEST_TARGET
    assert not batch.target_mask[0, -1]
    assert (batch.gold_positions[0, :LONGEST_TARGET] >= 0).all()


@pytest.mark.parametrize("max_positions", [None, 40])
def test_joined_passages_keep_the_target_or_lose_it(
    stream: BatchStream, max_positions: int | None
) -> None:
    stream.layout, stream.max_positions = Layout(concatenated=True), max_positions
    stream.mix = replace(
        stream.mix, several=1.0, negative=0.0, swapped=0.0, opposite=0.0, removed=0.0
    )
    stream.plan = replace(stream.plan, easy_examples=0)
    copied = cut = 0
    for examples, _ in islice(stream.batches(Position()), 30):
        batch = stream.collate(examples)
        rows, passages, length = batch.passages.input_ids.shape
        assert passages == 1
        assert max_positions is None or length <= max_positions
        source, copyable = batch.passages.input_ids[:, 0], batch.passages.copy_mask[:, 0]
        for b in range(rows):
            gold = batch.gold_positions[b]
            gold = gold[gold >= 0]
            assert source[b, gold].tolist() == batch.targets[b, : len(gold)].tolist()
            assert copyable[b, gold].all()
            copied += len(gold)
            cut += bool(batch.absent[b]) and batch.targets[b, 0] == 1
    assert copied > 30
    if max_positions is not None:
        assert cut > 5


def test_without_copying_there_is_nothing_to_point_at(stream: BatchStream) -> None:
    stream.layout = Layout(copying=False)
    examples, _ = next(stream.batches(Position()))
    batch = stream.collate(examples)
    assert not batch.passages.copy_mask.any()
    assert (batch.gold_positions == -1).all()
    assert (batch.span == -1).all()
    assert batch.target_mask.any()


def test_rows_without_weight_are_refused(stream: BatchStream) -> None:
    mix = Mix(source_weights=dict.fromkeys(("squad2", "qamr", "fairytaleqa"), 0.0))
    with pytest.raises(UsageError, match="give a source a weight above 0"):
        BatchStream(stream.composer, mix, PLAN, SPECIAL, start_id=3, end_id=4)
    stream.mix = replace(stream.mix, source_weights={"squad2": 1.0, "qamr": -0.5})
    sources = {stream.composer.rows[i].source for e in range(9) for i in stream.epoch_rows(e)}
    assert sources == {"squad2", "fairytaleqa"}
