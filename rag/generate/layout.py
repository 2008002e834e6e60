"""How passages become encoder rows: each on its own, or joined (for comparison)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from rag.generate.fusion import PassageBatch, SpecialIds, fuse, passage_offset


@dataclass(frozen=True)
class Layout:
    """What the encoder sees, and what of it may be copied.

    Attributes:
        concatenated: all passages of a question stand in one row, with separators between them
            and the end cut off at the position table; otherwise each has a row of its own.
        copying: passage tokens may be copied; without it everything is generated.
    """

    concatenated: bool = False
    copying: bool = True

    def fuse(
        self,
        questions: Sequence[Sequence[int]],
        passages: Sequence[Sequence[Sequence[int]]],
        special: SpecialIds,
        *,
        max_positions: int | None = None,
    ) -> PassageBatch:
        """Lay token ids out for the encoder.

        Args:
            questions: B lists of token ids.
            passages: for each question its passages' token ids.
            special: framing ids.
            max_positions: longest row, in tokens; None for no limit. Only joined rows are cut.

        Returns:
            the padded batch; joined rows make it (B, 1, L).

        Raises:
            ValueError: there are no questions, or the two lists differ in length.
        """
        if self.concatenated:
            passages = [
                [join(own, special, room(len(question), special, max_positions))]
                for question, own in zip(questions, passages, strict=True)
            ]
        batch = fuse(questions, passages, special)
        if not self.copying:
            return replace(batch, copy_mask=torch.zeros_like(batch.copy_mask))
        if self.concatenated:
            between = batch.input_ids == special.separator
            return replace(batch, copy_mask=batch.copy_mask & ~between)
        return batch


def room(question_tokens: int, special: SpecialIds, max_positions: int | None) -> int | None:
    """Passage tokens that fit into a row beside a question; None for no limit."""
    if max_positions is None:
        return None
    return max(0, max_positions - passage_offset(question_tokens, special) - 1)


def join(
    passages: Sequence[Sequence[int]], special: SpecialIds, longest: int | None = None
) -> list[int]:
    """Passages in one list with separators between them, cut at `longest` tokens.

    >>> join([[5, 6], [7]], SpecialIds(start=3, separator=4, padding=0))
    [5, 6, 4, 7]
    """
    joined: list[int] = []
    for i, passage in enumerate(passages):
        joined += [special.separator, *passage] if i else passage
    return joined[:longest]


def joined_offset(passages: Sequence[Sequence[int]], passage: int) -> int:
    """Index of a passage's first token after `join`."""
    return sum(len(other) + 1 for other in passages[:passage])
