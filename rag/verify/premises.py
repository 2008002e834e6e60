"""Evidence to premises: each sentence with its neighbours, the likeliest of many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rag.sentences import sentence_spans
from rag.types import EvidenceSpan
from rag.words import content_words

MOST_PREMISES = 24
"""Sentences of the evidence that are judged by the model; of more, those that share most words."""
LONGEST_SENTENCE = 600
"""Characters; what is no prose (a table, a list without stops) is cut into pieces of this size."""
NEIGHBOUR_CHARS = 240
"""Most characters of the sentence before and of the one after: the model reads 256 tokens."""


@dataclass(frozen=True, slots=True)
class Premise:
    """A sentence to judge by.

    Attributes:
        text: with the sentence before and after it.
        sentence: the sentence itself, where a verdict points.
        words: content words of the sentence.
    """

    text: str
    sentence: EvidenceSpan
    words: frozenset[str]


def premises(evidence: Sequence[str]) -> list[Premise]:
    """Every sentence of the evidence texts, in order."""
    found = []
    for index, text in enumerate(evidence):
        spans = [piece for span in sentence_spans(text) for piece in _pieces(*span)]
        for i, (start, end) in enumerate(spans):
            first, last = max(0, i - 1), min(len(spans) - 1, i + 1)
            begin = max(spans[first][0], start - NEIGHBOUR_CHARS)
            around = text[begin : min(spans[last][1], end + NEIGHBOUR_CHARS)]
            own = EvidenceSpan(index, start, end, text[start:end])
            found.append(Premise(around, own, frozenset(content_words(own.text))))
    return found


def likeliest(
    stated: str, candidates: Sequence[Premise], most: int, *, least: float = 0.0
) -> list[Premise]:
    """The premises that share most of a claim's words, in their order.

    Args:
        stated: the claim, with its question if it has one.
        candidates: to choose from.
        most: how many.
        least: share of the claim's words that a premise must have.
    """
    shares = shared(stated, candidates)
    order = sorted(range(len(candidates)), key=lambda i: (-shares[i], i))[:most]
    return [candidates[i] for i in sorted(order) if shares[i] >= least]


def shared(stated: str, candidates: Sequence[Premise]) -> list[float]:
    """For each premise the share of a claim's words that its sentence has."""
    wanted = frozenset(content_words(stated))
    return [len(wanted & premise.words) / (len(wanted) or 1) for premise in candidates]


def _pieces(start: int, end: int) -> list[tuple[int, int]]:
    """A sentence, cut if it is longer than the model reads."""
    cuts = range(start, end, LONGEST_SENTENCE)
    return [(cut, min(end, cut + LONGEST_SENTENCE)) for cut in cuts]
