"""Questions to the database about its own consistency."""

import hashlib
from collections.abc import Iterator

from sqlalchemy import func, select, text

from knowledge_bases.database import Database
from knowledge_bases.store.shared import count, live_chunks
from knowledge_bases.tables import (
    AuditRow,
    ChunkRow,
    DocumentRow,
    EmbeddingRow,
    KnowledgeBaseRow,
    VersionRow,
)


class Health:
    """Consistency checks; each yields one line per problem."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def file_problems(self) -> Iterator[str]:
        """Have SQLite check its own file."""
        with self._database.read() as session:
            if session.get_bind().dialect.name == "sqlite":
                for (line,) in session.execute(text("PRAGMA quick_check")):
                    if line != "ok":
                        yield str(line)

    def chunk_problems(self, kb_id: int) -> Iterator[str]:
        """Look for chunks that search would show wrongly or can't find."""
        with self._database.read() as session:
            without_vector = count(
                session,
                select(func.count(ChunkRow.id))
                .join(KnowledgeBaseRow, ChunkRow.kb_id == KnowledgeBaseRow.id)
                .outerjoin(
                    EmbeddingRow,
                    (EmbeddingRow.input_sha256 == ChunkRow.input_sha256)
                    & (EmbeddingRow.model_digest == KnowledgeBaseRow.embedder_digest),
                )
                .where(*live_chunks(kb_id), EmbeddingRow.input_sha256.is_(None)),
            )
            if without_vector:
                yield f"{without_vector} chunks have no vector"
            newest = (
                select(func.max(VersionRow.number))
                .where(VersionRow.document_id == DocumentRow.id)
                .correlate(DocumentRow)
                .scalar_subquery()
            )
            stale = count(
                session,
                select(func.count(ChunkRow.id))
                .join(VersionRow, ChunkRow.version_id == VersionRow.id)
                .join(DocumentRow, ChunkRow.document_id == DocumentRow.id)
                .where(
                    *live_chunks(kb_id),
                    DocumentRow.deleted_at.is_not(None) | (VersionRow.number != newest),
                ),
            )
            if stale:
                yield f"{stale} chunks of deleted documents or old versions are searchable"
            doubled = session.execute(
                select(ChunkRow.version_id, ChunkRow.start)
                .where(*live_chunks(kb_id))
                .group_by(ChunkRow.version_id, ChunkRow.start, ChunkRow.end)
                .having(func.count(ChunkRow.id) > 1)
            ).all()
            if doubled:
                yield f"{len(doubled)} chunks are there twice"

    def version_problems(self, kb_id: int) -> Iterator[str]:
        """Compare every version's text with its digest, and every chunk with its text."""
        query = (
            select(VersionRow.id, VersionRow.text, VersionRow.text_sha256, DocumentRow.uri)
            .join(DocumentRow, VersionRow.document_id == DocumentRow.id)
            .where(DocumentRow.kb_id == kb_id)
        )
        with self._database.read() as session:
            for row in session.execute(query.execution_options(yield_per=50)):
                if hashlib.sha256(row.text.encode()).hexdigest() != row.text_sha256:
                    yield f"the text of {row.uri} (version id {row.id}) was changed"
                chunks = session.execute(
                    select(ChunkRow.start, ChunkRow.end, ChunkRow.text).where(
                        ChunkRow.version_id == row.id
                    )
                )
                if any(row.text[start:end] != chunk for start, end, chunk in chunks):
                    yield f"a chunk of {row.uri} (version id {row.id}) is not in its text"

    def log_problems(self) -> Iterator[str]:
        """Recompute every leaf hash and look for gaps in the sequence."""
        expected = 0
        query = select(AuditRow.sequence, AuditRow.receipt, AuditRow.leaf_hash).order_by(
            AuditRow.sequence
        )
        with self._database.read() as session:
            for sequence, receipt, leaf_hash in session.execute(
                query.execution_options(yield_per=500)
            ):
                if sequence != expected:
                    yield f"records {expected} to {sequence - 1} of the log are missing"
                if hashlib.sha256(b"\x00" + receipt.encode()).hexdigest() != leaf_hash:
                    yield f"record {sequence} of the log was changed"
                expected = sequence + 1
