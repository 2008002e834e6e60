"""When a checkpoint is due: after so many records or so many seconds, whichever is first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rag.settings import Settings


@dataclass(frozen=True, slots=True)
class CheckpointPolicy:
    """How far the log may run ahead of its last checkpoint; on demand one is always signed.

    Attributes:
        leaves: records.
        seconds: since the last checkpoint, if anything was recorded since.
    """

    leaves: int
    seconds: float

    @classmethod
    def of(cls, settings: Settings) -> CheckpointPolicy:
        """Return the policy that the settings ask for."""
        return cls(settings.checkpoint_leaves, settings.checkpoint_seconds)

    def due(
        self, *, size: int, signed_size: int, signed_at: datetime | None, now: datetime
    ) -> bool:
        """Say whether to sign the log as it is.

        Args:
            size: records in the log.
            signed_size: records in it at the last checkpoint; 0 if there was none.
            signed_at: when that was signed; None if there was none, and the first record is due.
            now: the present.
        """
        if size <= signed_size:
            return False
        if signed_at is None or size - signed_size >= self.leaves:
            return True
        elapsed = (now - signed_at).total_seconds()
        # A clock that was set back must not put checkpoints off for as long.
        return elapsed >= self.seconds or elapsed < 0

    def seconds_left(self, *, signed_at: datetime, now: datetime) -> float:
        """Return how long a timer may sleep before it asks `due` again."""
        return max(0.0, min(self.seconds, self.seconds - (now - signed_at).total_seconds()))
