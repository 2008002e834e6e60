"""What the FAISS kinds share: ids beside rows, files, filters and checks."""

import importlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from indexer.vectors.base import IdTable, Positions, check_batch, check_search, check_target, ranked
from indexer.vectors.sealed import Trailer, seal
from rag.errors import IndexCorrupt, MissingDependency, StorageError
from rag.protocols import Ids, Vectors

try:
    # Not an import statement: FAISS's own stubs know neither selectors nor HNSW parameters.
    faiss: Any = importlib.import_module("faiss")
except ImportError as error:
    raise MissingDependency(
        "FAISS is not installed: pip install 'grounded-rag[cpu]' (or [gpu] with CUDA)"
    ) from error


class FaissIndex(ABC):
    """A `faiss.IndexIDMap` and the table that turns chunk ids into its rows.

    Searches may run in threads: each makes its own search parameters, and FAISS's search on the
    CPU changes nothing in the index. `add`, `remove` and `save` must be alone.
    """

    kind: str
    file_kind: str
    rows_class: Any  # the FAISS class that compares vectors
    engine = "faiss"
    device = "cpu"

    def __init__(self, mapped: Any, source: Path | None = None) -> None:
        """Take over a FAISS index.

        Args:
            mapped: a `faiss.IndexIDMap`.
            source: the file its vectors are mapped from, if they are.
        """
        self.dimension = int(mapped.d)
        self._source = source
        self._take(mapped)
        self._ids: Ids = faiss.vector_to_array(mapped.id_map)
        self._table = IdTable(self._ids)

    def __len__(self) -> int:
        """Count the vectors held, dead ones included."""
        return len(self._table)

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors (n, d) under new ids (n,).

        Raises:
            UsageError: wrong shapes or types, NaN, or an id that is there already.
        """
        check_batch(ids, vectors, self.dimension)
        table = self._table.extended(ids)
        self._own()
        self._insert(np.ascontiguousarray(ids), np.ascontiguousarray(vectors))
        self._table = table
        self._ids = np.concatenate([self._ids, ids])

    def search(self, query: Vectors, k: int, allowed: Ids | None = None) -> list[tuple[int, float]]:
        """Return up to k (chunk id, inner product), best first, among ``allowed`` if given.

        Raises:
            UsageError: the query is not one finite float32 vector of the right length, or k < 1.
        """
        row = check_search(query, k, allowed, self.dimension)
        rows = None if allowed is None else self._table.rows(allowed)
        count = len(self) if rows is None else len(rows)
        if not count:
            return []
        scores, found = self._nearest(row, min(k, count), rows)  # (k,), (k,)
        hits = found >= 0  # FAISS pads missing results with -1
        return ranked(self._ids[found[hits]], scores[hits], k)

    def save(self, path: Path) -> None:
        """Write the index to a file.

        Raises:
            StorageError: the disk refused it.
            UsageError: ``path`` is the file this index is mapped from.
        """
        check_target(path, self._source)
        seal(
            path,
            self.file_kind,
            self.dimension,
            len(self),
            lambda target: faiss.write_index(self._mapped, str(target)),
        )

    @classmethod
    def read(cls, path: Path, trailer: Trailer) -> Any:
        """Map a file that `unseal` has checked as a `faiss.IndexIDMap`.

        Raises:
            IndexCorrupt: FAISS does not understand the file.
        """
        try:
            mapped = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise IndexCorrupt(f"FAISS can't read {path} ({reason}): rebuild the index") from error
        holds = mapped.d, mapped.ntotal, type(mapped)
        if holds != (trailer.dimension, trailer.count, faiss.IndexIDMap) or not isinstance(
            faiss.downcast_index(mapped.index), cls.rows_class
        ):
            raise IndexCorrupt(f"{path} contradicts its trailer: rebuild the index")
        return mapped

    @abstractmethod
    def _nearest(self, query: Vectors, k: int, rows: Positions | None) -> tuple[Vectors, Positions]:
        """Return scores (k,) and rows (k,) nearest to the query (1, d), among ``rows`` if given."""

    def _insert(self, ids: Ids, vectors: Vectors) -> None:
        self._mapped.add_with_ids(vectors, ids)

    def _take(self, mapped: Any) -> None:
        self._mapped: Any = mapped
        self._rows: Any = faiss.downcast_index(mapped.index)

    def _own(self) -> None:
        """Read the vectors into memory; FAISS aborts the process when a mapped index is changed."""
        if self._source is not None:
            try:
                self._take(faiss.read_index(str(self._source)))
            except RuntimeError as error:
                raise StorageError(f"can't read the index file {self._source} again") from error
            self._source = None


def flat_search(
    flat: Any, query: Vectors, k: int, rows: Positions | None
) -> tuple[Vectors, Positions]:
    """Compare a query with every vector of a `faiss.IndexFlat`, or with some.

    Args:
        flat: the vectors.
        query: (1, d).
        k: results wanted.
        rows: which vectors; None for all.

    Returns:
        scores (k,) and rows (k,), best first, padded with row -1.
    """
    if rows is None:
        scores, found = flat.search(query, k)
    else:
        parameters = faiss.SearchParameters(sel=selector(rows, flat.ntotal))
        scores, found = flat.search(query, k, params=parameters)
    return scores[0], found[0]


def selector(rows: Positions, count: int) -> Any:
    """Return a FAISS selector of these rows out of ``count``."""
    chosen = np.zeros(count, bool)
    chosen[rows] = True
    return faiss.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))
