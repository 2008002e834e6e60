"""The copy generator: a question and passages to a draft whose words are traced."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rag.calibration import sigmoid
from rag.errors import GenerationTimeout, ModelError, NotFound, UsageError
from rag.generate.base import Base
from rag.generate.copy_attention import Encoded
from rag.generate.decode import GREEDY, Decoded, Search, decode
from rag.generate.fusion import PassageBatch, passage_offset
from rag.generate.overlap import nearness
from rag.generate.provenance import Trace, trace
from rag.generate.render import render, whole_words
from rag.generate.spelling import mended
from rag.generate.windows import OVERLAP, Window, windows
from rag.listening import NOBODY, Listener
from rag.protocols import Embedder
from rag.steady import steady, steady_length
from rag.types import Draft, Passage, Pointer
from rag.words import whole

if TYPE_CHECKING:
    from rag.training.adapters import AdapterSwitch  # peft is optional

FUSED_AT_MOST = 10  # windows the decoder reads at once
LONGEST_QUESTION = 96  # tokens
LEAST = 1e-9  # probabilities below are all alike
_LOOK_SECONDS = 0.2  # between looks whether an answer that waits for others is still wanted
LONGEST_ROW = 512  # tokens of question and window, where the model itself sets no limit


@dataclass(frozen=True)
class Source:
    """A question and its passages, encoded on their own.

    Attributes:
        question: as asked.
        encoded: the windows that the decoder reads; None if the passages hold no tokens.
        places: for each source position its characters; None for framing tokens.
        texts: the passages.
        headings: what stands above each; none, or one for each.
        read_as: the question with slips put right.
    """

    question: str
    encoded: Encoded | None
    places: list[Pointer | None]
    texts: list[str]
    headings: list[str]
    read_as: str


class CopyGenerator:
    """Fusion-in-decoder with copy attention.

    Args:
        base: model, tokenizer and framing ids.
        digest: name and sha256 of the weights, with what was calibrated on them.
        absent_threshold: probability of "not in these passages" from which on a draft is empty;
            1 leaves it to the decision, which weighs that among other evidence.
        search: how tokens are chosen.
        time_limit_seconds: for one question; None for no limit.
        adapters: low-rank adapters of the model, by name.
        embedder: measures how near the question is to the cited sentence, if the decision weighs
            that.
    """

    def __init__(
        self,
        base: Base,
        digest: str,
        *,
        absent_threshold: float = 1.0,
        search: Search = GREEDY,
        time_limit_seconds: float | None = None,
        adapters: AdapterSwitch | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        self.base = base
        steady(base.model, lone_rows=True)
        self.embedder = embedder
        self.adapters = adapters
        self.adapter: str | None = None
        self.digest = digest
        self.absent_threshold = absent_threshold
        self.search = search
        self.time_limit_seconds = time_limit_seconds
        model, special = base.model, base.special
        reserved = [] if model.reserved_id is None else [model.reserved_id]
        self._banned = [*reserved, special.padding]
        framing = {special.separator, special.padding, model.eos_id, *reserved}
        framing |= {special.start} if special.start is not None else set()
        size = model.seq2seq.config.vocab_size  # tokenizers may know more tokens
        self._hidden = framing | set(range(size, base.tokenizer.get_vocab_size()))
        self._device = next(base.model.parameters()).device
        self._turn = threading.Lock()
        self._check_room()

    def adapted(self, name: str) -> CopyGenerator:
        """The same generator with one of its adapters switched on for each of its calls.

        Raises:
            NotFound: there is no such adapter.
        """
        if self.adapters is None:
            raise NotFound(f"there is no adapter {name!r}: name it in RAG_ADAPTERS")
        other = copy(self)
        other.digest = f"{self.digest}+{self.adapters.digest(name)}"
        other.adapter = name
        return other

    def generate(
        self, question: str, passages: Sequence[Passage], listener: Listener = NOBODY
    ) -> Draft:
        """Write an answer.

        Args:
            question: any text.
            passages: to answer it from.
            listener: hears each word as it is written, unless there are beams.

        Raises:
            GenerationTimeout: it took longer than the limit.
            Stopped: the listener doesn't want it any more.
        """
        texts = [passage.text for passage in passages]
        return self.write([(question, texts)], [[one.context for one in passages]], listener)[0]

    def generate_all(self, requests: Sequence[tuple[str, Sequence[Passage]]]) -> list[Draft]:
        """Write answers to several questions; see `write`."""
        return self.write(
            [(question, [passage.text for passage in own]) for question, own in requests],
            [[passage.context for passage in own] for _, own in requests],
        )

    @torch.inference_mode()
    def write(
        self,
        requests: Sequence[tuple[str, Sequence[str]]],
        headings: Sequence[Sequence[str]] | None = None,
        listener: Listener = NOBODY,
    ) -> list[Draft]:
        """Write answers to several questions; each is what it would be alone.

        Args:
            requests: questions with their passages' texts.
            headings: for each question what stands above each passage; None for nothing.
            listener: hears each word of a question alone.

        Raises:
            GenerationTimeout: together they took longer than the limit times their number.
            Stopped: the listener doesn't want it any more.
        """
        limit = self.time_limit_seconds
        deadline = None if limit is None else time.monotonic() + limit * len(requests)
        # One at a time: torch uses all cores for one question, and threads would only wait.
        self._wait_for_turn(deadline, listener)
        try:
            adapters = self.adapters
            with nullcontext() if adapters is None else adapters.using(self.adapter):
                return self._write(requests, headings or [()] * len(requests), deadline, listener)
        finally:
            self._turn.release()

    def _write(
        self,
        requests: Sequence[tuple[str, Sequence[str]]],
        headings: Sequence[Sequence[str]],
        deadline: float | None,
        listener: Listener,
    ) -> list[Draft]:
        sources = [
            self.encode(question, texts, self._own(deadline), headings=above)
            for (question, texts), above in zip(requests, headings, strict=True)
        ]
        encoded = [source.encoded for source in sources if source.encoded is not None]
        heard = None
        if len(sources) == 1 and listener is not NOBODY:
            heard = partial(self._tell, sources[0], listener)
        answers = iter(
            decode(
                self.base.model,
                encoded,
                self.search,
                banned=self._banned,
                deadline=deadline,
                heard=heard,
                go_on=listener.go_on,
            )
        )
        return [
            self.draft(source, Decoded((), "end", 0) if source.encoded is None else next(answers))
            for source in sources
        ]

    def _tell(
        self, source: Source, listener: Listener, tokens: tuple[int, ...], traced: Trace
    ) -> None:
        """Tell a listener of the words that no later token goes on with."""
        tokenizer = self.base.tokenizer
        count = whole_words(tokens, tokenizer)
        if count:
            known = traced.first(count)
            written = render(tokens[:count], known, source.places, source.texts, tokenizer)
            listener.wrote(Draft(written, known.confidence, self.digest))

    def _wait_for_turn(self, deadline: float | None, listener: Listener) -> None:
        while not self._turn.acquire(timeout=_LOOK_SECONDS):
            listener.go_on()
            if deadline is not None and time.monotonic() >= deadline:
                raise self._late()

    def _own(self, deadline: float | None) -> float | None:
        """When a question that begins now must be done: none takes the time of the others."""
        limit = self.time_limit_seconds
        if deadline is None or limit is None:
            return deadline
        return min(deadline, time.monotonic() + limit)

    def encode(
        self,
        question: str,
        texts: Sequence[str],
        deadline: float | None = None,
        *,
        headings: Sequence[str] = (),
    ) -> Source:
        """Encode a question with each of its windows.

        Where there are more windows than the decoder reads at once, those go on in which the
        span head sees the answer most surely.

        Args:
            question: any text.
            texts: the passages.
            deadline: on the clock of `time.monotonic`.
            headings: what stands above each passage; none, or one for each.

        Raises:
            GenerationTimeout: the deadline passed before all were encoded.
        """
        if deadline is not None and time.monotonic() >= deadline:
            raise self._late()
        read_as = mended(question, [*headings, *texts], self.base.tokenizer)
        longest = self._longest_row()
        asked = shortened(self._ids(read_as), min(LONGEST_QUESTION, longest // 4))
        room = longest - passage_offset(len(asked), self.base.special) - 1
        found = windows(self.base.tokenizer, texts, room, headings=headings, hidden=self._hidden)
        if not found:
            return Source(question, None, [], list(texts), list(headings), read_as)
        if self.base.layout.concatenated:
            found = found[:FUSED_AT_MOST]
        if deadline is not None and time.monotonic() >= deadline:
            raise self._late()
        if len(found) > FUSED_AT_MOST:
            found, batch, states = self._likeliest(asked, found, deadline)
        else:
            batch = self._batch(asked, found)
            states = self._states(batch)
        encoded = self.base.model.fused(batch, states.unsqueeze(0))
        places = self._places(asked, found, batch)
        return Source(question, encoded, places, list(texts), list(headings), read_as)

    def draft(self, source: Source, answer: Decoded) -> Draft:
        """Trace and write out a decoded answer."""
        read_as = source.read_as if source.read_as != source.question else None
        if source.encoded is None:
            return Draft((), 0.0, self.digest, read_as=read_as)
        if answer.finish == "time":
            raise self._late()
        traced = trace(self.base.model, source.encoded, answer.tokens)
        absent = self._absent(source.encoded, traced)
        features = {
            "absent": absent,
            "absent_token": math.log(max(LEAST, traced.absent)),
            "log_prob": math.log(max(LEAST, traced.confidence)),
            "weakest": max(math.log(LEAST), min(*traced.log_probs, traced.end_log_prob, 0.0)),
            "finished": float(answer.finish == "end"),
        }
        if self.absent_threshold < 1 and sigmoid(absent) >= self.absent_threshold:
            return Draft((), traced.confidence, self.digest, features, read_as)
        written = render(answer.tokens, traced, source.places, source.texts, self.base.tokenizer)
        words = [token for token in written if token.text.strip()]
        copied = sum(token.pointer is not None for token in words)
        features |= nearness(
            source.read_as,
            source.texts,
            written,
            headings=source.headings,
            tokenizer=self.base.tokenizer,
            embedder=self.embedder,
        )
        features |= {"copied": copied / max(1, len(words)), "words": math.log(1 + len(words))}
        return Draft(written, traced.confidence, self.digest, features, read_as)

    def _absent(self, encoded: Encoded, traced: Trace) -> float:
        """Log-odds of "not in these passages": the span head's, else the decoder's."""
        if encoded.spans is None:
            inside = min(1 - LEAST, max(LEAST, traced.absent))
            return math.log(inside) - math.log1p(-inside)
        return float(encoded.spans.absent)

    def _ids(self, text: str) -> list[int]:
        ids = self.base.tokenizer.encode(whole(text), add_special_tokens=False).ids
        return [token for token in ids if token not in self._hidden]

    def _check_room(self) -> None:
        """Refuse a model that can't read a window or write an answer.

        Raises:
            ModelError: its position table is too short for any window.
            UsageError: it is too short for the longest answer.
        """
        longest = self._longest_row()
        if longest - longest // 4 - passage_offset(0, self.base.special) - 1 <= OVERLAP:
            raise ModelError(f"the generator reads {longest} tokens, too few for a passage")
        positions = self.base.max_positions
        if positions is not None and self.search.max_tokens + 2 > positions:
            raise UsageError(
                f"answers of {self.search.max_tokens} tokens are too long for this generator; "
                f"set RAG_ANSWER_TOKENS to at most {positions - 2}"
            )

    def _longest_row(self) -> int:
        return min(LONGEST_ROW, self.base.max_positions or LONGEST_ROW)

    def _batch(self, asked: list[int], found: Sequence[Window]) -> PassageBatch:
        rows = [[[*window.heading, *window.ids] for window in found]]
        batch = self.base.layout.fuse(
            [asked], rows, self.base.special, max_positions=self.base.max_positions
        )
        length = steady_length(batch.input_ids.shape[2], self.base.max_positions)
        batch = batch.padded(length, self.base.special.padding)
        placed = torch.tensor([place is not None for place in self._places(asked, found, batch)])
        batch = replace(batch, copy_mask=batch.copy_mask & placed.view_as(batch.copy_mask))
        return batch.to(self._device)

    def _states(self, batch: PassageBatch) -> Tensor:
        """Encoder states of one question's windows: (1, P, L) to (P, L, d)."""
        return self.base.model.states(batch.input_ids[0], batch.attention_mask[0])

    def _likeliest(
        self, asked: list[int], found: list[Window], deadline: float | None
    ) -> tuple[list[Window], PassageBatch, Tensor]:
        """The windows, in their order, that lack the answer least; the first without a guide.

        Only the states of the best so far are kept.

        Returns:
            the windows, their batch, their states (P, L, d).
        """
        guide = self.base.model.span_guide
        kept: list[tuple[float, int, Tensor]] = []
        for at in range(0, len(found), FUSED_AT_MOST):
            if deadline is not None and time.monotonic() >= deadline:
                raise self._late()
            batch = self._batch(asked, found[at : at + FUSED_AT_MOST])
            states = self._states(batch)
            lacking = [0.0] * len(states)
            if guide is not None:
                lacking = guide.lacking(states.unsqueeze(0), batch.copy_mask)[0].tolist()
            kept += [(lacking[i], at + i, states[i].clone()) for i in range(len(states))]
            kept = sorted(kept, key=lambda one: one[:2])[:FUSED_AT_MOST]
            if guide is None:
                break
        kept.sort(key=lambda one: one[1])
        chosen = [found[i] for _, i, _ in kept]
        batch = self._batch(asked, chosen)
        _, rows, length = batch.input_ids.shape
        gathered = states.new_zeros(rows, length, states.shape[-1])
        for row, (_, _, own) in enumerate(kept):
            gathered[row, : min(length, len(own))] = own[:length]
        return chosen, batch, gathered * batch.attention_mask[0].unsqueeze(-1)

    def _places(
        self, asked: list[int], found: Sequence[Window], batch: PassageBatch
    ) -> list[Pointer | None]:
        _, _, length = batch.input_ids.shape
        first = passage_offset(len(asked), self.base.special)
        places: list[Pointer | None] = []
        if self.base.layout.concatenated:
            for window in found:
                own = [Pointer(window.passage, start, end) for start, end in window.offsets]
                places += [*([None] * (1 if places else first)), *([None] * len(window.heading))]
                places += own
            return [*places[: length - 1], *([None] * max(1, length - len(places)))]
        for window in found:
            own = [Pointer(window.passage, start, end) for start, end in window.offsets]
            before = first + len(window.heading)
            places += [*([None] * before), *own, *([None] * (length - before - len(own)))]
        return places

    def _late(self) -> GenerationTimeout:
        return GenerationTimeout(
            f"the generator did not finish in {self.time_limit_seconds:g} s; raise "
            "RAG_GENERATE_TIMEOUT_SECONDS or ask with fewer passages"
        )


def shortened(ids: list[int], longest: int) -> list[int]:
    """A question's tokens; of a very long one its beginning and its end, where questions stand.

    >>> shortened([1, 2, 3, 4, 5], longest=4)
    [1, 2, 4, 5]
    """
    if len(ids) <= longest:
        return ids
    half = longest // 2
    return ids[:half] + ids[-half:]
