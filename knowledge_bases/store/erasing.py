"""Which payloads there are to erase, and the erasure of a document with all that came from it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, delete, func, select

from knowledge_bases.audit.acts import PERMANENT
from knowledge_bases.database import Database
from knowledge_bases.store.shared import count, locked_kb, parts
from knowledge_bases.tables import (
    AuditPayloadRow,
    AuditRow,
    AuditSecretRow,
    ChunkRow,
    DocumentRow,
    EmbeddingRow,
    JobRow,
    VersionRow,
)


@dataclass(frozen=True, slots=True)
class Erasable:
    """A record whose payload is there and may be erased."""

    sequence: int
    id: str
    kind: str


@dataclass(frozen=True, slots=True)
class DocumentTraces:
    """What is stored of a document, live or deleted."""

    document_id: int
    uri: str
    versions: int
    chunks: int


class Erasing:
    """Reads for erasures, and what they delete outside the log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def at(self, sequences: Sequence[int]) -> list[Erasable]:
        """Return those of these records whose payload is there and may be erased, in order."""
        with self._database.read() as session:
            return [
                Erasable(*row)
                for part in parts(sorted(set(sequences)))
                for row in session.execute(_erasable().where(AuditRow.sequence.in_(part)))
            ]

    def of(self, ids: Sequence[str]) -> list[Erasable]:
        """Return the same by the records' ids."""
        with self._database.read() as session:
            return [
                Erasable(*row)
                for part in parts(ids)
                for row in session.execute(_erasable().where(AuditRow.id.in_(part)))
            ]

    def older_than(self, before: datetime.datetime, *, below: int | None = None) -> list[Erasable]:
        """Return the same of what was recorded earlier than a moment.

        Args:
            before: the moment.
            below: only those with a lower sequence number.
        """
        query = _erasable().where(AuditRow.created_at < before)
        if below is not None:
            query = query.where(AuditRow.sequence < below)
        with self._database.read() as session:
            return [Erasable(*row) for row in session.execute(query)]

    def count_older_than(self, before: datetime.datetime) -> int:
        """Count what `older_than` would return."""
        with self._database.read() as session:
            query = _erasable().where(AuditRow.created_at < before).order_by(None)
            return count(session, select(func.count()).select_from(query.subquery()))

    def document(self, kb_id: int, uri: str) -> DocumentTraces | None:
        """Return what is stored of a document; None where nothing is."""
        with self._database.read() as session:
            found = session.scalar(
                select(DocumentRow.id).where(DocumentRow.kb_id == kb_id, DocumentRow.uri == uri)
            )
            if found is None:
                return None
            versions = select(func.count(VersionRow.id)).where(VersionRow.document_id == found)
            chunks = select(func.count(ChunkRow.id)).where(ChunkRow.document_id == found)
            return DocumentTraces(found, uri, count(session, versions), count(session, chunks))

    def forget_document(self, kb_id: int, document_id: int) -> bool:
        """Delete a document and all that came from it, in one transaction.

        That is: its versions, chunks, tags, and vectors that no other chunk shares. Indexes that
        hold it must be built anew from nothing; what continues them would not know which of its
        chunks to leave out.

        Returns:
            Whether it was there.

        Raises:
            NotFound: the knowledge base was deleted meanwhile.
        """
        with self._database.write() as session:
            kb = locked_kb(session, kb_id)
            document = session.get(DocumentRow, document_id)
            if document is None or document.kb_id != kb_id:
                return False
            kb.revision += 1
            of_it = ChunkRow.document_id == document_id
            inputs = sorted(set(session.scalars(select(ChunkRow.input_sha256).where(of_it))))
            session.execute(delete(DocumentRow).where(DocumentRow.id == document_id))
            for part in parts(inputs):
                shared = set(
                    session.scalars(
                        select(ChunkRow.input_sha256)
                        .where(ChunkRow.input_sha256.in_(part))
                        .distinct()
                    )
                )
                own = [digest for digest in part if digest not in shared]
                session.execute(delete(EmbeddingRow).where(EmbeddingRow.input_sha256.in_(own)))
        return True

    def jobs_naming(self, kb_id: int, uri: str) -> list[str]:
        """Return the ids of ended jobs that name a document, e.g. among the files that failed."""
        query = select(JobRow.id, JobRow.progress, JobRow.error).where(
            JobRow.kb_id == kb_id, JobRow.finished_at.is_not(None)
        )
        with self._database.read() as session:
            return [
                job
                for job, progress, error in session.execute(query)
                if any(uri in said for said in (*_texts(progress), error or ""))
            ]

    def forget_jobs(self, ids: Sequence[str]) -> None:
        """Delete jobs."""
        with self._database.write() as session:
            for part in parts(ids):
                session.execute(delete(JobRow).where(JobRow.id.in_(part)))

    def any_recorded(self, ids: Sequence[str]) -> bool:
        """Say whether the log has any of these records."""
        with self._database.read() as session:
            return any(
                session.scalar(select(AuditRow.sequence).where(AuditRow.id.in_(part)).limit(1))
                is not None
                for part in parts(ids)
            )


def _texts(value: object) -> Iterator[str]:
    """Yield all texts in what JSON holds, names of members included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield str(name)
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


def _erasable() -> Select[int, str, str]:
    """Records of which anything of the payload is left."""
    with_payload = select(AuditPayloadRow.sequence).union(select(AuditSecretRow.sequence))
    return (
        select(AuditRow.sequence, AuditRow.id, AuditRow.kind)
        .where(AuditRow.sequence.in_(with_payload), AuditRow.kind.not_in(PERMANENT))
        .order_by(AuditRow.sequence)
    )
