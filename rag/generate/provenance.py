"""Where each token of an answer came from: copy shares and the best contiguous pointer path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rag.generate.copy_attention import CopyModel, Encoded
from rag.steady import steady_length

COPIED = 0.5  # from this share of a token's probability on, it was copied
CONTINUES = 0.95  # prior probability that a copied token stands right after the one before


@dataclass(frozen=True)
class Trace:
    """An answer's tokens under the model, and where they were copied from.

    Attributes:
        log_probs: of each token.
        end_log_prob: of ending after the last one.
        copy_shares: r_t of each token.
        pointers: source position in S of each copied token; None for written ones.
        absent: probability of "not in these passages" as the first token.
    """

    log_probs: tuple[float, ...]
    end_log_prob: float
    copy_shares: tuple[float, ...]
    pointers: tuple[int | None, ...]
    absent: float

    @property
    def confidence(self) -> float:
        """Probability of the sequence, normalised by length: exp of the mean log-probability."""
        mean = (sum(self.log_probs) + self.end_log_prob) / (len(self.log_probs) + 1)
        return math.exp(min(0.0, mean))

    def first(self, count: int) -> Trace:
        """The same of the first tokens alone, as if the answer ended there."""
        return Trace(
            self.log_probs[:count],
            0.0,
            self.copy_shares[:count],
            self.pointers[:count],
            self.absent,
        )


@torch.inference_mode()
def trace(model: CopyModel, encoded: Encoded, tokens: Sequence[int]) -> Trace:
    """Score a finished answer in one pass, with shapes that only its question decides.

    Whatever the search, the batch it ran in and the number of threads, the same answer gets the
    same numbers, to the last bit: end tokens fill the prefix up to where products are steady, and
    no token sees those after it.

    Args:
        model: in evaluation mode.
        encoded: one question.
        tokens: the answer without start and end.
    """
    device = encoded.source_ids.device
    count = len(tokens)
    most = getattr(model.seq2seq.config, "max_position_embeddings", None)  # T5 has no limit
    spare = [model.eos_id] * (steady_length(count + 1, most) - count - 1)
    prefix = torch.tensor([[model.start_id, *tokens, *spare]], device=device)  # (1, T)
    targets = torch.tensor([[*tokens, model.eos_id, *spare]], device=device)
    mixture, _, _ = model.decode(encoded, prefix)
    log_probs = mixture.log_probs()[0]  # (T, V)
    chosen = log_probs.gather(-1, targets[0].unsqueeze(-1)).squeeze(-1).tolist()
    shares = mixture.copy_shares(targets)[0].tolist()
    absent = 0.0
    if model.reserved_id is not None:
        absent = float(log_probs[0, model.reserved_id].exp())
    holds = (encoded.source_ids == targets[0].unsqueeze(-1)) & encoded.copy_mask  # (T, S)
    return Trace(
        log_probs=tuple(chosen[:count]),
        end_log_prob=chosen[count],
        copy_shares=tuple(shares[:count]),
        pointers=pointers_of(mixture.log_pointers[0, :count], holds[:count], shares[:count]),
        absent=absent,
    )


def pointers_of(
    log_pointers: Tensor, holds: Tensor, shares: Sequence[float]
) -> tuple[int | None, ...]:
    """Source positions of the copied tokens.

    Args:
        log_pointers: (T, S), log a_t.
        holds: (T, S), true where the source has the token.
        shares: (T,), r_t.
    """
    scores = log_pointers.masked_fill(~holds, -math.inf).double().cpu().numpy()  # (T, S)
    return best_path(scores, [share >= COPIED for share in shares])


def best_path(scores: NDArray[np.float64], copied: Sequence[bool]) -> tuple[int | None, ...]:
    """Likeliest source positions of the copied tokens (Viterbi over positions).

    The prior goes on to the next position with probability `CONTINUES` and otherwise jumps
    anywhere alike, so that of several equal words the one that continues the run is chosen.

    Args:
        scores: (T, S) log-probability of each position; -inf where another token stands.
        copied: (T,) which tokens need a position.

    Returns:
        (T,) positions; None for tokens that were not copied or stand nowhere.
    """
    steps, positions = scores.shape
    path: list[int | None] = [None] * steps
    stay, jump = math.log(CONTINUES), math.log((1 - CONTINUES) / max(1, positions))
    start = 0
    while start < steps:
        stop = start
        while stop < steps and copied[stop] and np.isfinite(scores[stop]).any():
            stop += 1
        if stop > start:
            path[start:stop] = _viterbi(scores[start:stop], stay, jump)
        start = stop + 1
    return tuple(path)


def _viterbi(scores: NDArray[np.float64], stay: float, jump: float) -> list[int]:
    steps, positions = scores.shape
    best = scores[0]
    came_from = np.zeros((steps, positions), dtype=np.int64)
    for t in range(1, steps):
        anywhere = int(best.argmax())
        leap = best[anywhere] + jump
        onward = np.concatenate([[-np.inf], best[:-1] + stay])  # from the position before
        came_from[t] = np.where(onward >= leap, np.arange(positions) - 1, anywhere)
        best = scores[t] + np.maximum(onward, leap)
    place = int(best.argmax())
    path = [place]
    for t in range(steps - 1, 0, -1):
        place = int(came_from[t, place])
        path.append(place)
    return path[::-1]
