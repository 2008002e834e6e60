"""The table of knowledge bases."""

import uuid

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError as SqlIntegrityError

from knowledge_bases.database import Database
from knowledge_bases.store.shared import count, live_chunks, now
from knowledge_bases.tables import (
    ChunkRow,
    DocumentRow,
    EmbeddingRow,
    KnowledgeBaseRow,
    VersionRow,
)
from rag.errors import AlreadyExists, NotFound


class KnowledgeBases:
    """Create, find and delete knowledge bases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        name: str,
        *,
        embedder: str,
        embedder_digest: str,
        dimension: int,
        chunk_tokens: int,
        chunk_overlap_tokens: int,
    ) -> KnowledgeBaseRow:
        """Create a knowledge base.

        Raises:
            AlreadyExists: the name is taken.
        """
        row = KnowledgeBaseRow(
            uid=uuid.uuid4().hex,
            name=name,
            created_at=now(),
            embedder=embedder,
            embedder_digest=embedder_digest,
            dimension=dimension,
            chunk_tokens=chunk_tokens,
            chunk_overlap_tokens=chunk_overlap_tokens,
            revision=0,
        )
        with self._database.write() as session:
            session.add(row)
            try:
                session.flush()
            except SqlIntegrityError:
                raise AlreadyExists(f"there is a knowledge base {name!r} already") from None
        return row

    def get(self, name: str) -> KnowledgeBaseRow:
        """Return a knowledge base by name.

        Raises:
            NotFound: there is none of that name.
        """
        with self._database.read() as session:
            row = session.scalar(select(KnowledgeBaseRow).where(KnowledgeBaseRow.name == name))
        if row is None:
            raise no_such_knowledge_base(name)
        return row

    def all(self) -> list[KnowledgeBaseRow]:
        """Return all knowledge bases by name."""
        with self._database.read() as session:
            return list(session.scalars(select(KnowledgeBaseRow).order_by(KnowledgeBaseRow.name)))

    def delete(self, kb_id: int) -> None:
        """Delete a knowledge base with its documents, chunks and vectors; the log stays."""
        with self._database.write() as session:
            session.execute(delete(KnowledgeBaseRow).where(KnowledgeBaseRow.id == kb_id))
            used = select(ChunkRow.input_sha256)
            session.execute(delete(EmbeddingRow).where(EmbeddingRow.input_sha256.not_in(used)))

    def remains(self, kb_id: int) -> tuple[int, int]:
        """Count all documents and all chunks that are stored of a knowledge base, live or not."""
        with self._database.read() as session:
            return (
                count(
                    session, select(func.count(DocumentRow.id)).where(DocumentRow.kb_id == kb_id)
                ),
                count(session, select(func.count(ChunkRow.id)).where(ChunkRow.kb_id == kb_id)),
            )

    def counts(self, kb_id: int) -> dict[str, int]:
        """Count live documents, all their versions, and live chunks."""
        live = (DocumentRow.kb_id == kb_id, DocumentRow.deleted_at.is_(None))
        with self._database.read() as session:
            return {
                "documents": count(session, select(func.count(DocumentRow.id)).where(*live)),
                "versions": count(
                    session, select(func.count(VersionRow.id)).join(DocumentRow).where(*live)
                ),
                "chunks": count(
                    session, select(func.count(ChunkRow.id)).where(*live_chunks(kb_id))
                ),
            }


def no_such_knowledge_base(name: str) -> NotFound:
    """Return the error for a name that there is no knowledge base of, or none for who asks."""
    return NotFound(f"there is no knowledge base {name!r}; `rag kb list` shows those there are")
