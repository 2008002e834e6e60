"""Checks the loss terms against sums written out."""

from __future__ import annotations

import math

import pytest
import torch

from rag.generate.copy_attention import Forced
from rag.generate.span_guide import SpanScores
from rag.training.batches import collate
from rag.training.examples import Example
from rag.training.losses import LossWeights, generator_losses, total_loss


@pytest.fixture
def batch_of_three(make_base):
    special = make_base().special
    examples = [
        Example([5, 6], [[10, 11, 12, 13]], [11, 12], (0, 1, 2), False),
        Example([7], [[14, 15]], [1], None, True),
        Example([8], [[16, 17]], [20, 21, 22], None, False),
    ]
    return collate(examples, special, start_id=3, end_id=4)


def test_terms_are_means_over_what_they_are_about(make_base, batch_of_three) -> None:
    batch = batch_of_three
    model = make_base().model.eval()
    args = (batch.passages, batch.decoder_ids, batch.targets, batch.target_mask)
    with torch.no_grad():
        forced: Forced = model(*args)
        terms = generator_losses(model, batch)
    spans = forced.spans
    assert isinstance(spans, SpanScores)
    logs = forced.token_log_probs
    tokens = [logs[0, t] for t in range(3)] + [logs[1, t] for t in range(2)]
    tokens += [logs[2, t] for t in range(4)]
    assert float(terms["token"]) == pytest.approx(-float(sum(tokens)) / 9, rel=1e-5)
    # [CLS] 5 6 [SEP] 10 11 12 13: the answer stands at 5 and 6.
    pointed = [forced.log_copy_share[0, t] + forced.log_pointers[0, t, 5 + t] for t in range(2)]
    assert float(terms["pointer"]) == pytest.approx(-float(sum(pointed)) / 2, rel=1e-5)
    span = -(spans.start[0, 5] + spans.end[0, 6]) / 2
    assert float(terms["span"]) == pytest.approx(float(span), rel=1e-5)
    absent = [torch.sigmoid(spans.absent[b]) for b in range(3)]
    entropy = -(math.log(1 - absent[0]) + math.log(absent[1]) + math.log(1 - absent[2])) / 3
    assert float(terms["absence"]) == pytest.approx(entropy, rel=1e-4)


def test_weights() -> None:
    terms = {"token": torch.tensor(2.0), "pointer": torch.tensor(3.0)}
    assert float(total_loss(terms, LossWeights(pointer=0.5))) == 3.5


def test_a_batch_without_copied_answers_has_a_finite_loss(make_base) -> None:
    base = make_base()
    examples = [Example([5], [[10, 11]], [1], None, True)]
    batch = collate(examples, base.special, start_id=3, end_id=4)
    terms = generator_losses(base.model, batch)
    loss = total_loss(terms, LossWeights())
    loss.backward()
    assert torch.isfinite(loss)
    assert float(terms["pointer"].detach()) == float(terms["span"].detach()) == 0.0
    gradients = [p.grad for p in base.model.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
