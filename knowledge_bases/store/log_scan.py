"""Reads the log's tables as they are, whatever stands in them, all at one moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, and_, cast, func, select, true, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.types import NullType

from knowledge_bases.database import Database
from knowledge_bases.tables import (
    AuditCheckpointRow,
    AuditCitationRow,
    AuditNodeRow,
    AuditPayloadRow,
    AuditRow,
    AuditSecretRow,
    AuditStateRow,
    AuditSubjectRow,
    AuditVerdictRow,
)

_AT_ONCE = 500
"""Records read at a time; their payloads are in memory together."""
_TEXTS = ("id", "kind", "kb_name", "status", "created_at", "leaf_hash", "leaf")
_BESIDE: dict[str, tuple[Any, tuple[str, ...]]] = {
    "payload": (AuditPayloadRow, ("nonce", "ciphertext")),
    "secret": (AuditSecretRow, ("key", "salt")),
    "citations": (AuditCitationRow, ("kb_name", "document_uri", "document_id")),
    "subjects": (AuditSubjectRow, ("subject_hash",)),
    "verdicts": (AuditVerdictRow, ("label",)),
}
"""What is kept beside a record, and the columns of it that are not numbers."""
_NUMBERS = {"citations": ("version", "cited"), "verdicts": ("disputed",)}
"""The columns that are."""


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A place in the log, and all that is stored for it.

    Attributes:
        sequence: usually a number; SQLite keeps what it is given.
        record: the row's other columns as bytes or what the driver makes of them; None where
            there are rows for the place, but no record.
        payload, secret: rows, at most one each, unless somebody made the table anew.
        citations, subjects, verdicts: rows.
        mistyped: something is not stored as the type that its column has.
    """

    sequence: Any
    record: Mapping[str, Any] | None
    payload: list[Mapping[str, Any]] = field(default_factory=list)
    secret: list[Mapping[str, Any]] = field(default_factory=list)
    citations: list[Mapping[str, Any]] = field(default_factory=list)
    subjects: list[Mapping[str, Any]] = field(default_factory=list)
    verdicts: list[Mapping[str, Any]] = field(default_factory=list)
    mistyped: bool = False


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint's row."""

    size: Any
    root: Any
    note: Any


class LogScan:
    """All of the log in one read transaction: what is appended meanwhile is not seen."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sqlite = session.get_bind().dialect.name == "sqlite"

    @classmethod
    @contextmanager
    def on(cls, database: Database) -> Iterator[LogScan]:
        """Open a scan."""
        with database.read() as session:
            if session.get_bind().dialect.name != "sqlite":
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield cls(session)

    def size(self) -> int:
        """Return one more than the highest sequence number."""
        last = self._session.scalar(select(func.max(AuditRow.sequence)))
        return 0 if last is None else int(last) + 1

    def log_id(self) -> str | None:
        """Return the log's id; None where nothing or several things stand for it."""
        found = list(self._session.execute(select(self._raw(AuditStateRow.log_id))))
        return as_text(found[0][0]) if len(found) == 1 else None

    def checkpoints(self) -> Iterator[StoredCheckpoint]:
        """Yield the checkpoints kept, by size."""
        query = select(
            AuditCheckpointRow.size,
            self._raw(AuditCheckpointRow.root),
            self._raw(AuditCheckpointRow.note),
        ).order_by(AuditCheckpointRow.size)
        for size, root, note in self._session.execute(query):
            yield StoredCheckpoint(size, as_text(root), as_text(note))

    def records(
        self, start: int = 0, stop: int | None = None, *, kinds: Sequence[str] = ()
    ) -> Iterator[StoredRecord]:
        """Stream records by sequence number, and rows that belong to none where they would be.

        Args:
            start: from this sequence number on; at 0 also what stands below it.
            stop: below this one; by default also what stands above the last record.
            kinds: only of these; then rows that belong to none are left out.
        """
        low: int | None = start if start or kinds else None
        while True:
            batch = self._batch(low, stop, kinds)
            last = len(batch) < _AT_ONCE
            high = stop if last else batch[-1].sequence + 1
            by_sequence = {record.sequence: record for record in batch}
            if batch or (last and not kinds):
                self._add_beside(by_sequence, low, high, only=bool(kinds))
            yield from sorted(by_sequence.values(), key=_order)
            if last:
                return
            low = high

    def nodes(self, level: int, first: int, last: int) -> dict[int, Any]:
        """Return the hashes kept at a level, of the positions from first to last."""
        query = select(
            AuditNodeRow.position,
            self._raw(AuditNodeRow.hash),
            self._typed([AuditNodeRow.hash], "blob"),
        ).where(
            AuditNodeRow.level == level,
            AuditNodeRow.position >= first,
            AuditNodeRow.position <= last,
        )
        return {at: found if typed else None for at, found, typed in self._session.execute(query)}

    def foreign_nodes(self, size: int) -> list[tuple[Any, Any]]:
        """Return (level, position) of nodes that a tree of this size does not have; 100 at most."""
        levels = list(self._session.scalars(select(AuditNodeRow.level).distinct()))
        found: list[tuple[Any, Any]] = []
        for level in levels:
            query = select(AuditNodeRow.position).where(AuditNodeRow.level == level).limit(100)
            if isinstance(level, int) and 1 <= level <= size.bit_length():
                outside = (AuditNodeRow.position < 0) | (AuditNodeRow.position >= size >> level)
                query = query.where(outside)
            found += [(level, position) for position in self._session.scalars(query)]
        return found[:100]

    def _batch(self, low: int | None, stop: int | None, kinds: Sequence[str]) -> list[StoredRecord]:
        columns = [getattr(AuditRow, name) for name in _TEXTS]
        query = (
            select(
                AuditRow.sequence,
                self._typed(columns, "text").label("typed"),
                *(self._raw(column).label(f"raw_{column.key}") for column in columns),
            )
            .order_by(AuditRow.sequence)
            .limit(_AT_ONCE)
        )
        if low is not None:
            query = query.where(AuditRow.sequence >= low)
        if stop is not None:
            query = query.where(AuditRow.sequence < stop)
        if kinds:
            query = query.where(AuditRow.kind.in_(kinds))
        return [
            StoredRecord(sequence, dict(zip(_TEXTS, texts, strict=True)), mistyped=not typed)
            for sequence, typed, *texts in self._session.execute(query)
        ]

    def _add_beside(
        self, records: dict[Any, StoredRecord], low: int | None, high: int | None, *, only: bool
    ) -> None:
        """Add the rows of other tables to the records, and records to rows without one."""
        for name, (table, columns) in _BESIDE.items():
            own = [getattr(table, column) for column in columns]
            numbers = _NUMBERS.get(name, ())
            extra = [type_coerce(getattr(table, number), NullType()) for number in numbers]
            kind = "blob" if name in ("payload", "secret") else "text"
            query = select(
                table.sequence,
                self._typed(own, kind),
                *(self._raw(column) for column in own),
                *extra,
            )
            if only:
                query = query.where(table.sequence.in_(list(records)))
            if low is not None:
                query = query.where(table.sequence >= low)
            if high is not None:
                query = query.where(table.sequence < high)
            keys = (*columns, *numbers)
            for sequence, typed, *values in self._session.execute(query):
                place = records.get(sequence) or StoredRecord(sequence, None)
                getattr(place, name).append(dict(zip(keys, values, strict=True)))
                if not typed and not place.mistyped:
                    place = _mistyped(place)
                records[sequence] = place

    def _raw(self, column: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
        """Return what reads a column without an error, whatever bytes SQLite holds in it."""
        if self._sqlite:
            return cast(column, LargeBinary)
        return type_coerce(column, NullType())

    def _typed(
        self, columns: Sequence[InstrumentedAttribute[Any]], kind: str
    ) -> ColumnElement[bool]:
        """Return whether columns hold what they were declared for."""
        if not self._sqlite:
            return true()
        return and_(*(func.typeof(column).in_((kind, "null")) for column in columns))


def as_text(value: Any) -> str | None:
    """Return a value read raw as text; bytes that are none become text that equals no other."""
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode("utf-8", "surrogateescape")
    return None if value is None else str(value)


def _mistyped(record: StoredRecord) -> StoredRecord:
    return StoredRecord(
        record.sequence,
        record.record,
        record.payload,
        record.secret,
        record.citations,
        record.subjects,
        record.verdicts,
        mistyped=True,
    )


def _order(record: StoredRecord) -> tuple[bool, Any]:
    """Numbers come first, as in SQLite."""
    number = isinstance(record.sequence, int)
    return not number, record.sequence if number else str(record.sequence)
