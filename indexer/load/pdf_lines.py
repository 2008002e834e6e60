"""Tells paragraphs and headings of a PDF page apart by the gaps and font sizes of its lines."""

import ctypes
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pypdfium2.raw as pdfium_c

_WIDER_GAP = 1.25
"""A gap so many times the usual one ends a paragraph."""
_OTHER_SIZE = 1.2
"""Font sizes so many times apart are those of a heading and of its text."""
_LINE_END = "\r\n"


@dataclass(frozen=True, slots=True)
class _Line:
    """What pdfium gives as one line: on paper two, where a hyphen ends the first."""

    text: str
    first_baseline: float
    last_baseline: float
    first_size: float
    last_size: float


def with_blank_lines(text_page: Any, text: str) -> str:
    """Return a page's text with a blank line wherever a paragraph or heading ends.

    Args:
        text_page: pdfium's.
        text: what it gave; returned as it is if it can't be told where its characters stand.
    """
    raw = text_page.raw
    count = text_page.count_chars()
    codes = [pdfium_c.FPDFText_GetUnicode(raw, index) for index in range(count)]
    if "".join(map(chr, codes)) != text:
        return text
    lines = _lines(raw, text)
    usual = _usual_drops(lines)
    pieces = [lines[0].text]
    for above, line in pairwise(lines):
        blank = _LINE_END if _is_apart(above, line, usual) else ""
        pieces.append(f"{_LINE_END}{blank}{line.text}")
    return "".join(pieces)


def _lines(raw: Any, text: str) -> list[_Line]:
    lines = []
    start = 0
    for line in text.split(_LINE_END):
        words = line.strip()
        first = start + line.find(words[:1])
        last = start + len(line.rstrip()) - 1
        baselines = [_baseline(raw, i) if words else 0.0 for i in (first, last)]
        sizes = [pdfium_c.FPDFText_GetFontSize(raw, i) if words else 0.0 for i in (first, last)]
        lines.append(_Line(line, *baselines, *sizes))
        start += len(line) + len(_LINE_END)
    return lines


def _baseline(raw: Any, index: int) -> float:
    x, y = ctypes.c_double(), ctypes.c_double()
    pdfium_c.FPDFText_GetCharOrigin(raw, index, ctypes.byref(x), ctypes.byref(y))
    return y.value


def _usual_drops(lines: Sequence[_Line]) -> dict[float, float]:
    """Return the commonest drop from line to line, by font size."""
    drops: defaultdict[float, Counter[float]] = defaultdict(Counter)
    for above, line in pairwise(lines):
        drop = above.last_baseline - line.first_baseline
        if above.last_size == line.last_size and drop > 0:
            drops[line.last_size][round(drop * 2) / 2] += 1
    # Of equally common ones the smallest: a paragraph's lines are never wider apart than two.
    return {size: min(c, key=lambda drop: (-c[drop], drop)) for size, c in drops.items()}


def _is_apart(above: _Line, line: _Line, usual: dict[float, float]) -> bool:
    if not above.text.strip() or not line.text.strip() or line.text.lstrip()[0].islower():
        return False
    sizes = sorted((above.last_size, line.first_size))
    if sizes[0] > 0 and sizes[1] / sizes[0] >= _OTHER_SIZE:
        return True
    known = [usual[size] for size in (above.last_size, line.last_size) if size in usual]
    drop = above.last_baseline - line.first_baseline
    return bool(known) and drop > _WIDER_GAP * min(known)
