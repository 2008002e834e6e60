"""Vector indexes: which kind for how many vectors, and how to open one.

Exact search below ``settings.exact_below`` vectors, HNSW from there on. On a GPU the exact kind is
kept as long as the vectors fit there: comparing a million of them takes it milliseconds, finds
everything and needs no graph. Without FAISS, numpy does the exact search.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from indexer.vectors.exact import NumpyExact
from indexer.vectors.sealed import unseal
from rag.errors import IndexCorrupt
from rag.protocols import VectorIndex
from rag.settings import Settings

__all__ = ["Backend", "create", "describe_backend", "load"]


@dataclass(frozen=True, slots=True)
class Backend:
    """What searches vectors on this machine.

    Attributes:
        engine: faiss, or numpy where FAISS isn't installed.
        version: the engine's.
        gpus: GPUs that FAISS sees and the settings allow.
        kind: what an index of ``vectors`` vectors would be.
        device: where it would be searched.
        vectors: the size asked about.
    """

    engine: Literal["faiss", "numpy"]
    version: str
    gpus: int
    kind: Literal["exact", "hnsw"]
    device: Literal["cpu", "gpu"]
    vectors: int


def describe_backend(expected_size: int, settings: Settings, dimension: int = 384) -> Backend:
    """Say what an index of ``expected_size`` vectors would be, and where.

    Args:
        expected_size: vectors the index is to hold.
        settings: ``exact_below`` and ``device`` are read.
        dimension: length of a vector.
    """
    if importlib.util.find_spec("faiss") is None:
        return Backend("numpy", np.__version__, 0, "exact", "cpu", expected_size)
    from indexer.vectors.faiss_exact import GPU_MAX_BYTES
    from indexer.vectors.faiss_index import faiss

    version = str(faiss.__version__)
    gpus = 0 if settings.device == "cpu" else int(faiss.get_num_gpus())
    if gpus and expected_size * dimension * 4 <= GPU_MAX_BYTES:
        return Backend("faiss", version, gpus, "exact", "gpu", expected_size)
    kind: Literal["exact", "hnsw"] = "exact" if expected_size < settings.exact_below else "hnsw"
    return Backend("faiss", version, gpus, kind, "cpu", expected_size)


def create(dimension: int, expected_size: int, settings: Settings) -> VectorIndex:
    """Return an empty index of the kind that suits this many vectors on this machine.

    Args:
        dimension: length of a vector.
        expected_size: vectors it is to hold when it is built.
        settings: ``exact_below`` and ``device`` are read.
    """
    backend = describe_backend(expected_size, settings, dimension)
    if backend.engine == "numpy":
        return NumpyExact(dimension)
    if backend.kind == "exact":
        from indexer.vectors.faiss_exact import FaissExact

        return FaissExact.create(dimension, gpu=backend.device == "gpu")
    from indexer.vectors.faiss_hnsw import FaissHnsw

    return FaissHnsw.create(dimension)


def load(path: Path, dimension: int, settings: Settings) -> VectorIndex:
    """Open an index file, whatever its kind.

    Vectors are read from the file when they are needed, so it must stay as it is while the index
    is open; to change the index, `save` it under another name.

    Args:
        path: the file.
        dimension: length of the current embedder's vectors.
        settings: ``device`` is read.

    Raises:
        NotFound: there is no such file.
        IndexCorrupt: it is damaged or of another dimension.
        MissingDependency: it was made with FAISS, which isn't installed here.
    """
    trailer = unseal(path, dimension)
    if trailer.kind == NumpyExact.file_kind:
        return NumpyExact.load(path, trailer)
    if trailer.kind == "faiss-exact":
        from indexer.vectors.faiss_exact import FaissExact

        gpu = describe_backend(trailer.count, settings, dimension).device == "gpu"
        return FaissExact.load(path, trailer, gpu=gpu)
    if trailer.kind == "faiss-hnsw":
        from indexer.vectors.faiss_hnsw import FaissHnsw

        return FaissHnsw.load(path, trailer)
    raise IndexCorrupt(f"{path} is of unknown kind {trailer.kind!r}: rebuild the index")
