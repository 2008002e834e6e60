"""Sentence boundaries with exact offsets, by Wikimedia's sentencex."""

import itertools
import re

import sentencex

from rag.words import whole

_HARD_BREAK = re.compile(
    r"\n[ \t]*\n\s*"  # a blank line
    r"|\n(?=[ \t]*(?:[-*•‣▪]|\d+[.)])\s)"  # before a list item
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
