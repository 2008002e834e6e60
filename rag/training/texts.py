"""Tokenised contexts: their sentences, where characters are in them, windows that matter."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from rag.training.data import GoldAnswer, holds_answer

SENTENCE_END = re.compile(r"(?<=[.!?])[\"”']?\s+(?=[\"“']?[A-Z0-9])")
WORD = re.compile(r"\w{4,}")


@dataclass(frozen=True)
class Text:
    """A tokenised context and the token ranges of its sentences."""

    text: str
    ids: list[int]
    starts: list[int]
    ends: list[int]
    sentences: list[tuple[int, int]]
    words: frozenset[str]


def without_sentence(text: Text, answers: Sequence[GoldAnswer]) -> Text | None:
    """A context without the sentences that hold the answers; None where some of it would stay.

    Args:
        text: the context.
        answers: all gold answers; a written one's evidence may be anywhere, so then it is None.
    """
    gone = set()
    for answer in answers:
        if answer.start is None:
            return None
        span = token_span(text, answer.start, answer.start + len(answer.text))
        if span is None:
            return None
        gone |= {(a, b) for a, b in text.sentences if a <= span[1] and b > span[0]}
    kept = [sentence for sentence in text.sentences if sentence not in gone]
    rest = " ".join(text.text[text.starts[a] : text.ends[b - 1]] for a, b in kept)
    if not kept or holds_answer(rest, answers):
        return None
    ids: list[int] = []
    sentences = []
    for begin, end in kept:
        sentences.append((len(ids), len(ids) + end - begin))
        ids += text.ids[begin:end]
    return Text(rest, ids, [], [], sentences, long_words(rest))


def long_words(text: str) -> frozenset[str]:
    """Words of a text that are long enough to mean something, in lower case."""
    return frozenset(WORD.findall(text.lower()))


def richest_window(text: Text, wanted: frozenset[str], room: int) -> int:
    """First token of the window that holds most of the words, these in its middle."""
    hits = [
        (bisect_right(text.ends, match.start()), match.group().lower())
        for match in WORD.finditer(text.text)
        if match.group().lower() in wanted
    ]
    best, begin = 0, 0
    for i, (first, _) in enumerate(hits):
        inside = [hit for hit in hits[i:] if hit[0] < first + room]
        if len({word for _, word in inside}) > best:
            best = len({word for _, word in inside})
            begin = (first + inside[-1][0] + 1 - room) // 2
    return min(max(0, begin), len(text.ids) - room)


def tokenised(context: str, ids: list[int], offsets: Sequence[tuple[int, int]]) -> Text:
    """A context with its tokens and their characters; finds its sentences."""
    starts, ends = [s for s, _ in offsets], [e for _, e in offsets]
    cuts = [match.end() for match in SENTENCE_END.finditer(context)] + [len(context) + 1]
    sentences, begin, cut = [], 0, 0
    for i, start in enumerate([*starts, len(context) + 1]):
        if start >= cuts[cut]:
            if i > begin:
                sentences.append((begin, i))
            begin = i
            while cut + 1 < len(cuts) and start >= cuts[cut]:
                cut += 1
    return Text(context, ids, starts, ends, sentences or [(0, len(ids))], long_words(context))


def token_span(text: Text, start: int, end: int) -> tuple[int, int] | None:
    """First and last token that overlap characters [start, end); None if no token does."""
    first = bisect_right(text.ends, start)
    last = bisect_left(text.starts, end) - 1
    return (first, last) if first <= last else None
