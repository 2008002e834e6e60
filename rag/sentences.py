"""Sentence boundaries with exact offsets, by Wikimedia's sentencex."""

import itertools
import re
from collections.abc import Sequence

import sentencex

from rag.words import whole

_HARD_BREAK = re.compile(
    r"\n[ \t]*\n\s*"  # a blank line
    r"|\n(?=[ \t]*(?:[-*•‣▪]|\d+[.)])\s)"  # before a list item
)
_MARKED_HEADING = re.compile(r"#{1,6}\s+\S")
_NUMBERED_HEADING = re.compile(
    r"(?:\d{1,3}[.)]|\d{1,3}(?:\.\d{1,3})+[.)]?|[A-Z][.)]|§\s*\d+\w*)\s+[^\W\d_].*[^.!?:;,]"
)
_ITEM_NUMBER = re.compile(r"\s*(?:\d+|[a-zA-Z])[.)]\s*")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Split a text into sentences.

    Blank lines, list items and table rows (cells between " | ") always end a sentence; inside those
    blocks sentencex decides, whose rules know abbreviations and decimals. White space round a
    sentence belongs to no span.

    Returns:
        ``[start, end)`` of each sentence, in order, never empty, never overlapping.

    >>> sentence_spans("Dr. Li gave 2.5 mg. It worked.")
    [(0, 19), (20, 30)]
    """
    text = whole(text)
    spans: list[tuple[int, int]] = []
    for block_start, block_end in _blocks(text):
        block = text[block_start:block_end]
        sentences = sentencex.segment("en", block)
        if "".join(sentences) != block:  # It changed characters: keep the block whole.
            sentences = [block]
        start = end = block_start
        for sentence in sentences:
            end += len(sentence)
            if _ITEM_NUMBER.fullmatch(text, start, end) and end < block_end:
                continue  # "1." belongs to the sentence it numbers.
            spans += _trimmed(text, start, end)
            start = end
    return spans


def without_headings(
    text: str, start: int, end: int, headings: Sequence[str] = ()
) -> tuple[int, int]:
    r"""Return a sentence without the headings that stand on lines of their own before it.

    A line is a heading if it is marked as in Markdown, is one of those known, or is numbered and
    ends although the next line begins anew, with a word that would have had room on it.

    Args:
        text: of the passage.
        start: of the sentence.
        end: of the sentence; what is a heading and nothing else is left as it is.
        headings: those known to stand above or in the passage.

    >>> text = "4. Late payment\nIf it is late, interest is due from the day after."
    >>> text[slice(*without_headings(text, 0, len(text)))]
    'If it is late, interest is due from the day after.'
    """
    known = {" ".join(heading.split()) for heading in headings}
    while (stop := text.find("\n", start, end)) >= 0:
        line, rest = text[start:stop].strip(), text[stop:end].lstrip()
        marked = _MARKED_HEADING.match(line) or " ".join(line.split()) in known
        if not marked and not (
            _NUMBERED_HEADING.fullmatch(line) and _ended_early(line, rest, text)
        ):
            break
        start = end - len(rest)
    return start, end


def _ended_early(line: str, rest: str, text: str) -> bool:
    """Whether what follows a line begins anew, though the line had room for its first word."""
    word = rest.split(maxsplit=1)[0]
    return word[0].isupper() and len(line) + 1 + len(word) <= max(map(len, text.split("\n")))


def _blocks(text: str) -> list[tuple[int, int]]:
    cuts = {0, len(text), *(match.end() for match in _HARD_BREAK.finditer(text))}
    if " | " in text:
        position = 0
        for line in text.split("\n"):
            end = min(position + len(line) + 1, len(text))
            if " | " in line:
                cuts |= {position, end}
            position = end
    return list(itertools.pairwise(sorted(cuts)))


def _trimmed(text: str, start: int, end: int) -> list[tuple[int, int]]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return [(start, end)] if start < end else []
