"""Puts checkpoints where the operator of the log can't quietly change them: a folder, a URL."""

from __future__ import annotations

import logging
import threading
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from knowledge_bases.audit import checkpoint as checkpoints
from knowledge_bases.audit.checkpoint import ORIGIN
from rag.errors import IntegrityError, StorageError
from rag.publish import write_file
from rag.settings import Settings

TIMEOUT_SECONDS = 10.0
_MOST_WAITING = 1000
_Waiting = tuple[str, frozenset[str]]
"""A note and the places that don't have it yet."""
_log = logging.getLogger(__name__)


class CheckpointPublisher:
    """Publishes in a thread of its own, so that no answer waits for a disk or a network.

    What could not be published is tried again with the next checkpoint, logged as an error, and
    told by `problems` until it has worked; a contradiction for good.

    Args:
        folder: notes go to ``folder/<log uuid>/<size>.txt``; None for nowhere.
        url: each note is posted to it as text/plain; None for nowhere.
        timeout_seconds: how long one post may take.
    """

    def __init__(
        self, folder: Path | None, url: str | None, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self.folder, self.url, self.timeout_seconds = folder, url, timeout_seconds
        self._waiting: deque[_Waiting] = deque(maxlen=_MOST_WAITING)
        self._problems: tuple[str, ...] = ()
        self._contradictions: list[str] = []
        self._changed = threading.Condition()
        self._pending = 0
        self._closed = False
        self._thread: threading.Thread | None = None

    @classmethod
    def of(cls, settings: Settings) -> CheckpointPublisher:
        """Return the publisher that the settings ask for."""
        return cls(settings.checkpoint_dir, settings.checkpoint_url)

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong with the notes that are not published yet, one line each."""
        with self._changed:
            return self._problems

    def publish(self, note: str) -> None:
        """Hand over a note and return at once."""
        places = frozenset(
            name for name, place in (("folder", self.folder), ("url", self.url)) if place
        )
        if not places:
            return
        with self._changed:
            self._waiting.append((note, places))
            self._pending += 1
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="checkpoint-publisher", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until everything handed over was tried; say whether it was in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending, timeout_seconds)

    def close(self) -> None:
        """End the thread, after one more post at most."""
        self.flush(self.timeout_seconds)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(self.timeout_seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closed)
                if self._closed:
                    return
                waiting, seen = list(self._waiting), self._pending
                self._waiting.clear()
            left, problems = self._try_all(waiting)
            with self._changed:
                # Newer checkpoints say more than older ones: what is too much goes at the old end.
                self._waiting = deque([*left, *self._waiting], maxlen=_MOST_WAITING)
                self._problems = (*self._contradictions, *problems.values())
                self._pending -= seen
                self._changed.notify_all()

    def _try_all(self, waiting: Sequence[_Waiting]) -> tuple[list[_Waiting], dict[str, str]]:
        """Return the notes that are left, each with its places, and what is wrong with a place."""
        left: list[_Waiting] = []
        problems: dict[str, str] = {}
        for note, places in waiting:
            missing = set()
            for place in sorted(places):
                # Where one note fails, the rest would most likely too, each after a time limit.
                if place not in problems:
                    problem = self._tried(note, place)
                    if problem is None:
                        continue
                    problems[place] = problem
                    _log.error("checkpoint not published: %s", problem)
                missing.add(place)
            if missing:
                left.append((note, frozenset(missing)))
        return left, problems

    def _tried(self, note: str, place: str) -> str | None:
        try:
            if place == "folder" and self.folder:
                write_checkpoint(note, self.folder)
            elif self.url:
                post_checkpoint(note, self.url, timeout_seconds=self.timeout_seconds)
        except IntegrityError as error:  # It is in its place, beside the one it contradicts.
            self._contradictions.append(str(error))
            _log.error("checkpoint contradicts an earlier one: %s", error)
        except StorageError as error:
            return str(error)
        except Exception as error:  # Else the thread would end, and nobody would hear of it.
            return f"{place}: {type(error).__name__}: {error}"
        return None


def write_checkpoint(note: str, folder: Path) -> Path:
    """Write a note to ``folder/<log uuid>/<size>.txt``, whole or not at all.

    A note of the same size and root that is there already stays, unless this one has more
    signatures.

    Raises:
        IntegrityError: the folder has another root for this size; both notes are then kept.
        StorageError: it can't be written.
    """
    checkpoint = checkpoints.read(note)
    place = folder / checkpoint.origin.removeprefix(ORIGIN).replace("/", "_")
    path = place / f"{checkpoint.size:012d}.txt"
    try:
        place.mkdir(parents=True, exist_ok=True)
        there = path.read_text(encoding="utf-8") if path.exists() else None
        if there is not None and checkpoints.read(there) != checkpoint:
            path = place / f"{checkpoint.size:012d}-{checkpoint.root.hex()[:16]}.txt"
        if there is None or len(note) > len(there) or not path.exists():
            write_file(path, note.encode())
    except OSError as error:
        raise StorageError(f"can't write checkpoints to {folder}: {error.strerror}") from error
    if path.name != f"{checkpoint.size:012d}.txt":
        raise IntegrityError(
            f"{place} has another root for size {checkpoint.size}: the log was rewritten or "
            f"forked; this checkpoint is kept beside it as {path.name}"
        )
    return path


def read_checkpoints(folder: Path, log_id: str) -> list[str]:
    """Return the notes that were written to a folder for a log, by size.

    Raises:
        StorageError: they can't be read.
    """
    try:
        return [
            path.read_text(encoding="utf-8")
            for path in sorted((folder / log_id).glob("*.txt"))
            if not path.name.startswith(".")
        ]
    except (OSError, UnicodeError) as error:
        raise StorageError(f"can't read the checkpoints in {folder}: {error}") from error


def post_checkpoint(note: str, url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
    """Post a note as text/plain; anything but a 2xx in time is an error, redirects too.

    Raises:
        StorageError: it was not taken.
    """
    request = urllib.request.Request(
        url, note.encode(), {"Content-Type": "text/plain; charset=utf-8"}, method="POST"
    )
    outcome: list[str] = []

    def post() -> None:
        try:
            opener = urllib.request.build_opener(_NoRedirects)
            with opener.open(request, timeout=timeout_seconds):
                outcome.append("")
        except urllib.error.HTTPError as error:
            error.close()
            outcome.append(f"answered {error.code}")
        except urllib.error.URLError as error:
            outcome.append(f"can't be reached: {error.reason}")
        except (OSError, HTTPException, ValueError) as error:
            outcome.append(f"failed: {type(error).__name__}: {error}")

    # A server that sends a byte now and then resets the socket's own time limit.
    thread = threading.Thread(target=post, name="checkpoint-post", daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    problem = outcome[0] if outcome else f"did not answer within {timeout_seconds:g} s"
    if problem:
        raise StorageError(f"{_shown(url)} {problem}")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected post would become a GET, which delivers nothing."""

    def redirect_request(self, req: Any, fp: IO[bytes], *args: Any) -> None:
        return None


def _shown(url: str) -> str:
    """Return a URL without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
