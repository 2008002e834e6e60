"""Ingest steps back while questions are answered: it pauses, and its threads yield their cores."""

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

_LOOK_SECONDS = 0.01
_NICENESS = 10
"""A tenth of the time of a core that somebody else wants; all of one that is free."""


class GivingWay:
    """Waits while questions are answered, but never so long that nothing is taken in any more.

    Args:
        busy: whether a question is being answered.
        stopping: is set when nothing is to be waited for any longer.
        longest_seconds: of one wait. What is done in between is a tenth of that.
    """

    def __init__(
        self, busy: Callable[[], bool], stopping: threading.Event, longest_seconds: float = 2.0
    ) -> None:
        self._busy = busy
        self._stopping = stopping
        self._longest_seconds = longest_seconds

    def __call__(self) -> bool:
        """Wait, and say whether questions are being answered all the same."""
        until = time.monotonic() + self._longest_seconds
        while self._busy() and time.monotonic() < until:
            if self._stopping.wait(_LOOK_SECONDS):
                return False
        return self._busy()


def step_back() -> None:
    """Let this thread, and those that it starts, take what time of the cores is left over."""
    if sys.platform == "linux":  # Elsewhere niceness is the process's.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
