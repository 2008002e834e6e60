"""Reads documents for ingest in a thread of its own, a bounded number of them ahead."""

import hashlib
import queue
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from indexer.load.discover import Source, discover
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded, LoadFailure
from indexer.load.sandbox import Sandbox
from knowledge_bases.store.documents import Known, Place
from rag.errors import LoadError

_PARSED_AHEAD = 64
_TICK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Failed:
    """What could not be read; ``place`` is None where it could not even be opened."""

    uri: str
    reason: str
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """A document; ``loaded`` is None if its file is, byte for byte, the version that is there."""

    uri: str
    place: Place
    loaded: Loaded | None


Item = Failed | Read


class Reading:
    """One walk over some paths.

    Args:
        paths: files, folders and archives.
        known: the documents that are there, by uri.
        limits: of loading.
        max_chars: longest text of one document.
    """

    def __init__(
        self, paths: Sequence[Path], known: Mapping[str, Known], limits: Limits, max_chars: int
    ) -> None:
        self._paths = paths
        self._known = known
        self._limits = limits
        self._max_chars = max_chars
        self._sandbox = Sandbox(limits)
        self._stopped = threading.Event()
        self._ready: queue.Queue[Item | BaseException | None] = queue.Queue(_PARSED_AHEAD)

    def items(self) -> Generator[Item | None, None, None]:
        """Yield what was read, and None after each second in which nothing was.

        Closing the iterator stops the reading at once, also in the middle of a file.
        """
        thread = threading.Thread(target=self._fill, name="rag-loader", daemon=True)
        thread.start()
        try:
            while True:
                try:
                    item = self._ready.get(timeout=_TICK_SECONDS)
                except queue.Empty:
                    yield None
                    continue
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self._stopped.set()
            self._sandbox.abort()
            thread.join()

    def _fill(self) -> None:
        try:
            for item in self._read():
                if not self._put(item):
                    return
            self._put(None)
        except BaseException as error:  # Raised again where the items are used.
            self._put(error)

    def _put(self, item: Item | BaseException | None) -> bool:
        while not self._stopped.is_set():
            with suppress(queue.Full):
                self._ready.put(item, timeout=0.2)
                return True
        return False

    def _read(self) -> Iterator[Item]:
        with discover(self._paths, self._limits) as sources, self._sandbox:
            for source in sources:
                if isinstance(source, LoadFailure):
                    yield Failed(source.uri, source.reason)
                    continue
                place = Place(source.origin, source.folder)
                try:
                    yield from self._read_source(source, place)
                except LoadError as error:
                    reason = str(error).removeprefix(f"{source.uri}: ")
                    yield Failed(source.uri, reason, place)
                source.discard()

    def _read_source(self, source: Source, place: Place) -> Iterator[Item]:
        known = self._known.get(source.uri)
        # A message is read again each time: its attachments are documents with fates of their own.
        if source.path.suffix.lower() != ".eml" and (
            known is not None and known.content_sha256 == _sha256(source.path)
        ):
            yield Read(source.uri, place, None)
            return
        for document in self._sandbox.load(source.path, source.uri):
            if isinstance(document, LoadFailure):
                yield Failed(document.uri, document.reason, place)
                continue
            uri = document.uri or source.uri
            if len(document.text) > self._max_chars:
                reason = (
                    f"holds {len(document.text):,} characters of text; split it into documents of "
                    f"at most {self._max_chars:,} or raise RAG_MAX_DOCUMENT_CHARS"
                )
                yield Failed(uri, reason, place)
            else:
                yield Read(uri, place, document)


def _sha256(path: Path) -> str | None:
    with suppress(OSError), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return None
