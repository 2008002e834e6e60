"""Lets a run end between two steps when its process is asked to."""

from __future__ import annotations

import signal
import threading
from typing import Any


class Stop:
    """Remembers that the process was asked to end, so that the step can finish first.

    Whoever asks a second time doesn't want to wait: that interrupts at once.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():  # signals arrive only there
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
