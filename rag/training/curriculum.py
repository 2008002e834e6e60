"""Orders rows by the difficulty of their answers."""

from __future__ import annotations

from collections.abc import Sequence

from rag.training.data import QuestionRow


def ordered(indices: Sequence[int], rows: Sequence[QuestionRow]) -> list[int]:
    """Row indices from easy to hard; equally hard ones stay in their order.

    >>> row = QuestionRow("a", "own", "t", "Who?", "Ada sang.", ())
    >>> ordered([0, 0], [row])
    [0, 0]
    """
    return sorted(indices, key=lambda index: difficulty(rows[index]))


def difficulty(row: QuestionRow) -> tuple[int, int]:
    """Copied answers come first, then written ones, then unanswerable questions.

    Returns:
        the answer's type (0 copied, 1 written, 2 none) and the shortest answer's length in
        characters.
    """
    if not row.answers:
        return 2, 0
    spans = [answer for answer in row.answers if answer.start is not None]
    return int(not spans), min(len(answer.text) for answer in spans or row.answers)
