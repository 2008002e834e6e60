"""Passages that sound as if they answered a question, for learning that they don't."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from random import Random

import numpy as np

from rag.protocols import Embedder
from rag.training.data import QuestionRow, holds_answer

DEPTH = 24  # nearest contexts looked at
BLOCK = 512  # questions compared with all contexts at a time
SINGLE_SENTENCES = frozenset({"qamr"})
"""Sources whose contexts are no passages: no search has to tell them apart."""
EASY = 0.15  # share drawn from all contexts of a source


class Negatives:
    """For each question the contexts nearest to it that hold no answer to it.

    Args:
        rows: questions with their contexts.
        embedder: None takes other contexts of the same title, or any.
    """

    def __init__(self, rows: Sequence[QuestionRow], embedder: Embedder | None) -> None:
        self._titles: dict[str, str] = {}
        self._of_source: dict[str, list[str]] = defaultdict(list)
        self._of_title: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._right: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            if row.answers:
                self._right[row.question].add(row.context)
            if row.context not in self._titles:
                self._titles[row.context] = row.title
                self._of_source[row.source].append(row.context)
                self._of_title[row.source, row.title].append(row.context)
        self._near: dict[str, list[str]] = {}
        if embedder is not None:
            for source, contexts in self._of_source.items():
                if source not in SINGLE_SENTENCES:
                    own = [row for row in rows if row.source == source]
                    self._near |= _nearest(own, contexts, embedder)

    def draw(self, row: QuestionRow, count: int, rng: Random) -> list[tuple[str, str]]:
        """Up to so many (title, context); none holds an answer to the row's question."""
        near = self._near.get(row.id) or self._of_title[row.source, row.title]
        everywhere = self._of_source[row.source]
        found: list[str] = []
        for _ in range(6 * count):
            if len(found) == count:
                break
            context = rng.choice(everywhere if rng.random() < EASY else near)
            if (
                context not in found
                and context != row.context
                and context not in self._right[row.question]
                and not holds_answer(context, row.answers)
            ):
                found.append(context)
        return [(self._titles[context], context) for context in found]


def _nearest(
    rows: Sequence[QuestionRow], contexts: Sequence[str], embedder: Embedder
) -> dict[str, list[str]]:
    """For each row's id the contexts nearest to its question."""
    there = embedder.embed(contexts)  # (c, d)
    questions = list(dict.fromkeys(row.question for row in rows))
    asked = embedder.embed(questions)  # (q, d)
    near: dict[str, list[str]] = {}
    for at in range(0, len(questions), BLOCK):
        scores = asked[at : at + BLOCK] @ there.T  # (q, d) @ (d, c) -> (q, c)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
        for question, own in zip(questions[at : at + BLOCK], best, strict=True):
            near[question] = [contexts[i] for i in own]
    return {row.id: near[row.question] for row in rows}
