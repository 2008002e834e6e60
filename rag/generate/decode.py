"""Greedy decoding of the mixture, with a key-value cache."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rag.generate.copy_attention import NEGATIVE, CopyModel, Encoded


@dataclass(frozen=True)
class Decoded:
    """One decoded answer.

    Attributes:
        tokens: ids without the end token.
        copy_shares: for each token the share of its probability that was copied.
        pointers: for each token the likeliest source position in S = passages x length that
            holds it; -1 if none does.
        log_prob: sum over tokens and the end.
    """

    tokens: list[int]
    copy_shares: list[float]
    pointers: list[int]
    log_prob: float


@torch.inference_mode()
def greedy(model: CopyModel, encoded: Encoded, *, max_tokens: int = 64) -> list[Decoded]:
    """Decode every question of a batch by the likeliest next token.

    Args:
        model: in evaluation mode.
        encoded: the questions with their passages, from `model.encode`.
        max_tokens: longest answer.

    Returns:
        one answer per question.
    """
    count = encoded.source_ids.shape[0]
    answers = [Decoded([], [], [], 0.0) for _ in range(count)]
    scores = [0.0] * count
    alive = [True] * count
    tokens = torch.full((count, 1), model.start_id, device=encoded.source_ids.device)
    run, cache = None, None
    for _ in range(max_tokens + 1):
        mixture, run, cache = model.decode(encoded, tokens, run=run, cache=cache, use_cache=True)
        best, tokens = mixture.log_probs()[:, -1:].max(-1)  # (B, 1, V) -> (B, 1)
        shares = mixture.copy_shares(tokens)  # (B, 1)
        holds = (mixture.source_ids == tokens) & mixture.copy_mask  # (B, S)
        mass, places = mixture.log_pointers[:, -1].masked_fill(~holds, 2 * NEGATIVE).max(-1)
        for b in range(count):
            if not alive[b]:
                continue
            scores[b] += float(best[b])
            token = int(tokens[b])
            if token == model.eos_id:
                alive[b] = False
                continue
            answers[b].tokens.append(token)
            answers[b].copy_shares.append(float(shares[b]))
            answers[b].pointers.append(int(places[b]) if mass[b] > NEGATIVE else -1)
        if not any(alive):
            break
    return [
        Decoded(answer.tokens, answer.copy_shares, answer.pointers, score)
        for answer, score in zip(answers, scores, strict=True)
    ]
