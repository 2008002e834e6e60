"""Decoding: transformers' search strategies over the mixture's distribution."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
    GenerationConfig,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.modeling_outputs import CausalLMOutput

from rag.errors import UsageError
from rag.generate.copy_attention import CopyModel, Encoded, stacked
from rag.generate.following import Following, Heard
from rag.generate.span_guide import run_state

Finish = Literal["end", "length", "loop", "time"]
GoOn = Callable[[], None]
"""Raises as soon as an answer isn't wanted any more."""
CLOSE_CALL = 1e-3  # nats; rounding moves log-probabilities by less than a hundredth of this
QUESTIONS_TOGETHER = 16
DRAWING = threading.Lock()
LOOP_REPEATS = 3
LONGEST_LOOP = 12  # tokens


@dataclass(frozen=True)
class Search:
    """How the next token is chosen.

    Attributes:
        max_tokens: longest answer.
        beams: 1 is greedy.
        length_penalty: exponent of the length that a beam's score is divided by.
        sample: draw tokens instead of taking the likeliest.
        temperature: of the draw.
        top_k: draw among so many tokens; 0 for all.
        top_p: draw among the likeliest tokens with this mass.
        repetition_penalty: above 1, tokens that were used become less likely.
        seed: of the draws; the same seed draws the same answer.
        stop_loops: end an answer that says the same three times in a row.
    """

    max_tokens: int = 64
    beams: int = 1
    length_penalty: float = 1.0
    sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0
    stop_loops: bool = True

    def __post_init__(self) -> None:
        limits = (
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
            ("beams", 1 <= self.beams <= 32, "from 1 to 32"),
            ("temperature", self.temperature > 0, "above 0; for greedy decoding don't sample"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("repetition_penalty", self.repetition_penalty > 0, "above 0"),
        )
        for name, holds, bounds in limits:
            if not holds:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be {bounds}")

    @property
    def greedy(self) -> bool:
        """Plain greedy decoding, which can be done for several questions at once."""
        return not self.sample and self.beams == 1 and self.repetition_penalty == 1.0

    def configured(self, model: CopyModel) -> GenerationConfig:
        """The same in transformers' words."""
        draws = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        beams = {"length_penalty": self.length_penalty, "early_stopping": False}
        return GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=self.max_tokens + 1,  # the end token is none of the answer
            num_beams=self.beams,
            do_sample=self.sample,
            repetition_penalty=self.repetition_penalty,
            eos_token_id=model.eos_id,
            pad_token_id=model.eos_id,  # what follows the answers that are done before others
            use_cache=True,
            **(draws if self.sample else {}),
            **(beams if self.beams > 1 else {}),
        )


GREEDY = Search()


@dataclass(frozen=True)
class Decoded:
    """One answer.

    Attributes:
        tokens: without the end token; of a loop, the first time round.
        finish: why there are no more.
        steps: tokens that were chosen, the end and what a loop repeated included.
    """

    tokens: tuple[int, ...]
    finish: Finish
    steps: int


@torch.inference_mode()
def decode(
    model: CopyModel,
    encoded: Sequence[Encoded],
    search: Search = GREEDY,
    *,
    banned: Sequence[int] = (),
    deadline: float | None = None,
    heard: Heard | None = None,
    go_on: GoOn | None = None,
) -> list[Decoded]:
    """Decode questions, each encoded on its own.

    Greedy answers and beams do not depend on what else is decoded: questions share a batch only
    greedily, and where two tokens were so close that rounding could have decided between them,
    the question is decoded again alone.

    Args:
        model: in evaluation mode.
        encoded: one question each.
        search: how tokens are chosen.
        banned: tokens that no answer may hold.
        deadline: on the clock of `time.monotonic`; decoding stops there.
        heard: is told of each token of a question alone; not where there are beams.
        go_on: is called before each token; what it raises ends the search.

    Returns:
        an answer for each question.

    Raises:
        ValueError: several questions were encoded as one.
    """
    if any(one.source_ids.shape[0] != 1 for one in encoded):
        raise ValueError("each question needs to be encoded on its own")
    answers: list[Decoded | None] = [None] * len(encoded)
    if search.greedy:
        # Questions of like length share a batch, which wastes the least on padding.
        order = sorted(range(len(encoded)), key=lambda i: encoded[i].source_ids.shape[1])
        for at in range(0, len(order), QUESTIONS_TOGETHER):
            chosen = order[at : at + QUESTIONS_TOGETHER]
            if len(chosen) > 1:
                together = stacked([encoded[i] for i in chosen])
                found, close = _run(model, together, search, banned, deadline, None, go_on)
                for i, answer, doubtful in zip(chosen, found, close, strict=True):
                    answers[i] = None if doubtful else answer
    return [
        answer or _run(model, own, search, banned, deadline, heard, go_on)[0][0]
        for answer, own in zip(answers, encoded, strict=True)
    ]


def _run(
    model: CopyModel,
    encoded: Encoded,
    search: Search,
    banned: Sequence[int],
    deadline: float | None,
    heard: Heard | None,
    go_on: GoOn | None,
) -> tuple[list[Decoded], list[bool]]:
    """Search once; answers, and whether a choice of each was close."""
    count = encoded.source_ids.shape[0]
    device = encoded.source_ids.device
    rows = count * search.beams
    call = Call(
        encoded=encoded.map(lambda value: value.repeat_interleave(search.beams, 0)),
        banned=torch.tensor(list(banned), dtype=torch.long, device=device),
        close=torch.zeros(rows, dtype=torch.bool, device=device),
        ended=torch.zeros(rows, dtype=torch.bool, device=device),
    )
    clock = Deadline(deadline, go_on)
    stops: list[StoppingCriteria] = [clock]
    if heard is not None and rows == 1:
        call.following = Following(model, encoded, heard)
        stops.append(call.following)
    sources = encoded.source_ids.masked_fill(~encoded.copy_mask, -1).tolist()
    if search.stop_loops:
        stops.append(LoopStop(sources))
    start = torch.full((count, 1), model.start_id, device=device)
    network: Any = MixtureModel(model)
    with _draws(search):
        sequences = network.generate(
            start,
            attention_mask=torch.ones_like(start),
            generation_config=search.configured(model),
            stopping_criteria=StoppingCriteriaList(stops),
            past_key_values=EncoderDecoderCache(DynamicCache(), DynamicCache()),
            call=call,
        )
    answers = [
        _answer(row, source, search, model.eos_id, clock.struck)
        for row, source in zip(sequences[:, 1:].tolist(), sources, strict=True)
    ]
    return answers, call.close[:: search.beams].tolist()


@contextmanager
def _draws(search: Search) -> Iterator[None]:
    """Seed the draws of one search, which have the process's generator for themselves."""
    if not search.sample:
        yield
        return
    with DRAWING, torch.random.fork_rng():
        torch.manual_seed(search.seed)
        yield


def _answer(
    tokens: list[int], source: Sequence[int], search: Search, eos_id: int, out_of_time: bool
) -> Decoded:
    ended = eos_id in tokens
    if ended:
        tokens = tokens[: tokens.index(eos_id)]
    period = looping(tokens, source) if search.stop_loops else 0
    if period:  # The end may follow only as padding.
        first_round = tokens[: len(tokens) - period * (LOOP_REPEATS - 1)]
        return Decoded(tuple(first_round), "loop", len(tokens))
    if ended:
        return Decoded(tuple(tokens), "end", len(tokens) + 1)
    kept = tuple(tokens[: search.max_tokens])
    return Decoded(kept, "time" if out_of_time else "length", len(tokens))


def looping(tokens: Sequence[int], source: Sequence[int]) -> int:
    """Period of a repetition at the end that the source does not hold; 0 without one.

    "1,000,000,000" says ",000" three times because the source does.

    >>> [looping([1, 2, 2, 2], [2, 1]), looping([1, 2, 2, 2], [1, 2, 2, 2])]
    [1, 0]
    """
    period = loop_period(tokens)
    tail = list(tokens[-LOOP_REPEATS * period :]) if period else []
    starts = range(len(source) - len(tail) + 1) if tail else ()
    if any(list(source[at : at + len(tail)]) == tail for at in starts):
        return 0
    return period


def loop_period(tokens: Sequence[int]) -> int:
    """Length of the piece that the tokens end with three times in a row; 0 if there is none.

    >>> [loop_period([1, 2, 3, 2, 3, 2, 3]), loop_period([1, 2, 3])]
    [2, 0]
    """
    for period in range(1, LONGEST_LOOP + 1):
        tail = tokens[-LOOP_REPEATS * period :]
        if len(tail) == LOOP_REPEATS * period and tail[:-period] == tail[period:]:
            return period
    return 0


class LoopStop(StoppingCriteria):
    """Stops a sequence that says the same three times in a row, unless its source does.

    Args:
        sources: each question's source tokens.
    """

    def __init__(self, sources: Sequence[Sequence[int]]) -> None:
        self.sources = sources

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """(B, T) tokens to (B,) booleans; rows of one question follow each other."""
        rows = input_ids[:, 1:].tolist()
        each = len(rows) // len(self.sources)
        ends = [looping(row, self.sources[r // each]) > 0 for r, row in enumerate(rows)]
        return torch.tensor(ends, device=input_ids.device)


class Deadline(StoppingCriteria):
    """Stops all sequences when their time is over, or as soon as nobody wants them any more."""

    def __init__(self, deadline: float | None, go_on: GoOn | None = None) -> None:
        self.deadline = deadline
        self.go_on = go_on
        self.struck = False

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """(B, T) tokens to (B,) booleans."""
        if self.go_on is not None:
            self.go_on()
        self.struck = self.deadline is not None and time.monotonic() >= self.deadline
        return torch.full(input_ids.shape[:1], self.struck, device=input_ids.device)


@dataclass
class Call:
    """What one search is about, and what it notes on the way.

    Attributes:
        encoded: the passages of each sequence, beams included.
        banned: tokens that get no probability.
        close: (B,), true where a choice between two tokens was close.
        ended: (B,), true where the likeliest token was the end.
        following: is shown what each token is chosen from, where somebody follows.
    """

    encoded: Encoded
    banned: Tensor
    close: Tensor
    ended: Tensor
    following: Following | None = None


class MixtureModel(PreTrainedModel, GenerationMixin):  # type: ignore[no-untyped-call]
    """A copy model over encoded passages as transformers' `generate` sees it.

    It looks like a decoder whose prompt is the start token; its logits are log P(y).
    """

    def __init__(self, model: CopyModel) -> None:
        super().__init__(PreTrainedConfig())
        self.copy_model = model

    def forward(
        self,
        input_ids: Tensor,
        call: Call,
        past_key_values: EncoderDecoderCache | None = None,
        attention_mask: Tensor | None = None,
        use_cache: bool = True,
        return_dict: bool = True,
    ) -> CausalLMOutput:
        """Log P of the token after each sequence: (B, T) tokens to (B, 1, V).

        The prefix has no padding, so its attention mask says nothing.
        """
        encoded, run = call.encoded, None
        if self.copy_model.span_guide is not None:
            run = run_state(input_ids[:, :-1], encoded.source_ids, encoded.copy_mask)
        mixture, _, _ = self.copy_model.decode(
            encoded, input_ids[:, -1:], run=run, cache=past_key_values, use_cache=True
        )
        log_probs = mixture.log_probs_for_search()[:, -1]  # (B, V)
        log_probs[:, call.banned] = -math.inf
        best, tokens = log_probs.topk(2)
        call.close |= ~call.ended & (best[:, 0] - best[:, 1] < CLOSE_CALL)
        call.ended |= tokens[:, 0] == self.copy_model.eos_id
        if call.following is not None:
            call.following.note(mixture, log_probs)
        return CausalLMOutput(logits=log_probs.unsqueeze(1))

    def prepare_inputs_for_generation(self, input_ids: Tensor, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The whole prefix: `forward` feeds the decoder the last token and looks back for runs."""
        kept = {name: kwargs[name] for name in ("call", "past_key_values")}
        return {"input_ids": input_ids, **kept}

    def _reorder_cache(self, cache: EncoderDecoderCache, beams: Any) -> EncoderDecoderCache:
        """Only self-attention: beams of one question share the passages' keys and values."""
        cache.self_attention_cache.reorder_cache(beams)
        return cache
