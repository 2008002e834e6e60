"""Reads of the log's records, their payloads, and what they rest on."""

from __future__ import annotations

import datetime
import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowledge_bases.audit import leaf as leaves
from knowledge_bases.audit.seal import Sealed, unseal
from knowledge_bases.audit.subjects import (
    ABOUT,
    other_secret,
    subject_hash,
    subject_secret,
)
from knowledge_bases.audit.worst_verdict import WorstVerdict
from knowledge_bases.database import Database
from knowledge_bases.store.records import LogState, Opened
from knowledge_bases.store.shared import parts
from knowledge_bases.tables import (
    AuditCitationRow,
    AuditPayloadRow,
    AuditRow,
    AuditSecretRow,
    AuditStateRow,
    AuditSubjectRow,
    AuditVerdictRow,
)
from rag.errors import DigestMismatch, NotFound, RecordError, UsageError

_LOOKED_AT = 8


class LogReading:
    """Finds records and opens their payloads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._secret = b""

    def get(self, record_id: str) -> AuditRow:
        """Return a record of the log.

        Raises:
            NotFound: there is none of that id.
        """
        with self._database.read() as session:
            row = session.scalar(select(AuditRow).where(AuditRow.id == record_id))
        if row is None:
            raise no_such_record(record_id)
        return row

    def at(self, sequence: int) -> AuditRow:
        """Return the record with a sequence number.

        Raises:
            NotFound: there is none.
        """
        with self._database.read() as session:
            row = session.get(AuditRow, sequence)
        if row is None:
            raise NotFound(f"the log has no record {sequence}; `rag audit list` shows them")
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
        kb_names: Collection[str] | None = None,
        kinds: Sequence[str] = (),
        status: str | None = None,
        limit: int | None = None,
        before: int | None = None,
        start: int | None = None,
        oldest_first: bool = False,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        document: str | None = None,
        subject: str | None = None,
        verdict: str | None = None,
        disputed: bool | None = None,
    ) -> Iterator[AuditRow]:
        """Stream records of the log, newest first by default.

        Args:
            kb_name: only this knowledge base's.
            kb_names: only those of these knowledge bases.
            kinds: only of these kinds.
            status: only those that this came of.
            limit: at most so many.
            before: only those with a lower sequence number.
            start: only those with this sequence number or a higher one.
            oldest_first: the other way round.
            since: only those made at this time or later.
            until: only those made before this time.
            document: only those that cite a document of this URI.
            subject: only those about this person or key.
            verdict: only those whose worst verdict is this one.
            disputed: only those with a claim that another passage speaks against, or only judged
                ones without. Erased records have neither verdict, document nor subject.
        """
        order = AuditRow.sequence if oldest_first else AuditRow.sequence.desc()
        query = select(AuditRow).order_by(order).limit(limit)
        if kb_name is not None:
            query = query.where(AuditRow.kb_name == kb_name)
        if kb_names is not None:
            query = query.where(AuditRow.kb_name.in_(kb_names))
        if kinds:
            query = query.where(AuditRow.kind.in_(kinds))
        if status is not None:
            query = query.where(AuditRow.status == status)
        if before is not None:
            query = query.where(AuditRow.sequence < before)
        if start is not None:
            query = query.where(AuditRow.sequence >= start)
        if since is not None:
            query = query.where(AuditRow.created_at >= since)
        if until is not None:
            query = query.where(AuditRow.created_at < until)
        if document is not None:
            citing = select(AuditCitationRow.sequence).where(
                AuditCitationRow.document_uri == document, AuditCitationRow.cited
            )
            query = query.where(AuditRow.sequence.in_(citing))
        if subject is not None:
            about = select(AuditSubjectRow.sequence).where(
                AuditSubjectRow.subject_hash == self.subject_hash(subject)
            )
            query = query.where(AuditRow.sequence.in_(about))
        if verdict is not None or disputed is not None:
            judged = select(AuditVerdictRow.sequence)
            if verdict is not None:
                judged = judged.where(AuditVerdictRow.label == verdict)
            if disputed is not None:
                judged = judged.where(AuditVerdictRow.disputed.is_(disputed))
            query = query.where(AuditRow.sequence.in_(judged))
        with self._database.read() as session:
            yield from session.scalars(query.execution_options(yield_per=500))

    def verdicts(self, rows: Sequence[AuditRow]) -> dict[int, WorstVerdict]:
        """Return what is noted of the verdicts of records, by sequence number; of some nothing."""
        found = {}
        with self._database.read() as session:
            for part in parts([row.sequence for row in rows]):
                query = select(AuditVerdictRow).where(AuditVerdictRow.sequence.in_(part))
                for one in session.scalars(query):
                    found[one.sequence] = WorstVerdict(one.label, one.disputed)
        return found

    def opened(self, row: AuditRow) -> Opened | None:
        """Return a record's payload as it was sealed, with its salt; None once it is erased.

        Raises:
            DigestMismatch: the payload is not what the record's leaf commits to.
        """
        with self._database.read() as session:
            return opened(session, row)

    def payload(self, row: AuditRow) -> dict[str, Any] | None:
        """Return a record's payload; None once it is erased.

        Raises:
            DigestMismatch: the payload is not what the record's leaf commits to.
        """
        found = self.opened(row)
        payload: dict[str, Any] | None = json.loads(found.payload) if found else None
        return payload

    def citing(
        self, kb_name: str, uri: str, version: int | None = None, *, read: bool = False
    ) -> list[int]:
        """Return the sequence numbers of the records that cite a document, in order.

        Args:
            kb_name: the knowledge base that the document was in.
            uri: the document's.
            version: only those that cite this version.
            read: those too that read it but don't cite it; erasing a document's text means them.
        """
        query = select(AuditCitationRow.sequence).where(
            AuditCitationRow.kb_name == kb_name, AuditCitationRow.document_uri == uri
        )
        if version is not None:
            query = query.where(AuditCitationRow.version == version)
        if not read:
            query = query.where(AuditCitationRow.cited)
        with self._database.read() as session:
            return list(session.scalars(query.distinct().order_by(AuditCitationRow.sequence)))

    def by_subject(self, subject: str) -> list[int]:
        """Return the sequence numbers of the records about somebody, in order."""
        query = select(AuditSubjectRow.sequence).where(
            AuditSubjectRow.subject_hash == self.subject_hash(subject)
        )
        with self._database.read() as session:
            return list(session.scalars(query.order_by(AuditSubjectRow.sequence)))

    def subject_hash(self, subject: str) -> str:
        """Return what is kept of whom a record is about: an HMAC under the home's secret."""
        self._secret = self._secret or self._fitting_secret()
        return subject_hash(self._secret, subject)

    def forget_secret(self) -> None:
        """Read the home's secret anew when it is needed next."""
        self._secret = b""

    def _fitting_secret(self) -> bytes:
        """Return the home's secret, unless none of the newest records was noted under it.

        Several are looked at, as one that was tampered with must not stop all work.

        Raises:
            StorageError: it is missing, damaged, or another one.
        """
        query = (
            select(AuditRow, AuditSubjectRow.subject_hash)
            .join(AuditSubjectRow, AuditSubjectRow.sequence == AuditRow.sequence)
            .where(AuditRow.kind.in_(ABOUT))
            .order_by(AuditRow.sequence.desc())
            .limit(_LOOKED_AT)
        )
        with self._database.read() as session:
            noted = list(session.execute(query))
            secret = subject_secret(self._database.home, make=not noted)
            unlike = 0
            for row, found in noted:
                try:
                    sealed = opened(session, row)
                    if sealed is None:
                        continue
                    about = json.loads(sealed.payload)[ABOUT[row.kind]]
                except (DigestMismatch, RecordError):
                    continue
                if subject_hash(secret, about) == found:
                    return secret
                unlike += 1
        if unlike:
            raise other_secret(self._database.home)
        return secret

    def state(self) -> LogState:
        """Return the log's id, legal hold and retention."""
        with self._database.read() as session:
            row = session.scalars(select(AuditStateRow)).one()
        return LogState(row.log_id, row.legal_hold, row.retention_days, row.last_pruned)


def no_such_record(record_id: str) -> NotFound:
    """Return the error for an id that there is no record of, or none for who asks."""
    return NotFound(f"there is no record {record_id!r}; `rag audit list` shows them")


def opened(session: Session, row: AuditRow) -> Opened | None:
    """Return a record's payload in a session of the caller's; see `LogReading.opened`."""
    payload = session.get(AuditPayloadRow, row.sequence)
    secret = session.get(AuditSecretRow, row.sequence)
    if payload is None and secret is None:
        return None
    if payload is None or secret is None:
        raise DigestMismatch(
            f"of record {row.id} half is missing: erasing takes payload and key together"
        )
    commitment = leaves.parse(row.leaf.encode()).commitment
    sealed = Sealed(payload.nonce, payload.ciphertext, secret.key, secret.salt, commitment)
    return Opened(unseal(sealed, row.id), secret.salt)
