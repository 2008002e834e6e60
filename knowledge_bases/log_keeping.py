"""Keeps the log as evidence: keys, checkpoints when they are due, and where they are published."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial

from filelock import FileLock, Timeout

from knowledge_bases.audit import acts
from knowledge_bases.audit import checkpoint as checkpoints
from knowledge_bases.audit.checkpoint import ORIGIN, Checkpoint, LogKey
from knowledge_bases.audit.checkpoint_policy import CheckpointPolicy
from knowledge_bases.audit.checkpoint_publishing import CheckpointPublisher, read_checkpoints
from knowledge_bases.audit.key_list import ListedKey
from knowledge_bases.audit.keys import KeyRing
from knowledge_bases.audit.merkle import verify_consistency
from knowledge_bases.audit.note_keys import VerifierKey
from knowledge_bases.store.log import Log
from knowledge_bases.store.shared import now
from knowledge_bases.tables import AuditCheckpointRow
from rag.errors import DigestMismatch, IntegrityError, RagError, StorageError
from rag.publish import write_file
from rag.settings import Settings

LOCAL = "local"
_LOCK_SECONDS = 30.0
_RETRY_SECONDS = 60.0
_CLOSE_SECONDS = 10.0
_log = logging.getLogger(__name__)


class LogKeeping:
    """Signs the log in a thread of its own: no answer waits for a signature or fails with it.

    Processes that share a home may each have one; a file lock lets one sign at a time.

    Args:
        log: the log.
        settings: say where the home is, how often to sign, and where to publish.
    """

    def __init__(self, log: Log, settings: Settings) -> None:
        self.keys = KeyRing(settings.home / "keys")
        self.policy = CheckpointPolicy.of(settings)
        self.publisher = CheckpointPublisher.of(settings)
        self._log = log
        self._folder = settings.checkpoint_dir
        self._lock = FileLock(settings.home / "checkpoint.lock", timeout=_LOCK_SECONDS)
        self._published = settings.home / "published"
        self._publishes = bool(settings.checkpoint_dir or settings.checkpoint_url)
        self._signing = threading.RLock()
        self._changed = threading.Condition()
        self._size = 0
        self._last: tuple[int, datetime | None] | None = None
        """(size, time) of the newest checkpoint that is known here."""
        self._handed = 0
        """Size of the newest checkpoint that was handed to the publisher."""
        self._problem: str | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def start(self) -> None:
        """Publish again what was signed after the last checkpoint that is known to be published.

        A failure is logged and told by `problems`.
        """
        if not self._publishes:
            return
        try:
            published = int(self._published.read_text(encoding="ascii"))
        except (OSError, ValueError):
            published = -1
        try:
            for row in self._log.checkpoints():
                if row.size > published:
                    self._publish(row.size, row.note)
        except RagError as error:
            self._fail(error)

    def appended(self, size: int) -> None:
        """Take note that the log has grown; returns at once and never fails.

        Args:
            size: records in it, as `Recorded.log_size`.
        """
        with self._changed:
            self._size = max(self._size, size)
            if self._closed:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log-keeping", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def checkpoint(self) -> str:
        """Sign the log as it is and return the note; one that was signed of it already stays.

        Raises:
            DigestMismatch: the log contradicts a checkpoint that was signed before.
            IntegrityError: a key is damaged or missing.
            StorageError: keys or database can't be used.
        """
        with self._locked():
            self._ensure_keys(LOCAL)
            size = self._log.size()
            known = self._log.checkpoint(size)
            root = self._log.root(size)
            self._compare_with_last(size, root)
            if known is not None:
                return known.note
            note = self.keys.sign(Checkpoint(ORIGIN + self._log.state().log_id, size, root))
            if not self._log.add_checkpoint(size, root, note):
                kept = self._log.checkpoint(size)
                note = kept.note if kept is not None else note
            self.keys.settle(size)
            self._last = (size, now())
            self._problem = None
            self._publish(size, note)
            _log.info("signed a checkpoint of %d records", size)
            return note

    def rotate(self, *, lost: bool = False, actor: str = LOCAL) -> VerifierKey:
        """Replace the signing key, log that, and sign a checkpoint with old and new key.

        Args:
            lost: the old key is lost or no longer trusted, so the new one signs alone.
            actor: who rotates.

        Raises:
            IntegrityError: the old key is damaged, so it must be given up as lost.
            StorageError: keys or database can't be used.
        """
        with self._locked():
            self._ensure_keys(actor, lost=lost)
            old = self.keys.listed()[-1].key
            size = self._log.size()
            new = self.keys.rotate(size, lost=lost)
            change = "lost" if lost else "rotated"
            self._log.append(
                acts.key_change(change, str(new), since=size, replaces=str(old), actor=actor)
            )
            self.checkpoint()
        return new

    def verifier_keys(self) -> list[ListedKey]:
        """Return all keys that ever signed for the log, oldest first; none if none did.

        Raises:
            IntegrityError: the list is damaged.
        """
        return self.keys.listed() if self.keys.exists else []

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with keys, checkpoints and their publication, one line each.

        Every checkpoint of the database and of the publishing folder is compared with the log.
        """
        yield from self.troubles()
        try:
            keys = self.verifier_keys()
            yield from self._key_problems(keys)
            yield from self._contradictions(keys)
        except RagError as error:
            yield str(error)

    def troubles(self) -> Iterator[str]:
        """Yield what went wrong of late with signing and publishing; nothing is compared anew."""
        self._note_published()
        if self._problem:
            yield self._problem
        yield from self.publisher.problems

    def close(self) -> None:
        """Sign what is due, hand it over, and end the threads; waits some seconds at most."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)
        self.publisher.close()
        self._note_published()

    def _run(self) -> None:
        seen, wait = -1, None
        while True:
            with self._changed:
                self._changed.wait_for(partial(self._has_news, seen), wait)
                closed, seen = self._closed, self._size
            try:
                wait = self._sign_if_due(seen)
            except Exception as error:  # Whatever it is, answers go on; `rag doctor` shows it.
                self._fail(error)
                wait = None if closed else 0.0
                with self._changed:  # More records don't make it work any sooner.
                    self._changed.wait_for(lambda: self._closed, 0 if closed else _RETRY_SECONDS)
            if closed:
                return

    def _has_news(self, seen: int) -> bool:
        return self._closed or self._size != seen

    def _sign_if_due(self, size: int) -> float | None:
        """Sign if it is time to; return after how many seconds it may be, None for never."""
        signed_size, signed_at = self._newest()
        if self.policy.due(size=size, signed_size=signed_size, signed_at=signed_at, now=now()):
            signed_size, signed_at = self._newest(ask=True)  # Another process may have signed.
            if self.policy.due(size=size, signed_size=signed_size, signed_at=signed_at, now=now()):
                self.checkpoint()
                signed_size, signed_at = self._newest()
        self._note_published()
        if size <= signed_size or signed_at is None:
            return None
        return max(1.0, self.policy.seconds_left(signed_at=signed_at, now=now()))

    def _newest(self, *, ask: bool = False) -> tuple[int, datetime | None]:
        if self._last is None or ask:
            row = self._newest_row()
            self._last = (row.size, row.created_at) if row is not None else (0, None)
        return self._last

    def _newest_row(self) -> AuditCheckpointRow | None:
        return next(iter(self._log.checkpoints(limit=1, newest_first=True)), None)

    def _ensure_keys(self, actor: str, *, lost: bool = False) -> None:
        """Make the first key, and log keys that were made by one who was killed before that.

        Args:
            actor: who is named in the record of it.
            lost: keys that are gone from the folder are given up.

        Raises:
            IntegrityError: keys that signed are gone, or are another log's.
        """
        if not self.keys.exists:
            if self._newest_row() is not None and not lost:
                raise IntegrityError(self._keys_gone())
            self.keys.create(self._log.state().log_id)
        listed = self.keys.listed()
        if self.keys.log_id != self._log.state().log_id:
            raise IntegrityError(
                f"the keys in {self.keys.folder} are another log's; restore this log's from a "
                "backup"
            )
        logged = set()
        for row in self._log.all(kinds=("key",)):
            payload = self._log.payload(row)
            logged.add(payload["key"] if payload else None)
        for before, key in zip([None, *listed], listed, strict=False):
            if str(key.key) not in logged:
                change = "created" if before is None else "rotated"
                replaces = None if before is None else str(before.key)
                self._log.append(
                    acts.key_change(
                        change, str(key.key), since=key.since, replaces=replaces, actor=actor
                    )
                )

    def _keys_gone(self) -> str:
        return (
            f"the log has checkpoints, but {self.keys.folder} has no keys; restore them from a "
            "backup, or give them up: rag audit rotate-key --lost"
        )

    def _compare_with_last(self, size: int, root: bytes) -> None:
        """Refuse to sign what contradicts the newest checkpoint.

        Raises:
            DigestMismatch: it does.
        """
        last = self._newest_row()
        if last is None:
            return
        before = bytes.fromhex(last.root)
        if last.size <= size and verify_consistency(
            last.size, size, self._log.consistency_proof(last.size, size), before, root
        ):
            return
        raise DigestMismatch(
            f"the log contradicts its checkpoint of {last.size} records, so it is not signed: it "
            "was rewritten or cut off; run `rag audit verify`"
        )

    def _key_problems(self, keys: list[ListedKey]) -> Iterator[str]:
        if keys and self.keys.log_id != self._log.state().log_id:
            yield f"the keys in {self.keys.folder} are another log's"
        if not keys and self._newest_row() is not None:
            yield self._keys_gone()

    def _contradictions(self, keys: list[ListedKey]) -> Iterator[str]:
        found: list[Checkpoint] = []
        log_id = self._log.state().log_id
        notes = [(f"the checkpoint of {row.size}", row.note) for row in self._log.checkpoints()]
        if self._folder is not None:
            notes += [(str(self._folder), note) for note in read_checkpoints(self._folder, log_id)]
        trusted: list[LogKey] = list(keys)
        for source, note in notes:
            try:
                one = checkpoints.verify(note, trusted)
                if one.origin == ORIGIN + log_id:
                    found.append(one)
                else:
                    yield f"{source} is of another log, {one.origin}"
            except IntegrityError as error:
                yield f"{source}: {error}"
        for contradiction in checkpoints.contradictions(
            found, size=self._log.size(), root_at=self._log.root
        ):
            yield f"CONTRADICTION: {contradiction.reason}; run `rag audit verify`"

    def _publish(self, size: int, note: str) -> None:
        if self._publishes:
            self._handed = max(self._handed, size)
            self.publisher.publish(note)

    def _note_published(self) -> None:
        """Write down how far all is published, once the publisher has nothing left."""
        if not self._handed or not self.publisher.flush(0) or self.publisher.problems:
            return
        try:
            write_file(self._published, str(self._handed).encode())
            self._handed = 0
        except OSError as error:  # It is published again at the next start.
            _log.warning("%s can't be written: %s", self._published, error.strerror)

    def _fail(self, error: Exception) -> None:
        told = isinstance(error, RagError)
        self._problem = f"no checkpoint was signed: {error if told else type(error).__name__}"
        _log.error("%s", self._problem, exc_info=None if told else error)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._signing:
            try:
                self._lock.acquire()
            except Timeout as error:
                raise StorageError(
                    f"another process has been signing for {_LOCK_SECONDS:.0f} s; try again"
                ) from error
            except OSError as error:
                raise StorageError(f"{self._lock.lock_file}: {error.strerror}") from error
            try:
                yield
            finally:
                self._lock.release()
