"""Checks greedy decoding against decoding without a cache."""

from __future__ import annotations

import torch

from rag.generate.copy_attention import CopyModel, Encoded
from rag.generate.decode import greedy
from rag.generate.fusion import PassageBatch, fuse


def encode(model: CopyModel, batch: PassageBatch) -> Encoded:
    with torch.inference_mode():
        return model.encode(batch)


def slow_greedy(model: CopyModel, batch: PassageBatch, max_tokens: int) -> list[list[int]]:
    """Encode once, then run the whole prefix anew for each token."""
    answers = []
    with torch.no_grad():
        encoded = model.encode(batch)
        prefix = torch.full((batch.input_ids.shape[0], 1), model.start_id)
        for _ in range(max_tokens):
            mixture, _, _ = model.decode(encoded, prefix)
            prefix = torch.cat([prefix, mixture.log_probs()[:, -1:].argmax(-1)], 1)
    for row in prefix[:, 1:].tolist():
        answers.append(row[: row.index(model.eos_id)] if model.eos_id in row else row)
    return answers


def test_cache_changes_nothing(make_model, batch: PassageBatch) -> None:
    for seed in range(4):
        model = make_model(seed=seed)
        found = [answer.tokens[:8] for answer in greedy(model, encode(model, batch), max_tokens=8)]
        assert found == slow_greedy(model, batch, 8)


def test_answer_does_not_depend_on_the_rest_of_the_batch(make_model, special) -> None:
    model = make_model()
    questions = [[10, 11], [12], [13, 14, 15]]
    passages = [[[20, 21, 20, 22]], [[25, 26]], [[20, 21, 22, 23], [30, 31]]]
    batch = fuse(questions, passages, special)
    together = greedy(model, encode(model, batch), max_tokens=8)
    for question, own, expected in zip(questions, passages, together, strict=True):
        single = encode(model, fuse([question], [own], special))
        (alone,) = greedy(model, single, max_tokens=8)
        assert alone.tokens == expected.tokens


def test_pointers_hold_the_tokens_they_stand_for(make_model, batch: PassageBatch) -> None:
    source, copyable = batch.input_ids.flatten(1), batch.copy_mask.flatten(1)
    pointed = 0
    for seed in range(4):
        model = make_model(seed=seed)
        for b, answer in enumerate(greedy(model, encode(model, batch), max_tokens=8)):
            assert len(answer.tokens) == len(answer.copy_shares) == len(answer.pointers)
            assert answer.log_prob <= 0
            for token, place, share in zip(
                answer.tokens, answer.pointers, answer.copy_shares, strict=True
            ):
                holds = (source[b] == token) & copyable[b]
                assert (place >= 0) == bool(holds.any())
                if place >= 0:
                    assert holds[place]
                    pointed += 1
                else:
                    assert share == 0.0
    assert pointed
