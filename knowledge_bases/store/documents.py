"""Documents and their versions: what they are now and what they were."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, func, select, tuple_

from indexer.load.loaded import Mark
from knowledge_bases.database import Database
from knowledge_bases.store.shared import parts
from knowledge_bases.tables import ChunkRow, DocumentRow, DocumentTagRow, VersionRow
from rag.errors import NotFound
from rag.types import Document


@dataclass(frozen=True, slots=True)
class Place:
    """Where a document came from; see the columns of `DocumentRow`."""

    path: str
    folder: str


UPLOADED = Place("upload", "upload")
"""Of what was sent over HTTP; no absolute path reads like this."""


@dataclass(frozen=True, slots=True)
class Known:
    """What ingest must know of a document that is there: its newest content and its place."""

    content_sha256: str
    place: Place | None

    def is_elsewhere(self, place: Place) -> bool:
        """Say whether it is known to have come from another file than this one."""
        return self.place is not None and self.place.path != place.path


@dataclass(frozen=True, slots=True)
class DocumentState:
    """A document as listings show it."""

    document: Document
    version: int
    format: str
    date: datetime.date | None
    tags: tuple[str, ...]
    chunks: int
    content_sha256: str
    text_sha256: str
    created_at: datetime.datetime


@dataclass(frozen=True, slots=True)
class StoredText:
    """A version's text with what names it."""

    document: Document
    version: int
    version_id: int
    text_sha256: str
    text: str


@dataclass(frozen=True, slots=True)
class VersionState:
    """One version of a document as its history shows it.

    Attributes:
        deleted_at: when the document was taken out of every search; None while it is in.
    """

    number: int
    version_id: int
    format: str
    created_at: datetime.datetime
    text_sha256: str
    deleted_at: datetime.datetime | None


class Documents:
    """Reads of documents and versions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, kb_id: int) -> dict[str, Known]:
        """Return the newest content's digest and the place of every live document, by URI."""
        with self._database.read() as session:
            rows = session.execute(
                _current_versions(kb_id).with_only_columns(
                    DocumentRow.uri,
                    VersionRow.content_sha256,
                    DocumentRow.source_path,
                    DocumentRow.source_folder,
                )
            )
            return {uri: Known(sha256, place_of(*place)) for uri, sha256, *place in rows}

    def require(self, kb_id: int, uris: Sequence[str]) -> None:
        """Check that live documents have these URIs.

        Raises:
            NotFound: naming the first that has none.
        """
        found: set[str] = set()
        with self._database.read() as session:
            for part in parts(uris):
                found |= set(
                    session.scalars(
                        select(DocumentRow.uri).where(
                            DocumentRow.kb_id == kb_id,
                            DocumentRow.deleted_at.is_(None),
                            DocumentRow.uri.in_(part),
                        )
                    )
                )
        for uri in uris:
            if uri not in found:
                raise NotFound(f"there is no document {uri!r}; `rag doc list` shows all")

    def all(
        self, kb_id: int, *, limit: int | None = None, after: str | None = None
    ) -> list[DocumentState]:
        """Return live documents by URI: all, or at most so many after a URI."""
        query = _current_versions(kb_id).order_by(DocumentRow.uri).limit(limit)
        if after is not None:
            query = query.where(DocumentRow.uri > after)
        return self._document_states(kb_id, query)

    def get(self, kb_id: int, uri: str, version: int | None = None) -> DocumentState:
        """Return one live document as it is or, given a version's number, as it was.

        Raises:
            NotFound: no live document has that URI, or it has no such version.
        """
        query = _versions(kb_id) if version else _current_versions(kb_id)
        if version:
            query = query.where(VersionRow.number == version)
        states = self._document_states(kb_id, query.where(DocumentRow.uri == uri))
        if not states:
            which = f"version {version} of " if version else ""
            raise NotFound(f"there is no {which}document {uri!r}; `rag doc list` shows all")
        return states[0]

    def uri_of(self, kb_id: int, document_id: str, *, deleted_too: bool = False) -> str:
        """Return a document's URI by its id.

        Args:
            kb_id: the knowledge base.
            document_id: as text, whatever a client sent.
            deleted_too: also of one that was deleted, whose versions are kept.

        Raises:
            NotFound: no such document has that id.
        """
        if document_id.isdecimal() and document_id.isascii() and len(document_id) < 19:
            with self._database.read() as session:
                row = session.get(DocumentRow, int(document_id))
                if row is not None and row.kb_id == kb_id and (deleted_too or not row.deleted_at):
                    return row.uri
        raise NotFound(f"there is no document with id {document_id!r} here")

    def _document_states(
        self, kb_id: int, query: Select[DocumentRow, VersionRow]
    ) -> list[DocumentState]:
        with self._database.read() as session:
            rows = session.execute(query).all()
            ids = [document.id for document, _ in rows]
            tags: dict[int, list[str]] = {}
            chunks: dict[int, int] = {}
            for part in parts(ids):
                for tag in session.scalars(
                    select(DocumentTagRow)
                    .where(DocumentTagRow.document_id.in_(part))
                    .order_by(DocumentTagRow.tag)
                ):
                    tags.setdefault(tag.document_id, []).append(tag.tag)
                counted = session.execute(
                    select(ChunkRow.document_id, func.count(ChunkRow.id))
                    .where(ChunkRow.document_id.in_(part), ChunkRow.retired_revision.is_(None))
                    .group_by(ChunkRow.document_id)
                )
                chunks.update((row[0], row[1]) for row in counted)
        return [
            DocumentState(
                document=Document(str(document.id), document.uri, document.title),
                version=version.number,
                format=version.format,
                date=document.date,
                tags=tuple(tags.get(document.id, ())),
                chunks=chunks.get(document.id, 0),
                content_sha256=version.content_sha256,
                text_sha256=version.text_sha256,
                created_at=version.created_at,
            )
            for document, version in rows
        ]

    def slice(self, version_id: int, start: int, end: int) -> str:
        """Return characters ``[start, end)`` of a version's text.

        Raises:
            NotFound: the version is gone.
        """
        with self._database.read() as session:
            found: str | None = session.scalar(
                select(func.substr(VersionRow.text, start + 1, end - start)).where(
                    VersionRow.id == version_id
                )
            )
        if found is None:
            raise NotFound(f"document version {version_id} is no longer stored")
        return found

    def stored(
        self, kb_id: int, versions: Sequence[tuple[str, int]]
    ) -> dict[tuple[str, int], StoredText]:
        """Return the texts of versions, by (URI, number), also of deleted documents.

        Those no longer stored are left out.
        """
        found = {}
        with self._database.read() as session:
            for part in parts(sorted(set(versions))):
                rows = session.execute(
                    select(
                        DocumentRow.id,
                        DocumentRow.uri,
                        DocumentRow.title,
                        VersionRow.number,
                        VersionRow.id,
                        VersionRow.text_sha256,
                        VersionRow.text,
                    )
                    .join(VersionRow, VersionRow.document_id == DocumentRow.id)
                    .where(
                        DocumentRow.kb_id == kb_id,
                        tuple_(DocumentRow.uri, VersionRow.number).in_(part),
                    )
                )
                for key, uri, title, number, version_id, text_sha256, text in rows:
                    document = Document(str(key), uri, title)
                    found[uri, number] = StoredText(document, number, version_id, text_sha256, text)
        return found

    def history(self, kb_id: int, uri: str) -> list[VersionState]:
        """Return the versions of a document, newest first, also of a deleted one."""
        query = (
            select(VersionRow, DocumentRow.deleted_at)
            .join(DocumentRow, VersionRow.document_id == DocumentRow.id)
            .where(DocumentRow.kb_id == kb_id, DocumentRow.uri == uri)
            .order_by(VersionRow.number.desc())
        )
        with self._database.read() as session:
            return [
                VersionState(
                    row.number, row.id, row.format, row.created_at, row.text_sha256, deleted_at
                )
                for row, deleted_at in session.execute(query)
            ]

    def marks(self, version_id: int) -> list[Mark]:
        """Return the pages and headings over a version's text."""
        with self._database.read() as session:
            marks = session.scalar(select(VersionRow.marks).where(VersionRow.id == version_id))
        return [Mark(kind, start, label, level) for kind, start, label, level in marks or []]  # type: ignore[arg-type]

    def text(self, kb_id: int, uri: str, version: int) -> str:
        """Return a version's whole text; a deleted document has none.

        Raises:
            NotFound: there is no such version.
        """
        query = _versions(kb_id).where(DocumentRow.uri == uri, VersionRow.number == version)
        with self._database.read() as session:
            text: str | None = session.scalar(query.with_only_columns(VersionRow.text))
        if text is None:
            raise NotFound(f"there is no version {version} of document {uri!r}")
        return text


def place_of(path: str | None, folder: str | None) -> Place | None:
    """Return a place as it is stored."""
    return None if path is None else Place(path, folder or "")


def _current_versions(kb_id: int) -> Select[DocumentRow, VersionRow]:
    newest = (
        select(func.max(VersionRow.number))
        .where(VersionRow.document_id == DocumentRow.id)
        .correlate(DocumentRow)
        .scalar_subquery()
    )
    return _versions(kb_id).where(VersionRow.number == newest)


def _versions(kb_id: int) -> Select[DocumentRow, VersionRow]:
    return (
        select(DocumentRow, VersionRow)
        .join(VersionRow, VersionRow.document_id == DocumentRow.id)
        .where(DocumentRow.kb_id == kb_id, DocumentRow.deleted_at.is_(None))
    )
