"""Writes of many threads as one transaction: who comes while one is written shares the next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from rag.errors import RagError, StorageError

T = TypeVar("T")
R = TypeVar("R")


class GroupCommit(Generic[T, R]):
    """A queue whose first thread writes for all that wait; nobody waits for more to come.

    The thread that finds nobody writing leads: it writes what waits, its own included, and hands
    over to the first that came meanwhile. An error of the write is everybody's who was in it.

    Args:
        write: writes all or nothing, and returns a result for each.
        most: written at once.
    """

    def __init__(self, write: Callable[[Sequence[T]], Sequence[R]], *, most: int) -> None:
        self._write = write
        self._most = most
        self._lock = threading.Lock()
        self._waiting: list[_Entry[T, R]] = []
        self._led = False

    def __call__(self, value: T) -> R:
        """Write a value, alone or with others; when this returns, it is written.

        Raises:
            StorageError: the write failed for all that were in it.
        """
        entry = _Entry[T, R](value)
        with self._lock:
            self._waiting.append(entry)
            entry.leads = not self._led
            self._led = True
        if not entry.leads:
            try:
                entry.turn.wait()
            except BaseException:
                self._leave(entry)
                raise
        if entry.leads:
            self._lead(entry)
        if entry.error is not None:
            raise _own(entry.error) from entry.error
        return entry.results[0]

    def _lead(self, own: _Entry[T, R]) -> None:
        with self._lock:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        try:
            results = self._write([entry.value for entry in batch])
            for entry, result in zip(batch, results, strict=True):
                entry.results.append(result)
        except BaseException as error:
            for entry in batch:
                entry.error = error
            if not isinstance(error, Exception):
                raise  # The thread itself was interrupted; the others get a StorageError.
        finally:
            with self._lock:
                self._promote()
            for entry in batch:
                entry.turn.set()

    def _promote(self) -> None:
        """Hand over to the first that waits; the lock is held."""
        self._led = bool(self._waiting)
        if self._waiting:
            self._waiting[0].leads = True
            self._waiting[0].turn.set()

    def _leave(self, entry: _Entry[T, R]) -> None:
        """Take out a thread that was interrupted while it waited."""
        with self._lock:
            if entry in self._waiting:
                self._waiting.remove(entry)
                if entry.leads:
                    self._promote()


class _Entry(Generic[T, R]):
    """A value that waits; ``turn`` is set once it is written or its thread is to lead."""

    def __init__(self, value: T) -> None:
        self.value = value
        self.turn = threading.Event()
        self.leads = False
        self.results: list[R] = []
        self.error: BaseException | None = None


def _own(error: BaseException) -> Exception:
    """Return an error for one thread; raising one object in several would mix their tracebacks."""
    if isinstance(error, RagError):
        return type(error)(*error.args)
    if isinstance(error, Exception):
        return error
    return StorageError("writing was interrupted; try again")
