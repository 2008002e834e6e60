"""Follows an answer while it is made, and turns what it hears into the events of a stream."""

import threading
import time
from collections.abc import Callable, Sequence

from pydantic import BaseModel

from api.schemas import Answer, Citation
from api.schemas import Segment as WireSegment
from api.streamed import (
    CitationEvent,
    SegmentEvent,
    StageEvent,
    VerdictEvent,
    WithdrawnEvent,
)
from api.verdicts import Claim
from knowledge_bases.knowledge_base import RecordedAnswer
from rag.cite import segments_so_far
from rag.errors import Stopped
from rag.types import Citation as RagCitation
from rag.types import Draft, Passage, Segment, Verdict

Send = Callable[[str, BaseModel], None]
"""Takes an event: its name and its content."""

_NOT_LOGGED = "the answer could not be finished or logged, so it is withheld"


class Waiting:
    """Waits for an answer in silence, until its time is over or it is called off.

    Args:
        seconds: how long it may take from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._left = threading.Event()

    def call_off(self) -> None:
        """Have the work end at its next token or stage; from any thread."""
        self._left.set()

    def go_on(self) -> None:
        """Say nothing while the answer is wanted.

        Raises:
            Stopped: the time is over, or nobody waits any more.
        """
        if self._left.is_set():
            raise Stopped("whoever asked left before the answer was there")
        if time.monotonic() >= self._deadline:
            raise Stopped(
                f"the answer was not there after {self._seconds:g} s; ask again with more "
                "timeout_seconds, or raise RAG_ASK_TIMEOUT_SECONDS"
            )

    def found(self, passages: Sequence[Passage]) -> None:
        """Ignore it."""

    def wrote(self, draft: Draft) -> None:
        """Ignore it."""

    def judged(
        self,
        segments: Sequence[Segment],
        citations: Sequence[RagCitation],
        verdicts: Sequence[Verdict],
        passages: Sequence[Passage],
    ) -> None:
        """Ignore it."""

    def withheld(self, reason: str | None) -> None:
        """Ignore it."""


class Telling(Waiting):
    """Tells of an answer while it is made, and withdraws what it told of drafts not served.

    Args:
        seconds: how long the answer may take from now on.
        send: takes the events.
    """

    def __init__(self, seconds: float, send: Send) -> None:
        super().__init__(seconds)
        self._send = send
        self._draft = 1
        self._told: list[WireSegment] = []

    def found(self, passages: Sequence[Passage]) -> None:
        """Tell that the writing begins."""
        self._send("stage", StageEvent(stage="retrieved", passages=len(passages)))

    def wrote(self, draft: Draft) -> None:
        """Tell the segments that are new or have changed."""
        self._tell_segments(segments_so_far(draft))

    def judged(
        self,
        segments: Sequence[Segment],
        citations: Sequence[RagCitation],
        verdicts: Sequence[Verdict],
        passages: Sequence[Passage],
    ) -> None:
        """Tell the draft as it would be served, then its citations and verdicts."""
        if len(self._told) > len(segments):  # They were joined: tell them anew.
            self._withdraw("it was put together anew")
        self._tell_segments(segments)
        send_checked(self._send, citations, verdicts, passages, draft=self._draft)

    def withheld(self, reason: str | None) -> None:
        """Withdraw what was told of the draft."""
        self._withdraw(reason)

    def failed(self) -> None:
        """Withdraw what was told, as an error follows."""
        self._withdraw(_NOT_LOGGED)

    def recorded(self, recorded: RecordedAnswer) -> None:
        """Tell the answer, or that there is none."""
        send_end(self._send, Answer.recorded(recorded))

    def _tell_segments(self, segments: Sequence[Segment]) -> None:
        for index, segment in enumerate(segments):
            wire = wired(segment)
            if index == len(self._told):
                self._told.append(wire)
            elif self._told[index] == wire:
                continue
            self._told[index] = wire
            fields = wire.model_dump()
            event = SegmentEvent(**fields, index=index, draft=self._draft, provisional=True)
            self._send("segment", event)

    def _withdraw(self, reason: str | None) -> None:
        if self._told:
            told = len(self._told)
            self._send("withdrawn", WithdrawnEvent(draft=self._draft, segments=told, reason=reason))
            self._told = []
            self._draft += 1


class TellingVerified(Waiting):
    """Tells nothing of an answer before it is verified, served and in the log.

    Args:
        seconds: how long the answer may take from now on.
        send: takes the events.
    """

    def __init__(self, seconds: float, send: Send) -> None:
        super().__init__(seconds)
        self._send = send

    def failed(self) -> None:
        """Nothing was told, so there is nothing to withdraw."""

    def recorded(self, recorded: RecordedAnswer) -> None:
        """Tell all of the answer, or that there is none."""
        answer, inside = Answer.recorded(recorded), recorded.answer
        if answer.status == "answered":
            for index, segment in enumerate(answer.segments):
                fields = segment.model_dump()
                event = SegmentEvent(**fields, index=index, draft=1, provisional=False)
                self._send("segment", event)
            checked = (inside.citations, inside.verdicts, inside.passages)
            send_checked(self._send, *checked, draft=1, provisional=False)
        send_end(self._send, answer)


def wired(segment: Segment) -> WireSegment:
    """Return a segment as it is sent."""
    return WireSegment(
        text=segment.text,
        origin=segment.origin,
        probability=round(segment.probability, 6),
        citation=segment.citation,
    )


def send_checked(
    send: Send,
    citations: Sequence[RagCitation],
    verdicts: Sequence[Verdict],
    passages: Sequence[Passage],
    *,
    draft: int,
    provisional: bool = True,
) -> None:
    """Send the citations and verdicts of a draft."""
    for citation in citations:
        own = Citation.of(citation)
        send("citation", CitationEvent(citation=own, draft=draft, provisional=provisional))
    for verdict in verdicts:
        claim = Claim.of(verdict, tuple(passages))
        send("verdict", VerdictEvent(claim=claim, draft=draft, provisional=provisional))


def send_end(send: Send, answer: Answer) -> None:
    """Send the answer, which is the only thing that counts, or the abstention."""
    send("answer" if answer.status == "answered" else "abstained", answer)
