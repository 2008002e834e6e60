"""Leaves cores to other processes: as many threads as there are cores nobody else keeps busy."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

STAT = Path("/proc/stat")
MOST_BUSY = 0.35  # of a core; others who use more get it to themselves


class SharedCores:
    """Sets torch's threads by what other processes do.

    Threads of one operation wait for each other, so one that must share its core holds up all:
    beside a busy process two threads on two cores are slower than one.

    Args:
        enabled: false leaves the threads alone, as does a system without /proc/stat.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled and STAT.exists()
        self.cores = len(os.sched_getaffinity(0)) if self.enabled else 1
        self._last = self._now() if self.enabled else (0.0, 0.0, 0.0)

    def adapt(self, *, at_least_seconds: float = 2.0) -> int:
        """Count who was busy since the last look; set and return torch's threads.

        Args:
            at_least_seconds: looks closer together than this are skipped.
        """
        if not self.enabled:
            return torch.get_num_threads()
        now = self._now()
        elapsed, busy, own = (new - old for new, old in zip(now, self._last, strict=True))
        if elapsed < at_least_seconds:
            return torch.get_num_threads()
        self._last = now
        threads = free_cores((busy - own) / elapsed, self.cores)
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)
        return threads

    def _now(self) -> tuple[float, float, float]:
        """Seconds: of the clock, of all processes' work, of this process's work."""
        fields = [int(field) for field in STAT.read_text().splitlines()[0].split()[1:]]
        idle = fields[3] + fields[4]  # idle and waiting for disks
        busy = (sum(fields[:8]) - idle) / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), busy, time.process_time()


def free_cores(busy_elsewhere: float, cores: int) -> int:
    """Cores to use when others keep so many busy on average; at least one.

    >>> [free_cores(busy, 4) for busy in (0.1, 0.5, 1.2, 1.5, 9.0)]
    [4, 3, 3, 2, 1]
    """
    taken = int(busy_elsewhere) + (busy_elsewhere % 1 > MOST_BUSY)
    return max(1, cores - taken)
