"""What an answer came from, as figures to look at: heat map, bars of scores, strip of timings."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.web.answer_view import AnswerView, PassageView
from rag.sentences import sentence_spans

STEPS = 10
"""Shades of a heat map."""
_WORD = re.compile(r"\S+")
_MOST_COLUMNS = 60
_STAGES = ("retrieve", "rerank", "generate", "cite", "verify", "decide")
_SCORES = (
    ("dense", "Meaning", "cosine of question and passage"),
    ("bm25", "Words", "BM25, against the best passage"),
    ("relevance", "Reranker", "that it answers the question"),
)

Weights = Sequence[tuple[int, int, int, float]]
"""(passage, start, end, weight): how much an answer's word took from characters of a passage."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One answer word × one source word; ``shade`` is 0 to `STEPS`."""

    weight: float
    shade: int


@dataclass(frozen=True, slots=True)
class HeatRow:
    """An answer's word; ``elsewhere`` is the weight on what is not shown."""

    word: str
    cells: tuple[Cell, ...]
    elsewhere: float


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Answer words × the words of one passage's sentences that they came from."""

    passage: PassageView
    words: tuple[str, ...]
    rows: tuple[HeatRow, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A score of one passage.

    Attributes:
        width: of the bar, 0 to 100.
        value: as recorded, in words.
    """

    name: str
    meaning: str
    width: float
    value: str


@dataclass(frozen=True, slots=True)
class Scored:
    """A passage with its scores."""

    passage: PassageView
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Flame:
    """A stage's share of the time; ``left`` and ``width`` are of 100."""

    stage: str
    left: float
    width: float
    milliseconds: float


def recorded_weights(receipt: Mapping[str, Any]) -> list[tuple[str, Weights]]:
    """Return each word of the draft with what it was copied from, by its copy share."""
    return [
        (text.strip(), [] if passage is None else [(passage, start, end, share)])
        for text, _, share, passage, start, end in receipt["draft"]["tokens"]
        if text.strip()
    ]


def heat_maps(view: AnswerView, weights: Sequence[tuple[str, Weights]]) -> Iterator[HeatMap]:
    """Draw weights on the cited sentences, a map for each passage that has some.

    Args:
        view: the answer.
        weights: each answer word's; see `recorded_weights`.
    """
    cited = {
        place[0]
        for _, places in recorded_weights(view.receipt)
        for place in places
        if view.passages[place[0]].text is not None
    }
    for number in sorted(cited):
        passage = view.passages[number]
        text = passage.text or ""
        columns = _columns(text, view, number)
        rows = []
        for word, places in weights:
            cells = [0.0] * len(columns)
            for at, start, end, weight in places:
                for column, (first, last) in enumerate(columns if at == number else ()):
                    if start < last and end > first:
                        cells[column] += weight
                        break
            total = sum(place[3] for place in places)
            shown = tuple(Cell(min(1.0, cell), _shade(cell)) for cell in cells)
            rows.append(HeatRow(word, shown, max(0.0, total - sum(cells))))
        yield HeatMap(passage, tuple(text[a:b] for a, b in columns), tuple(rows))


def _columns(text: str, view: AnswerView, number: int) -> list[tuple[int, int]]:
    """Return where the words of the sentences are that words of the answer were copied from."""
    places = [
        (start, end)
        for _, found in recorded_weights(view.receipt)
        for at, start, end, _ in found
        if at == number
    ]
    spans = [
        (a, b)
        for a, b in sentence_spans(text)
        if any(start < b and end > a for start, end in places)
    ]
    words = [(match.start(), match.end()) for a, b in spans for match in _WORD.finditer(text, a, b)]
    if len(words) <= _MOST_COLUMNS:
        return words
    # Of a very long sentence only what is round the words that were copied.
    near = [
        i for i, (a, b) in enumerate(words) if any(start < b and end > a for start, end in places)
    ]
    first = max(0, min(near) - _MOST_COLUMNS // 4) if near else 0
    return words[first : first + _MOST_COLUMNS]


def _shade(weight: float) -> int:
    if weight < 0.005:
        return 0
    return min(STEPS, max(1, round(weight * STEPS)))


def scored(passages: Sequence[PassageView]) -> list[Scored]:
    """Return each passage's scores as bars."""
    best = max((one.scores.get("bm25", 0.0) for one in passages), default=0.0)
    found = []
    for passage in passages:
        bars = [
            Bar(label, meaning, *_scaled(name, passage.scores[name], best))
            for name, label, meaning in _SCORES
            if name in passage.scores
        ]
        bars += [
            Bar(name, "as recorded", 100 * min(1.0, max(0.0, score)), f"{score:.3f}")
            for name, score in passage.scores.items()
            if name not in {known for known, _, _ in _SCORES}
        ]
        bars.insert(2, _together(passage.score))
        found.append(Scored(passage, tuple(bars)))
    return found


def _together(score: float) -> Bar:
    width = 100 * min(1.0, max(0.0, score))
    return Bar("Together", "meaning and words, fused", width, f"{score:.3f}")


def _scaled(name: str, score: float, best: float) -> tuple[float, str]:
    if name == "bm25":
        return (100 * max(0.0, score) / best if best > 0 else 0.0), f"{score:.1f}"
    if name == "relevance":  # log-odds
        probability = 1 / (1 + math.exp(-max(-50.0, min(50.0, score))))
        return 100 * probability, f"{probability:.3f}"
    return 100 * min(1.0, max(0.0, score)), f"{score:.3f}"


def flame(timings_ms: Mapping[str, float]) -> list[Flame]:
    """Return the stages one after another, in the order of the line."""
    order = sorted(
        timings_ms, key=lambda stage: _STAGES.index(stage) if stage in _STAGES else len(_STAGES)
    )
    total = sum(timings_ms.values()) or 1.0
    found, left = [], 0.0
    for stage in order:
        width = 100 * timings_ms[stage] / total
        found.append(Flame(stage, round(left, 3), round(width, 3), timings_ms[stage]))
        left += width
    return found
