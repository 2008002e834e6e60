"""Following a search: each token as it is chosen, and where it came from so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria

from rag.generate.copy_attention import CopyModel, Encoded, Mixture, same_tokens
from rag.generate.provenance import Trace, pointers_of

Heard = Callable[[tuple[int, ...], Trace], None]
"""The tokens of an answer so far, without its end, and what is known of them.

What it raises ends the search.
"""


class Following(StoppingCriteria):
    """Tells of each token of one sequence; it never stops the search by itself.

    What the search has worked out is used again, so that following costs next to nothing; the
    finished answer is traced anew, in one pass (`provenance.trace`).

    Args:
        model: whose answer it is.
        encoded: one question.
        heard: is called after each token.
    """

    def __init__(self, model: CopyModel, encoded: Encoded, heard: Heard) -> None:
        self._eos_id = model.eos_id
        self._encoded = encoded
        self._heard = heard
        self._step: tuple[Mixture, Tensor] | None = None
        self._tokens: list[int] = []
        self._log_probs: list[float] = []
        self._shares: list[float] = []
        self._log_pointers: list[Tensor] = []  # (S,) each

    def note(self, mixture: Mixture, log_probs: Tensor) -> None:
        """Take what the next token is chosen from: (1, 1, ·) and (1, V)."""
        self._step = mixture, log_probs

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """(1, T) tokens to (1,) False."""
        if self._step is not None:
            (mixture, log_probs), self._step = self._step, None
            token = input_ids[:, -1:]  # (1, 1)
            self._tokens.append(int(token))
            self._log_probs.append(float(log_probs[0, token[0, 0]]))
            self._shares.append(float(mixture.copy_shares(token)[0, -1]))
            self._log_pointers.append(mixture.log_pointers[0, -1])
            self._tell()
        return torch.zeros(input_ids.shape[:1], dtype=torch.bool, device=input_ids.device)

    def _tell(self) -> None:
        ended = self._tokens[-1] == self._eos_id
        count = len(self._tokens) - ended
        tokens = torch.tensor(self._tokens[:count], device=self._encoded.source_ids.device)
        pointers: tuple[int | None, ...] = ()
        if count:
            encoded = self._encoded
            holds = same_tokens(tokens.unsqueeze(0), encoded.source_ids, encoded.copy_mask)[0]
            shares = self._shares[:count]
            pointers = pointers_of(torch.stack(self._log_pointers[:count]), holds, shares)
        traced = Trace(
            log_probs=tuple(self._log_probs[:count]),
            end_log_prob=self._log_probs[-1] if ended else 0.0,
            copy_shares=tuple(self._shares[:count]),
            pointers=pointers,
            absent=0.0,
        )
        self._heard(tuple(self._tokens[:count]), traced)
