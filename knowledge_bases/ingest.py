"""Files into a knowledge base: read, cut, embed, store, publish; unchanged ones cost one hash."""

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from indexer.chunk import Chunker
from indexer.load.discover import Source, discover
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded, LoadFailure
from indexer.load.sandbox import Sandbox
from knowledge_bases.lifecycle import Lifecycle
from knowledge_bases.store import Store
from knowledge_bases.store.changes import PreparedVersion
from knowledge_bases.tables import KnowledgeBaseRow
from rag.errors import LoadError
from rag.protocols import Embedder, Vectors
from rag.settings import Settings
from rag.types import Chunk

log = logging.getLogger(__name__)

_FLUSH_CHUNKS = 512
"""Chunks embedded together; sorted by length inside, so that batches waste little padding."""
_FLUSH_SECONDS = 15.0
_PARSED_AHEAD = 64

Result = Literal["added", "updated", "unchanged", "failed"]


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one document; ``reason`` says why it failed."""

    uri: str
    result: Result
    reason: str | None = None


@dataclass(slots=True)
class IngestSummary:
    """What an ingest did.

    Attributes:
        failed: (uri, reason) pairs.
        embedded: texts that went through the embedder.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    chunks: int = 0
    embedded: int = 0
    seconds: float = 0.0
    failed: list[tuple[str, str]] = field(default_factory=list)


Progress = Callable[[FileResult], None]


@dataclass(frozen=True, slots=True)
class _Unchanged:
    uri: str


@dataclass(frozen=True, slots=True)
class _Parsed:
    uri: str
    loaded: Loaded


class Ingest:
    """One run over some paths. A document is acknowledged once it is stored with its vectors.

    Args:
        store: the database.
        kb: the knowledge base.
        lifecycle: publishes the index at the end.
        embedder: the knowledge base's.
        settings: limits of loading.
    """

    def __init__(
        self,
        store: Store,
        kb: KnowledgeBaseRow,
        lifecycle: Lifecycle,
        embedder: Embedder,
        settings: Settings,
    ) -> None:
        self._store = store
        self._kb = kb
        self._lifecycle = lifecycle
        self._embedder = embedder
        self._limits = Limits.from_settings(settings)
        self._max_chars = settings.max_document_chars
        self._chunker = Chunker(
            embedder.count_tokens, tokens=kb.chunk_tokens, overlap=kb.chunk_overlap_tokens
        )

    def run(
        self,
        paths: Sequence[Path],
        *,
        tags: Sequence[str] = (),
        progress: Progress = lambda result: None,
    ) -> IngestSummary:
        """Ingest files, folders and archives.

        Args:
            paths: what to read.
            tags: put on every document beside its own.
            progress: called for each document once its fate is certain.

        Raises:
            StorageError: the disk or the database refused a write; what was acknowledged stays.
        """
        started = time.monotonic()
        summary = IngestSummary()

        def report(result: FileResult) -> None:
            if result.result == "failed":
                summary.failed.append((result.uri, result.reason or ""))
            else:
                setattr(summary, result.result, getattr(summary, result.result) + 1)
            progress(result)

        known = self._store.documents.content_digests(self._kb.id)
        pending: list[PreparedVersion] = []
        chunks_pending = 0
        flushed = time.monotonic()
        seen: set[str] = set()
        unchanged: list[str] = []
        for item in _ahead(self._read(paths, known)):
            if isinstance(item, LoadFailure):
                report(FileResult(item.uri, "failed", item.reason))
                continue
            if item.uri in seen:
                report(FileResult(item.uri, "failed", "another file of this run has the same uri"))
                continue
            seen.add(item.uri)
            if isinstance(item, _Unchanged) or (known.get(item.uri) == item.loaded.content_sha256):
                unchanged.append(item.uri)
                report(FileResult(item.uri, "unchanged"))
                continue
            prepared = self._prepared(item, tags)
            if not prepared.chunks:
                report(FileResult(item.uri, "failed", "holds no text that could be searched"))
                continue
            pending.append(prepared)
            chunks_pending += len(prepared.chunks)
            if chunks_pending >= _FLUSH_CHUNKS or time.monotonic() - flushed > _FLUSH_SECONDS:
                self._flush(pending, summary, report)
                pending, chunks_pending, flushed = [], 0, time.monotonic()
        self._flush(pending, summary, report)
        if tags and unchanged:
            self._store.changes.add_tags(self._kb.id, unchanged, tags)
        self._lifecycle.catch_up()
        summary.seconds = time.monotonic() - started
        return summary

    def _read(
        self, paths: Sequence[Path], known: dict[str, str]
    ) -> Iterator[LoadFailure | _Unchanged | _Parsed]:
        with discover(paths, self._limits) as sources, Sandbox(self._limits) as sandbox:
            for source in sources:
                if isinstance(source, LoadFailure):
                    yield source
                    continue
                try:
                    yield from self._read_source(source, known, sandbox)
                except LoadError as error:
                    yield LoadFailure(source.uri, _without_name(str(error), source.uri))
                source.discard()

    def _read_source(
        self, source: Source, known: dict[str, str], sandbox: Sandbox
    ) -> Iterator[LoadFailure | _Unchanged | _Parsed]:
        # A message is read again each time: its attachments are documents with fates of their own.
        if source.path.suffix.lower() != ".eml" and (
            source.uri in known and known[source.uri] == _sha256(source.path)
        ):
            yield _Unchanged(source.uri)
            return
        for document in sandbox.load(source.path, source.uri):
            if isinstance(document, LoadFailure):
                yield document
                continue
            uri = document.uri or source.uri
            if len(document.text) > self._max_chars:
                yield LoadFailure(
                    uri,
                    f"holds {len(document.text):,} characters of text; split it into documents of "
                    f"at most {self._max_chars:,} or raise RAG_MAX_DOCUMENT_CHARS",
                )
            else:
                yield _Parsed(uri, document)

    def _prepared(self, parsed: _Parsed, tags: Sequence[str]) -> PreparedVersion:
        loaded = parsed.loaded
        title = " ".join((loaded.title or PurePosixPath(parsed.uri).stem).split())[:300]
        chunks = tuple(self._chunker.chunks(loaded, title))
        return PreparedVersion(
            uri=parsed.uri,
            title=title,
            loaded=loaded,
            chunks=chunks,
            inputs_sha256=tuple(
                hashlib.sha256(embedding_input(chunk).encode()).hexdigest() for chunk in chunks
            ),
            tags=tuple({*loaded.tags, *tags}),
        )

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
            vectors: Vectors = self._embedder.embed([inputs[digest] for digest in part])
            self._store.changes.add_vectors(self._kb.id, dict(zip(part, vectors, strict=True)))
            summary.embedded += len(part)
        outcomes = self._store.changes.add_versions(self._kb.id, prepared)
        for version, outcome in zip(prepared, outcomes, strict=True):
            if outcome != "unchanged":
                summary.chunks += len(version.chunks)
            report(FileResult(version.uri, outcome))


def embedding_input(chunk: Chunk) -> str:
    """Return what is embedded for a chunk: its heading line and its text."""
    return f"{chunk.context}\n{chunk.text}"


def _sha256(path: Path) -> str | None:
    with suppress(OSError), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return None


def _without_name(message: str, uri: str) -> str:
    return message.removeprefix(f"{uri}: ")


_Item = LoadFailure | _Unchanged | _Parsed


def _ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """Read in a thread while the caller embeds, a bounded number of documents ahead."""
    ready: queue.Queue[_Item | BaseException | None] = queue.Queue(_PARSED_AHEAD)
    stopped = threading.Event()

    def put(item: _Item | BaseException | None) -> bool:
        while not stopped.is_set():
            with suppress(queue.Full):
                ready.put(item, timeout=0.2)
                return True
        return False

    def read() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(None)
        except BaseException as error:  # Raised again where the items are used.
            put(error)

    thread = threading.Thread(target=read, name="rag-loader", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
