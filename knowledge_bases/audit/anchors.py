"""Finds a citation of an old document version in a newer text: resolved, moved or lost."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from rapidfuzz import fuzz

from knowledge_bases.audit.positions import mapped
from rag.types import CONTEXT_CHARS

State = Literal["resolved", "moved", "lost"]
_TELLING = 8
"""Characters of context that one place must have more than any other to be chosen for it."""
_MOST_TRIED, _MOST_PLACES = 100_000, 1_000
"""Of a quote that occurs more often, so many are tried and weighed, the nearest on either side."""
_HINT_WORDS, _HINT_WINDOWS, _HINT_CHARS = 4, 32, 500
"""Words of a lost quote that are looked up, places of each, and characters that are compared."""
_LETTER = re.compile(r"[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\U0010ffff]")
"""A letter or digit of a script that puts spaces between words."""


@dataclass(frozen=True, slots=True)
class Quoted:
    """A citation as a receipt or a Web Annotation keeps it.

    Attributes:
        start, end: code points in the old version's text.
        before, after: up to 32 characters around the quote.
    """

    start: int
    end: int
    quote: str
    before: str
    after: str

    @classmethod
    def of(cls, text: str, start: int, end: int) -> "Quoted":
        """Quote a stretch of a version's text with its surroundings."""
        before, after = text[max(0, start - CONTEXT_CHARS) : start], text[end : end + CONTEXT_CHARS]
        return cls(start, end, text[start:end], before, after)


@dataclass(frozen=True, slots=True)
class Nearest:
    """A passage that resembles a lost quote; it is a hint and not the same text.

    Attributes:
        similarity: share of characters alike, in [0, 1] (rapidfuzz's partial ratio).
    """

    start: int
    end: int
    text: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a citation stands in a newer text.

    Attributes:
        state: "resolved" where the quote stands at its old offsets, or as the only one of its kind
            between the same words as before; "moved" where it stands elsewhere; else "lost".
        start, end: ``new_text[start:end] == quote``; None where it is lost.
        context: characters of the old surroundings that are still around it.
        occurrences: how often the quote was found, counted up to some 2,000.
        nearest: for a lost quote, the passage most like it, if one is like it at all.
    """

    state: State
    start: int | None
    end: int | None
    context: int
    occurrences: int
    nearest: Nearest | None = None


def reanchor(quoted: Quoted, new_text: str, *, old_text: str | None = None) -> Anchor:
    """Find a citation in a newer text.

    A quote that occurs several times is told by the characters around it, else by where a diff of
    the two texts puts it. Words inside longer words or numbers are not the quote.

    Args:
        quoted: the citation.
        new_text: the text to find it in.
        old_text: that it was made in, where it is still stored; helps among equal places only.
    """
    if new_text == old_text and new_text[quoted.start : quoted.end] == quoted.quote != "":
        around = len(quoted.before) + len(quoted.after)
        return Anchor("resolved", quoted.start, quoted.end, around, 1)
    places = _places(quoted, new_text) if quoted.quote else []
    if not places:
        return Anchor("lost", None, None, 0, 0, _nearest(quoted.quote, new_text))
    start = _chosen(quoted, new_text, old_text, places)
    context = _context(quoted, new_text, start)
    whole = len(quoted.before) + len(quoted.after)
    alike = sum(_context(quoted, new_text, place) == whole for place in places)
    unchanged = context == whole > 0 and alike == 1
    state: State = "resolved" if unchanged or start == quoted.start else "moved"
    return Anchor(state, start, start + len(quoted.quote), context, len(places))


def _chosen(quoted: Quoted, new_text: str, old_text: str | None, places: Sequence[int]) -> int:
    """Return the one place among all that has the quote's surroundings, or else its position."""
    if len(places) == 1:
        return places[0]
    around = {place: _context(quoted, new_text, place) for place in places}
    best = max(around.values())
    near = [place for place in places if around[place] > best - _TELLING]
    if len(near) == 1:
        return near[0]
    expected = quoted.start if old_text is None else mapped(old_text, new_text, quoted.start)
    return min(near, key=lambda place: (abs(place - expected), -around[place], place))


def _context(quoted: Quoted, text: str, start: int) -> int:
    """Count the characters next to a place that are those that stood next to the quote."""
    end = start + len(quoted.quote)
    before = text[max(0, start - len(quoted.before)) : start]
    after = text[end : end + len(quoted.after)]
    return _alike(quoted.before[::-1], before[::-1]) + _alike(quoted.after, after)


def _alike(first: str, second: str) -> int:
    count = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        count += 1
    return count


def _places(quoted: Quoted, text: str) -> list[int]:
    """Return where the quote stands as words of its own, in order."""
    whole = quoted.before + quoted.quote + quoted.after
    found = {
        start + len(quoted.before) for start in islice(_forwards(whole, text, 0), _MOST_PLACES)
    }
    middle = min(quoted.start, len(text))
    for starts in (_forwards(quoted.quote, text, middle), _backwards(quoted.quote, text, middle)):
        fitting = (start for start in islice(starts, _MOST_TRIED) if _fits(quoted, text, start))
        found |= set(islice(fitting, _MOST_PLACES))
    return sorted(found)


def _forwards(wanted: str, text: str, start: int) -> Iterator[int]:
    found = text.find(wanted, start)
    while found >= 0:
        yield found
        found = text.find(wanted, found + 1)


def _backwards(wanted: str, text: str, start: int) -> Iterator[int]:
    """Yield where something begins before a position, nearest first."""
    end = start + len(wanted) - 1
    found = text.rfind(wanted, 0, end)
    while found >= 0:
        yield found
        found = text.rfind(wanted, 0, found + len(wanted) - 1)


def _fits(quoted: Quoted, text: str, start: int) -> bool:
    """Say whether a place does not cut through a word or number where the citation did not."""
    end = start + len(quoted.quote)
    cut_before = _joined(quoted.before[-2:], quoted.quote[:2])
    cut_after = _joined(quoted.quote[-2:], quoted.after[:2])
    return (cut_before or not _joined(text[max(0, start - 2) : start], quoted.quote[:2])) and (
        cut_after or not _joined(quoted.quote[-2:], text[end : end + 2])
    )


def _joined(left: str, right: str) -> bool:
    """Say whether two neighbouring stretches meet inside a word or a number.

    >>> [_joined("mg", "x"), _joined("7", ".5"), _joined("7", ". ")]
    [True, True, False]
    """
    if not left or not right:
        return False
    if _LETTER.match(left[-1]) and _LETTER.match(right[0]):
        return True
    return (left[-1].isdigit() and right[0] in ".," and right[1:].isdigit()) or (
        right[0].isdigit() and left[-1] in ".," and left[:-1].isdigit()
    )


def _nearest(quote: str, text: str) -> Nearest | None:
    """Return the stretch that is most like a quote, looked for round its longest words."""
    words = sorted(set(quote.split()), key=lambda word: (-len(word), word))[:_HINT_WORDS]
    sought = quote[:_HINT_CHARS]
    best: Nearest | None = None
    compared: set[int] = set()
    for word in words:
        for found in islice(_forwards(word, text, 0), _HINT_WINDOWS):
            if found // len(sought) in compared:
                continue
            compared.add(found // len(sought))
            first = max(0, found - len(sought))
            window = text[first : found + 2 * len(sought)]
            aligned = fuzz.partial_ratio_alignment(sought, window, score_cutoff=50.0)
            if aligned and (best is None or aligned.score / 100 > best.similarity):
                start, end = first + aligned.dest_start, first + aligned.dest_end
                best = Nearest(start, end, text[start:end], round(aligned.score / 100, 4))
    return best
