"""Checks pointer paths against a search over all paths, and traces against the mixture."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from rag.generate.copy_attention import CopyModel
from rag.generate.decode import decode
from rag.generate.fusion import PassageBatch, fuse
from rag.generate.provenance import CONTINUES, best_path, trace


def path_score(scores: np.ndarray, path: tuple[int, ...]) -> float:
    total = scores[0, path[0]]
    for t in range(1, len(path)):
        onward = path[t] == path[t - 1] + 1
        jump = math.log((1 - CONTINUES) / scores.shape[1])
        total += scores[t, path[t]] + (math.log(CONTINUES) if onward else jump)
    return float(total)


@pytest.mark.parametrize("seed", range(20))
def test_no_path_is_likelier(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.log(rng.dirichlet(np.full(5, 0.3), size=4) + 1e-12)
    scores[rng.random(scores.shape) < 0.3] = -np.inf
    scores[:, 0] = np.maximum(scores[:, 0], -9.0)  # every token stands somewhere
    found = best_path(scores, [True] * 4)
    assert None not in found
    best = max(path_score(scores, path) for path in itertools.product(range(5), repeat=4))
    assert path_score(scores, tuple(int(p) for p in found if p is not None)) == pytest.approx(best)


def test_the_run_goes_on_though_another_place_is_a_little_likelier() -> None:
    scores = np.full((2, 6), -np.inf)
    scores[0, 2] = math.log(0.9)
    scores[1, 3], scores[1, 5] = math.log(0.3), math.log(0.6)
    assert best_path(scores, [True, True]) == (2, 3)


def test_written_tokens_and_tokens_without_a_place_have_no_pointer() -> None:
    scores = np.log(np.full((4, 3), 1 / 3))
    scores[2] = -np.inf
    assert best_path(scores, [True, False, True, True]) == (0, None, None, 0)
    assert best_path(np.zeros((0, 3)), []) == ()


def test_trace_is_the_mixture_of_the_finished_answer(make_model, batch: PassageBatch) -> None:
    model: CopyModel = make_model()
    with torch.inference_mode():
        encoded = model.encode(
            PassageBatch(batch.input_ids[:1], batch.attention_mask[:1], batch.copy_mask[:1])
        )
        tokens = [20, 21, 33, 22]
        found = trace(model, encoded, tokens)
        prefix = torch.tensor([[model.start_id, *tokens]])
        mixture, _, _ = model.decode(encoded, prefix)
        log_probs = mixture.log_probs()[0]
    expected = [float(log_probs[t, token]) for t, token in enumerate([*tokens, model.eos_id])]
    assert [*found.log_probs, found.end_log_prob] == pytest.approx(expected)
    assert found.confidence == pytest.approx(math.exp(sum(expected) / 5))
    assert found.absent == pytest.approx(float(log_probs[0, model.reserved_id].exp()))
    assert found.pointers[2] is None  # no passage holds token 33
    for token, pointer, share in zip(tokens, found.pointers, found.copy_shares, strict=True):
        if pointer is not None:
            assert share >= 0.5
            assert int(encoded.source_ids[0, pointer]) == token
            assert bool(encoded.copy_mask[0, pointer])


def test_numbers_do_not_depend_on_the_batch(make_model, special) -> None:
    model = make_model()
    questions = [[10, 11], [12], [13, 14, 15]]
    passages = [[[20, 21, 20, 22]], [[25, 26]], [[20, 21, 22, 23], [30, 31]]]
    with torch.inference_mode():
        encoded = [
            model.encode(fuse([question], [own], special))
            for question, own in zip(questions, passages, strict=True)
        ]
    together = decode(model, encoded)
    for own, answer in zip(encoded, together, strict=True):
        (alone,) = decode(model, [own])
        assert alone == answer
        assert trace(model, own, alone.tokens) == trace(model, own, answer.tokens)
