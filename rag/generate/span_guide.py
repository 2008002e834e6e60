"""The span guide: a span head on the encoder whose scores help the decoder copy and stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

LONGEST_MATCH = 4  # tokens; longer matches of prefix and source say nothing new
LONGEST_SPAN = 30  # tokens
FLOOR = -12.0  # log-probabilities below exp(-12) all mean "no"
STOP_LIMIT = 8.0  # logits


@dataclass(frozen=True)
class SpanScores:
    """What the span head thinks; S = P passages x L positions.

    Attributes:
        start: (B, S) log P(span starts here | it is in the passages).
        end: (B, S) log P(span ends here | it is in the passages).
        begin: (B, S) log of the mass of spans that start here and end within reach.
        inside: (B, S) log of the expected "this position is inside the span".
        hazard: (B, S) log-odds of "the span ends here" against "it ends later within reach".
        absent: (B,) log-odds of "not in these passages".
    """

    start: Tensor
    end: Tensor
    begin: Tensor
    inside: Tensor
    hazard: Tensor
    absent: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> SpanScores:
        """The same scores, each tensor changed alike."""
        return SpanScores(*(change(getattr(self, field.name)) for field in fields(self)))

    @staticmethod
    def stacked(scores: Sequence[SpanScores]) -> SpanScores:
        """Scores of several questions, of equal S, as one batch."""
        names = [field.name for field in fields(SpanScores)]
        return SpanScores(*(torch.cat([getattr(one, name) for one in scores]) for name in names))


@dataclass(frozen=True)
class Guidance:
    """Additions to the decoder's logits: `pointers` (B, T, S), the others (B, T)."""

    pointers: Tensor
    gate: Tensor
    stop: Tensor
    absent: Tensor

    def at(self, mask: Tensor) -> Guidance:
        """Only the true positions of a (B, T) mask, one after another."""
        return Guidance(self.pointers[mask], self.gate[mask], self.stop[mask], self.absent[mask])


@dataclass(frozen=True)
class RunState:
    """(B, S) length of the match between the decoder's last tokens and the source up to here."""

    matched: Tensor
    steps: int


def extend_matches(matched: Tensor, tokens: Tensor, source_ids: Tensor, copyable: Tensor) -> Tensor:
    """Lengths of the longest common suffixes of prefix and source, after one more token.

    m_t[j] = (y_t == x_j) * (1 + m_{t-1}[j-1]), capped.

    Args:
        matched: (B, S) lengths before this token.
        tokens: (B,) the token.
        source_ids: (B, S).
        copyable: (B, S); other positions never match, so runs end at passage borders.

    Returns:
        (B, S).
    """
    before = pad(matched[:, :-1], (1, 0))  # (B, S), shifted right
    same = (source_ids == tokens.unsqueeze(-1)) & copyable
    return torch.where(same, (before + 1).clamp_max(LONGEST_MATCH), 0)


def run_state(tokens: Tensor, source_ids: Tensor, copyable: Tensor) -> RunState | None:
    """Where a prefix lies in the source, computed anew.

    Args:
        tokens: (B, T) decoder tokens so far; the first is the start token.
        source_ids: (B, S).
        copyable: (B, S).

    Returns:
        the state that `SpanGuide.guide` gives after these tokens; None without any.
    """
    steps = tokens.shape[1]
    if steps == 0:
        return None
    matched = torch.zeros_like(source_ids)
    for t in range(max(1, steps - LONGEST_MATCH), steps):  # older tokens can't matter
        matched = extend_matches(matched, tokens[:, t], source_ids, copyable)
    return RunState(matched=matched, steps=steps)


class SpanGuide(nn.Module):
    """Span head (Devlin et al., 2019) and learned weights of its say in copying.

    The copy logit of position i gets, by length m of the match that ends right before it,
    run[m] + begin[m] * log begin_i + stay[m] * log inside_i: span starts speak where a run
    begins, and the position after the last copied token speaks for going on. The hazard of the
    span's end at the last copied token opens the gate and speaks for the end of the answer.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spans = nn.Linear(width, 2)
        self.presence = nn.Sequential(nn.Linear(3 * width, width), nn.GELU(), nn.Linear(width, 1))
        self.evidence = nn.Parameter(torch.tensor(0.5))  # how far a clear span refutes absence
        count = LONGEST_MATCH + 1
        self.run = nn.Parameter(torch.tensor([0.0] + [7.0 + m for m in range(1, count)]))
        self.begin = nn.Parameter(torch.tensor([1.0] + [0.0] * (count - 1)))
        self.stay = nn.Parameter(torch.tensor([0.0] + [0.5] * (count - 1)))
        self.stop_gate = nn.Parameter(torch.tensor([1.0, 0.0]))  # weight, and bias inside a run
        self.stop_token = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.absent_gate = nn.Parameter(torch.tensor([1.0, 0.0]))  # weight, and bias at the start
        self.absent_token = nn.Parameter(torch.tensor([1.0, 2.0]))

    def score(self, states: Tensor, copy_mask: Tensor) -> SpanScores:
        """Score spans.

        Args:
            states: (B, P, L, d) encoder states.
            copy_mask: (B, P, L).

        Returns:
            float32 scores over S = P * L positions.
        """
        with torch.autocast(states.device.type, enabled=False):
            exact = states.to(self.spans.weight.dtype)
            logits = self.spans(exact).float()  # (B, P, L, d) -> (B, P, L, 2)
            lacking = self._lacking(exact, logits, copy_mask)  # (B, P)
        logits = logits.masked_fill(~copy_mask.unsqueeze(-1), -1e4)
        strength = logits.logsumexp(2).mean(-1)  # (B, P): how strongly a passage offers a span
        flat = logits.flatten(1, 2).log_softmax(1)  # (B, S, 2)
        log_start, log_end = flat.unflatten(1, copy_mask.shape[1:]).unbind(-1)  # (B, P, L)
        # Runs never cross passages, so sums along L stay within one.
        begun = log_start.logcumsumexp(-1)
        not_ended = log_end.flip(-1).logcumsumexp(-1).flip(-1)  # log P(end >= i)
        ends = pad(log_end, (0, LONGEST_SPAN - 1), value=-1e4).unfold(-1, LONGEST_SPAN, 1)
        begin = log_start + ends.logsumexp(-1)  # (B, P, L, 30) -> (B, P, L)
        later = ends[..., 1:].logsumexp(-1)
        hazard = (log_end - later).clamp(-STOP_LIMIT, STOP_LIMIT)
        # The answer is absent when every passage says so; softly, the least sure one decides.
        lacking = lacking - self.evidence * strength
        occupied = copy_mask.any(-1)
        absent = -(-lacking).masked_fill(~occupied, -1e4).logsumexp(-1)
        absent = absent.clamp(-2 * STOP_LIMIT, 2 * STOP_LIMIT)
        return SpanScores(
            start=log_start.flatten(1),
            end=log_end.flatten(1),
            begin=begin.flatten(1),
            inside=(begun + not_ended).clamp_min(2 * FLOOR).flatten(1),
            hazard=hazard.flatten(1),
            absent=absent,
        )

    def lacking(self, states: Tensor, copy_mask: Tensor) -> Tensor:
        """How surely each passage lacks the answer, as log-odds: (B, P, L, d) to (B, P)."""
        with torch.autocast(states.device.type, enabled=False):
            exact = states.to(self.spans.weight.dtype)
            logits = self.spans(exact).float()
            lacking = self._lacking(exact, logits, copy_mask)
        strength = logits.masked_fill(~copy_mask.unsqueeze(-1), -1e4).logsumexp(2).mean(-1)
        scores: Tensor = lacking - self.evidence * strength
        return scores

    def _lacking(self, states: Tensor, logits: Tensor, copy_mask: Tensor) -> Tensor:
        """How surely each passage lacks the answer, from its summary and its likeliest span.

        Args:
            states: (B, P, L, d).
            logits: (B, P, L, 2) of starts and ends.
            copy_mask: (B, P, L).

        Returns:
            (B, P).
        """
        masked = logits.detach().masked_fill(~copy_mask.unsqueeze(-1), -1e4)
        weights = masked.softmax(2).to(states.dtype)  # (B, P, L, 2)
        span = weights.mT @ states  # (B, P, 2, L) @ (B, P, L, d) -> (B, P, 2, d)
        features = torch.cat([states[:, :, :1], span], 2).flatten(2)  # (B, P, 3d)
        lacking: Tensor = self.presence(features).float().squeeze(-1)
        return lacking

    def guide(
        self,
        spans: SpanScores,
        source_ids: Tensor,
        copy_mask: Tensor,
        decoder_ids: Tensor,
        state: RunState | None,
    ) -> tuple[Guidance, RunState]:
        """Logit additions for the token after each of the given decoder tokens.

        Args:
            spans: the span head's scores.
            source_ids: (B, S).
            copy_mask: (B, S).
            decoder_ids: (B, T) tokens since `state`; the first ever is the start token.
            state: where the tokens before them lie in the source; None at the start.

        Returns:
            the additions and the state after the last token.
        """
        matched = torch.zeros_like(source_ids) if state is None else state.matched
        offset = 0 if state is None else state.steps
        lengths = []
        for t in range(decoder_ids.shape[1]):
            if t + offset > 0:  # the start token is not part of the answer
                matched = extend_matches(matched, decoder_ids[:, t], source_ids, copy_mask)
            lengths.append(matched)
        ending_here = torch.stack(lengths, 1)  # (B, T, S)
        before = pad(ending_here[..., :-1], (1, 0))  # match right before i
        start = spans.begin.clamp_min(FLOOR).unsqueeze(1)  # (B, 1, S)
        inside = spans.inside.clamp_min(FLOOR).unsqueeze(1)
        pointers = self.run[before] + self.begin[before] * start + self.stay[before] * inside

        # Where the run stands: matches weighted as a pointer would weigh their continuation.
        standing = self.run[ending_here] + self.stay[ending_here] * inside  # (B, T, S)
        running = (ending_here > 0).any(-1)  # (B, T)
        standing = standing.masked_fill(ending_here == 0, -1e4).softmax(-1)
        hazard = (standing * spans.hazard.unsqueeze(1)).sum(-1)  # (B, T, S) -> (B, T)
        first = torch.zeros_like(running)
        if offset == 0:
            first[:, 0] = True
        absent = spans.absent.unsqueeze(-1)  # (B, 1)
        gate = torch.where(running, self.stop_gate[0] * hazard + self.stop_gate[1], 0.0)
        gate = gate + torch.where(first, self.absent_gate[0] * absent + self.absent_gate[1], 0.0)
        stop = torch.where(running, self.stop_token[0] * hazard + self.stop_token[1], 0.0)
        reserved = torch.where(
            first, self.absent_token[0] * absent + self.absent_token[1], -STOP_LIMIT
        )
        guidance = Guidance(pointers=pointers, gate=gate, stop=stop, absent=reserved)
        return guidance, RunState(matched=matched, steps=offset + decoder_ids.shape[1])
