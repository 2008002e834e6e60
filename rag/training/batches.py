"""Turns composed examples into length-bucketed batches in an order that only the seed decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
from torch import Tensor

from rag.errors import UsageError
from rag.generate.fusion import PassageBatch, SpecialIds, passage_offset
from rag.generate.layout import Layout, join, joined_offset, room
from rag.training.curriculum import ordered
from rag.training.examples import Composer, Example, Mix

LONGEST_TARGET = 48  # tokens
FUSION = Layout()


@dataclass(frozen=True)
class GeneratorBatch:
    """What one training step needs; B examples, T target tokens.

    Attributes:
        passages: encoder input.
        decoder_ids: (B, T), the start token and then the target.
        targets: (B, T), the target and then the end token.
        target_mask: (B, T), true on real targets.
        gold_positions: (B, T) source position of each copied token in S; -1 elsewhere.
        span: (B, 2) source positions of the answer's first and last token; -1 without.
        absent: (B,), true where the passages hold no answer.
    """

    passages: PassageBatch
    decoder_ids: Tensor
    targets: Tensor
    target_mask: Tensor
    gold_positions: Tensor
    span: Tensor
    absent: Tensor

    def to(self, device: torch.device | str) -> GeneratorBatch:
        """The same batch on another device."""
        moved = {name: value.to(device) for name, value in vars(self).items()}
        return GeneratorBatch(**moved)


@dataclass(frozen=True)
class BatchPlan:
    """How examples are ordered and grouped.

    Attributes:
        seed: decides order, composition and augmentation.
        padded_tokens: most encoder tokens in a batch, padding included.
        pool: examples composed and sorted by length at a time.
        easy_examples: for this many examples at the start, passages are short and single.
        easy_tokens: longest passage then.
        ordered_examples: so many rows at the start go from short answers to written ones to
            unanswerable questions, and none are made unanswerable; 0 for no such order.
    """

    seed: int = 0
    padded_tokens: int = 4096
    pool: int = 1024
    easy_examples: int = 15_000
    easy_tokens: int = 112
    ordered_examples: int = 0


@dataclass(frozen=True)
class Position:
    """Where in the data order a run is: next batch of a pool of an epoch."""

    epoch: int = 0
    pool: int = 0
    batch: int = 0


def joined(
    example: Example, special: SpecialIds, max_positions: int | None, *, reserved_id: int
) -> Example:
    """An example with its passages in one; an answer that is cut off there becomes absent."""
    longest = room(len(example.question), special, max_positions)
    passages = [join(example.passages, special, longest)]
    if example.span is None:
        return replace(example, passages=passages)
    passage, first, last = example.span
    shift = joined_offset(example.passages, passage)
    if longest is not None and shift + last >= longest:
        return Example(example.question, passages, [reserved_id], None, True)
    return replace(example, passages=passages, span=(0, shift + first, shift + last))


def collate(
    examples: Sequence[Example],
    special: SpecialIds,
    *,
    start_id: int,
    end_id: int,
    layout: Layout = FUSION,
) -> GeneratorBatch:
    """Pad examples into one batch; targets longer than `LONGEST_TARGET` lose their end.

    Args:
        examples: for a joining layout, of one passage each.
        special: framing ids.
        start_id: decoder start token.
        end_id: end token.
        layout: without copying there are no gold positions.
    """
    passages = layout.fuse(
        [example.question for example in examples],
        [example.passages for example in examples],
        special,
    )
    length = passages.input_ids.shape[-1]
    targeted = [example.target or [] for example in examples]
    steps = min(LONGEST_TARGET, max(map(len, targeted))) + 1
    shape = (len(examples), steps)
    decoder_ids = torch.full(shape, special.padding)
    targets = torch.full(shape, special.padding)
    mask = torch.zeros(shape, dtype=torch.bool)
    gold = torch.full(shape, -1)
    span = torch.full((len(examples), 2), -1)
    for b, example in enumerate(examples):
        if example.target is None:
            continue
        kept = example.target[:LONGEST_TARGET]
        count = len(kept)
        decoder_ids[b, : count + 1] = torch.tensor([start_id, *kept])
        targets[b, : count + 1] = torch.tensor([*kept, end_id])
        # No end is learned where the answer was cut.
        mask[b, : count + (count == len(example.target))] = True
        if example.span is not None and layout.copying:
            passage, first, last = example.span
            begin = passage * length + passage_offset(len(example.question), special) + first
            gold[b, :count] = torch.arange(begin, begin + count)
            span[b] = torch.tensor([begin, begin + last - first])
    absent = torch.tensor([example.absent for example in examples])
    return GeneratorBatch(passages, decoder_ids, targets, mask, gold, span, absent)


class BatchStream:
    """An endless stream of batches that can start anywhere.

    Args:
        composer: makes the examples.
        mix: what they are made of.
        plan: their order.
        special: framing ids.
        start_id: decoder start token.
        end_id: end token.
        layout: how passages become encoder rows.
        max_positions: longest encoder row, in tokens; None for no limit.

    Raises:
        UsageError: no row is left to learn from.
    """

    def __init__(
        self,
        composer: Composer,
        mix: Mix,
        plan: BatchPlan,
        special: SpecialIds,
        *,
        start_id: int,
        end_id: int,
        layout: Layout = FUSION,
        max_positions: int | None = None,
    ) -> None:
        self.composer = composer
        self.mix = mix
        self.plan = plan
        self.special = special
        self.start_id = start_id
        self.end_id = end_id
        self.layout = layout
        self.max_positions = max_positions
        if not any(mix.source_weights.get(row.source, 1.0) > 0 for row in composer.rows):
            raise UsageError("no row would be learned from: give a source a weight above 0")

    def epoch_rows(self, epoch: int) -> list[int]:
        """Row indices in the order in which an epoch visits them."""
        rng = Random(f"{self.plan.seed}/{epoch}")
        order = []
        for index, row in enumerate(self.composer.rows):
            weight = max(0.0, self.mix.source_weights.get(row.source, 1.0))
            order += [index] * (int(weight) + (rng.random() < weight % 1))
        rng.shuffle(order)
        in_order = max(0, self.plan.ordered_examples - epoch * len(order))
        if in_order:
            order[:in_order] = ordered(order[:in_order], self.composer.rows)
        return order

    def pool_batches(self, order: Sequence[int], epoch: int, pool: int) -> list[list[Example]]:
        """Compose one pool of examples and group it into batches of similar length."""
        before = epoch * len(order) + pool * self.plan.pool
        mix = self.mix
        if before < self.plan.easy_examples:
            mix = replace(mix, passage_tokens=self.plan.easy_tokens, several=0.0)
        if before < self.plan.ordered_examples:
            mix = replace(mix, negative=0.0, swapped=0.0, opposite=0.0, removed=0.0)
        rng = Random(f"{self.plan.seed}/{epoch}/{pool}")
        chosen = order[pool * self.plan.pool : (pool + 1) * self.plan.pool]
        examples = [self.composer.compose(index, rng, mix) for index in chosen]
        if self.layout.concatenated:
            reserved = self.composer.reserved_id
            examples = [
                joined(example, self.special, self.max_positions, reserved_id=reserved)
                for example in examples
            ]
        examples.sort(key=lambda example: (len(example.passages), example.longest))
        batches: list[list[Example]] = []
        for example in examples:
            passages = len(example.passages)
            if batches and len(batches[-1][0].passages) == passages:
                padded = (len(batches[-1]) + 1) * passages * example.longest
                if padded <= self.plan.padded_tokens:
                    batches[-1].append(example)
                    continue
            batches.append([example])
        rng.shuffle(batches)
        return batches

    def batches(self, position: Position) -> Iterator[tuple[list[Example], Position]]:
        """Batches from a position on, each with the position of the one after it."""
        epoch, pool, skip = position.epoch, position.pool, position.batch
        while True:
            order = self.epoch_rows(epoch)
            pools = -(-len(order) // self.plan.pool)
            for current in range(pool, pools):
                batches = self.pool_batches(order, epoch, current)
                for number in range(skip, len(batches)):
                    after = Position(epoch, current, number + 1)
                    yield batches[number], after
                skip = 0
            epoch, pool = epoch + 1, 0

    def collate(self, examples: Sequence[Example]) -> GeneratorBatch:
        """Pad examples into one batch."""
        return collate(
            examples,
            self.special,
            start_id=self.start_id,
            end_id=self.end_id,
            layout=self.layout,
        )
