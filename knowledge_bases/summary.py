"""What an ingest is asked for and what it tells: options, results per document, a summary."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from knowledge_bases.store.changes import Withdrawn

Result = Literal["added", "updated", "unchanged", "failed"]


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one document; ``reason`` says why it failed."""

    uri: str
    result: Result
    reason: str | None = None


@dataclass(slots=True)
class IngestSummary:
    """What an ingest did.

    Attributes:
        failed: (uri, reason) pairs.
        embedded: texts that went through the embedder.
        missing: uris of documents that came from the folders given and are no longer in them.
        withdrawals: those of them that were taken out of the knowledge base.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    chunks: int = 0
    embedded: int = 0
    seconds: float = 0.0
    failed: list[tuple[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    withdrawals: list[Withdrawn] = field(default_factory=list)

    @property
    def withdrawn(self) -> int:
        """How many documents were taken out of the knowledge base."""
        return len(self.withdrawals)


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How to take files in.

    Attributes:
        tags: put on every document beside its own.
        replace: a file may become a version of a document that came from another place.
        prune: withdraw documents that are no longer in the folders they came from.
        uploaded: the files were sent by someone who names documents, whatever their paths here.
    """

    tags: tuple[str, ...] = ()
    replace: bool = False
    prune: bool = False
    uploaded: bool = False


DEFAULTS = IngestOptions()
Progress = Callable[[FileResult], None]
GiveWay = Callable[[], bool]
"""Waits for what is more urgent; true if that goes on, so that little may be done at a time."""


def alone() -> bool:
    """Give way to nobody."""
    return False
