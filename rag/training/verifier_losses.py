"""The verifier's losses: labels of which several may be right, and passages in order."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rag.training.pair_stream import LearningBatch


def verifier_losses(
    labels: Tensor, relevance: Tensor, batch: LearningBatch, *, smoothing: float
) -> dict[str, Tensor]:
    """Loss terms of one batch, of one head each.

    Args:
        labels: (B, 3) logits.
        relevance: (B,) logits.
        batch: what is right.
        smoothing: share of a label's weight that is spread over all three.
    """
    if batch.ranked:
        return {
            "answers": functional.binary_cross_entropy_with_logits(relevance, batch.relevant),
            "ranking": _ranking(relevance, batch),
        }
    return {"entailment": _labels(labels, batch.allowed, smoothing)}


def _labels(logits: Tensor, allowed: Tensor, smoothing: float) -> Tensor:
    """Negative log of the right labels' probability together; one is enough."""
    log_probs = logits.log_softmax(-1)  # (B, 3)
    right = log_probs.masked_fill(~allowed, -torch.inf).logsumexp(-1)  # (B, 3) -> (B,)
    return -((1 - smoothing) * right + smoothing * log_probs.mean(-1)).mean()


def _ranking(logits: Tensor, batch: LearningBatch) -> Tensor:
    """Listwise softmax over each question's passages (Cao et al., 2007), one of them right."""
    groups = int(batch.group[-1]) + 1
    member = functional.one_hot(batch.group, groups).T.bool()  # (G, B)
    answered = (member & (batch.relevant > 0)).any(-1)  # (G,)
    if not answered.any():
        return logits.sum() * 0
    all_of = logits.expand(groups, -1).masked_fill(~member, -torch.inf).logsumexp(-1)  # (G,)
    right = logits.expand(groups, -1).masked_fill(~(member & (batch.relevant > 0)), -torch.inf)
    return (all_of - right.logsumexp(-1))[answered].mean()
