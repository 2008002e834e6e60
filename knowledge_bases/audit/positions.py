"""Where a position of an old text lies in a newer one, by what both have in common."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass

from rapidfuzz.distance import Indel

_ALIGNED_CHARS = 4_000
"""Up to so many characters a side are compared one by one; that takes some milliseconds."""


def mapped(old: str, new: str, position: int) -> int:
    r"""Return where a position of the old text lies in the new one.

    Lines that both texts hold once, in the same order, are taken for the same (patience diff);
    between two of them characters are aligned, or where these are too many, the position keeps
    its share of the way. Takes n log n steps at most, whatever the texts are.

    >>> mapped("one\ntwo\n", "zero\none\nand two\n", 4)
    13
    """
    position = min(max(position, 0), len(old))
    olds, news = _Gap(0, len(old)), _Gap(0, len(new))
    for old_line, new_line, length in _common_lines(old, new):
        if old_line <= position < old_line + length:
            return new_line + position - old_line
        if old_line + length <= position:
            olds, news = _Gap(old_line + length, olds.end), _Gap(new_line + length, news.end)
        else:
            olds, news = _Gap(olds.start, old_line), _Gap(news.start, new_line)
            break
    return news.start + _inside(
        old[olds.start : olds.end], new[news.start : news.end], position - olds.start
    )


@dataclass(frozen=True, slots=True)
class _Gap:
    start: int
    end: int


def _inside(old: str, new: str, position: int) -> int:
    """Map a position between texts of which no line is known to be common."""
    same = _common_start(old, new)
    if position < same:
        return position
    tail = _common_start(old[same:][::-1], new[same:][::-1])
    if position >= len(old) - tail:
        return len(new) - (len(old) - position)
    old, new = old[same : len(old) - tail], new[same : len(new) - tail]
    position -= same
    if len(old) > _ALIGNED_CHARS or len(new) > _ALIGNED_CHARS:
        return same + position * len(new) // len(old)
    for step in Indel.opcodes(old, new):
        if step.src_start <= position < step.src_end:
            kept = position - step.src_start if step.tag == "equal" else 0
            return same + step.dest_start + kept
    return same + len(new)


def _common_start(first: str, second: str) -> int:
    """Return how many characters two texts begin with alike."""
    low, high = 0, min(len(first), len(second))
    while low < high:  # Slices are compared at memory's speed.
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_lines(old: str, new: str) -> list[tuple[int, int, int]]:
    """Return lines that both hold once: (start in old, start in new, length), in order."""
    olds, news = _single_lines(old), _single_lines(new)
    pairs = sorted((start, news[line], len(line)) for line, start in olds.items() if line in news)
    # The longest run of pairs that rises in the new text too.
    ends: list[int] = []
    chosen: list[int] = []
    before: list[int] = []
    for number, (_, start, _) in enumerate(pairs):
        at = bisect_left(ends, start)
        before.append(chosen[at - 1] if at else -1)
        ends[at : at + 1] = [start]
        chosen[at : at + 1] = [number]
    found = []
    number = chosen[-1] if chosen else -1
    while number >= 0:
        found.append(pairs[number])
        number = before[number]
    return found[::-1]


def _single_lines(text: str) -> dict[str, int]:
    """Return the lines that a text holds once, line end included, with where they start."""
    lines = text.splitlines(keepends=True)
    counts = Counter(lines)
    starts, start = {}, 0
    for line in lines:
        if counts[line] == 1 and line.strip():
            starts[line] = start
        start += len(line)
    return starts
