"""The log: append-only, gap-free, a Merkle tree; all of it that writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import Insert, Table, delete, insert, select, update
from sqlalchemy.exc import IntegrityError as SqlIntegrityError

from knowledge_bases.audit import merkle, payloads
from knowledge_bases.audit.leaf import Leaf
from knowledge_bases.audit.seal import Sealed, seal
from knowledge_bases.audit.worst_verdict import WorstVerdict, worst_verdict
from knowledge_bases.database import Database
from knowledge_bases.store.group_commit import GroupCommit
from knowledge_bases.store.log_reading import LogReading
from knowledge_bases.store.log_tree import LogTree, Nodes, size_of
from knowledge_bases.store.records import NewRecord, Recorded
from knowledge_bases.store.shared import now, parts
from knowledge_bases.tables import (
    AuditCitationRow,
    AuditNodeRow,
    AuditPayloadRow,
    AuditRow,
    AuditSecretRow,
    AuditStateRow,
    AuditSubjectRow,
    AuditVerdictRow,
    Base,
)
from rag.errors import DigestMismatch, LegalHold

__all__ = ["Log", "NewRecord", "Recorded"]

_MOST_AT_ONCE = 256
"""Records that share a transaction; more would make those wait that came first."""
_STATE_ID = 1
_OF_PAYLOADS = (
    AuditSecretRow,
    AuditPayloadRow,
    AuditCitationRow,
    AuditSubjectRow,
    AuditVerdictRow,
)
"""What goes with a payload that is erased."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A record, checked and sealed; only its place in the log is missing."""

    new: NewRecord
    sealed: Sealed
    payload_bytes: int
    subject_hash: str | None
    verdict: WorstVerdict | None


class Log(LogReading, LogTree):
    """Appends to the log, reads it, proves what is in it, and erases payloads."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._append = GroupCommit(self._written, most=_MOST_AT_ONCE)
        self._watcher: Callable[[int], None] = lambda size: None

    def watch(self, watcher: Callable[[int], None]) -> None:
        """Tell somebody how many records there are whenever this object appended one."""
        self._watcher = watcher

    def append(self, new: NewRecord) -> Recorded:
        """Append a record; when this returns, it is on disk.

        The sequence number is taken inside the write transaction, so it has no gaps and no fork,
        however many threads and processes append. Threads of one process share transactions.

        Raises:
            RecordError: the payload has not the shape of its kind.
            StorageError: the database refused it; then nothing of it is in the log.
            DigestMismatch: the log is damaged, so that nothing can be appended to it.
        """
        recorded = self._append(self._prepared(new))
        self._watcher(recorded.log_size)
        return recorded

    def append_all(self, records: Sequence[NewRecord]) -> list[Recorded]:
        """Append records in one transaction: all of them or none, with nothing in between.

        Raises:
            RecordError: a payload has not the shape of its kind.
            StorageError: the database refused them.
            DigestMismatch: the log is damaged, so that nothing can be appended to it.
        """
        recorded = self._written([self._prepared(new) for new in records])
        if recorded:
            self._watcher(recorded[-1].log_size)
        return recorded

    def erase(self, sequences: Collection[int]) -> int:
        """Delete payloads with their keys, salts, citations, subjects and verdicts, all or none.

        Leaves, nodes and so every proof stay. Deleted rows are overwritten in the file
        (`secure_delete`); `Database.compact` clears what was copied elsewhere in it and its WAL.

        Returns:
            How many payloads there were.

        Raises:
            LegalHold: there is a legal hold.
        """
        erased = 0
        with self._database.write() as session:
            state = session.scalars(select(AuditStateRow).with_for_update()).one()
            if state.legal_hold:
                raise LegalHold("there is a legal hold on the log: nothing may be erased")
            for part in parts(sorted(sequences)):
                for table in _OF_PAYLOADS:
                    done = session.execute(delete(table).where(table.sequence.in_(part)))
                    if table is AuditSecretRow:
                        erased += int(done.rowcount)  # type: ignore[attr-defined]
        return erased

    def set_state(self, **changes: object) -> None:
        """Change legal hold, retention or the time of the last pruning; see `LogState`."""
        with self._database.write() as session:
            session.execute(
                update(AuditStateRow).where(AuditStateRow.id == _STATE_ID).values(**changes)
            )

    def _prepared(self, new: NewRecord) -> _Prepared:
        payload = payloads.checked(new.kind, new.payload)
        subject = None if new.subject is None else self.subject_hash(new.subject)
        verdict = worst_verdict(new.kind, new.payload)
        return _Prepared(new, seal(payload, new.id), len(payload), subject, verdict)

    def _written(self, batch: Sequence[_Prepared]) -> list[Recorded]:
        """Write records in one transaction."""
        with self._database.write() as session:
            # SQLite's BEGIN IMMEDIATE has locked others out already; elsewhere this row does.
            session.execute(_LOCK)
            size, created_at = size_of(session), now()
            recorded = []
            for sequence, prepared in enumerate(batch, start=size):
                new = prepared.new
                leaf = Leaf(
                    new.id,
                    sequence,
                    created_at,
                    new.kind,
                    new.kb_name,
                    new.status,
                    prepared.sealed.commitment,
                    prepared.payload_bytes,
                ).canonical()
                recorded.append(
                    Recorded(
                        new.id,
                        sequence,
                        new.kind,
                        new.kb_name,
                        new.status,
                        created_at,
                        merkle.leaf_hash(leaf),
                        leaf.decode(),
                    )
                )
            hashes = [bytes.fromhex(record.leaf_hash) for record in recorded]
            nodes = list(merkle.new_nodes(size, hashes, Nodes(session)))
            try:
                connection = session.connection()  # The session's own way takes twice as long.
                for insertion, rows in _rows(batch, recorded, nodes):
                    if rows:
                        connection.execute(insertion, rows)
            except SqlIntegrityError as error:
                raise DigestMismatch(
                    f"the log has no place for record {size} ({error.orig}): it was rewritten; run "
                    "`rag audit verify`"
                ) from error
        return recorded


def _into(row: type[Base]) -> Insert:
    return insert(cast(Table, row.__table__))


_LOCK = select(AuditStateRow.id).with_for_update()
_INTO_RECORDS = _into(AuditRow)
_INTO_PAYLOADS = _into(AuditPayloadRow)
_INTO_SECRETS = _into(AuditSecretRow)
_INTO_NODES = _into(AuditNodeRow)
_INTO_CITATIONS = _into(AuditCitationRow)
_INTO_SUBJECTS = _into(AuditSubjectRow)
_INTO_VERDICTS = _into(AuditVerdictRow)


def _rows(
    batch: Sequence[_Prepared],
    recorded: Sequence[Recorded],
    nodes: Sequence[tuple[int, int, bytes]],
) -> list[tuple[Insert, list[dict[str, object]]]]:
    """Return what goes where."""
    pairs = list(zip(recorded, batch, strict=True))
    return [
        (
            _INTO_RECORDS,
            [
                {
                    "sequence": record.sequence,
                    "id": record.id,
                    "kind": record.kind,
                    "kb_name": record.kb_name,
                    "status": record.status,
                    "created_at": record.created_at,
                    "leaf_hash": record.leaf_hash,
                    "leaf": record.leaf,
                }
                for record in recorded
            ],
        ),
        (
            _INTO_PAYLOADS,
            [
                {
                    "sequence": record.sequence,
                    "nonce": prepared.sealed.nonce,
                    "ciphertext": prepared.sealed.ciphertext,
                }
                for record, prepared in pairs
            ],
        ),
        (
            _INTO_SECRETS,
            [
                {
                    "sequence": record.sequence,
                    "key": prepared.sealed.key,
                    "salt": prepared.sealed.salt,
                }
                for record, prepared in pairs
            ],
        ),
        (
            _INTO_NODES,
            [
                {"level": level, "position": position, "hash": found}
                for level, position, found in nodes
            ],
        ),
        (
            _INTO_CITATIONS,
            [
                {
                    "sequence": record.sequence,
                    "kb_name": record.kb_name or "",
                    "document_uri": cited.document_uri,
                    "document_id": cited.document_id,
                    "version": cited.version,
                    "cited": cited.cited,
                }
                for record, prepared in pairs
                for cited in prepared.new.citations
            ],
        ),
        (
            _INTO_SUBJECTS,
            [
                {"sequence": record.sequence, "subject_hash": prepared.subject_hash}
                for record, prepared in pairs
                if prepared.subject_hash is not None
            ],
        ),
        (
            _INTO_VERDICTS,
            [
                {"sequence": record.sequence, "label": found.label, "disputed": found.disputed}
                for record, prepared in pairs
                if (found := prepared.verdict) is not None
            ],
        ),
    ]
