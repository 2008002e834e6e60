"""Checks joined rows and rows without copying."""

from __future__ import annotations

import pytest
import torch

from rag.generate.fusion import SpecialIds, fuse
from rag.generate.layout import Layout, join, joined_offset

SPECIAL = SpecialIds(start=4, separator=2, padding=0)
QUESTIONS = [[10, 11], [12]]
PASSAGES = [[[20, 21], [22]], [[23]]]


def test_the_default_is_fusion_in_decoder() -> None:
    ours, theirs = Layout().fuse(QUESTIONS, PASSAGES, SPECIAL), fuse(QUESTIONS, PASSAGES, SPECIAL)
    for name, value in vars(theirs).items():
        assert torch.equal(getattr(ours, name), value)


def test_joined_passages_share_a_row_and_separators_are_not_copied() -> None:
    batch = Layout(concatenated=True).fuse(QUESTIONS, PASSAGES, SPECIAL)
    assert batch.input_ids.tolist() == [
        [[4, 10, 11, 2, 20, 21, 2, 22, 2]],
        [[4, 12, 2, 23, 2] + [0] * 4],
    ]
    copied = batch.input_ids[batch.copy_mask].tolist()
    assert copied == [20, 21, 22, 23]
    assert joined_offset(PASSAGES[0], 1) == join(PASSAGES[0], SPECIAL).index(22)


@pytest.mark.parametrize(("positions", "kept"), [(9, [20, 21, 2, 22]), (8, [20, 21, 2]), (6, [20])])
def test_joined_rows_end_at_the_position_table(positions: int, kept: list[int]) -> None:
    layout = Layout(concatenated=True)
    batch = layout.fuse(QUESTIONS[:1], PASSAGES[:1], SPECIAL, max_positions=positions)
    assert batch.input_ids.tolist() == [[[4, 10, 11, 2, *kept, 2]]]


def test_without_copying_nothing_may_be_copied() -> None:
    batch = Layout(copying=False).fuse(QUESTIONS, PASSAGES, SPECIAL)
    assert not batch.copy_mask.any()
    assert torch.equal(batch.input_ids, fuse(QUESTIONS, PASSAGES, SPECIAL).input_ids)
