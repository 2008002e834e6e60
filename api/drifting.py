"""The last findings of drift, so that whoever looks often doesn't read the log as often."""

import threading
import time
from collections.abc import Sequence

from knowledge_bases.drift import Signal, drift
from knowledge_bases.home import Home
from rag.errors import RagError

_FRESH_SECONDS = 300.0


class Drifts:
    """Compares at most one knowledge base at a look, that of the oldest finding.

    Args:
        home: whose knowledge bases.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._found: dict[str, tuple[float, list[Signal]]] = {}
        self._lock = threading.Lock()

    def of(self, names: Sequence[str]) -> dict[str, list[Signal]]:
        """Return what is known of these knowledge bases, once one of them was looked at anew."""
        stalest = min(names, key=lambda name: self._noted(name), default=None)
        if stalest is not None and time.monotonic() - self._noted(stalest) > _FRESH_SECONDS:
            self._look(stalest)
        return self.known(names)

    def known(self, names: Sequence[str]) -> dict[str, list[Signal]]:
        """Return what was found of these knowledge bases, without looking anew."""
        return {name: self._found[name][1] for name in names if name in self._found}

    def _look(self, name: str) -> None:
        if not self._lock.acquire(blocking=False):
            return  # Somebody looks already.
        try:
            self._found[name] = (time.monotonic(), drift(self._home.open(name)))
        except RagError:  # `rag doctor` tells; a gauge that isn't there is told from one that is 0.
            self._found[name] = (time.monotonic(), [])
        finally:
            self._lock.release()

    def _noted(self, name: str) -> float:
        found = self._found.get(name)
        return float("-inf") if found is None else found[0]
