"""Checks the verifier's losses against sums written out, and that both heads learn from them."""

from __future__ import annotations

import math

import pytest
import torch

from rag.training.pair_stream import LearningBatch
from rag.training.verifier_losses import verifier_losses
from rag.verify.cross_encoder import PairBatch

EMPTY = PairBatch(*(torch.zeros(1, 1, dtype=torch.long) for _ in range(3)))


def labelled(allowed) -> LearningBatch:
    rows = len(allowed)
    nothing = torch.zeros(rows)
    return LearningBatch(EMPTY, torch.tensor(allowed), nothing, nothing.long(), False)


def ranked(relevant, group) -> LearningBatch:
    none = torch.zeros(len(group), 3, dtype=torch.bool)
    return LearningBatch(EMPTY, none, torch.tensor(relevant), torch.tensor(group), True)


def softmax(values):
    return [math.exp(v) / sum(math.exp(o) for o in values) for v in values]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_labels_against_sums_written_out(seed: int, smoothing: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(6, 3, generator=generator, dtype=torch.float64)
    allowed = [[True, False, False], [False, True, True], [False, False, True]] * 2
    expected = 0.0
    for row, own in zip(logits.tolist(), allowed, strict=True):
        shares = softmax(row)
        right = sum(share for share, ok in zip(shares, own, strict=True) if ok)
        spread = sum(math.log(share) for share in shares) / 3
        expected -= ((1 - smoothing) * math.log(right) + smoothing * spread) / 6
    terms = verifier_losses(logits, torch.zeros(6), labelled(allowed), smoothing=smoothing)
    assert terms.keys() == {"entailment"}
    assert float(terms["entailment"]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_rankings_against_sums_written_out(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(8, generator=generator, dtype=torch.float64)
    relevant = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    group = [0, 0, 0, 1, 1, 2, 2, 2]  # the second question has no answer
    batch = ranked(torch.tensor(relevant).tolist(), group)
    terms = verifier_losses(
        torch.zeros(8, 3),
        scores,
        LearningBatch(
            batch.pairs, batch.allowed, batch.relevant.double(), batch.group, batch.ranked
        ),
        smoothing=0.1,
    )
    values = scores.tolist()
    expected = -(math.log(softmax(values[0:3])[0]) + math.log(softmax(values[5:8])[1])) / 2
    sigmoids = [1 / (1 + math.exp(-v)) for v in values]
    answers = (
        -sum(math.log(s if wanted else 1 - s) for s, wanted in zip(sigmoids, relevant, strict=True))
        / 8
    )
    assert float(terms["ranking"]) == pytest.approx(expected, rel=1e-9)
    assert float(terms["answers"]) == pytest.approx(answers, rel=1e-6)


def test_questions_without_an_answer_rank_nothing() -> None:
    scores = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    terms = verifier_losses(
        torch.zeros(3, 3), scores, ranked([0.0, 0.0, 0.0], [0, 0, 1]), smoothing=0.0
    )
    assert terms["ranking"].item() == 0.0
    sum(terms.values()).backward()
    assert scores.grad is not None
    assert (scores.grad > 0).all(), "all scores are to fall"


def test_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([[1e4, -1e4, -1e4], [-1e4, 1e4, 1e4]], requires_grad=True)
    terms = verifier_losses(
        logits,
        torch.zeros(2),
        labelled([[False, True, True], [True, False, False]]),
        smoothing=0.05,
    )
    terms["entailment"].backward()
    assert torch.isfinite(terms["entailment"].detach())
    assert torch.isfinite(logits.grad).all()
