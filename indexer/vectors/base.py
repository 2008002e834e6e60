"""Checks and id bookkeeping that every vector index shares."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag.errors import UsageError
from rag.protocols import Ids, Vectors

Positions = NDArray[np.int64]
"""Row numbers inside an index, from 0."""

_FEW = 1_000
"""Fewer ids than this are looked up by binary search."""
_SPREAD = 8
"""Widest range of ids, per id held, for which a direct look-up table is made."""


def check_batch(ids: Ids, vectors: Vectors, dimension: int) -> None:
    """Refuse a batch that would poison an index.

    Args:
        ids: (n,) int64, distinct, not negative.
        vectors: (n, dimension) float32, finite.
        dimension: what the index holds.

    Raises:
        UsageError: any of that is not so.
    """
    if ids.ndim != 1 or ids.dtype != np.int64:
        raise UsageError(f"ids must be a 1-d int64 array, not {ids.ndim}-d {ids.dtype}")
    check_vectors(vectors, dimension)
    if len(ids) != len(vectors):
        raise UsageError(f"{len(ids)} ids for {len(vectors)} vectors: give one id per vector")
    # FAISS marks missing results with id -1, so a negative id could not be told from none.
    if len(ids) and ids.min() < 0:
        raise UsageError(f"chunk id {ids.min()} is negative: ids count from 0")
    values, counts = np.unique(ids, return_counts=True)
    if len(values) != len(ids):
        raise UsageError(f"chunk id {values[counts > 1][0]} is given twice: add each chunk once")


def check_vectors(vectors: Vectors, dimension: int) -> None:
    """Refuse vectors that are not (n, dimension) finite float32.

    Raises:
        UsageError: the shape, the type or a value is wrong.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise UsageError(
            f"vectors have shape {vectors.shape}, the index holds (n, {dimension}): "
            "embed with the model the index was built with"
        )
    if vectors.dtype != np.float32:
        raise UsageError(f"vectors are {vectors.dtype}: convert them to float32")
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise UsageError(f"vector {row} holds NaN or infinity: embed its text again")


def check_search(query: Vectors, k: int, allowed: Ids | None, dimension: int) -> Vectors:
    """Return the query as one contiguous row.

    Args:
        query: (dimension,) or (1, dimension) float32.
        k: results wanted, at least 1.
        allowed: (m,) int64 ids, or None for all.
        dimension: what the index holds.

    Returns:
        (1, dimension) float32.

    Raises:
        UsageError: any of that is not so.
    """
    if k < 1:
        raise UsageError(f"k is {k}: ask for at least 1 result")
    if allowed is not None and (allowed.ndim != 1 or allowed.dtype != np.int64):
        raise UsageError(f"allowed must be a 1-d int64 array, not {allowed.ndim}-d {allowed.dtype}")
    row = query[np.newaxis, :] if query.ndim == 1 else query
    check_vectors(row, dimension)
    if len(row) != 1:
        raise UsageError(f"{len(row)} queries at once: search one at a time")
    return np.ascontiguousarray(row)


def check_target(path: Path, source: Path | None) -> None:
    """Refuse to overwrite the file that an index reads its vectors from.

    Raises:
        UsageError: ``path`` and ``source`` are one file.
    """
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise UsageError(f"{path} is in use by this index: save it under another name")


def ranked(ids: Ids, scores: Vectors, k: int) -> list[tuple[int, float]]:
    """Return the k best (id, score), equal scores by id so that the order never varies.

    Args:
        ids: (n,) chunk ids.
        scores: (n,) inner products.
        k: results wanted.
    """
    if len(ids) > k:
        # Whatever ties with the k-th score stays in, so that the ids decide among them.
        kth = np.partition(scores, len(scores) - k)[len(scores) - k]
        ids, scores = ids[scores >= kth], scores[scores >= kth]
    order = np.lexsort((ids, -scores))[:k]
    return [(int(ids[i]), float(scores[i])) for i in order]


class IdTable:
    """Which row of an index each chunk id lies in; never changed in place."""

    def __init__(self, ids: Ids) -> None:
        """Take the ids (n,) in row order."""
        order = np.argsort(ids, kind="stable")
        self._sorted: Ids = ids[order]
        self._rows: Positions = order.astype(np.int64)
        self._direct: Positions | None = None

    def __len__(self) -> int:
        """Count the ids."""
        return len(self._sorted)

    def extended(self, ids: Ids) -> "IdTable":
        """Return a table with more ids, in the rows after the last.

        Raises:
            UsageError: an id is in the table already.
        """
        order = np.argsort(ids, kind="stable")
        added = ids[order]
        slots = np.searchsorted(self._sorted, added)
        inside = slots < len(self._sorted)
        known = added[inside][self._sorted[slots[inside]] == added[inside]]
        if len(known):
            raise UsageError(f"chunk id {known[0]} is in the index already: remove it first")
        table = IdTable.__new__(IdTable)
        table._direct = None
        if inside.any():
            table._sorted = np.insert(self._sorted, slots, added)
            table._rows = np.insert(self._rows, slots, order + len(self._sorted))
        else:  # the usual case, new chunks with higher ids, is five times as fast
            table._sorted = np.concatenate([self._sorted, added])
            table._rows = np.concatenate([self._rows, order + len(self._sorted)])
        return table

    def rows(self, wanted: Ids) -> Positions:
        """Return the rows of those wanted ids that are in the table, each once, in no set order."""
        if not len(self._sorted) or not len(wanted):
            return np.empty(0, np.int64)
        low, high = int(self._sorted[0]), int(self._sorted[-1])
        wanted = wanted[(wanted >= low) & (wanted <= high)]
        if len(wanted) > 1 and not (np.diff(wanted) > 0).all():
            wanted = np.unique(wanted)
        if len(wanted) < _FEW or high - low > _SPREAD * len(self._sorted):
            slots = np.searchsorted(self._sorted, wanted)
            found: Positions = self._rows[slots[self._sorted[slots] == wanted]]
            return found
        # Many ids that lie close together: one look-up each instead of a binary search.
        direct = self._direct
        if direct is None:
            direct = np.full(high - low + 1, -1, np.int64)
            direct[self._sorted - low] = self._rows
            self._direct = direct
        rows: Positions = direct[wanted - low]
        return rows[rows >= 0]
