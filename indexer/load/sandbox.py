"""Loads files in processes of their own, so that none can harm the caller."""

import logging
import os
import socket
import stat
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import IO, Any

from indexer.load import channel, wire
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded, LoadFailure
from indexer.load.names import why_unreadable
from indexer.load.outcome import EXIT_ERROR, error_for, no_room
from rag.errors import BrokenFile, MissingDependency

_START_SECONDS = 60.0
_GRACE_SECONDS = 10.0
"""The helper enforces the time limit; the caller waits this much longer for it to say so."""

_log = logging.getLogger(__name__)


class Sandbox:
    """A helper process with all parsers loaded, which forks a child under limits for each file.

    A child costs milliseconds and takes whatever the file did to it to its grave. Starting the
    helper costs a second, so keep a sandbox for many files. Usable from several threads, one file
    at a time; use one per thread to parse in parallel.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._lock = Lock()
        self._helper: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._aborted = False

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def load(self, path: Path, name: str) -> Iterator[Loaded | LoadFailure]:
        """Parse a file; returns when all of it is parsed.

        Args:
            path: of the file.
            name: its uri, for messages and for the uris of what it contains.

        Returns:
            its documents; those of a message's attachments or a corpus have a ``uri``. What fails
            inside a file that can otherwise be read comes as a ``LoadFailure`` in its place.

        Raises:
            UnsupportedFormat: the content is of no type that a loader exists for.
            LimitExceeded: it is too large, or parsing it would take too much.
            BrokenFile: it is missing, truncated, encrypted, empty or otherwise unreadable.
            StorageError: there is no room for its text on the disk.
        """
        source = _open(path, name, self.limits)
        try:
            before = os.fstat(source)
            result = _room_for_text(name)
            try:
                with self._lock:
                    outcome = self._parse(name, source, result.fileno())
                _check_unchanged(before, os.fstat(source), name)
                if outcome.get("exit") not in (0, EXIT_ERROR):
                    raise error_for(outcome, name, self.limits)
                result.seek(0)
            except BaseException:
                result.close()
                raise
        finally:
            os.close(source)
        return _documents(result, name, outcome["exit"] == EXIT_ERROR)

    def start(self) -> None:
        """Start the helper now rather than with the first file.

        Raises:
            MissingDependency: it can't import what it needs.
        """
        with self._lock:
            self._connected()

    @property
    def helper_pid(self) -> int | None:
        """Process id of the helper, while there is one."""
        return self._helper.pid if self._helper else None

    def close(self) -> None:
        """Stop the helper; a later ``load`` starts it again."""
        with self._lock:
            self._stop()

    def abort(self) -> None:
        """Kill the helper, from another thread, whatever it is at; it is not started again."""
        self._aborted = True
        helper = self._helper
        if helper is not None:
            helper.kill()

    def _parse(self, name: str, source: int, result: int) -> dict[str, Any]:
        """Have the helper parse and return how the parser ended."""
        try:
            connection = self._hand_over(name, source, result)
            connection.settimeout(self.limits.seconds + _GRACE_SECONDS)
            outcome = channel.receive(connection)
        except TimeoutError:
            self._stop()
            return {"timeout": True}
        except OSError:
            outcome = None
        except BaseException:
            # An interrupt leaves an answer on its way that would be taken for the next file's.
            self._stop()
            raise
        if outcome is None:
            self._stop()
            if not self._aborted:
                _log.warning("the process that reads files died; it is started again")
            raise BrokenFile(f"{name}: the process that reads files died over it; add it again")
        return outcome[0]

    def _hand_over(self, name: str, source: int, result: int) -> socket.socket:
        """Give the helper a file; one that died while idle is replaced unnoticed."""
        for _ in range(2):
            connection = self._connected()
            with suppress(OSError):
                request = {"name": name, "limits": asdict(self.limits)}
                channel.send(connection, request, (source, result))
                if channel.receive(connection):
                    return connection
            self._stop()
        raise OSError("the helper does not take the file")

    def _connected(self) -> socket.socket:
        if self._connection is None or self._helper is None or self._helper.poll() is not None:
            self._stop()
            self._start()
        assert self._connection is not None
        return self._connection

    def _start(self) -> None:
        """Start a fresh interpreter: the caller may hold torch, threads and locks, so no fork."""
        if self._aborted:
            raise BrokenFile("reading was stopped; start it again")
        ours, theirs = socket.socketpair()
        # The same imports as here, and never modules that lie about in the working directory.
        search_path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        with theirs:
            self._helper = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "indexer.load.worker"),
                    *(str(theirs.fileno()), str(os.getpid())),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                # numpy comes along with a parser; its threads are of no use and would be forked.
                env={**os.environ, "PYTHONPATH": search_path, "OPENBLAS_NUM_THREADS": "1"},
            )
        if self._aborted:  # Meanwhile, with nothing there yet to kill.
            self._helper.kill()
        self._connection = ours
        ours.settimeout(_START_SECONDS)
        try:
            ready = channel.receive(ours)
        except OSError:
            ready = None
        if ready is None:
            raise MissingDependency(
                f"the process that reads files does not start ({self._stop()}); "
                "install grounded-rag again"
            )

    def _stop(self) -> str:
        """Kill the helper; return the last line of what it complained about."""
        complaint = ""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._helper is not None:
            self._helper.kill()
            with suppress(subprocess.TimeoutExpired):  # a child that has not let go of it yet
                _, complaints = self._helper.communicate(timeout=_GRACE_SECONDS)
                complaint = complaints.decode("utf-8", "replace").strip().rpartition("\n")[2]
            self._helper = None
        return complaint


def _open(path: Path, name: str, limits: Limits) -> int:
    """Open a file so that the helper needs no access to any other."""
    try:
        # O_NONBLOCK: a named pipe must not hold us.
        source = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise BrokenFile(f"{name}: {why_unreadable(error)}") from error
    try:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode):
            raise BrokenFile(f"{name}: is not a regular file; give a file")
        limits.check_file_bytes(status.st_size, name)
    except BaseException:
        os.close(source)
        raise
    return source


def _room_for_text(name: str) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(prefix="rag-text-")
    except OSError as error:
        raise no_room(name) from error


def _check_unchanged(before: os.stat_result, after: os.stat_result, name: str) -> None:
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise BrokenFile(f"{name}: changed while it was read; add it again")


def _documents(result: IO[bytes], name: str, failed: bool) -> Iterator[Loaded | LoadFailure]:
    documents = wire.read_documents(result, name)
    if failed:
        with result:
            for _ in documents:  # raises the error that is the only thing in there
                break
            raise BrokenFile(f"{name}: upset its parser; save it again")
    # A caller may stop in the middle, or never begin.
    weakref.finalize(documents, result.close)
    return documents
