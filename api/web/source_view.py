"""A document version as its page shows it: the text in pieces, one span of it marked."""

from __future__ import annotations

import datetime
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from api.web.links import source_link
from indexer.load.loaded import Mark
from knowledge_bases.audit.anchors import Anchor, Quoted, reanchor
from knowledge_bases.knowledge_base import KnowledgeBase
from knowledge_bases.store.documents import VersionState
from rag.errors import NotFound, UsageError

SHOWN_CHARS = 60_000
"""Characters of a text that are shown at once; of a longer one a part, with links to the next."""
_BEFORE_SPAN = 15_000
_MOST_CONTENTS = 200


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the text.

    Attributes:
        label: of a page, slide or sheet that begins here; None where none does.
        level: depth of a heading; 0 for other text.
        marked: whether it belongs to the span asked for.
        begins: whether it is the first piece of that.
        anchor: its id on the page, where a page or heading begins.
    """

    text: str
    label: str | None
    level: int
    marked: bool
    begins: bool
    anchor: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the table of contents."""

    label: str
    level: int
    href: str


@dataclass(frozen=True, slots=True)
class Newer:
    """The newest version, where another is shown, and what became of the span in it."""

    version: int
    anchor: Anchor | None
    href: str


@dataclass(frozen=True, slots=True)
class SourceText:
    """What the page shows of a document version.

    Attributes:
        pieces: the text from ``first`` to ``last``, in order.
        span: (start, end) of what is marked, if anything is.
        place: page and headings of the span, in words.
        earlier, later: where the text goes on; None at its ends.
    """

    uri: str
    title: str
    version: VersionState
    history: tuple[VersionState, ...]
    length: int
    first: int
    last: int
    pieces: tuple[Piece, ...]
    span: tuple[int, int] | None
    place: str | None
    contents: tuple[Entry, ...]
    newer: Newer | None
    earlier: str | None
    later: str | None

    @property
    def withdrawn(self) -> datetime.datetime | None:
        """When the document was taken out of every search; None while it is in."""
        return self.version.deleted_at


def source_text(
    kb: KnowledgeBase,
    uri: str,
    *,
    version: int | None = None,
    span: tuple[int, int] | None = None,
    first: int | None = None,
) -> SourceText:
    """Read a document version for its page.

    Args:
        kb: the knowledge base.
        uri: the document's, which may have been withdrawn.
        version: by default the newest.
        span: characters to mark.
        first: character to begin with, of a long text.

    Raises:
        NotFound: there is no such document or version.
        UsageError: the version has no such characters.
    """
    documents = kb.store.documents
    history = documents.history(kb.row.id, uri)
    if not history:
        raise NotFound(f"there is no document {uri!r} in {kb.name!r}")
    shown = next((one for one in history if version in (None, one.number)), None)
    stored = documents.stored(kb.row.id, [(uri, shown.number)]) if shown else {}
    if shown is None or not stored:
        raise NotFound(f"there is no version {version} of document {uri!r}")
    found = stored[uri, shown.number]
    text = found.text
    if span is not None and not 0 <= span[0] < span[1] <= len(text):
        raise UsageError(
            f"version {shown.number} of {uri!r} has no characters {span[0]}–{span[1]}: "
            f"it has {len(text):,}"
        )
    marks = documents.marks(shown.version_id)
    start, stop = _window(text, span, first)

    def part(at: int) -> str:
        return _with(source_link(kb.name, uri, shown.number), "first", at)

    return SourceText(
        uri=uri,
        title=found.document.title,
        version=shown,
        history=tuple(history),
        length=len(text),
        first=start,
        last=stop,
        pieces=tuple(_pieces(text, marks, start, stop, span)),
        span=span,
        place=_place(marks, span[0]) if span else None,
        contents=tuple(_contents(marks, start, stop, part)),
        newer=_newer(kb, uri, text, shown, history, span),
        earlier=part(max(0, start - SHOWN_CHARS)) if start else None,
        later=part(stop) if stop < len(text) else None,
    )


def _with(link: str, name: str, value: int) -> str:
    return f"{link}{'&' if '?' in link else '?'}{name}={value}"


def _window(text: str, span: tuple[int, int] | None, first: int | None) -> tuple[int, int]:
    """Return which characters to show: all, or whole lines round the span."""
    if len(text) <= SHOWN_CHARS:
        return 0, len(text)
    wanted = first if first is not None else max(0, span[0] - _BEFORE_SPAN) if span else 0
    start = min(wanted, len(text))
    if start:
        line = text.rfind("\n", max(0, start - 2_000), start)
        start = line + 1 if line >= 0 else start
    stop = min(len(text), max(start + SHOWN_CHARS, span[1] if span and first is None else 0))
    if stop < len(text):
        line = text.rfind("\n", max(start + 1, stop - 2_000), stop)
        covers = span is None or first is not None or line >= span[1]
        stop = line + 1 if line >= 0 and covers else stop
    return start, stop


def _pieces(
    text: str, marks: Sequence[Mark], start: int, stop: int, span: tuple[int, int] | None
) -> Iterator[Piece]:
    """Cut the text where pages and headings begin and where the span does."""
    pages = {mark.start: mark for mark in marks if mark.kind != "heading"}
    headings = {mark.start: mark for mark in marks if mark.kind == "heading"}
    ends = {at: _line_end(text, at) for at in headings}
    low, high = span or (0, 0)
    wanted = {start, stop, low, high, *pages, *headings, *ends.values()}
    cuts = sorted(at for at in wanted if start <= at <= stop)
    begun, level, until = False, 0, 0
    for at, end in pairwise(cuts):
        if at in headings:
            level, until = max(1, headings[at].level), ends[at]
        if at >= until:
            level = 0
        marked = span is not None and low <= at < high
        begins, begun = marked and not begun, begun or marked
        yield Piece(
            text[at:end],
            label=_label(pages[at]) if at in pages else None,
            level=level,
            marked=marked,
            begins=begins,
            anchor=f"c{at}" if at in pages or at in headings else None,
        )


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _label(mark: Mark) -> str:
    return f"{mark.kind.capitalize()} {mark.label}"


def _place(marks: Sequence[Mark], offset: int) -> str | None:
    """Return the page and the headings over a character, in words."""
    upto = marks[: bisect_right([mark.start for mark in marks], offset)]
    page = next((mark for mark in reversed(upto) if mark.kind != "heading"), None)
    path: list[str] = []
    level = 99
    for mark in reversed(upto):
        if mark.kind == "heading" and mark.level < level:
            path.insert(0, mark.label)
            level = mark.level
    words = ([_label(page)] if page else []) + path
    return " › ".join(words) or None


def _contents(
    marks: Sequence[Mark], start: int, stop: int, part: Callable[[int], str]
) -> Iterator[Entry]:
    for mark in marks[:_MOST_CONTENTS]:
        here = start <= mark.start < stop
        label = mark.label if mark.kind == "heading" else _label(mark)
        link = "" if here else part(mark.start)
        yield Entry(label, mark.level, f"{link}#c{mark.start}")


def _newer(
    kb: KnowledgeBase,
    uri: str,
    text: str,
    shown: VersionState,
    history: Sequence[VersionState],
    span: tuple[int, int] | None,
) -> Newer | None:
    newest = history[0]
    if newest.number == shown.number:
        return None
    anchor = None
    place: tuple[int | None, int | None] = (None, None)
    if span is not None:
        stored = kb.store.documents.stored(kb.row.id, [(uri, newest.number)])
        if (uri, newest.number) in stored:
            quoted = Quoted.of(text, *span)
            anchor = reanchor(quoted, stored[uri, newest.number].text, old_text=text)
            near = anchor.nearest
            place = (near.start, near.end) if near else (anchor.start, anchor.end)
    return Newer(newest.number, anchor, source_link(kb.name, uri, newest.number, *place))
