"""Turns composed examples into length-bucketed batches in an order that only the seed decides."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from rag.errors import UsageError
from rag.training.pairs import Example, PairComposer, Shares
from rag.verify.cross_encoder import LABELS, Framing, PairBatch, Row, collate, encode_pairs

TASKS = ("nli", "claims", "relevance")


@dataclass(frozen=True)
class LearningBatch:
    """What one training step needs; B pairs.

    Attributes:
        pairs: the model's input.
        allowed: (B, 3), true on right labels; empty of trues for relevance.
        relevant: (B,), 1.0 where the passage answers.
        group: (B,), which question a pair belongs to; consecutive.
        ranked: the batch is for the relevance head.
    """

    pairs: PairBatch
    allowed: Tensor
    relevant: Tensor
    group: Tensor
    ranked: bool

    def to(self, device: torch.device | str) -> LearningBatch:
        """The same batch on another device."""
        return LearningBatch(
            self.pairs.to(device),
            self.allowed.to(device),
            self.relevant.to(device),
            self.group.to(device),
            self.ranked,
        )


Encoded = tuple[Example, list[Row]]


class PairStream:
    """An endless stream of batches that can start anywhere.

    Args:
        composer: makes the examples.
        shares: what they are made of.
        tokenizer: of the encoder.
        framing: its ids.
        seed: decides order and composition.
        pool: examples composed and sorted at a time.
        padded_tokens: most tokens in a batch, padding included.

    Raises:
        UsageError: nothing is left to learn from.
    """

    def __init__(
        self,
        composer: PairComposer,
        shares: Shares,
        tokenizer: Tokenizer,
        framing: Framing,
        *,
        seed: int,
        pool: int,
        padded_tokens: int,
    ) -> None:
        self.composer = composer
        self.shares = shares
        self.tokenizer = tokenizer
        self.framing = framing
        self.seed = seed
        self.padded_tokens = padded_tokens
        sources = {
            "nli": [said.source for said in composer.statements],
            "claims": [row.source for row in composer.rows],
            "relevance": [row.source for row in composer.ranked],
        }
        self._sources = {task: own for task, own in sources.items() if own}
        self._ends: dict[str, list[int]] = {task: [] for task in self._sources}
        wanted = {task: getattr(shares, task) for task in self._sources}
        total = sum(wanted.values())
        if not total:
            raise UsageError("nothing to learn from: give questions or statements")
        self.counts = {task: round(pool * share / total) for task, share in wanted.items()}

    def batches(self, pool: int, skip: int) -> Iterator[tuple[list[Encoded], int, int]]:
        """Batches from a pool's batch on, each with the position of the one after it."""
        while True:
            made = self.pool_batches(pool)
            for number in range(skip, len(made)):
                yield made[number], pool, number + 1
            pool, skip = pool + 1, 0

    def pool_batches(self, pool: int) -> list[list[Encoded]]:
        """Compose one pool of examples and group it into batches of one task and like length."""
        rng = Random(f"{self.seed}/{pool}")
        batches: list[list[Encoded]] = []
        for task, count in self.counts.items():
            examples = [
                self._example(task, self._row(task, pool * count + i), rng) for i in range(count)
            ]
            rows = encode_pairs(
                self.tokenizer, [pair for e in examples for pair in e.pairs], self.framing
            )
            encoded: list[Encoded] = []
            at = 0
            for example in examples:
                encoded.append((example, rows[at : at + len(example.pairs)]))
                at += len(example.pairs)
            batches += self._bucketed(encoded)
        rng.shuffle(batches)
        return batches

    def _example(self, task: str, row: int, rng: Random) -> Example:
        if task == "nli":
            return self.composer.nli(row)
        make = self.composer.claim if task == "claims" else self.composer.relevance
        return make(row, rng, self.shares)

    def _row(self, task: str, draw: int) -> int:
        """The row that a task's n-th draw visits; each epoch has its own order."""
        ends = self._ends[task]  # draws before the end of each epoch
        while not ends or draw >= ends[-1]:
            begin = ends[-1] if ends else 0
            ends.append(begin + len(self._epoch(task, len(ends))))
        epoch = bisect_right(ends, draw)
        begin = ends[epoch - 1] if epoch else 0
        return self._epoch(task, epoch)[draw - begin]

    @lru_cache(maxsize=12)  # noqa: B019  # One stream lives as long as its run.
    def _epoch(self, task: str, epoch: int) -> list[int]:
        rng = Random(f"{self.seed}/{task}/{epoch}")
        order: list[int] = []
        for index, source in enumerate(self._sources[task]):
            weight = max(0.0, self.shares.source_weights.get(source, 1.0))
            order += [index] * (int(weight) + (rng.random() < weight % 1))
        rng.shuffle(order)
        return order or list(range(len(self._sources[task])))

    def _bucketed(self, encoded: list[Encoded]) -> list[list[Encoded]]:
        encoded.sort(key=lambda one: max(len(row.ids) for row in one[1]))
        batches: list[list[Encoded]] = []
        pairs = 0
        for one in encoded:
            longest = max(len(row.ids) for row in one[1])
            if batches and (pairs + len(one[1])) * longest <= self.padded_tokens:
                batches[-1].append(one)
                pairs += len(one[1])
            else:
                batches.append([one])
                pairs = len(one[1])
        return batches

    def collate(self, batch: list[Encoded]) -> LearningBatch:
        """Pad examples of one task into one batch."""
        rows = [row for _, own in batch for row in own]
        allowed = torch.zeros(len(rows), len(LABELS), dtype=torch.bool)
        relevant = torch.zeros(len(rows))
        group = torch.zeros(len(rows), dtype=torch.long)
        at = 0
        for number, (example, own) in enumerate(batch):
            for label in example.labels:
                allowed[at, label] = True
            for i, answers in enumerate(example.relevant):
                relevant[at + i] = float(answers)
            group[at : at + len(own)] = number
            at += len(own)
        pairs = collate(rows, self.framing)
        return LearningBatch(pairs, allowed, relevant, group, bool(batch[0][0].relevant))
