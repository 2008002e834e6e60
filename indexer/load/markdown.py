"""Markdown: the source characters as they are, its headings as marks."""

from itertools import accumulate, pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

from indexer.load.compose import check_chars, clean, label, make_loaded
from indexer.load.encoding import decode
from indexer.load.front_matter import read_front_matter
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded, Mark

# Inlines are parsed for headings only: they cost most of the time and give no marks.
_BLOCKS = MarkdownIt("commonmark").enable("table").disable(["inline", "text_join"])
_INLINES = MarkdownIt("commonmark")


def load(content: bytes, name: str, limits: Limits) -> Loaded:
    """Return the source with a mark per heading; title, date and tags come from front matter.

    Front matter stays in the text, before its body. The text is the source, not a rendering: a
    quote can be found in the file by anyone's editor.

    Raises:
        UnsupportedFormat: the bytes are no text.
        LimitExceeded: the text is too long.
    """
    text = clean(decode(content, name)).removeprefix("\ufeff")
    check_chars(len(text), limits.max_chars, name)
    metadata = read_front_matter(text)
    marks = _headings(text, metadata.end)
    return make_loaded(
        text,
        marks,
        content,
        "markdown",
        title=metadata.title or next((mark.label for mark in marks if mark.level == 1), None),
        date=metadata.date,
        tags=metadata.tags,
        body_start=metadata.end,
    )


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
