"""Exact search with numpy alone, for machines without FAISS."""

from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np

from indexer.vectors.base import IdTable, check_batch, check_search, check_target, ranked
from indexer.vectors.sealed import Trailer, seal
from rag.errors import IndexCorrupt
from rag.protocols import Ids, Vectors


class NumpyExact:
    """All inner products, every time; searches may run in threads, changes may not."""

    kind = "exact"
    engine = "numpy"
    device = "cpu"
    file_kind = "numpy-exact"

    def __init__(self, dimension: int) -> None:
        """Start empty, for vectors of length ``dimension``."""
        self.dimension = dimension
        self._ids: Ids = np.empty(0, np.int64)
        self._vectors: Vectors = np.empty((0, dimension), np.float32)
        self._table = IdTable(self._ids)
        self._added: list[tuple[Ids, Vectors]] = []
        self._lock = Lock()
        self._source: Path | None = None  # the file the vectors are mapped from

    def __len__(self) -> int:
        """Count the vectors held."""
        return len(self._table)

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors (n, d) under new ids (n,).

        Raises:
            UsageError: wrong shapes or types, NaN, or an id that is there already.
        """
        check_batch(ids, vectors, self.dimension)
        self._table = self._table.extended(ids)
        self._added.append((ids.copy(), vectors.copy()))

    def remove(self, ids: Ids) -> int:
        """Take ids out and return how many were there."""
        self._settle()
        keep = np.ones(len(self._ids), bool)
        keep[self._table.rows(ids)] = False
        removed = len(keep) - int(keep.sum())
        if removed:
            self._ids, self._vectors = self._ids[keep], self._vectors[keep]
            self._table = IdTable(self._ids)
        return removed

    def search(self, query: Vectors, k: int, allowed: Ids | None = None) -> list[tuple[int, float]]:
        """Return up to k (chunk id, inner product), best first, among ``allowed`` if given.

        Raises:
            UsageError: the query is not one finite float32 vector of the right length, or k < 1.
        """
        row = check_search(query, k, allowed, self.dimension)
        self._settle()
        ids, vectors = self._ids, self._vectors
        if allowed is not None:
            rows = self._table.rows(allowed)
            ids, vectors = ids[rows], vectors[rows]
        return ranked(ids, vectors @ row[0], k)  # (n, d) @ (d,) -> (n,)

    def save(self, path: Path) -> None:
        """Write the index to a file.

        Raises:
            StorageError: the disk refused it.
            UsageError: ``path`` is the file this index is mapped from.
        """
        check_target(path, self._source)
        self._settle()
        seal(path, self.file_kind, self.dimension, len(self), self._write)

    @classmethod
    def load(cls, path: Path, trailer: Trailer) -> "NumpyExact":
        """Open a file that `unseal` has checked; its vectors stay on disk until they are needed.

        Raises:
            IndexCorrupt: the file is not one that this class wrote.
        """
        index = cls(trailer.dimension)
        try:
            with path.open("rb") as file:
                ids = np.lib.format.read_array(file, allow_pickle=False)
                offset, shape = _array_header(file)
                if trailer.count:  # an empty file part can't be mapped
                    index._vectors = np.memmap(path, np.float32, "r", offset, shape)
        except (ValueError, TypeError) as error:
            raise IndexCorrupt(f"{path} can't be read ({error}): rebuild the index") from error
        if len(ids) != trailer.count or shape != (trailer.count, trailer.dimension):
            raise IndexCorrupt(f"{path} contradicts its trailer: rebuild the index")
        index._ids, index._table, index._source = ids, IdTable(ids), path
        return index

    def _settle(self) -> None:
        """Join what was added to what is there."""
        with self._lock:
            if self._added:
                self._ids = np.concatenate([self._ids, *(ids for ids, _ in self._added)])
                self._vectors = np.concatenate([self._vectors, *(rows for _, rows in self._added)])
                self._added = []

    def _write(self, path: Path) -> None:
        with path.open("wb") as file:
            np.lib.format.write_array(file, self._ids, allow_pickle=False)
            np.lib.format.write_array(file, np.asarray(self._vectors), allow_pickle=False)


def _array_header(file: BinaryIO) -> tuple[int, tuple[int, ...]]:
    """Return where the next array's values start and its shape."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"array format {version}")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    if fortran_order or dtype != np.float32:
        raise ValueError(f"array of {dtype}")
    return file.tell(), shape
