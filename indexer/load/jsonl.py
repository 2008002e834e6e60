"""JSON Lines: a corpus of documents, or one document with a line per record."""

import hashlib
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from indexer.load.compose import TextBuilder, check_chars, clean, label
from indexer.load.dates import parse_date
from indexer.load.encoding import decode
from indexer.load.json_document import record_line, write_value
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded, LoadFailure
from indexer.load.names import printable

_TEXT_FIELDS = ("text", "content", "body")
_SAMPLE_ROWS = 20


class _BadRow(Exception):
    """Why a row is no document."""


def load(content: bytes, name: str, limits: Limits) -> Iterator[Loaded | LoadFailure]:
    """Return a document per row if rows have a text, else one document of all rows.

    A row's document is ``{"text" | "content" | "body": str, "uri" | "id"?, "title"?, "date"?
    (ISO 8601), "tags"?: [str]}``. A row that is not as it must be is reported by its number and
    the others go on.

    Raises:
        UnsupportedFormat: the bytes are no text.
        LimitExceeded: the text is too long.
    """
    text = decode(content, name).removeprefix("\ufeff")
    if any(_has_text(line) for _, line in islice(_rows(text), _SAMPLE_ROWS)):
        yield from _corpus(text, name, limits)
    else:
        yield from _one_document(text, content, name, limits)


def _corpus(text: str, name: str, limits: Limits) -> Iterator[Loaded | LoadFailure]:
    row_of_uri: dict[str, int] = {}
    length = 0
    for number, line in _rows(text):
        try:
            loaded = _document(line, f"{name}#{number}")
            first = row_of_uri.setdefault(str(loaded.uri), number)
            if first != number:
                raise _BadRow(f"its uri {loaded.uri!r} is taken by row {first}; make it unique")
        except _BadRow as bad:
            yield LoadFailure(f"{name}#{number}", f"row {number}: {bad}")
            continue
        length += len(loaded.text)
        check_chars(length, limits.max_chars, name)
        yield loaded


def _one_document(
    text: str, content: bytes, name: str, limits: Limits
) -> Iterator[Loaded | LoadFailure]:
    builder = TextBuilder(name, limits)
    failures = []
    for number, line in _rows(text):
        try:
            value = _parse(line)
        except _BadRow as bad:
            failures.append(LoadFailure(f"{name}#{number}", f"row {number}: {bad}"))
            continue
        if isinstance(value, dict) and not any(isinstance(cell, dict) for cell in value.values()):
            builder.add(record_line(value))
        else:
            write_value(builder, value)
    yield builder.loaded(content, "jsonl")
    yield from failures


def _document(line: str, default_uri: str) -> Loaded:
    row = _parse(line)
    if not isinstance(row, dict):
        raise _BadRow('is not an object; write {"text": ...}')
    text = next((row[field] for field in _TEXT_FIELDS if row.get(field) is not None), None)
    if not isinstance(text, str):
        raise _BadRow('has no "text" that is a string; add one')
    text = clean(text)
    if not text.strip():
        raise _BadRow("its text is empty; fill it or remove the row")
    title = row.get("title")
    if title is not None and not isinstance(title, str):
        raise _BadRow("its title is not a string; quote it")
    day = parse_date(row.get("date"))
    if row.get("date") is not None and day is None:
        raise _BadRow(f"its date {str(row['date'])[:40]!r} is not ISO 8601; write YYYY-MM-DD")
    return Loaded(
        text=text,
        marks=(),
        title=label(title),
        format="jsonl",
        content_sha256=hashlib.sha256(line.encode("utf-8", "surrogatepass")).hexdigest(),
        uri=_uri(row) or default_uri,
        date=day,
        tags=_tags(row.get("tags")),
    )


def _uri(row: dict[str, Any]) -> str | None:
    given = row.get("uri") if row.get("uri") is not None else row.get("id")
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise _BadRow("its uri is not a string; quote it")
    return printable(str(given)).strip() or None


def _tags(given: Any) -> tuple[str, ...]:
    if given is None:
        return ()
    if not isinstance(given, list) or not all(isinstance(tag, str) for tag in given):
        raise _BadRow('its tags are not a list of strings; write ["a", "b"]')
    return tuple(words for tag in given if (words := label(tag)))


def _parse(line: str) -> Any:
    try:
        return json.loads(line, strict=False)
    except RecursionError:
        raise _BadRow("is nested too deeply; flatten it") from None
    except ValueError as error:
        raise _BadRow(f"is not valid JSON: {error}") from None


def _has_text(line: str) -> bool:
    try:
        row = _parse(line)
    except _BadRow:
        return False
    return isinstance(row, dict) and any(isinstance(row.get(f), str) for f in _TEXT_FIELDS)


def _rows(text: str) -> Iterator[tuple[int, str]]:
    """Return the rows that are not blank, with their line numbers from 1."""
    start, number = 0, 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        number += 1
        line = text[start:end].strip()
        if line:
            yield number, line
        start = end + 1
