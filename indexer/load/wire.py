"""Carries documents from the process that parsed them: JSON headers, never pickles."""

import json
import struct
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from typing import IO, Any, get_args

from indexer.load.compose import clean
from indexer.load.loaded import Loaded, LoadFailure, Mark, MarkKind
from rag import errors
from rag.errors import BrokenFile

# Length of the JSON header and of the text behind it, in bytes.
_FRAME = struct.Struct("!QQ")
_MAX_HEADER_BYTES = 2**30
_ERRORS = ("UnsupportedFormat", "LimitExceeded", "BrokenFile", "StorageError")


def write_document(stream: IO[bytes], document: Loaded | LoadFailure) -> None:
    """Write one document or failure."""
    if isinstance(document, LoadFailure):
        _write(stream, {"uri": document.uri, "failure": document.reason})
        return
    header = {
        "marks": [[mark.kind, mark.start, mark.label, mark.level] for mark in document.marks],
        "title": document.title,
        "format": document.format,
        "sha256": document.content_sha256,
        "uri": document.uri,
        "date": document.date.isoformat() if document.date else None,
        "tags": document.tags,
        "body": document.body_start,
    }
    _write(stream, header, document.text)


def write_error(stream: IO[bytes], error: errors.RagError) -> None:
    """Write why there are no documents."""
    kind = type(error).__name__
    _write(stream, {"error": kind if kind in _ERRORS else "BrokenFile", "message": str(error)})


def read_documents(stream: IO[bytes], name: str) -> Iterator[Loaded | LoadFailure]:
    """Return what was written; checks all of it, as a hostile file may have taken the writer over.

    Raises:
        RagError: as given to ``write_error``.
        BrokenFile: what was written is not what loaders write.
    """
    while prefix := stream.read(_FRAME.size):
        try:
            yield _read(stream, prefix)
        except (ValueError, KeyError, TypeError, struct.error) as error:
            raise BrokenFile(
                f"{name}: upset its parser ({type(error).__name__}); save it again"
            ) from error


def _write(stream: IO[bytes], header: dict[str, Any], text: str = "") -> None:
    encoded = json.dumps(header).encode("ascii")
    body = text.encode("utf-8")
    stream.write(_FRAME.pack(len(encoded), len(body)))
    stream.write(encoded)
    stream.write(body)


def _read(stream: IO[bytes], prefix: bytes) -> Loaded | LoadFailure:
    header_bytes, text_bytes = _FRAME.unpack(prefix)
    if header_bytes > _MAX_HEADER_BYTES:
        raise ValueError(header_bytes)
    header = json.loads(_exactly(stream, header_bytes))
    text = _exactly(stream, text_bytes).decode("utf-8")
    if "error" in header:
        if header["error"] not in _ERRORS:
            raise ValueError(header["error"])
        error: type[errors.RagError] = getattr(errors, header["error"])
        raise error(_one_line(header["message"]))
    if "failure" in header:
        return LoadFailure(_one_line(header["uri"]), _one_line(header["failure"]))
    marks = tuple(_mark(entry, len(text)) for entry in header["marks"])
    if clean(text) != text or any(first.start > then.start for first, then in pairwise(marks)):
        raise ValueError("text")
    return Loaded(
        text=text,
        marks=marks,
        title=None if header["title"] is None else _one_line(header["title"]),
        format=_one_line(header["format"]),
        content_sha256=_one_line(header["sha256"]),
        uri=None if header["uri"] is None else _one_line(header["uri"]),
        date=None if header["date"] is None else date.fromisoformat(header["date"]),
        tags=tuple(map(_one_line, header["tags"])),
        body_start=_offset(header["body"], len(text)),
    )


def _mark(entry: list[Any], length: int) -> Mark:
    kind, start, words, level = entry
    if kind not in get_args(MarkKind) or type(level) is not int:
        raise ValueError(kind)
    return Mark(kind, _offset(start, length), _one_line(words), level)


def _offset(value: Any, length: int) -> int:
    if type(value) is not int or not 0 <= value <= length:
        raise ValueError(value)
    return value


def _one_line(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value))
    value.encode("utf-8")  # a lone surrogate can't be stored
    return value.replace("\n", " ")


def _exactly(stream: IO[bytes], size: int) -> bytes:
    piece = stream.read(size)
    if len(piece) != size:
        raise ValueError(size)
    return piece
