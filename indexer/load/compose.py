"""Puts a document's text together from cleaned pieces, with marks at exact offsets."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from datetime import date

from indexer.load.limits import Limits
from indexer.load.loaded import Loaded, Mark, MarkKind
from rag.errors import LimitExceeded

LABEL_CHARS = 300
"""Longest label of a mark and longest title; a "heading" of pages of text is none."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
# Unicode's mandatory line breaks (UAX #14) become "\n"; what else is control is no text.
_LINE_BREAKS = dict.fromkeys(map(ord, "\r\x0b\x0c\x85\u2028\u2029"), "\n")
_CLEANING: dict[int, str | None] = {
    **dict.fromkeys([*range(0x09), *range(0x0E, 0x20), *range(0x7F, 0xA0)], None),
    **_LINE_BREAKS,
}


def clean(text: str) -> str:
    r"""Return text fit to be stored: NFC, ``\n`` line ends, no controls, no lone surrogates.

    Tabs and newlines are the only control characters that stay: an escape sequence in a document
    must not reach the terminal of whoever reads a citation.

    >>> clean("a\r\nb\x00c")
    'a\nbc'
    """
    if _SURROGATE.search(text):
        # Two halves that belong together become their character, a single one U+FFFD.
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if _CONTROL.search(text):
        text = text.replace("\r\n", "\n").translate(_CLEANING)
    return unicodedata.normalize("NFC", text)


def label(text: str | None) -> str | None:
    """Return text as a label or title: clean, on one line, not too long; None if nothing is left.

    >>> label(" A   heading ")
    'A heading'
    """
    words = " ".join(clean(text or "").split())
    return words[:LABEL_CHARS].rstrip() or None


class TextBuilder:
    r"""Collects blocks of text and marks; offsets stay exact through normalisation.

    Each block begins on a line of its own. As nothing composes with "\n", the concatenation of
    normalised blocks is itself normalised, whatever characters stand at their borders.
    """

    def __init__(self, name: str, limits: Limits) -> None:
        self._name = name
        self._max_chars = limits.max_chars
        self._pieces: list[str] = []
        self._length = 0
        self._marks: list[Mark] = []
        self._pending: list[tuple[MarkKind, str, int]] = []

    @property
    def length(self) -> int:
        """Characters so far."""
        return self._length

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._pieces)

    def mark(self, kind: MarkKind, text: str, level: int = 0) -> None:
        """Let the next block begin a page, slide, sheet or section; without a block it is dropped.

        Args:
            kind: of the mark.
            text: its label.
            level: depth of a heading, from 1.
        """
        words = label(text)
        if words is None:
            return
        if kind != "heading":
            self._pending = [pending for pending in self._pending if pending[0] != kind]
        self._pending.append((kind, words, level))

    def add(self, text: str, *, gap: int = 1) -> None:
        r"""Append a block; blank ones are left out.

        Args:
            text: of the block; it is cleaned, and newlines at its ends are removed.
            gap: newlines between the block before and this one; 2 makes a blank line.
        """
        block = clean(text).strip("\n")
        if not block or block.isspace():
            return
        if self._pieces:
            self._append("\n" * gap)
        for kind, words, level in self._pending:
            self._marks.append(Mark(start=self._length, kind=kind, label=words, level=level))
        self._pending.clear()
        self._append(block)

    def mark_at(self, kind: MarkKind, text: str, start: int, level: int = 0) -> None:
        """Set a mark on text that has been added already."""
        words = label(text)
        if words is not None:
            self._marks.append(Mark(start=start, kind=kind, label=words, level=level))

    def loaded(
        self,
        content: bytes,
        format: str,
        *,
        title: str | None = None,
        date: date | None = None,
    ) -> Loaded:
        """Return the document.

        Args:
            content: its original bytes, for their digest.
            format: by content.
            title: if the document has one.
            date: likewise.
        """
        return make_loaded(self.text, self._marks, content, format, title=title, date=date)

    def _append(self, piece: str) -> None:
        self._length += len(piece)
        check_chars(self._length, self._max_chars, self._name)
        self._pieces.append(piece)


def make_loaded(
    text: str,
    marks: Iterable[Mark],
    content: bytes,
    format: str,
    *,
    title: str | None = None,
    date: date | None = None,
    tags: tuple[str, ...] = (),
    body_start: int = 0,
) -> Loaded:
    """Return a document of text that is clean already, its marks sorted."""
    return Loaded(
        text=text,
        marks=tuple(sorted(marks, key=lambda mark: (mark.start, mark.kind == "heading"))),
        title=label(title),
        format=format,
        content_sha256=hashlib.sha256(content).hexdigest(),
        date=date,
        tags=tags,
        body_start=body_start,
    )


def check_chars(length: int, max_chars: int, name: str) -> None:
    """Refuse a text that is too long.

    Raises:
        LimitExceeded: it has more than ``max_chars`` characters.
    """
    if length > max_chars:
        raise LimitExceeded(
            f"{name}: holds more than {max_chars:,} characters of text; "
            "split it or raise RAG_LOAD_MAX_CHARS"
        )
