"""The copy-attention module: a pointer mixture around any transformers encoder-decoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, pad
from transformers import PreTrainedModel

from rag.generate.fusion import PassageBatch
from rag.generate.span_guide import Guidance, RunState, SpanGuide, SpanScores

NEGATIVE = -1e9  # a logit no softmax notices; finite, so that fully masked rows stay free of NaN


@dataclass(frozen=True)
class Encoded:
    """Passages after the encoder; B questions, S = passages x length source positions.

    Attributes:
        states: (B, S, d) encoder states, passages one after another.
        attention_mask: (B, S), 1 for real tokens.
        source_ids: (B, S) vocabulary ids.
        copy_mask: (B, S), true where a token may be copied.
        keys: (B, S, d) projected states for the pointer.
        spans: scores of the span head; None when the model has none.
    """

    states: Tensor
    attention_mask: Tensor
    source_ids: Tensor
    copy_mask: Tensor
    keys: Tensor
    spans: SpanScores | None

    def map(self, change: Callable[[Tensor], Tensor]) -> Encoded:
        """The same passages, each tensor changed alike."""
        return Encoded(
            states=change(self.states),
            attention_mask=change(self.attention_mask),
            source_ids=change(self.source_ids),
            copy_mask=change(self.copy_mask),
            keys=change(self.keys),
            spans=self.spans and self.spans.map(change),
        )

    def padded(self, length: int) -> Encoded:
        """The same passages with padding up to so many source positions, which nothing reads."""
        missing = length - self.source_ids.shape[1]
        if missing == 0:
            return self

        def after(value: Tensor) -> Tensor:
            if value.ndim == 1:  # one number a question
                return value
            return pad(value, (0, 0) * (value.ndim - 2) + (0, missing))  # (B, S) or (B, S, d)

        return self.map(after)


def stacked(encoded: Sequence[Encoded]) -> Encoded:
    """Questions as one batch, padded to the longest."""
    length = max(one.source_ids.shape[1] for one in encoded)
    rows = [one.padded(length) for one in encoded]
    spans = [one.spans for one in rows if one.spans is not None]
    return Encoded(
        states=torch.cat([one.states for one in rows]),
        attention_mask=torch.cat([one.attention_mask for one in rows]),
        source_ids=torch.cat([one.source_ids for one in rows]),
        copy_mask=torch.cat([one.copy_mask for one in rows]),
        keys=torch.cat([one.keys for one in rows]),
        spans=SpanScores.stacked(spans) if spans else None,
    )


@dataclass(frozen=True)
class Mixture:
    """The two ways to the next token, in float32 log space.

    Attributes:
        log_generate: (B, T), log g_t.
        log_copy_share: (B, T), log (1 - g_t).
        log_vocabulary: (B, T, V), log softmax(W h_t).
        log_pointers: (B, T, S), log a_t; sums to one over copyable positions.
        source_ids: (B, S).
        copy_mask: (B, S).
    """

    log_generate: Tensor
    log_copy_share: Tensor
    log_vocabulary: Tensor
    log_pointers: Tensor
    source_ids: Tensor
    copy_mask: Tensor

    def log_probs(self) -> Tensor:
        """Log P(y) over the whole vocabulary, (B, T, V)."""
        summed, top, _ = self._copied()
        return torch.logaddexp(
            self.log_generate.unsqueeze(-1) + self.log_vocabulary,
            self.log_copy_share.unsqueeze(-1) + _log(summed, top),
        )

    def log_probs_for_search(self) -> Tensor:
        """The same without a gradient: logarithms are taken of the source's tokens only."""
        summed, top, index = self._copied()
        generated = self.log_generate.unsqueeze(-1) + self.log_vocabulary  # (B, T, V)
        copied = self.log_copy_share.unsqueeze(-1) + _log(summed.gather(-1, index), top)
        # Equal tokens are there several times, each time with the same value.
        return generated.scatter(-1, index, torch.logaddexp(generated.gather(-1, index), copied))

    def _copied(self) -> tuple[Tensor, Tensor, Tensor]:
        """Pointer mass by token, shifted.

        Returns:
            the sum over equal tokens of exp(log a - top), (B, T, V); top, (B, T, 1), the largest
            log a; the token of each source position, (B, T, S).
        """
        batch, steps, vocabulary = self.log_vocabulary.shape
        index = self.source_ids.unsqueeze(1).expand(batch, steps, -1)  # (B, S) -> (B, T, S)
        pointers = self.log_pointers.masked_fill(~self.copy_mask.unsqueeze(1), -math.inf)
        top = self.log_pointers.amax(-1, keepdim=True).detach()
        summed = torch.zeros(batch, steps, vocabulary, device=pointers.device)
        return summed.scatter_add(-1, index, (pointers - top).exp()), top, index

    def copy_shares(self, targets: Tensor) -> Tensor:
        """Share of P(y_t) that came from copying: r_t = (1 - g_t) * sum(a) / P(y_t), (B, T)."""
        generated = self.log_vocabulary.gather(-1, targets.unsqueeze(-1)).squeeze(-1)  # (B, T)
        copied = log_mass(self.log_pointers, same_tokens(targets, self.source_ids, self.copy_mask))
        copied = self.log_copy_share + copied
        return (copied - torch.logaddexp(self.log_generate + generated, copied)).exp()


def _log(summed: Tensor, top: Tensor) -> Tensor:
    """Logarithm of shifted sums, shifted back; a large negative where nothing was summed."""
    tiny = torch.finfo(summed.dtype).tiny
    return (summed.clamp_min(tiny).log() + top).masked_fill(summed < tiny, NEGATIVE)


@dataclass(frozen=True)
class Forced:
    """What training needs to know of a teacher-forced answer, in float32.

    Attributes:
        token_log_probs: (B, T), log P(y_t) of the mixture; meaningless outside the mask.
        log_copy_share: (B, T), log (1 - g_t).
        log_pointers: (B, T, S), log a_t.
        spans: scores of the span head; None when the model has none.
    """

    token_log_probs: Tensor
    log_copy_share: Tensor
    log_pointers: Tensor
    spans: SpanScores | None


def same_tokens(targets: Tensor, source_ids: Tensor, copy_mask: Tensor) -> Tensor:
    """(B, T, S), true where a copyable source token is the target."""
    return (targets.unsqueeze(-1) == source_ids.unsqueeze(1)) & copy_mask.unsqueeze(1)


def log_mass(log_pointers: Tensor, chosen: Tensor) -> Tensor:
    """Log of the pointer mass on the chosen positions; a large negative where there are none.

    Args:
        log_pointers: (B, T, S).
        chosen: (B, T, S) booleans.

    Returns:
        (B, T).
    """
    return log_pointers.masked_fill(~chosen, NEGATIVE).logsumexp(-1)


class CopyAttention(nn.Module):
    """Pointer distribution and gate (See et al., 2017, with a scaled dot product).

    a_t = softmax(q(h_t) . k(H) / sqrt(d)) over copyable positions, and
    g_t = sigmoid(w . [h_t ; c_t ; e_t]), with c_t = sum_i a_t,i H_i.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.gate = nn.Linear(3 * width, 1)

    def forward(
        self,
        decoder_states: Tensor,
        embeddings: Tensor,
        encoded: Encoded,
        guidance: Guidance | None,
    ) -> tuple[Tensor, Tensor]:
        """Point and gate.

        Args:
            decoder_states: (B, T, d), h_t.
            embeddings: (B, T, d), e_t.
            encoded: the passages.
            guidance: what the span head adds to the logits.

        Returns:
            log a_t as (B, T, S) and the gate's logit as (B, T), both float32.
        """
        query = self.query(decoder_states).float()  # (B, T, d)
        with torch.autocast(query.device.type, enabled=False):
            scores = query @ encoded.keys.float().mT  # (B, T, d) @ (B, d, S) -> (B, T, S)
            scores = scores / math.sqrt(query.shape[-1])
            if guidance is not None:
                scores = scores + guidance.pointers
            scores = scores.masked_fill(~encoded.copy_mask.unsqueeze(1), NEGATIVE)
            log_pointers = scores.log_softmax(-1)  # the only softmax: a_t is a distribution now
            context = log_pointers.exp() @ encoded.states.float()  # -> (B, T, d)
            parts = [decoder_states.float(), context, embeddings.float()]
            features = torch.cat(parts, -1).to(self.gate.weight.dtype)  # (B, T, 3d)
            gate = self.gate(features).squeeze(-1).float()  # (B, T)
        return log_pointers, gate if guidance is None else gate + guidance.gate


class CopyModel(nn.Module):
    """A transformers encoder-decoder whose next token is generated or copied.

    P(y) = g_t softmax(W h_t)[y] + (1 - g_t) sum_{i: x_i = y} a_t,i.

    Args:
        seq2seq: a BART- or T5-like model with a language-modelling head.
        reserved_id: the token that means "not in these passages"; None without one.
        guided: add the span head and its help for the decoder.
    """

    def __init__(
        self, seq2seq: PreTrainedModel, *, reserved_id: int | None = None, guided: bool = True
    ) -> None:
        super().__init__()
        config: Any = seq2seq.config
        self.seq2seq = seq2seq
        self.eos_id = int(config.eos_token_id)
        self.start_id = int(config.decoder_start_token_id)
        self.reserved_id = reserved_id
        self.copy_attention = CopyAttention(config.d_model)
        self.span_guide = SpanGuide(config.d_model) if guided else None

    def encode(self, batch: PassageBatch) -> Encoded:
        """Encode each (question, passage) pair on its own; line the states up for the decoder."""
        states = self.states(batch.input_ids.flatten(0, 1), batch.attention_mask.flatten(0, 1))
        questions, passages, length = batch.input_ids.shape
        return self.fused(batch, states.reshape(questions, passages, length, -1))

    def states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encoder states of rows on their own: (N, L) and (N, L) to (N, L, d)."""
        network: Any = self.seq2seq
        attended = attention_mask.clone()
        attended[:, 0] = 1  # attention over nothing is undefined; the decoder skips these rows
        encoded = network.get_encoder()(input_ids=input_ids, attention_mask=attended)
        states: Tensor = encoded.last_hidden_state
        return states

    def fused(self, batch: PassageBatch, states: Tensor) -> Encoded:
        """Line up encoder states (B, P, L, d) of a batch's rows for the decoder."""
        spans = None
        if self.span_guide is not None:
            spans = self.span_guide.score(states, batch.copy_mask)
        lined = states.flatten(1, 2)  # (B, P, L, d) -> (B, S, d)
        return Encoded(
            states=lined,
            attention_mask=batch.attention_mask.flatten(1, 2),
            source_ids=batch.input_ids.flatten(1, 2),
            copy_mask=batch.copy_mask.flatten(1, 2),
            keys=self.copy_attention.key(lined),
            spans=spans,
        )

    def decode(
        self,
        encoded: Encoded,
        decoder_ids: Tensor,
        *,
        run: RunState | None = None,
        cache: Any = None,
        use_cache: bool = False,
    ) -> tuple[Mixture, RunState | None, Any]:
        """Mixture for the token after each decoder position.

        Args:
            encoded: from `encode`.
            decoder_ids: (B, T) prefix; with a cache, only the tokens since the last call.
            run: how the last tokens lie in the source, from the last call.
            cache: key-value cache from the last call.
            use_cache: return a cache for the next call.

        Returns:
            the mixture, the run state after these tokens, the cache.
        """
        states, cache = self._decoder_states(encoded, decoder_ids, cache, use_cache)
        guidance, run = self._guidance(encoded, decoder_ids, run)
        log_generate, log_copy_share, log_pointers = self._ways(
            encoded, decoder_ids, states, guidance
        )
        mixture = Mixture(
            log_generate=log_generate,
            log_copy_share=log_copy_share,
            log_pointers=log_pointers,
            log_vocabulary=self._log_vocabulary(states, guidance),
            source_ids=encoded.source_ids,
            copy_mask=encoded.copy_mask,
        )
        return mixture, run, cache

    def forward(
        self, batch: PassageBatch, decoder_ids: Tensor, targets: Tensor, mask: Tensor
    ) -> Forced:
        """Teacher forcing.

        Args:
            batch: encoder input.
            decoder_ids: (B, T), the start token and then the answer.
            targets: (B, T), the answer and then the end token.
            mask: (B, T), true on real targets; only these pass the vocabulary's softmax, which
                is most of the decoder's cost.
        """
        encoded = self.encode(batch)
        states, _ = self._decoder_states(encoded, decoder_ids, None, False)
        guidance, _ = self._guidance(encoded, decoder_ids, None)
        log_generate, log_copy_share, log_pointers = self._ways(
            encoded, decoder_ids, states, guidance
        )
        packed = guidance if guidance is None else guidance.at(mask)
        log_vocabulary = self._log_vocabulary(states[mask], packed)  # (N, V)
        generated = torch.full_like(log_generate, NEGATIVE)
        generated[mask] = log_vocabulary.gather(-1, targets[mask].unsqueeze(-1)).squeeze(-1)
        copied = log_mass(log_pointers, same_tokens(targets, encoded.source_ids, encoded.copy_mask))
        return Forced(
            token_log_probs=torch.logaddexp(log_generate + generated, log_copy_share + copied),
            log_copy_share=log_copy_share,
            log_pointers=log_pointers,
            spans=encoded.spans,
        )

    def _decoder_states(
        self, encoded: Encoded, decoder_ids: Tensor, cache: Any, use_cache: bool
    ) -> tuple[Tensor, Any]:
        network: Any = self.seq2seq
        out = network.get_decoder()(
            input_ids=decoder_ids,
            encoder_hidden_states=encoded.states,
            encoder_attention_mask=encoded.attention_mask,
            past_key_values=cache,
            use_cache=use_cache,
        )
        return out.last_hidden_state, out.past_key_values if use_cache else None  # (B, T, d)

    def _guidance(
        self, encoded: Encoded, decoder_ids: Tensor, run: RunState | None
    ) -> tuple[Guidance | None, RunState | None]:
        if self.span_guide is None or encoded.spans is None:
            return None, None
        return self.span_guide.guide(
            encoded.spans, encoded.source_ids, encoded.copy_mask, decoder_ids, run
        )

    def _ways(
        self, encoded: Encoded, decoder_ids: Tensor, states: Tensor, guidance: Guidance | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log g_t and log (1 - g_t), both (B, T), and log a_t, (B, T, S)."""
        network: Any = self.seq2seq
        embeddings = network.get_input_embeddings()(decoder_ids)  # (B, T, d)
        log_pointers, gate = self.copy_attention(states, embeddings, encoded, guidance)
        copyable = encoded.copy_mask.any(-1, keepdim=True)  # (B, 1)
        return (
            logsigmoid(gate).masked_fill(~copyable, 0.0),
            logsigmoid(-gate).masked_fill(~copyable, NEGATIVE),
            log_pointers,
        )

    def _log_vocabulary(self, states: Tensor, guidance: Guidance | None) -> Tensor:
        """Log softmax(W h), float32: (..., d) -> (..., V)."""
        network: Any = self.seq2seq
        if getattr(network.config, "scale_decoder_outputs", False):
            states = states * self.seq2seq.config.d_model**-0.5
        logits: Tensor = network.get_output_embeddings()(states).float()  # (..., V)
        bias = getattr(network, "final_logits_bias", None)
        if bias is not None:
            logits = logits + bias[0]
        if guidance is not None:
            extra = torch.zeros_like(logits)
            extra[..., self.eos_id] = guidance.stop
            if self.reserved_id is not None:
                extra[..., self.reserved_id] = guidance.absent
            logits = logits + extra
        return logits.log_softmax(-1)
