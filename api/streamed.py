"""The wire of a streamed answer: what its events hold."""

from typing import Literal

from pydantic import Field

from api.schemas import Citation, Segment
from api.verdicts import Claim
from api.wire import Wire


class Streamed(Wire):
    """Base of what is told of an answer before it counts.

    ``draft`` counts the drafts of one question from 1: where the first is withdrawn, another
    writer's may follow. While ``provisional`` is true nothing of it was verified and logged.
    """

    draft: int = Field(ge=1)
    provisional: bool


class StageEvent(Wire):
    """How far the work is."""

    stage: Literal["retrieved"]
    passages: int = Field(description="So many will be read.")


class SegmentEvent(Streamed, Segment):
    """A run of a draft; one of the same draft and ``index`` replaces the one before."""

    index: int = Field(ge=0)


class CitationEvent(Streamed):
    """Where a segment was copied from."""

    citation: Citation


class VerdictEvent(Streamed):
    """What the verifier says of one claim of a draft."""

    claim: Claim


class WithdrawnEvent(Wire):
    """All of a draft must be forgotten: it is not served."""

    draft: int
    segments: int = Field(description="So many were sent of it.")
    reason: str | None
