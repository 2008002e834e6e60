"""Index files with a checked trailer, so that a damaged one is refused before an engine reads it.

A trailer of 44 bytes follows the engine's own bytes: magic, kind, dimension, vector count, body
length and CRC-32 of all that comes before. FAISS trusts the sizes it reads and aborts the process
on some damaged files, so it is handed nothing that is not byte for byte what was written.
"""

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rag.errors import IndexCorrupt, NotFound, StorageError

_MAGIC = b"RAGVEC1\n"
_FIELDS = struct.Struct("<8s12sIQQ")  # magic, kind, dimension, count, body length
_CRC = struct.Struct("<I")
_TRAILER_BYTES = _FIELDS.size + _CRC.size
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
        fields = _FIELDS.pack(_MAGIC, kind.encode(), dimension, count, body_bytes)
        crc = zlib.crc32(fields, _checksum(path, body_bytes))
        with path.open("ab") as file:
            file.write(fields + _CRC.pack(crc))
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
            file.seek(max(0, size - _TRAILER_BYTES))
            tail = file.read()
        if len(tail) < _TRAILER_BYTES:
            raise IndexCorrupt(f"{path} is truncated ({size} bytes): rebuild the index")
        fields, (crc,) = tail[: _FIELDS.size], _CRC.unpack(tail[_FIELDS.size :])
        magic, kind, stored, count, body_bytes = _FIELDS.unpack(fields)
        if magic != _MAGIC or body_bytes != size - _TRAILER_BYTES:
            raise IndexCorrupt(f"{path} is truncated or no vector index: rebuild the index")
        if crc != zlib.crc32(fields, _checksum(path, body_bytes)):
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
