"""Index files with a checked trailer, so that a damaged one is refused before an engine reads it.

A trailer of 48 bytes follows the engine's own bytes: magic, kind, dimension, vector count, body
length and CRC-32 of the body. FAISS trusts the sizes it reads and aborts the process on some
damaged files, so nothing is handed to it that is not byte for byte what was written.
"""

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rag.errors import IndexCorrupt, NotFound, StorageError

_MAGIC = b"RAGVEC1\n"
_TRAILER = struct.Struct("<8s12sIQQII")  # magic, kind, dimension, count, body length, crc, zero
_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class Trailer:
    """What a sealed file says of itself.

    Attributes:
        kind: engine and kind, at most 12 ASCII characters.
        dimension: length of a vector.
        count: vectors held.
        body_bytes: length of the engine's part, which starts at byte 0.
    """

    kind: str
    dimension: int
    count: int
    body_bytes: int


def seal(
    path: Path, kind: str, dimension: int, count: int, write_body: Callable[[Path], None]
) -> None:
    """Let an engine write a file and add the trailer.

    Raises:
        StorageError: the disk refused it; the incomplete file is removed.
    """
    try:
        write_body(path)
        body_bytes = path.stat().st_size
        crc = _checksum(path, body_bytes)
        trailer = _TRAILER.pack(_MAGIC, kind.encode(), dimension, count, body_bytes, crc, 0)
        with path.open("ab") as file:
            file.write(trailer)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # FAISS reports a full disk as RuntimeError
        path.unlink(missing_ok=True)
        raise StorageError(f"can't write the index file {path}: {error}") from error


def unseal(path: Path, dimension: int) -> Trailer:
    """Check a file from its first byte to its last and return its trailer.

    Raises:
        NotFound: there is no such file.
        IndexCorrupt: the file is not what `seal` wrote, or holds another dimension.
        StorageError: the disk refused to read it.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - _TRAILER.size))
            tail = file.read()
        if len(tail) < _TRAILER.size:
            raise IndexCorrupt(f"{path} is truncated ({size} bytes): rebuild the index")
        magic, kind, stored, count, body_bytes, crc, _ = _TRAILER.unpack(tail)
        if magic != _MAGIC or body_bytes != size - _TRAILER.size:
            raise IndexCorrupt(f"{path} is truncated or no vector index: rebuild the index")
        if crc != _checksum(path, body_bytes):
            raise IndexCorrupt(f"{path} fails its checksum: rebuild the index")
    except FileNotFoundError as error:
        raise NotFound(f"no index file {path}: rebuild the index") from error
    except OSError as error:
        raise StorageError(f"can't read the index file {path}: {error}") from error
    if stored != dimension:
        raise IndexCorrupt(
            f"{path} holds vectors of length {stored}, not {dimension}: "
            "rebuild the index with the current embedder"
        )
    return Trailer(kind.rstrip(b"\0").decode("ascii", "replace"), stored, count, body_bytes)


def _checksum(path: Path, length: int) -> int:
    """CRC-32 of a file's first ``length`` bytes."""
    crc = 0
    with path.open("rb") as file:
        while length > 0 and (block := file.read(min(_BLOCK_BYTES, length))):
            crc = zlib.crc32(block, crc)
            length -= len(block)
    return crc
