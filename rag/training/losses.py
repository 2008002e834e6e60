"""The generator's training loss: next token, pointer, span and absence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from rag.generate.copy_attention import CopyModel, Forced
from rag.training.batches import GeneratorBatch


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms; the token term has weight 1."""

    pointer: float = 0.5
    span: float = 1.0
    absence: float = 0.5
    teacher: float = 1.0


def generator_losses(model: CopyModel, batch: GeneratorBatch) -> dict[str, Tensor]:
    """Loss terms of a batch, each a float32 scalar.

    token: mean negative log P(y_t) of the mixture.
    pointer: mean negative log of the copy share on the gold source position, (1 - g_t) a_t.
    span: mean negative log probability of the answer's first and last position.
    absence: cross-entropy of "not in these passages".

    Args:
        model: the model; in data-parallel runs its wrapper, which is called the same way.
        batch: on the model's device.

    Returns:
        the terms; span and absence are missing when the model has no span head.
    """
    forced = model(batch.passages, batch.decoder_ids, batch.targets, batch.target_mask)
    return loss_terms(forced, batch)


def loss_terms(forced: Forced, batch: GeneratorBatch) -> dict[str, Tensor]:
    """The terms of `generator_losses` from a forward pass that is already done."""
    mask = batch.target_mask  # (B, T)
    positions = batch.gold_positions.clamp_min(0).unsqueeze(-1)
    pointed = forced.log_pointers.gather(-1, positions).squeeze(-1)  # (B, T, S) -> (B, T)
    pointed = pointed + forced.log_copy_share
    terms = {
        "token": masked_mean(-forced.token_log_probs, mask),
        "pointer": masked_mean(-pointed, batch.gold_positions >= 0),
    }
    spans = forced.spans
    if spans is not None:
        begin, end = batch.span.clamp_min(0).unbind(-1)  # (B,)
        chosen = spans.start.gather(1, begin[:, None]) + spans.end.gather(1, end[:, None])
        terms["span"] = masked_mean(-chosen.squeeze(1) / 2, batch.span[:, 0] >= 0)
        terms["absence"] = binary_cross_entropy_with_logits(spans.absent, batch.absent.float())
    return terms


def total_loss(terms: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """Weighted sum of the terms."""
    loss = terms["token"]
    for name, value in terms.items():
        if name != "token":
            loss = loss + getattr(weights, name) * value
    return loss


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over true positions; 0 where there are none."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp_min(1)
