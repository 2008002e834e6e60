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
MOST_TOGETHER = 3
"""Sentences that are judged together, where a claim's words are spread over them."""


@dataclass(frozen=True, slots=True)
class Premise:
    """A sentence to judge by.

    Attributes:
        text: with the sentence before and after it.
        place: which sentence of its text it is.
        sentence: the sentence itself, where a verdict points.
        words: content words of the sentence.
    """

    text: str
    place: int
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
            found.append(Premise(around, i, own, frozenset(content_words(own.text))))
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


def together(stated: str, candidates: Sequence[Premise]) -> list[Premise]:
    """Sentences of one text that have a claim's words only together, in their order.

    Each is the one that adds most of the words that are still missing. None where one sentence has
    them all, or neighbours that are one premise anyway. Of several texts' those that have most.
    """
    best: list[Premise] = []
    wanted = set(content_words(stated))
    most = 0
    for evidence in sorted({premise.sentence.evidence for premise in candidates}):
        own = [premise for premise in candidates if premise.sentence.evidence == evidence]
        chosen = _cover(wanted, own)
        places = [premise.place for premise in chosen]
        held = len(wanted & set().union(*(premise.words for premise in chosen)))
        if len(chosen) > 1 and places[-1] - places[0] >= MOST_TOGETHER and held > most:
            best, most = chosen, held
    return best


def _cover(wanted: set[str], candidates: Sequence[Premise]) -> list[Premise]:
    """The premises that each add most of the words wanted, in their order."""
    missing, chosen = set(wanted), set[int]()
    while len(chosen) < MOST_TOGETHER:
        added = [len(missing & premise.words) for premise in candidates]
        best = max(range(len(candidates)), key=lambda i: (added[i], -i))
        if not added[best]:
            break
        chosen.add(best)
        missing -= candidates[best].words
    return [candidates[i] for i in sorted(chosen)]


def shared(stated: str, candidates: Sequence[Premise]) -> list[float]:
    """For each premise the share of a claim's words that its sentence has."""
    wanted = frozenset(content_words(stated))
    return [len(wanted & premise.words) / (len(wanted) or 1) for premise in candidates]


def _pieces(start: int, end: int) -> list[tuple[int, int]]:
    """A sentence, cut if it is longer than the model reads."""
    cuts = range(start, end, LONGEST_SENTENCE)
    return [(cut, min(end, cut + LONGEST_SENTENCE)) for cut in cuts]
