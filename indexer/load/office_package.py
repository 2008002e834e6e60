"""Checks a zipped office document before a parser sees it."""

import zipfile
from io import BytesIO

from indexer.load.archive import DAMAGE, SAFE_METHODS
from indexer.load.limits import Limits, mebibytes
from rag.errors import BrokenFile, LimitExceeded

_READ_BYTES = 1 << 18
_CODES = ("ascii", "utf-16-le", "utf-16-be")
# Part 2 of ECMA-376 forbids document types; without them there are no entities to expand.
_DOCTYPES = tuple("<!DOCTYPE".encode(code) for code in _CODES)
_OVERLAP_BYTES = max(map(len, _DOCTYPES))
_XML_STARTS = tuple("<".encode(code) for code in _CODES)
_SPACE_AND_MARKS = b"\xef\xbb\xbf\xff\xfe \t\r\n"
# Carried along, but never parsed as part of the document.
_FOREIGN = (".svg", ".html", ".htm", ".mht", ".mhtml")


def check_package(content: bytes, name: str, limits: Limits) -> None:
    """Expand every part once, counting, so that what follows works on bytes known to be bounded.

    Declared sizes are not trusted.

    Raises:
        BrokenFile: a part is damaged or declares a document type.
        LimitExceeded: it expands to too much or has too many parts.
    """
    try:
        with zipfile.ZipFile(BytesIO(content)) as package:
            parts = package.infolist()
            if any(part.flag_bits & 1 for part in parts):
                raise BrokenFile(
                    f"{name}: is encrypted; save a copy without a password and add that"
                )
            if len(parts) > limits.max_members:
                raise LimitExceeded(
                    f"{name}: has more than {limits.max_members:,} parts; "
                    "raise RAG_LOAD_MAX_MEMBERS"
                )
            left = limits.max_expanded_bytes
            for part in parts:
                left -= _check_part(package, part, name, left, limits)
    except DAMAGE as error:
        raise BrokenFile(f"{name}: is damaged or truncated; get a complete copy") from error


def _check_part(
    package: zipfile.ZipFile, part: zipfile.ZipInfo, name: str, left: int, limits: Limits
) -> int:
    """Return the part's size when expanded."""
    if part.compress_type not in SAFE_METHODS:
        raise BrokenFile(
            f"{name}: is compressed by a method other than deflate; "
            "save it again with an office program"
        )
    size, tail, may_be_xml = 0, b"", not part.filename.lower().endswith(_FOREIGN)
    with package.open(part) as stream:
        while piece := stream.read(_READ_BYTES):
            if not size and not piece.lstrip(_SPACE_AND_MARKS).startswith(_XML_STARTS):
                may_be_xml = False
            size += len(piece)
            if size > left:
                raise LimitExceeded(
                    f"{name}: expands to more than {mebibytes(limits.max_expanded_bytes)}; "
                    "if you trust it raise RAG_LOAD_MAX_EXPANDED_BYTES"
                )
            if may_be_xml and any(doctype in tail + piece for doctype in _DOCTYPES):
                raise BrokenFile(
                    f"{name}: declares XML entities, which office documents may not; "
                    "save it again with an office program"
                )
            tail = piece[-_OVERLAP_BYTES:]
    return size
