"""Fusion-in-decoder batches: each question with each passage as its own encoder row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class PassageBatch:
    """B questions with P passages each, padded to L tokens.

    Attributes:
        input_ids: (B, P, L) token ids of [CLS] question [SEP] passage [SEP].
        attention_mask: (B, P, L), 1 for real tokens.
        copy_mask: (B, P, L), true on passage tokens only.
    """

    input_ids: Tensor
    attention_mask: Tensor
    copy_mask: Tensor

    def to(self, device: torch.device | str) -> PassageBatch:
        """The same batch on another device."""
        return PassageBatch(
            self.input_ids.to(device), self.attention_mask.to(device), self.copy_mask.to(device)
        )

    def padded(self, length: int, padding: int) -> PassageBatch:
        """The same rows, filled up to so many tokens."""
        spare = (0, length - self.input_ids.shape[2])
        return PassageBatch(
            pad(self.input_ids, spare, value=padding),
            pad(self.attention_mask, spare),
            pad(self.copy_mask, spare),
        )


@dataclass(frozen=True)
class SpecialIds:
    """Ids that frame a pair; `start` is None for models without one (T5)."""

    start: int | None
    separator: int
    padding: int


def passage_offset(question_tokens: int, special: SpecialIds) -> int:
    """Index of a passage's first token in its encoder row."""
    return question_tokens + 1 + (special.start is not None)


def fuse(
    questions: Sequence[Sequence[int]],
    passages: Sequence[Sequence[Sequence[int]]],
    special: SpecialIds,
) -> PassageBatch:
    """Lay token ids out for fusion-in-decoder (Izacard & Grave, 2021).

    Args:
        questions: B lists of token ids.
        passages: for each question its passages' token ids; counts may differ.
        special: framing ids.

    Returns:
        the padded batch; a question without passages gets an empty one.

    Raises:
        ValueError: there are no questions, or the two lists differ in length.
    """
    if not questions or len(questions) != len(passages):
        raise ValueError(
            f"need one passage list per question, got {len(questions)} questions "
            f"and {len(passages)} passage lists"
        )
    start = [] if special.start is None else [special.start]
    rows = [
        [
            [*start, *question, special.separator, *passage, special.separator]
            for passage in own or [[]]
        ]
        for question, own in zip(questions, passages, strict=True)
    ]
    count = max(len(own) for own in rows)
    length = max(len(row) for own in rows for row in own)
    shape = (len(rows), count, length)
    input_ids = torch.full(shape, special.padding)  # (B, P, L)
    attention_mask = torch.zeros(shape, dtype=torch.long)
    copy_mask = torch.zeros(shape, dtype=torch.bool)
    for b, own in enumerate(rows):
        first = passage_offset(len(questions[b]), special)
        for p, row in enumerate(own):
            input_ids[b, p, : len(row)] = torch.tensor(row)
            attention_mask[b, p, : len(row)] = 1
            copy_mask[b, p, first : len(row) - 1] = True
    return PassageBatch(input_ids, attention_mask, copy_mask)
