"""Every change of the searchable documents, each in one transaction."""

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Insert, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from indexer.load.loaded import Loaded
from knowledge_bases.database import Database
from knowledge_bases.store.documents import Known, Place, place_of
from knowledge_bases.store.shared import locked_kb, now, parts
from knowledge_bases.tables import (
    Base,
    ChunkRow,
    DocumentRow,
    DocumentTagRow,
    EmbeddingRow,
    VersionRow,
)
from rag.errors import NotFound
from rag.protocols import Vectors
from rag.types import CONTEXT_CHARS, Chunk

Outcome = Literal["added", "updated", "unchanged", "elsewhere"]
"""The last one: another file's document has that URI, and nothing was stored."""


@dataclass(frozen=True, slots=True)
class PreparedVersion:
    """A document ready to be stored: loaded, cut, and its chunks' embedding inputs digested.

    ``replaces`` lets it become a version of a document that came from another place.
    """

    uri: str
    title: str
    loaded: Loaded
    chunks: tuple[Chunk, ...]
    inputs_sha256: tuple[str, ...]
    tags: tuple[str, ...]
    place: Place | None = None
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A document that was taken out of every search.

    Attributes:
        revision: of the knowledge base, with that in it.
        retired: chunks that went out of search just now.
        versions: how many are stored, of which ``newest_version`` is the last one's number.
        chunk_ids: of all its versions.
    """

    document_id: int
    uri: str
    deleted_at: datetime.datetime
    revision: int
    retired: int
    versions: int
    newest_version: int
    chunk_ids: tuple[int, ...]


class Changes:
    """Adding versions, deleting documents, tagging."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_vectors(self, kb_id: int, vectors: Mapping[str, Vectors]) -> None:
        """Keep vectors by the digest of what was embedded; known ones are left as they are.

        Raises:
            NotFound: the knowledge base was deleted meanwhile.
        """
        with self._database.write() as session:
            kb = locked_kb(session, kb_id)
            rows = [
                {
                    "model_digest": kb.embedder_digest,
                    "input_sha256": digest,
                    "vector": stored,
                    "vector_sha256": hashlib.sha256(stored).hexdigest(),
                }
                for digest, vector in vectors.items()
                for stored in (vector.astype("<f4").tobytes(),)
            ]
            session.execute(_insert_new(session, EmbeddingRow), rows)

    def add_versions(self, kb_id: int, prepared: Sequence[PreparedVersion]) -> list[Outcome]:
        """Store document versions with their chunks, all or none of them.

        Args:
            kb_id: the knowledge base.
            prepared: versions whose chunks' vectors are stored already; one whose content is the
                document's current one is left out, and one from another place than the document,
                unless it replaces that one.

        Raises:
            NotFound: the knowledge base was deleted meanwhile.
        """
        with self._database.write() as session:
            kb = locked_kb(session, kb_id)
            revision = kb.revision + 1
            outcomes = [_add_version(session, kb_id, revision, version) for version in prepared]
            if any(outcome in ("added", "updated") for outcome in outcomes):
                kb.revision = revision
        return outcomes

    def add_tags(self, kb_id: int, uris: Sequence[str], tags: Sequence[str]) -> None:
        """Put tags on documents beside those they have."""
        with self._database.write() as session:
            for part in parts(uris):
                ids = session.scalars(
                    select(DocumentRow.id).where(
                        DocumentRow.kb_id == kb_id, DocumentRow.uri.in_(part)
                    )
                )
                rows = [{"document_id": i, "tag": tag} for i in ids for tag in set(tags)]
                if rows:
                    session.execute(_insert_new(session, DocumentTagRow), rows)

    def set_places(self, kb_id: int, places: Mapping[str, Place]) -> None:
        """Note where documents came from, by their URIs."""
        with self._database.write() as session:
            for uri, place in places.items():
                session.execute(
                    update(DocumentRow)
                    .where(DocumentRow.kb_id == kb_id, DocumentRow.uri == uri)
                    .values(source_path=place.path, source_folder=place.folder)
                )

    def delete_document(self, kb_id: int, uri: str) -> Withdrawn:
        """Take a document out of every search; its versions stay for old citations.

        Raises:
            NotFound: no live document has that URI.
        """
        with self._database.write() as session:
            kb = locked_kb(session, kb_id)
            document = _document(session, kb_id, uri)
            if document is None or document.deleted_at is not None:
                raise NotFound(f"there is no document {uri!r} here; `rag doc list` shows them all")
            kb.revision += 1
            document.deleted_at = now()
            retired = _retire(session, document.id, kb.revision)
            return _withdrawn(session, document, kb.revision, retired)

    def withdrawn(self, kb_id: int, uri: str) -> Withdrawn | None:
        """Return a document that is deleted; None where there is none of that URI, or a live one.

        Raises:
            NotFound: the knowledge base was deleted meanwhile.
        """
        with self._database.write() as session:
            kb = locked_kb(session, kb_id)
            document = _document(session, kb_id, uri)
            if document is None or document.deleted_at is None:
                return None
            return _withdrawn(session, document, kb.revision, 0)


def _document(session: Session, kb_id: int, uri: str) -> DocumentRow | None:
    """Return the document of a URI, live or deleted: there is one at most."""
    return session.scalar(
        select(DocumentRow).where(DocumentRow.kb_id == kb_id, DocumentRow.uri == uri)
    )


def _withdrawn(session: Session, document: DocumentRow, revision: int, retired: int) -> Withdrawn:
    of_it = ChunkRow.document_id == document.id
    numbers = list(
        session.scalars(select(VersionRow.number).where(VersionRow.document_id == document.id))
    )
    return Withdrawn(
        document_id=document.id,
        uri=document.uri,
        deleted_at=document.deleted_at or now(),
        revision=revision,
        retired=retired,
        versions=len(numbers),
        newest_version=max(numbers, default=0),
        chunk_ids=tuple(session.scalars(select(ChunkRow.id).where(of_it))),
    )


def _add_version(session: Session, kb_id: int, revision: int, prepared: PreparedVersion) -> Outcome:
    loaded = prepared.loaded
    document = session.scalar(
        select(DocumentRow).where(DocumentRow.kb_id == kb_id, DocumentRow.uri == prepared.uri)
    )
    newest = document and session.scalar(
        select(VersionRow)
        .where(VersionRow.document_id == document.id)
        .order_by(VersionRow.number.desc())
        .limit(1)
    )
    if (
        document
        and newest
        and not document.deleted_at
        and newest.content_sha256 == loaded.content_sha256
    ):
        return "unchanged"
    was_live = document is not None and document.deleted_at is None
    if (
        was_live
        and document
        and prepared.place
        and not prepared.replaces
        and Known("", place_of(document.source_path, document.source_folder)).is_elsewhere(
            prepared.place
        )
    ):
        return "elsewhere"
    if document is None:
        document = DocumentRow(kb_id=kb_id, uri=prepared.uri, created_at=now(), title="")
        session.add(document)
    document.title = prepared.title
    document.date = loaded.date
    document.deleted_at = None
    if prepared.place:
        document.source_path = prepared.place.path
        document.source_folder = prepared.place.folder
    session.flush()
    _set_tags(session, document.id, prepared.tags)
    _retire(session, document.id, revision)
    version = VersionRow(
        document_id=document.id,
        number=newest.number + 1 if newest else 1,
        content_sha256=loaded.content_sha256,
        text_sha256=hashlib.sha256(loaded.text.encode()).hexdigest(),
        format=loaded.format,
        marks=[[mark.kind, mark.start, mark.label, mark.level] for mark in loaded.marks],
        created_at=now(),
        text=loaded.text,
    )
    session.add(version)
    session.flush()
    rows = [
        {
            "kb_id": kb_id,
            "document_id": document.id,
            "version_id": version.id,
            "revision": revision,
            "start": chunk.start,
            "end": chunk.end,
            "page": chunk.page,
            "section": chunk.section,
            "context": chunk.context,
            "before": loaded.text[max(0, chunk.start - CONTEXT_CHARS) : chunk.start],
            "text": chunk.text,
            "after": loaded.text[chunk.end : chunk.end + CONTEXT_CHARS],
            "input_sha256": input_sha256,
        }
        for chunk, input_sha256 in zip(prepared.chunks, prepared.inputs_sha256, strict=True)
    ]
    if rows:
        session.execute(insert(ChunkRow), rows)
    return "updated" if was_live else "added"


def _set_tags(session: Session, document_id: int, tags: Sequence[str]) -> None:
    session.execute(delete(DocumentTagRow).where(DocumentTagRow.document_id == document_id))
    session.add_all(DocumentTagRow(document_id=document_id, tag=tag) for tag in sorted(set(tags)))


def _retire(session: Session, document_id: int, revision: int) -> int:
    retired = session.execute(
        update(ChunkRow)
        .where(ChunkRow.document_id == document_id, ChunkRow.retired_revision.is_(None))
        .values(retired_revision=revision)
    )
    return int(retired.rowcount)  # type: ignore[attr-defined]


def _insert_new(session: Session, table: type[Base]) -> Insert:
    """Return an insert that leaves rows alone that are there already."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    new: Insert = dialect.insert(table).on_conflict_do_nothing()
    return new
