"""The log of answers: append-only, gap-free."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from knowledge_bases.audit.receipt import leaf_hash
from knowledge_bases.database import Database
from knowledge_bases.store.shared import now
from knowledge_bases.tables import AuditRow
from rag.errors import NotFound, UsageError


@dataclass(frozen=True, slots=True)
class NewRecord:
    """What a record of the log is made of, before it has its place in it."""

    kind: str
    kb_name: str
    status: str
    receipt: Mapping[str, Any]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


class Log:
    """Appends to the log and reads it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, new: NewRecord, canonical: Callable[[Mapping[str, Any]], bytes]) -> AuditRow:
        """Append a record to the log; when this returns, it is on disk.

        The sequence number is taken inside the write transaction, so it has no gaps.

        Args:
            new: the record.
            canonical: a receipt to its canonical JSON bytes.
        """
        with self._database.write() as session:
            last = session.scalar(
                select(AuditRow.sequence).order_by(AuditRow.sequence.desc()).limit(1)
            )
            sequence = 0 if last is None else last + 1
            created_at = now()
            receipt = canonical(
                {
                    **new.receipt,
                    "id": new.id,
                    "sequence": sequence,
                    "created_at": created_at.isoformat(timespec="microseconds"),
                }
            )
            row = AuditRow(
                sequence=sequence,
                id=new.id,
                kind=new.kind,
                kb_name=new.kb_name,
                status=new.status,
                created_at=created_at,
                leaf_hash=leaf_hash(receipt),
                receipt=receipt.decode(),
            )
            session.add(row)
        return row

    def get(self, record_id: str) -> AuditRow:
        """Return a record of the log.

        Raises:
            NotFound: there is none of that id.
        """
        with self._database.read() as session:
            row = session.scalar(select(AuditRow).where(AuditRow.id == record_id))
        if row is None:
            raise NotFound(f"there is no record {record_id!r}; `rag audit list` shows them")
        return row

    def find(self, start: str) -> AuditRow:
        """Return the record whose id is, or alone begins with, what was given.

        Raises:
            NotFound: no id begins so.
            UsageError: several do.
        """
        query = select(AuditRow).where(AuditRow.id.startswith(start, autoescape=True)).limit(2)
        with self._database.read() as session:
            rows = list(session.scalars(query)) if start else []
        if len(rows) > 1 and start not in (row.id for row in rows):
            raise UsageError(f"several records begin with {start!r}; give more of the id")
        return rows[0] if len(rows) == 1 else self.get(start)

    def all(
        self,
        *,
        kb_name: str | None = None,
        limit: int | None = None,
        before: int | None = None,
        oldest_first: bool = False,
    ) -> Iterator[AuditRow]:
        """Stream records of the log, newest first by default.

        Args:
            kb_name: only this knowledge base's.
            limit: at most so many.
            before: only those with a lower sequence number.
            oldest_first: the other way round.
        """
        order = AuditRow.sequence if oldest_first else AuditRow.sequence.desc()
        query = select(AuditRow).order_by(order).limit(limit)
        if kb_name is not None:
            query = query.where(AuditRow.kb_name == kb_name)
        if before is not None:
            query = query.where(AuditRow.sequence < before)
        with self._database.read() as session:
            yield from session.scalars(query.execution_options(yield_per=500))
