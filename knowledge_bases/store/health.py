"""Questions to the database about its own consistency."""

import hashlib
from collections.abc import Iterator

from sqlalchemy import func, select, text

from knowledge_bases.database import Database
from knowledge_bases.store.shared import count, live_chunks
from knowledge_bases.tables import (
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

    def vector_problems(self, kb_id: int) -> Iterator[str]:
        """Compare every searchable chunk's vector with its digest, where one was noted."""
        query = (
            select(EmbeddingRow.input_sha256, EmbeddingRow.vector, EmbeddingRow.vector_sha256)
            .join(ChunkRow, ChunkRow.input_sha256 == EmbeddingRow.input_sha256)
            .join(KnowledgeBaseRow, ChunkRow.kb_id == KnowledgeBaseRow.id)
            .where(
                *live_chunks(kb_id),
                EmbeddingRow.model_digest == KnowledgeBaseRow.embedder_digest,
                EmbeddingRow.vector_sha256.is_not(None),
            )
        )
        changed = set()
        with self._database.read() as session:
            for row in session.execute(query.execution_options(yield_per=500)):
                if hashlib.sha256(row.vector).hexdigest() != row.vector_sha256:
                    changed.add(row.input_sha256)
        if changed:
            yield (
                f"{len(changed)} vectors were changed since they were stored; ingest the documents "
                "into a new knowledge base"
            )

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
