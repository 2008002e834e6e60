"""Checks how questions and passages are laid out for the encoder."""

from __future__ import annotations

import pytest
import torch

from rag.generate.fusion import PassageBatch, SpecialIds, fuse, passage_offset

SPECIAL = SpecialIds(start=4, separator=2, padding=0)


def test_rows_are_framed_pairs_and_only_passage_tokens_are_copyable() -> None:
    batch = fuse([[10, 11]], [[[20, 21], [22]]], SPECIAL)
    assert batch.input_ids.tolist() == [[[4, 10, 11, 2, 20, 21, 2], [4, 10, 11, 2, 22, 2, 0]]]
    assert batch.attention_mask.tolist() == [[[1] * 7, [1] * 6 + [0]]]
    assert batch.copy_mask.tolist() == [
        [[False] * 4 + [True, True, False], [False] * 4 + [True, False, False]]
    ]
    assert passage_offset(2, SPECIAL) == 4


def test_models_without_a_start_token() -> None:
    special = SpecialIds(start=None, separator=1, padding=0)
    batch = fuse([[10]], [[[20]]], special)
    assert batch.input_ids.tolist() == [[[10, 1, 20, 1]]]
    assert passage_offset(1, special) == 2
    assert batch.copy_mask.tolist() == [[[False, False, True, False]]]


def test_missing_passages_are_masked_and_copy_nothing() -> None:
    batch = fuse([[10], [11]], [[[20], [21]], []], SPECIAL)
    assert batch.input_ids[1].tolist() == [[4, 11, 2, 2, 0], [0] * 5]
    assert batch.attention_mask[1].sum(-1).tolist() == [4, 0]
    assert not batch.copy_mask[1].any()


@pytest.mark.parametrize(("questions", "passages"), [([], []), ([[1]], []), ([[1]], [[], []])])
def test_questions_and_passage_lists_must_match(questions, passages) -> None:
    with pytest.raises(ValueError, match="one passage list per question"):
        fuse(questions, passages, SPECIAL)


def test_encoding_a_passage_does_not_depend_on_its_neighbours(make_model, special) -> None:
    model = make_model()
    alone = fuse([[10, 11]], [[[20, 21, 22]]], special)
    together = fuse([[10, 11]], [[[30, 31, 32, 33, 34], [20, 21, 22]]], special)
    length = alone.input_ids.shape[-1]
    with torch.no_grad():
        one = model.encode(alone).states
        two = model.encode(together).states.unflatten(1, (2, -1))[:, 1, :length]
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_moving_keeps_the_batch() -> None:
    batch = fuse([[10]], [[[20]]], SPECIAL)
    moved = batch.to("cpu")
    assert isinstance(moved, PassageBatch)
    assert torch.equal(moved.input_ids, batch.input_ids)
