"""Whoever counts what is answered; they hear of it when it is in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from knowledge_bases.knowledge_base import RecordedAnswer


class Observer(Protocol):
    """Counts answers; what it raises would be the asker's, so it raises nothing."""

    def answered(self, recorded: RecordedAnswer, record_ms: float) -> None:
        """Hear of an answer or abstention, and of how long the log took."""

    def refused(self) -> None:
        """Hear of a question that ended in an error."""


class Nobody:
    """Counts nothing."""

    def answered(self, recorded: RecordedAnswer, record_ms: float) -> None:
        """Ignore it."""

    def refused(self) -> None:
        """Ignore it."""
