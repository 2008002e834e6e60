"""Chunks: as passages for answers, and as rows for the indexes."""

from collections.abc import Iterator, Sequence

import numpy as np
from sqlalchemy import ColumnElement, func, select

from indexer.generation import IndexedChunk
from knowledge_bases.database import Database
from knowledge_bases.store.shared import count, live_chunks, parts
from knowledge_bases.tables import (
    ChunkRow,
    DocumentRow,
    DocumentTagRow,
    EmbeddingRow,
    KnowledgeBaseRow,
    VersionRow,
)
from rag.protocols import Ids
from rag.types import Document, Filters, Passage


class Chunks:
    """Reads of chunks and of the vectors that belong to them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known_inputs(self, model_digest: str, inputs_sha256: Sequence[str]) -> set[str]:
        """Return which embedding inputs have a vector already."""
        with self._database.read() as session:
            return {
                digest
                for part in parts(inputs_sha256)
                for digest in session.scalars(
                    select(EmbeddingRow.input_sha256).where(
                        EmbeddingRow.model_digest == model_digest,
                        EmbeddingRow.input_sha256.in_(part),
                    )
                )
            }

    def passages(self, kb_id: int, chunk_ids: Sequence[int]) -> dict[int, Passage]:
        """Return chunks as passages with score 0, by id; those not live are left out.

        Args:
            kb_id: the knowledge base they must belong to.
            chunk_ids: which.
        """
        found = self._passages(kb_id, chunk_ids)
        return {chunk.id: passage for chunk, passage in found if chunk.retired_revision is None}

    def passages_at(
        self, kb_id: int, chunk_ids: Sequence[int], revision: int
    ) -> dict[int, Passage]:
        """Return chunks as `passages` would have at an earlier revision."""
        return {
            chunk.id: passage
            for chunk, passage in self._passages(kb_id, chunk_ids)
            if chunk.revision <= revision
            and (chunk.retired_revision is None or chunk.retired_revision > revision)
        }

    def passages_ever(self, kb_id: int, chunk_ids: Sequence[int]) -> dict[int, Passage]:
        """Return chunks as passages, also those that have gone out of search but are stored."""
        return {chunk.id: passage for chunk, passage in self._passages(kb_id, chunk_ids)}

    def _passages(self, kb_id: int, chunk_ids: Sequence[int]) -> Iterator[tuple[ChunkRow, Passage]]:
        with self._database.read() as session:
            for part in parts(chunk_ids):
                query = (
                    select(
                        ChunkRow,
                        DocumentRow.uri,
                        DocumentRow.title,
                        VersionRow.number,
                        VersionRow.text_sha256,
                    )
                    .join(DocumentRow, ChunkRow.document_id == DocumentRow.id)
                    .join(VersionRow, ChunkRow.version_id == VersionRow.id)
                    # By id only: given more conditions SQLite walks all chunks of the base instead.
                    .where(ChunkRow.id.in_(part))
                )
                for chunk, uri, title, number, text_sha256 in session.execute(query):
                    if chunk.kb_id != kb_id:
                        continue
                    yield (
                        chunk,
                        Passage(
                            chunk_id=chunk.id,
                            document=Document(str(chunk.document_id), uri, title),
                            version=number,
                            version_id=chunk.version_id,
                            start=chunk.start,
                            end=chunk.end,
                            text=chunk.text,
                            before=chunk.before,
                            after=chunk.after,
                            section=chunk.section,
                            page=chunk.page,
                            text_sha256=text_sha256,
                            score=0.0,
                            context=chunk.context,
                        ),
                    )

    def allowed(
        self, kb_id: int, filters: Filters, revision: int | None = None
    ) -> tuple[list[int], Ids]:
        """Return the document ids and the sorted live chunk ids that pass the filters.

        Args:
            kb_id: the knowledge base.
            filters: compared with the dates and tags that documents have now.
            revision: chunks live at that one instead.
        """
        query = select(DocumentRow.id).where(DocumentRow.kb_id == kb_id)
        live: tuple[ColumnElement[bool], ...] = (ChunkRow.retired_revision.is_(None),)
        if revision is None:
            query = query.where(DocumentRow.deleted_at.is_(None))
        else:
            live = (
                ChunkRow.revision <= revision,
                live[0] | (ChunkRow.retired_revision > revision),
            )
        if filters.since:
            query = query.where(DocumentRow.date >= filters.since)
        if filters.until:
            query = query.where(DocumentRow.date <= filters.until)
        if filters.documents:
            query = query.where(DocumentRow.uri.in_(filters.documents))
        if filters.tags:
            tagged = select(DocumentTagRow.document_id).where(DocumentTagRow.tag.in_(filters.tags))
            query = query.where(DocumentRow.id.in_(tagged))
        with self._database.read() as session:
            documents = list(session.scalars(query.order_by(DocumentRow.id)))
            chunks: list[int] = []
            # By document, whose index is narrow; the index on the base holds all its chunks.
            for part in parts(documents):
                chunks += session.scalars(
                    select(ChunkRow.id).where(ChunkRow.document_id.in_(part), *live)
                )
        return documents, np.sort(np.array(chunks, dtype=np.int64))

    def live(
        self, kb_id: int, *, after_revision: int, up_to_revision: int
    ) -> Iterator[IndexedChunk]:
        """Stream the live chunks that came after one revision and up to another, by id."""
        ids = select(ChunkRow.id).where(
            *live_chunks(kb_id),
            ChunkRow.revision > after_revision,
            ChunkRow.revision <= up_to_revision,
        )
        rows = (
            select(
                ChunkRow.id,
                ChunkRow.document_id,
                ChunkRow.context,
                ChunkRow.text,
                EmbeddingRow.vector,
            )
            .join(KnowledgeBaseRow, ChunkRow.kb_id == KnowledgeBaseRow.id)
            .join(
                EmbeddingRow,
                (EmbeddingRow.input_sha256 == ChunkRow.input_sha256)
                & (EmbeddingRow.model_digest == KnowledgeBaseRow.embedder_digest),
            )
        )
        with self._database.read() as session:
            # Ids first: sorting whole rows would hold every vector in memory.
            found = sorted(session.scalars(ids))
            for part in parts(found):
                query = rows.where(ChunkRow.id.in_(part)).order_by(ChunkRow.id)
                for row in session.execute(query):
                    yield IndexedChunk(*row)

    def count_live_of(self, chunk_ids: Sequence[int]) -> int:
        """Count which of these chunks search may return."""
        with self._database.read() as session:
            return sum(
                count(
                    session,
                    select(func.count(ChunkRow.id)).where(
                        ChunkRow.id.in_(part), ChunkRow.retired_revision.is_(None)
                    ),
                )
                for part in parts(chunk_ids)
            )

    def count_live(self, kb_id: int) -> int:
        """Count the chunks that search may return."""
        with self._database.read() as session:
            return count(session, select(func.count(ChunkRow.id)).where(*live_chunks(kb_id)))

    def retired(self, kb_id: int, *, after_revision: int) -> list[int]:
        """Return the chunks that went out of search after a revision and came before it."""
        with self._database.read() as session:
            return list(
                session.scalars(
                    select(ChunkRow.id).where(
                        ChunkRow.kb_id == kb_id,
                        ChunkRow.retired_revision > after_revision,
                        ChunkRow.revision <= after_revision,
                    )
                )
            )
