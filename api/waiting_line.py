"""A line of requests: so many at work, so many more that wait, nobody beyond that."""

from collections import deque

import anyio

_WEIGHT = 0.2
"""Of the newest answer in the mean time that answers take."""


class Full(Exception):
    """As many work and wait as may."""


class Line:
    """So many work at a time, so many more wait in the order in which they came.

    Args:
        running: how many work.
        waiting: how many wait.
    """

    def __init__(self, running: int, waiting: int) -> None:
        self._most_running, self._most_waiting = running, waiting
        self._waiters: deque[anyio.Event] = deque()
        self._mean_seconds = 1.0
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiters)

    @property
    def is_full(self) -> bool:
        """Whether nobody more may come."""
        return self.running >= self._most_running and self.waiting >= self._most_waiting

    @property
    def free_in_seconds(self) -> float:
        """When there will be a place, going by how long the last ones took."""
        return self._mean_seconds * (1 + self.waiting) / self._most_running

    async def enter(self) -> None:
        """Wait for one's turn.

        Raises:
            Full: nobody more may wait.
        """
        if self.is_full:
            raise Full
        if self.running < self._most_running:
            self.running += 1
            return
        turn = anyio.Event()
        self._waiters.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():  # It was called in the moment that it left.
                self.give_up()
            else:
                self._waiters.remove(turn)
            raise

    def leave(self, seconds: float) -> None:
        """Make room for the next, after so long at work."""
        self._mean_seconds += _WEIGHT * (seconds - self._mean_seconds)
        self.give_up()

    def give_up(self) -> None:
        """Make room for the next without having worked."""
        if self._waiters:
            self._waiters.popleft().set()  # Takes the place, so `running` stays.
        else:
            self.running -= 1
