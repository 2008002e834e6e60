"""Exact search with FAISS, on a GPU where there is one."""

import logging
from pathlib import Path
from threading import Lock
from typing import Any

from indexer.vectors.base import IdTable, Positions
from indexer.vectors.faiss_index import FaissIndex, faiss, flat_search
from indexer.vectors.sealed import Trailer
from rag.protocols import Ids, Vectors

logger = logging.getLogger(__name__)

GPU_MAX_BYTES = 4 * 2**30
"""Vectors up to this size are copied to the GPU: it has to hold the models, too."""
_GPU_MAX_K = 2048
"""Most results that FAISS's GPU indexes give."""


class FaissExact(FaissIndex):
    """All inner products, every time; unfiltered searches on the GPU when asked for."""

    kind = "exact"
    file_kind = "faiss-exact"
    rows_class = faiss.IndexFlatIP

    def __init__(self, mapped: Any, source: Path | None = None, *, gpu: bool = False) -> None:
        """Take over a FAISS index.

        Args:
            mapped: a `faiss.IndexIDMap` over an `IndexFlatIP`.
            source: the file its vectors are mapped from, if they are.
            gpu: keep a copy of the vectors on the first GPU and search there.
        """
        super().__init__(mapped, source)
        self.device = "gpu" if gpu else "cpu"
        self._gpu: tuple[Any, Any] | None = None  # FAISS's resources, which must outlive the copy
        self._gpu_lock = Lock()

    @classmethod
    def create(cls, dimension: int, *, gpu: bool = False) -> "FaissExact":
        """Start empty, for vectors of length ``dimension``."""
        return cls(faiss.IndexIDMap(faiss.IndexFlatIP(dimension)), gpu=gpu)

    @classmethod
    def load(cls, path: Path, trailer: Trailer, *, gpu: bool = False) -> "FaissExact":
        """Open a file that `unseal` has checked.

        Raises:
            IndexCorrupt: FAISS does not understand the file.
        """
        return cls(cls.read(path, trailer), path, gpu=gpu)

    def remove(self, ids: Ids) -> int:
        """Take ids out and return how many were there."""
        rows = self._table.rows(ids)
        if not len(rows):
            return 0
        self._own()
        self._mapped.remove_ids(self._ids[rows])
        self._ids = faiss.vector_to_array(self._mapped.id_map)
        self._table = IdTable(self._ids)
        self._gpu = None
        return len(rows)

    def _insert(self, ids: Ids, vectors: Vectors) -> None:
        super()._insert(ids, vectors)
        self._gpu = None

    def _nearest(self, query: Vectors, k: int, rows: Positions | None) -> tuple[Vectors, Positions]:
        # FAISS's GPU indexes ignore selectors, so a filtered search stays on the CPU.
        if rows is None and self.device == "gpu" and k <= _GPU_MAX_K:
            try:
                with self._gpu_lock:  # a GPU's resources serve one thread at a time
                    scores, found = self._on_gpu().search(query, k)
                return scores[0], found[0]
            except RuntimeError as error:
                logger.warning("FAISS failed on the GPU; searching on the CPU from now: %s", error)
                self.device, self._gpu = "cpu", None
        return flat_search(self._rows, query, k, rows)

    def _on_gpu(self) -> Any:
        """Return the copy on the GPU, made at the first search after a change."""
        if self._gpu is None:
            resources = faiss.StandardGpuResources()
            self._gpu = resources, faiss.index_cpu_to_gpu(resources, 0, self._rows)
        return self._gpu[1]
