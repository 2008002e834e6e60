"""Reads premise-hypothesis files: statements that a passage entails or does not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rag.errors import TrainingDataError
from rag.training.data import QuestionRow, lines_of, parse_object, problem_list

LABELS = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True)
class Statement:
    """A hypothesis, and what a premise says of it: one of `LABELS`."""

    premise: str
    hypothesis: str
    label: str
    source: str


def as_rows(statements: Iterable[Statement]) -> list[QuestionRow]:
    """Statements as rows without answers, `entailed` set.

    Whether a statement follows from a passage and whether a passage answers a question are near
    relations: both turn on single words. The hypothesis stands where a question would.
    """
    return [
        QuestionRow(
            id=f"statement-{number}",
            source=said.source,
            title="statements",
            question=said.hypothesis,
            context=said.premise,
            answers=(),
            entailed=said.label == "entailment",
        )
        for number, said in enumerate(statements, start=1)
    ]


def read_statements(path: Path | str) -> list[Statement]:
    """Read a file of natural-language inference.

    Args:
        path: JSON lines `{premise, hypothesis, label, source}`, gzipped if the name ends in
            .gz; `source` may be left out.

    Returns:
        the statements in order.

    Raises:
        TrainingDataError: naming the rows that are not usable and why, or there are none.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    rows: list[Statement] = []
    problems: list[str] = []
    for number, line in lines_of(path):
        try:
            rows.append(_statement(line))
        except ValueError as error:
            problems.append(f"row {number}: {error}")
    if problems:
        raise TrainingDataError(problem_list(path, problems))
    if not rows:
        raise TrainingDataError(f"{path}: no rows")
    return rows


def _statement(line: str) -> Statement:
    value = parse_object(line)
    for name in ("premise", "hypothesis"):
        if not isinstance(value.get(name), str) or not value[name].strip():
            raise ValueError(f"{name!r} must be text that is not blank, got {value.get(name)!r}")
    if value.get("label") not in LABELS:
        raise ValueError(f"'label' must be one of {', '.join(LABELS)}, got {value.get('label')!r}")
    return Statement(
        premise=value["premise"],
        hypothesis=value["hypothesis"],
        label=value["label"],
        source=str(value.get("source", "statements")),
    )
