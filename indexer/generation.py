"""An index generation: a directory that is built once, published by a rename, and never changed."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from indexer import vectors as vector_indexes
from indexer.lexical import TantivyIndex
from rag.errors import IndexCorrupt, StorageError
from rag.protocols import VectorIndex
from rag.publish import sync
from rag.settings import Settings

MANIFEST = "manifest.json"
_VECTORS = "vectors.index"
_LEXICAL = "lexical"
_BATCH = 4_096
_REBUILD_DEAD_SHARE = 0.2
"""HNSW can't remove; once this share of it is dead, it is built anew."""


@dataclass(frozen=True, slots=True)
class IndexedChunk:
    """What the indexes take in of a chunk; ``vector`` is little-endian float32."""

    id: int
    document_id: int
    context: str
    text: str
    vector: bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a generation holds.

    Attributes:
        revision: the knowledge base's revision that it shows.
        chunks: live chunks at that revision.
        vectors: vectors in the dense index, dead ones included.
        files: relative path → (bytes, sha256).
    """

    number: int
    revision: int
    chunks: int
    vectors: int
    vectors_kind: str
    dimension: int
    embedder_sha256: str
    files: dict[str, tuple[int, str]]


class Generation:
    """An open generation.

    Attributes:
        path: its directory.
        digest: sha256 of its manifest, which names the digest of every file.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        """Open a generation and compare its files' sizes with the manifest.

        Raises:
            IndexCorrupt: a file is missing, has another size, or makes no sense.
            StorageError: a file can't be read.
        """
        self.path = path
        try:
            raw = (path / MANIFEST).read_bytes()
            content = json.loads(raw)
            content["files"] = {name: (size, sha) for name, (size, sha) in content["files"].items()}
            self.manifest = Manifest(**content)
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise IndexCorrupt(f"index generation {path.name} has no readable manifest") from error
        except OSError as error:
            raise StorageError(f"{path / MANIFEST} can't be read: {error.strerror}") from error
        self.digest = hashlib.sha256(raw).hexdigest()
        for name, (size, _) in self.manifest.files.items():
            try:
                found = (path / name).stat().st_size
            except FileNotFoundError:
                found = None
            if found != size:
                raise IndexCorrupt(
                    f"index generation {path.name}: {name} has {found} bytes, not {size}"
                )
        self.vectors: VectorIndex = vector_indexes.load(
            path / _VECTORS, self.manifest.dimension, settings
        )
        self.lexical = TantivyIndex.open(path / _LEXICAL)

    def verify(self) -> None:
        """Compare every file's sha256 with the manifest.

        Raises:
            IndexCorrupt: naming the first file that differs.
            StorageError: a file can't be read.
        """
        for name, (_, sha256) in self.manifest.files.items():
            try:
                found = _sha256(self.path / name)
            except OSError as error:
                raise StorageError(f"{self.path / name}: {error.strerror}") from error
            if found != sha256:
                raise IndexCorrupt(f"index generation {self.path.name}: {name} was changed")


def build(
    target: Path,
    *,
    number: int,
    revision: int,
    chunks: int,
    dimension: int,
    embedder_sha256: str,
    previous: Generation | None,
    added: Iterable[IndexedChunk],
    retired: Sequence[int],
    settings: Settings,
) -> None:
    """Build a generation in a new directory, with everything synced to the disk.

    Args:
        target: must not exist yet.
        number: of the generation.
        revision: the one it shows.
        chunks: how many live chunks it will have.
        dimension: of the vectors.
        embedder_sha256: weights the vectors were made with.
        previous: the generation it continues; None to start from nothing.
        added: chunks that ``previous`` doesn't hold.
        retired: chunk ids that ``previous`` holds and this one must not find.
        settings: decide the kind of the dense index.

    Raises:
        StorageError: the disk is full or read-only; ``target`` is gone again.
    """
    try:
        target.mkdir(parents=True)
        if previous is None:
            vectors = vector_indexes.create(dimension, chunks, settings)
            lexical = TantivyIndex.create(target / _LEXICAL)
        else:
            vectors = vector_indexes.load(previous.path / _VECTORS, dimension, settings)
            TantivyIndex.copy(previous.path / _LEXICAL, target / _LEXICAL)
            lexical = TantivyIndex.open(target / _LEXICAL)
            if retired:
                vectors.remove(np.array(sorted(retired), dtype=np.int64))
                lexical.remove(retired)
        for batch in _batches(added):
            ids = np.array([chunk.id for chunk in batch], dtype=np.int64)
            matrix = np.frombuffer(b"".join(chunk.vector for chunk in batch), dtype="<f4")
            vectors.add(ids, matrix.reshape(len(batch), dimension).astype(np.float32))
            lexical.add([(c.id, c.document_id, c.context, c.text) for c in batch])
        vectors.save(target / _VECTORS)
        lexical.commit()
        manifest = Manifest(
            number=number,
            revision=revision,
            chunks=chunks,
            vectors=len(vectors),
            vectors_kind=vectors.kind,
            dimension=dimension,
            embedder_sha256=embedder_sha256,
            files=_files(target),
        )
        (target / MANIFEST).write_text(json.dumps(asdict(manifest), sort_keys=True))
        _sync(target)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise StorageError(f"the index can't be written to {target}: {error.strerror}") from error
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def can_continue(
    previous: Generation, *, chunks: int, retired: int, embedder_sha256: str, settings: Settings
) -> bool:
    """Say whether the next generation may continue this one rather than start from nothing."""
    manifest = previous.manifest
    if manifest.embedder_sha256 != embedder_sha256:
        return False
    backend = vector_indexes.describe_backend(chunks, settings, manifest.dimension)
    if backend.kind != manifest.vectors_kind:
        return False
    if backend.kind == "exact":
        return True
    dead = manifest.vectors - manifest.chunks + retired
    return dead <= _REBUILD_DEAD_SHARE * chunks


def publish(target: Path, final: Path) -> None:
    """Rename a built generation to its final name, which makes it the newest one at once.

    Raises:
        StorageError: the disk refused it.
    """
    try:
        target.rename(final)
        sync(final.parent)
    except OSError as error:
        raise StorageError(f"the index can't be published as {final}: {error.strerror}") from error


def _batches(chunks: Iterable[IndexedChunk]) -> Iterator[tuple[IndexedChunk, ...]]:
    remaining = iter(chunks)
    while batch := tuple(islice(remaining, _BATCH)):
        yield batch


def _files(folder: Path) -> dict[str, tuple[int, str]]:
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")  # tantivy's, always empty
    )
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_size, _sha256(path)) for path in paths
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        sync(path)
