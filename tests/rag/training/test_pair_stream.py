"""Checks the order of what the verifier learns from, and that it can be entered anywhere."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from random import Random

import pytest
import torch
from transformers import BertConfig

from rag.errors import UsageError
from rag.training.data import read_questions
from rag.training.negatives import Negatives
from rag.training.pair_stream import PairStream
from rag.training.pairs import PairComposer, Shares
from rag.training.statements import Statement, read_statements
from rag.training.verifier_losses import verifier_losses
from rag.verify.cross_encoder import Framing, PairModel

FRAMING = Framing(start=3, separator=4, padding=0)
THIRDS = Shares(nli=1.0, claims=1.0, relevance=1.0)


@pytest.fixture
def make_stream(question_file, statement_file, tokenizer):
    rows, said = read_questions(question_file), read_statements(statement_file)

    def make(shares=THIRDS, *, rows=rows, said=said, **named) -> PairStream:
        named = {"seed": 1, "pool": 30, "padded_tokens": 400} | named
        composer = PairComposer(rows, said, Negatives(rows, None))
        return PairStream(composer, shares, tokenizer, FRAMING, **named)

    return make


def test_the_seed_alone_decides_the_order(make_stream) -> None:
    one, other = (list(islice(make_stream().batches(0, 0), 30)) for _ in range(2))
    assert one == other
    assert one != list(islice(make_stream(seed=2).batches(0, 0), 30))


def test_the_stream_can_be_entered_anywhere(make_stream) -> None:
    whole = list(islice(make_stream().batches(0, 0), 25))
    assert {pool for _, pool, _ in whole} >= {0, 1, 2}
    for place in range(24):
        _, pool, skip = whole[place]
        rest = list(islice(make_stream().batches(pool, skip), 24 - place))
        assert rest == whole[place + 1 :]


def test_batches_are_of_one_task_and_within_the_limit(make_stream) -> None:
    stream = make_stream()
    sizes = []
    for batch, _, _ in islice(stream.batches(0, 0), 40):
        assert len({(bool(e.labels), bool(e.relevant)) for e, _ in batch}) == 1
        rows = [row for _, own in batch for row in own]
        padded = len(rows) * max(len(row.ids) for row in rows)
        assert padded <= stream.padded_tokens or len(batch) == 1
        sizes.append(len(batch))
    assert max(sizes) > 1


def test_tasks_come_in_their_shares(make_stream) -> None:
    stream = make_stream(Shares(nli=0.5, claims=0.3, relevance=0.2))
    examples = [example for batch in stream.pool_batches(3) for example, _ in batch]
    assert len(examples) == 30
    assert sum(bool(example.relevant) for example in examples) == 6
    hypotheses = {said.hypothesis for said in stream.composer.statements}
    assert sum(example.pairs[0][0] in hypotheses for example in examples) >= 15


def visits(stream: PairStream, pool: int) -> Counter[str]:
    return Counter(e.pairs[0][0] for batch in stream.pool_batches(pool) for e, _ in batch)


def said(source: str, count: int) -> list[Statement]:
    return [Statement("ada was born", f"{source} {i}", "neutral", source) for i in range(count)]


def test_an_epoch_visits_rows_by_their_sources_weight(make_stream) -> None:
    shares = Shares(claims=0.0, relevance=0.0, source_weights={"a": 2.0, "b": 1.0, "c": 0.0})
    stream = make_stream(shares, said=said("a", 4) + said("b", 3) + said("c", 2), pool=11)
    for pool in range(3):  # each is one epoch: 4 · 2 + 3 · 1
        counts = visits(stream, pool)
        assert counts == {f"a {i}": 2 for i in range(4)} | {f"b {i}": 1 for i in range(3)}
    half = replace(shares, source_weights={"a": 0.5})
    total = sum(
        (visits(make_stream(half, said=said("a", 8), pool=40), p) for p in range(5)), Counter()
    )
    assert len(total) == 8
    assert max(total.values()) < 3 * min(total.values())


@pytest.mark.parametrize("pool", [0, 1, 7, 40])
def test_far_pools_are_those_of_a_walk_from_the_start(make_stream, pool: int) -> None:
    weights = {"a": 1.4, "b": 0.3}
    rows = said("a", 5) + said("b", 4)
    shares = Shares(claims=0.0, relevance=0.0, source_weights=weights)
    walked: list[str] = []
    epoch = 0
    while len(walked) < 13 * (pool + 1):
        rng = Random(f"1/nli/{epoch}")
        order = []
        for row in rows:
            weight = weights[row.source]
            order += [row.hypothesis] * (int(weight) + (rng.random() < weight % 1))
        rng.shuffle(order)
        walked += order
        epoch += 1
    expected = Counter(walked[13 * pool : 13 * (pool + 1)])
    stream = make_stream(shares, said=rows, pool=13)
    assert visits(stream, pool) == expected
    assert visits(stream, 0) == Counter(walked[:13]), "after a later pool too"


def test_questions_keep_their_passages_together(make_stream) -> None:
    stream = make_stream(Shares(nli=0.0, claims=0.0, relevance=1.0))
    for batch, _, _ in islice(stream.batches(0, 0), 5):
        made = stream.collate(batch)
        assert made.ranked
        assert not made.allowed.any()
        assert made.group.tolist() == [n for n, (_, own) in enumerate(batch) for _ in own]
        assert made.relevant.tolist() == [float(r) for e, _ in batch for r in e.relevant]
        assert len(made.pairs.input_ids) == len(made.group)


def test_all_right_labels_are_allowed(make_stream) -> None:
    stream = make_stream(Shares(nli=0.0, claims=1.0, relevance=0.0))
    several = 0
    for batch, _, _ in islice(stream.batches(0, 0), 5):
        made = stream.collate(batch)
        assert not made.ranked
        for row, (example, _) in zip(made.allowed.tolist(), batch, strict=True):
            assert {i for i, ok in enumerate(row) if ok} == example.labels
            several += len(example.labels) > 1
    assert several


def test_each_head_learns_from_its_task_and_the_encoder_from_both(make_stream) -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=200,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=300,
    )
    model = PairModel(config)
    stream = make_stream()
    heads = {False: model.entailment.weight, True: model.relevance.weight}
    seen = set()
    for batch, _, _ in islice(stream.batches(0, 0), 12):
        made = stream.collate(batch)
        model.zero_grad()
        pairs = made.pairs
        labels, relevance = model(pairs.input_ids, pairs.token_type_ids, pairs.attention_mask)
        terms = verifier_losses(labels, relevance, made, smoothing=0.05)
        sum(terms.values()).backward()
        assert heads[made.ranked].grad.abs().sum() > 0
        assert heads[not made.ranked].grad is None
        lowest = model.encoder.encoder.layer[0].attention.self.query.weight
        assert lowest.grad.abs().sum() > 0
        seen.add(made.ranked)
    assert seen == {False, True}


def test_nothing_to_learn_from_is_refused(make_stream) -> None:
    with pytest.raises(UsageError, match="nothing to learn from: give questions or statements"):
        make_stream(rows=[], said=[])
    with pytest.raises(UsageError, match="nothing to learn from"):
        make_stream(Shares(nli=0.0), rows=[])
    assert make_stream(rows=[]).counts == {"nli": 30}
