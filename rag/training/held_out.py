"""Parts a run's files into what is learned from and what is only measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from rag.errors import UsageError
from rag.training.data import QuestionRow, read_questions
from rag.training.statements import Statement, read_statements


def split_rows(
    path: Path, held_out: Collection[str]
) -> tuple[list[QuestionRow], list[QuestionRow]]:
    """The rows of a question file: to learn from, and of the held-out titles.

    Raises:
        UsageError: a title is no row's.
    """
    rows = read_questions(path)
    unknown = sorted(set(held_out) - {row.title for row in rows})
    if unknown:
        raise UsageError(f"no row of {path} has the title {unknown[0]!r}: correct --held-out")
    held = [row for row in rows if row.title in held_out]
    return [row for row in rows if row.title not in held_out], held


def split_statements(path: Path | None, share: float) -> tuple[list[Statement], list[Statement]]:
    """The statements of a file: to learn from, and those whose premise's digest holds them out.

    All statements on a premise stand on one side.

    Args:
        path: premise-hypothesis file; None for no statements.
        share: of the premises that are held out.
    """
    said = read_statements(path) if path is not None else []
    held = [one for one in said if _held_out(one.premise, share)]
    return [one for one in said if not _held_out(one.premise, share)], held


def _held_out(premise: str, share: float) -> bool:
    digest = hashlib.sha256(premise.encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:4], "big") < share * 2**32
