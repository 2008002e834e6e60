"""What all tables are read with: time, batches and counts."""

import datetime
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import Session

from knowledge_bases.tables import ChunkRow, KnowledgeBaseRow
from rag.errors import NotFound

T = TypeVar("T")
_IN_LIMIT = 500
"""Values per IN list, below every database's limit."""


def now() -> datetime.datetime:
    """Return the time, in UTC."""
    return datetime.datetime.now(datetime.UTC)


def parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut values into lists short enough for an IN clause."""
    for start in range(0, len(values), _IN_LIMIT):
        yield values[start : start + _IN_LIMIT]


def count(session: Session, query: Select[int]) -> int:
    """Run a counting query."""
    return session.scalar(query) or 0


def live_chunks(kb_id: int) -> tuple[Any, ...]:
    """Return the conditions for chunks that search may return."""
    return ChunkRow.kb_id == kb_id, ChunkRow.retired_revision.is_(None)


def locked_kb(session: Session, kb_id: int) -> KnowledgeBaseRow:
    """Return the row, locked against other writers.

    Raises:
        NotFound: the knowledge base was deleted meanwhile.
    """
    kb = session.get(KnowledgeBaseRow, kb_id, with_for_update=True)
    if kb is None:
        raise NotFound("the knowledge base was deleted meanwhile")
    return kb
