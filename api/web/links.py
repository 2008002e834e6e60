"""The addresses of pages."""

import re
from urllib.parse import quote, urlencode

_PLAIN = re.compile(r"[^\x00-\x1f\x7f\\]+")


def source_link(
    kb: str, uri: str, version: int | None = None, start: int | None = None, end: int | None = None
) -> str:
    """Return the address of a document, or of characters [start, end) of one of its versions.

    A URI that browsers would shorten, as they do "a/../b", goes where they leave it alone.

    >>> source_link("wards", "a b.txt", 2, 5, 9)
    '/sources/wards/a%20b.txt?version=2&start=5&end=9#span'
    >>> source_link("wards", "../b")
    '/sources/wards?uri=..%2Fb'
    """
    query = {"version": version, "start": start, "end": end}
    asked: dict[str, int | str] = {
        name: value for name, value in query.items() if value is not None
    }
    path = f"/sources/{_quoted(kb)}"
    if _PLAIN.fullmatch(uri) and not {"", ".", ".."} & set(uri.split("/")):
        path += f"/{quote(uri)}"
    else:
        asked = {"uri": uri, **asked}
    fragment = "#span" if start is not None else ""
    return path + (f"?{urlencode(asked)}" if asked else "") + fragment


def answer_link(answer_id: str, why: bool = False) -> str:
    """Return the address of an answer, or of what it came from."""
    return f"/answers/{_quoted(answer_id)}" + ("/why" if why else "")


def record_link(record_id: str, part: str = "") -> str:
    """Return the address of a record of the log, or of a part of it."""
    return f"/log/{_quoted(record_id)}" + (f"/{part}" if part else "")


def collection_link(kb: str, part: str = "") -> str:
    """Return the address of a knowledge base's documents, or of a part of that page."""
    return f"/collections/{_quoted(kb)}" + (f"/{part}" if part else "")


def _quoted(name: str) -> str:
    return quote(name, safe="")
