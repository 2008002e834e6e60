"""What may be heard of an answer while it is made, and how it is called off."""

from collections.abc import Sequence
from typing import Protocol

from rag.types import Citation, Draft, Passage, Segment, Verdict


class Listener(Protocol):
    """Whoever follows an answer; nothing that they hear is served before the answer is."""

    def go_on(self) -> None:
        """Be asked after each stage and each token whether the answer is still wanted.

        Raises:
            Stopped: it isn't.
        """

    def found(self, passages: Sequence[Passage]) -> None:
        """Hear which passages will be read."""

    def wrote(self, draft: Draft) -> None:
        """Hear all of a draft so far, in whole words; what it was copied from may change yet."""

    def judged(
        self,
        segments: Sequence[Segment],
        citations: Sequence[Citation],
        verdicts: Sequence[Verdict],
        passages: Sequence[Passage],
    ) -> None:
        """Hear a finished draft with its verdicts; whether it is served is not decided yet."""

    def withheld(self, reason: str | None) -> None:
        """Hear that the draft is not served; another writer's may follow."""


class Nobody:
    """Nobody listens: the answer is made to its end."""

    def go_on(self) -> None:
        """Go on."""

    def found(self, passages: Sequence[Passage]) -> None:
        """Ignore it."""

    def wrote(self, draft: Draft) -> None:
        """Ignore it."""

    def judged(
        self,
        segments: Sequence[Segment],
        citations: Sequence[Citation],
        verdicts: Sequence[Verdict],
        passages: Sequence[Passage],
    ) -> None:
        """Ignore it."""

    def withheld(self, reason: str | None) -> None:
        """Ignore it."""


NOBODY = Nobody()
