"""The right edge of a growing Merkle tree: all that is needed to add to it and know its root."""

from __future__ import annotations

from knowledge_bases.audit import merkle

Hash = bytes | None
"""None where it can't be known, as something below is missing."""


class Frontier:
    """A tree of which only the complete subtrees that have no neighbour yet are kept.

    It grows by leaves or by whole subtrees; at most log2(size) + 1 hashes are in memory.
    """

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[tuple[int, Hash]] = []
        """(level, hash), left to right, levels falling."""

    def append(self, found: Hash, level: int = 0) -> list[tuple[int, int, Hash]]:
        """Add a leaf or a complete subtree; return the subtrees that it completes above it.

        Args:
            found: its hash.
            level: of the subtree; the size must be a multiple of its width.

        Returns:
            (level, position, hash), lowest first.
        """
        if self.size & ((1 << level) - 1):
            raise ValueError(f"no subtree of level {level} begins at {self.size}")
        self.size += 1 << level
        completed = []
        while self._peaks and self._peaks[-1][0] == level:
            _, left = self._peaks.pop()
            found = None if left is None or found is None else merkle.node_hash(left, found)
            level += 1
            completed.append((level, (self.size >> level) - 1, found))
        self._peaks.append((level, found))
        return completed

    def next_level(self, stop: int) -> int:
        """Return the level of the largest subtree that may come next without passing a size."""
        left = stop - self.size
        level = left.bit_length() - 1
        if self.size:
            level = min(level, (self.size & -self.size).bit_length() - 1)
        return level

    def root(self) -> Hash:
        """Return the root of what was added."""
        if not self._peaks:
            return merkle.EMPTY_ROOT
        found = self._peaks[-1][1]
        for _, left in reversed(self._peaks[:-1]):
            found = None if left is None or found is None else merkle.node_hash(left, found)
        return found
