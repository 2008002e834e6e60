"""Index generations of one knowledge base: which is current, catching up, repair, clean-up."""

import logging
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from filelock import FileLock, Timeout

from indexer.generation import Generation, build, can_continue, publish
from knowledge_bases.store import Store
from knowledge_bases.store.shared import now
from knowledge_bases.tables import KnowledgeBaseRow
from rag.errors import IndexCorrupt, NotFound, RagError, StorageError
from rag.settings import Settings

log = logging.getLogger(__name__)

REFRESH_SECONDS = 5.0
"""How often a long-lived process looks for changes that other processes made."""
_BUILDING = "building-"


class _Busy(Exception):
    """Another process is building."""


class Lifecycle:
    """Keeps the published generation in step with the database, which is the truth.

    Args:
        store: the database.
        kb: the knowledge base.
        folder: where its generations lie.
        settings: sizes and how many generations are kept.
    """

    def __init__(
        self, store: Store, kb: KnowledgeBaseRow, folder: Path, settings: Settings
    ) -> None:
        self._store = store
        self._kb = kb
        self._folder = folder
        self._settings = settings
        self._opened: Generation | None = None
        self._checked = -REFRESH_SECONDS
        self._lock = threading.RLock()
        """Guards the two above; never held for as long as a build takes."""
        self._building_here = threading.RLock()
        """Held while this process looks and, if need be, builds."""

    def current(self) -> Generation:
        """Return a generation to search in, caught up if others have changed the documents.

        Where catching up fails for want of room or rights, or while another thread is at it, the
        newest readable one is served.

        Raises:
            StorageError: there is none and none can be built.
        """
        with self._lock:
            opened, checked = self._opened, self._checked
        if opened and time.monotonic() - checked < REFRESH_SECONDS:
            return opened
        # Whoever has a generation to search in doesn't wait for the next one.
        if not self._building_here.acquire(blocking=False):
            opened = opened or self._newest()
            if opened:
                return opened
            self._building_here.acquire()
        try:
            try:
                return self.catch_up(wait=False)
            except (StorageError, _Busy) as error:
                opened = self._newest()
                if opened is None:
                    return self.catch_up()
                if isinstance(error, StorageError):
                    log.warning("searching generation %s: %s", opened.path.name, error)
                self._note(opened)
                return opened
        finally:
            self._building_here.release()

    def catch_up(self, *, wait: bool = True) -> Generation:
        """Publish what the newest generation doesn't show yet and return the one that does.

        Args:
            wait: for another process that is building; else what that one publishes is found at
                the next look.

        Raises:
            StorageError: the disk refused it.
        """
        with self._building_here:
            with self._lock:
                self._checked = -REFRESH_SECONDS  # If this fails, the next search tries again.
            opened = self._newest()
            if opened is None or opened.manifest.revision < self._revision():
                with self._building(wait=wait):
                    opened = self._newest()  # Another process may have been faster.
                    if opened is None or opened.manifest.revision < self._revision():
                        opened = self._build(opened)
            self._note(opened)
            return opened

    def at(self, number: int) -> Generation:
        """Return a generation that is still kept, to search as it was searched then.

        Raises:
            NotFound: it was removed, or never published.
            IndexCorrupt: it can't be read; it is left where it is.
        """
        with self._lock:
            if self._opened and self._opened.manifest.number == number:
                return self._opened
        if number not in self._numbers():
            noted = {row.number: row for row in self._store.generations.all(self._kb.id)}
            removed = noted[number].removed_at if number in noted else None
            gone = f"was removed on {removed:%Y-%m-%d}" if removed else "is not there"
            raise NotFound(
                f"index generation {number} {gone}; RAG_KEEP_GENERATIONS_DAYS keeps them longer"
            )
        return Generation(self._path(number), self._settings)

    def remove_old(self) -> list[int]:
        """Remove all generations but the newest, however long they were to be kept.

        Texts that have been erased from the database may still stand in them.

        Returns:
            the numbers of those that were removed.

        Raises:
            StorageError: the disk refused it.
        """
        newest = self.catch_up()
        with self._building_here, self._building(wait=True):
            return self._remove(
                [number for number in self._numbers() if number < newest.manifest.number]
            )

    def _note(self, opened: Generation) -> None:
        with self._lock:
            self._opened, self._checked = opened, time.monotonic()

    def older_than(self, generation: Generation) -> int:
        """Count the generations on disk that came before this one."""
        return sum(number < generation.manifest.number for number in self._numbers())

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the generations on disk, one line each."""
        for number in self._numbers():
            try:
                Generation(self._path(number), self._settings).verify()
            except RagError as error:
                if number in self._numbers():  # Else another process has just removed it.
                    yield str(error)
        newest = self.catch_up()
        held = self._store.chunks.count_live(self._kb.id)
        if newest.manifest.revision == self._revision() and not (
            newest.manifest.chunks == len(newest.lexical) == held <= len(newest.vectors)
        ):
            yield (
                f"generation {newest.path.name} holds {len(newest.vectors)} vectors and "
                f"{len(newest.lexical)} texts of {held} chunks; delete its folder to rebuild it"
            )
        if newest.manifest.revision > self._revision():
            yield f"generation {newest.path.name} is newer than the database; delete its folder"

    def _newest(self) -> Generation | None:
        """Return the newest readable generation; a damaged one is set aside."""
        for number in reversed(self._numbers()):
            if self._opened and self._opened.manifest.number == number:
                return self._opened
            try:
                generation = Generation(self._path(number), self._settings)
            except (IndexCorrupt, NotFound) as error:
                if number in self._numbers():
                    log.warning("%s; it is set aside and rebuilt", error)
                    self._set_aside(number)
                continue
            if generation.manifest.embedder_sha256 == self._kb.embedder_digest:
                return generation
        return None

    def _build(self, previous: Generation | None) -> Generation:
        for path in self._leftovers():
            shutil.rmtree(path, ignore_errors=True)
        revision = self._revision()
        chunks = self._store.chunks.count_live(self._kb.id)
        retired: list[int] = []
        if previous:
            retired = self._store.chunks.retired(
                self._kb.id, after_revision=previous.manifest.revision
            )
            if not can_continue(
                previous,
                chunks=chunks,
                retired=len(retired),
                embedder_sha256=self._kb.embedder_digest,
                settings=self._settings,
            ):
                previous, retired = None, []
        noted = self._store.generations.all(self._kb.id)
        number = 1 + max([row.number for row in noted] + self._numbers(), default=0)
        target = self._folder / f"{_BUILDING}{uuid.uuid4().hex}"
        build(
            target,
            number=number,
            revision=revision,
            chunks=chunks,
            dimension=self._kb.dimension,
            embedder_sha256=self._kb.embedder_digest,
            previous=previous,
            added=self._store.chunks.live(
                self._kb.id,
                after_revision=previous.manifest.revision if previous else 0,
                up_to_revision=revision,
            ),
            retired=retired,
            settings=self._settings,
        )
        publish(target, self._path(number))
        opened = Generation(self._path(number), self._settings)
        self._store.generations.add(
            self._kb.id,
            number=number,
            revision=revision,
            chunks=chunks,
            vectors_kind=opened.manifest.vectors_kind,
            manifest_sha256=opened.digest,
        )
        log.info("published generation %d of knowledge base %d", number, self._kb.id)
        self._remove(self._expired())
        return opened

    def _expired(self) -> list[int]:
        """Return the generations that neither their number nor their age keeps."""
        noted = self._store.generations.all(self._kb.id)
        published = {row.number: row.created_at for row in noted}
        numbers = self._numbers()
        kept_since = now() - timedelta(days=self._settings.keep_generations_days)
        return [
            number
            for number, following in pairwise(numbers)
            if number in numbers[: -self._settings.keep_generations]
            and published.get(following, kept_since) <= kept_since
        ]

    def _remove(self, numbers: Sequence[int]) -> list[int]:
        for number in numbers:
            self._store.generations.mark_removed(self._kb.id, number)
            shutil.rmtree(self._path(number), ignore_errors=True)
        return list(numbers)

    @contextmanager
    def _building(self, *, wait: bool) -> Iterator[None]:
        """Hold the lock that only one process at a time has while it builds."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._folder / "build.lock")
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            raise _Busy from None
        except OSError as error:
            raise StorageError(
                f"the index folder {self._folder} can't be written to: {error.strerror}"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _revision(self) -> int:
        return self._store.kbs.get(self._kb.name).revision

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08}"

    def _numbers(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        return sorted(int(path.name) for path in self._folder.iterdir() if path.name.isdecimal())

    def _leftovers(self) -> list[Path]:
        return [
            path
            for path in self._folder.iterdir()
            if path.name.startswith((_BUILDING, "damaged-")) and path.is_dir()
        ]

    def _set_aside(self, number: int) -> None:
        try:
            self._path(number).rename(self._folder / f"damaged-{number:08}-{uuid.uuid4().hex}")
        except FileNotFoundError:
            return  # Another process published newer ones and removed it meanwhile.
        except OSError as error:
            raise StorageError(
                f"the damaged index {self._path(number)} can't be set aside: {error.strerror}"
            ) from error
