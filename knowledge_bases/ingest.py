"""Files into a knowledge base: read, cut, embed, store, publish; unchanged ones cost one hash."""

import hashlib
import logging
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath

import numpy as np

from indexer.chunk import Chunker
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded
from knowledge_bases.lifecycle import Lifecycle
from knowledge_bases.missing import Seen, folder_of, missing
from knowledge_bases.reading import Failed, Read, Reading
from knowledge_bases.store import Store
from knowledge_bases.store.changes import PreparedVersion, Withdrawn
from knowledge_bases.store.documents import UPLOADED, Known, Place
from knowledge_bases.summary import (
    DEFAULTS,
    FileResult,
    GiveWay,
    IngestOptions,
    IngestSummary,
    Progress,
    alone,
)
from knowledge_bases.tables import KnowledgeBaseRow
from rag.errors import NotFound, UsageError
from rag.protocols import Embedder, Vectors
from rag.settings import Settings
from rag.types import Chunk

log = logging.getLogger(__name__)

_FLUSH_CHUNKS = 512
"""Chunks embedded together; sorted by length inside, so that batches waste little padding."""
_BATCH_CHUNKS = 64
"""Chunks embedded before more urgent work gets a turn: a second or two on two cores."""
_BATCH_CHUNKS_WHILE_BUSY = 6
"""The same while there is such work; it waits a fifth of a second."""
_FLUSH_SECONDS = 5.0
"""What is parsed waits at most this long to be stored, however slow the next file is."""


class Ingest:
    """One run over some paths. A document is acknowledged once it is stored with its vectors.

    Args:
        store: the database.
        kb: the knowledge base.
        lifecycle: publishes the index at the end.
        embedder: the knowledge base's.
        settings: limits of loading.
        give_way: is called before each batch of texts that is embedded.
    """

    def __init__(
        self,
        store: Store,
        kb: KnowledgeBaseRow,
        lifecycle: Lifecycle,
        embedder: Embedder,
        settings: Settings,
        give_way: GiveWay = alone,
    ) -> None:
        self._store = store
        self._kb = kb
        self._lifecycle = lifecycle
        self._embedder = embedder
        self._give_way = give_way
        self._limits = Limits.from_settings(settings)
        self._max_chars = settings.max_document_chars
        self._chunker = Chunker(
            embedder.count_tokens, tokens=kb.chunk_tokens, overlap=kb.chunk_overlap_tokens
        )

    def run(
        self,
        paths: Sequence[Path],
        *,
        options: IngestOptions = DEFAULTS,
        progress: Progress = lambda result: None,
    ) -> IngestSummary:
        """Ingest files, folders and archives.

        Args:
            paths: what to read.
            options: how.
            progress: called for each document once its fate is certain.

        Raises:
            UsageError: documents are to be pruned, but no folder is given.
            StorageError: the disk or the database refused a write; what was acknowledged stays.
        """
        folders = {folder for path in paths if (folder := folder_of(path))}
        if options.prune and not folders:
            raise UsageError("--prune withdraws what is no longer in a folder; give the folder")
        started = time.monotonic()
        summary = IngestSummary()

        def report(result: FileResult) -> None:
            if result.result == "failed":
                summary.failed.append((result.uri, result.reason or ""))
            else:
                setattr(summary, result.result, getattr(summary, result.result) + 1)
            progress(result)

        known = self._store.documents.known(self._kb.id)
        seen = Seen()
        self._take_in(
            Reading(paths, known, self._limits, self._max_chars),
            known,
            options,
            seen,
            summary,
            report,
        )
        summary.missing = missing(known, () if options.uploaded else folders, seen)
        if options.prune:
            summary.withdrawals = self._withdraw(summary.missing)
        self._lifecycle.catch_up()
        summary.seconds = time.monotonic() - started
        return summary

    def _take_in(
        self,
        reading: Reading,
        known: dict[str, Known],
        options: IngestOptions,
        seen: Seen,
        summary: IngestSummary,
        report: Progress,
    ) -> None:
        """Store what is new, in batches, and note what else was seen."""
        pending: list[PreparedVersion] = []
        chunks_pending = 0
        flushed = time.monotonic()
        unchanged: dict[str, Place] = {}
        with closing(reading.items()) as items:
            for item in items:
                if item is not None:
                    prepared = self._judged(item, known, options, seen, unchanged, report)
                    if prepared:
                        pending.append(prepared)
                        chunks_pending += len(prepared.chunks)
                waited = time.monotonic() - flushed
                if chunks_pending >= _FLUSH_CHUNKS or (pending and waited > _FLUSH_SECONDS):
                    self._flush(pending, summary, report)
                    pending, chunks_pending, flushed = [], 0, time.monotonic()
        self._flush(pending, summary, report)
        self._note_unchanged(unchanged, known, options)

    def _judged(
        self,
        item: Failed | Read,
        known: dict[str, Known],
        options: IngestOptions,
        seen: Seen,
        unchanged: dict[str, Place],
        report: Progress,
    ) -> PreparedVersion | None:
        """Return a document that is to be stored; report what is not."""
        if isinstance(item, Failed):
            seen.add_failed(item.uri, item.place)
            report(FileResult(item.uri, "failed", item.reason))
            return None
        if item.uri in seen.uris:
            report(FileResult(item.uri, "failed", "another file of this run has the same uri"))
            return None
        seen.add(item.uri, item.place)
        there = known.get(item.uri)
        if item.loaded is None or (there and there.content_sha256 == item.loaded.content_sha256):
            unchanged[item.uri] = item.place
            report(FileResult(item.uri, "unchanged"))
            return None
        place = UPLOADED if options.uploaded else item.place
        replaces = options.replace or options.uploaded
        if there and there.is_elsewhere(place) and not replaces:
            report(FileResult(item.uri, "failed", _elsewhere(there.place)))
            return None
        prepared = self._prepared(item.uri, item.loaded, place, replaces, options.tags)
        if not prepared.chunks:
            report(FileResult(item.uri, "failed", "holds no text that could be searched"))
            return None
        return prepared

    def _prepared(
        self, uri: str, loaded: Loaded, place: Place, replaces: bool, tags: Sequence[str]
    ) -> PreparedVersion:
        title = " ".join((loaded.title or PurePosixPath(uri).stem).split())[:300]
        chunks = tuple(self._chunker.chunks(loaded, title))
        return PreparedVersion(
            uri=uri,
            title=title,
            loaded=loaded,
            chunks=chunks,
            inputs_sha256=tuple(
                hashlib.sha256(embedding_input(chunk).encode()).hexdigest() for chunk in chunks
            ),
            tags=tuple({*loaded.tags, *tags}),
            place=place,
            replaces=replaces,
        )

    def _note_unchanged(
        self, unchanged: dict[str, Place], known: dict[str, Known], options: IngestOptions
    ) -> None:
        if options.tags and unchanged:
            self._store.changes.add_tags(self._kb.id, list(unchanged), options.tags)
        places = {
            uri: place
            for uri, place in unchanged.items()
            if uri in known
            and not options.uploaded
            and (known[uri].place is None or (options.replace and known[uri].place != place))
        }
        if places:
            self._store.changes.set_places(self._kb.id, places)

    def _withdraw(self, uris: Sequence[str]) -> list[Withdrawn]:
        withdrawn = []
        for uri in uris:
            try:
                withdrawn.append(self._store.changes.delete_document(self._kb.id, uri))
            except NotFound:  # Somebody else has withdrawn it meanwhile.
                continue
        return withdrawn

    def _flush(
        self,
        prepared: Sequence[PreparedVersion],
        summary: IngestSummary,
        report: Progress,
    ) -> None:
        if not prepared:
            return
        inputs = {
            digest: embedding_input(chunk)
            for version in prepared
            for chunk, digest in zip(version.chunks, version.inputs_sha256, strict=True)
        }
        known = self._store.chunks.known_inputs(self._embedder.digest, list(inputs))
        missing = [digest for digest in inputs if digest not in known]
        # A long document's vectors are stored as they come, so that a second try goes on there.
        for start in range(0, len(missing), _FLUSH_CHUNKS):
            part = missing[start : start + _FLUSH_CHUNKS]
            vectors = self._embedded([inputs[digest] for digest in part])
            self._store.changes.add_vectors(self._kb.id, dict(zip(part, vectors, strict=True)))
            summary.embedded += len(part)
        outcomes = self._store.changes.add_versions(self._kb.id, prepared)
        for version, outcome in zip(prepared, outcomes, strict=True):
            if outcome == "elsewhere":
                report(FileResult(version.uri, "failed", _elsewhere(None)))
                continue
            if outcome != "unchanged":
                summary.chunks += len(version.chunks)
            report(FileResult(version.uri, outcome))

    def _embedded(self, texts: Sequence[str]) -> Vectors:
        """Embed texts, some at a time; those of like length together, to waste little padding."""
        vectors = np.empty((len(texts), self._embedder.dimension), dtype=np.float32)
        left = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        while left:
            batch = _BATCH_CHUNKS_WHILE_BUSY if self._give_way() else _BATCH_CHUNKS
            part, left = left[-batch:], left[:-batch]
            vectors[part] = self._embedder.embed([texts[i] for i in part])
        return vectors


def embedding_input(chunk: Chunk) -> str:
    """Return what is embedded for a chunk: its heading line and its text."""
    return f"{chunk.context}\n{chunk.text}"


def _elsewhere(place: Place | None) -> str:
    path = "another place" if place is None else place.path
    source = "which was uploaded" if place == UPLOADED else f"which came from {path}"
    return (
        f"a different document, {source}, has this uri; ingest the folder above both so that "
        "their uris differ, or pass --replace to make this its new version"
    )
