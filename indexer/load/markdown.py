"""Markdown: the source characters as they are, its headings as marks."""

import re
from datetime import date
from itertools import accumulate, pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

from indexer.load.compose import check_chars, clean, label, make_loaded
from indexer.load.dates import parse_date
from indexer.load.encoding import decode
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded, Mark

_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_ENTRY = re.compile(r"([A-Za-z_]+)[ \t]*:[ \t]*(.*)")

# Inlines are parsed for headings only: they cost most of the time and give no marks.
_BLOCKS = MarkdownIt("commonmark").enable("table").disable(["inline", "text_join"])
_INLINES = MarkdownIt("commonmark")


def load(content: bytes, name: str, limits: Limits) -> Loaded:
    """Return the source with a mark per heading; title, date and tags come from YAML front matter.

    The text is the source, not a rendering: a quote can be found in the file by anyone's editor.

    Raises:
        UnsupportedFormat: the bytes are no text.
        LimitExceeded: the text is too long.
    """
    text = clean(decode(content, name)).removeprefix("\ufeff")
    check_chars(len(text), limits.max_chars, name)
    title, day, tags, body = _front_matter(text)
    marks = _headings(text, body)
    if title is None:
        title = next((mark.label for mark in marks if mark.level == 1), None)
    return make_loaded(text, marks, content, "markdown", title=title, date=day, tags=tags)


def _headings(text: str, body: int) -> list[Mark]:
    line_starts = [0, *accumulate(len(line) + 1 for line in text[body:].split("\n"))]
    marks = []
    tokens = _BLOCKS.parse(text[body:])
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open" or opening.map is None:
            continue
        words = label(_plain(inline))
        if words:
            start = body + line_starts[opening.map[0]]
            marks.append(Mark("heading", start, words, int(opening.tag[1])))
    return marks


def _plain(inline: Token) -> str:
    """Return a heading's words without its markup."""
    [parsed] = _INLINES.parseInline(inline.content)
    return "".join(
        " " if child.type in ("softbreak", "hardbreak") else child.content
        for child in parsed.children or ()
    )


def _front_matter(text: str) -> tuple[str | None, date | None, tuple[str, ...], int]:
    """Read the simple entries of YAML front matter.

    Returns:
        title, date, tags, and the offset at which the body begins.
    """
    found = _FRONT_MATTER.match(text)
    if not found:
        return None, None, (), 0
    entries: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    key = ""
    for line in found[1].split("\n"):
        entry = _ENTRY.match(line)
        if entry:
            key = entry[1].lower()
            entries[key] = _unquote(entry[2])
        elif line.lstrip().startswith("- "):
            lists.setdefault(key, []).append(_unquote(line.lstrip()[2:]))
    inline_tags = entries.get("tags", "").strip("[]")
    tags = lists.get("tags") or [_unquote(tag) for tag in inline_tags.split(",")]
    return (
        entries.get("title") or None,
        parse_date(entries.get("date")),
        tuple(words for tag in tags if (words := label(tag))),
        found.end(),
    )


def _unquote(value: str) -> str:
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value
