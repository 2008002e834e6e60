"""Checks a zipped office document before a parser sees it."""

import zipfile
from io import BytesIO

from indexer.load.limits import Limits, mebibytes
from rag.errors import BrokenFile, LimitExceeded

_READ_BYTES = 1 << 18
# Part 2 of ECMA-376 forbids document types; without them there are no entities to expand.
_DOCTYPES = tuple("<!DOCTYPE".encode(code) for code in ("ascii", "utf-16-le", "utf-16-be"))
_OVERLAP_BYTES = max(map(len, _DOCTYPES))


def check_package(content: bytes, name: str, limits: Limits) -> None:
    """Expand every part once, counting, so that what follows works on bytes known to be bounded.

    Declared sizes are not trusted.

    Raises:
        BrokenFile: a part is damaged or declares a document type.
        LimitExceeded: it expands to too much or has too many parts.
    """
    try:
        with zipfile.ZipFile(BytesIO(content)) as package:
            _check_parts(package, name, limits)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, ValueError) as error:
        raise BrokenFile(f"{name}: is damaged or truncated; get a complete copy") from error
    except RuntimeError as error:  # zipfile's word for an encrypted member
        raise BrokenFile(
            f"{name}: is encrypted; save a copy without a password and add that"
        ) from error
    except Exception as error:
        # zlib.error and lzma.LZMAError share no base with the others.
        if type(error).__name__ in ("error", "LZMAError"):
            raise BrokenFile(f"{name}: is damaged or truncated; get a complete copy") from error
        raise


def _check_parts(package: zipfile.ZipFile, name: str, limits: Limits) -> None:
    parts = package.infolist()
    if len(parts) > limits.max_members:
        raise LimitExceeded(
            f"{name}: has more than {limits.max_members:,} parts; raise RAG_LOAD_MAX_MEMBERS"
        )
    expanded = 0
    for part in parts:
        is_xml = part.filename.lower().endswith((".xml", ".rels", ".vml"))
        tail = b""
        with package.open(part) as stream:
            while piece := stream.read(_READ_BYTES):
                expanded += len(piece)
                if expanded > limits.max_expanded_bytes:
                    raise LimitExceeded(
                        f"{name}: expands to more than {mebibytes(limits.max_expanded_bytes)}; "
                        "if you trust it raise RAG_LOAD_MAX_EXPANDED_BYTES"
                    )
                if is_xml and any(doctype in tail + piece for doctype in _DOCTYPES):
                    raise BrokenFile(
                        f"{name}: declares XML entities, which office documents may not; "
                        "save it again with an office program"
                    )
                tail = piece[-_OVERLAP_BYTES:]
