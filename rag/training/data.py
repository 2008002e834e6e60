"""Reads and checks question-answer files in JSON lines, plain or gzipped."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rag.errors import TrainingDataError
from rag.publish import put_file
from rag.words import SURROGATE

NAMED_ROWS = 10  # problems one error message lists


@dataclass(frozen=True)
class GoldAnswer:
    """An answer; `start` is its first character in the context, None where it is not a span."""

    text: str
    start: int | None


@dataclass(frozen=True)
class QuestionRow:
    """A question on a context; no answers mean that the context does not hold one.

    `entailed` is set on statements instead of questions: does the context say so?
    """

    id: str
    source: str
    title: str
    question: str
    context: str
    answers: tuple[GoldAnswer, ...]
    entailed: bool | None = None


def read_questions(path: Path | str) -> list[QuestionRow]:
    """Read a training or development file.

    Args:
        path: JSON lines `{id, source, title, question, context, answers:[{text, start}]}`,
            gzipped if the name ends in .gz. `source` and `title` may be left out.

    Returns:
        the rows in order.

    Raises:
        TrainingDataError: a row is not usable, or an id repeats, or there are no rows.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    rows: list[QuestionRow] = []
    problems: list[str] = []
    seen: dict[str, int] = {}
    for number, line in lines_of(path):
        try:
            row = parse_row(line)
            if row.id in seen:
                raise ValueError(f"id {row.id!r} is already the id of row {seen[row.id]}")
        except ValueError as error:
            problems.append(f"row {number}: {error}")
            continue
        seen[row.id] = number
        rows.append(row)
    if problems:
        raise TrainingDataError(problem_list(path, problems))
    if not rows:
        raise TrainingDataError(f"{path}: no rows")
    return rows


def write_questions(path: Path, rows: Iterable[QuestionRow]) -> None:
    """Write rows as `read_questions` reads them; the file appears whole or not at all."""
    partial = path.with_name(f".partial-{path.name}")
    with partial.open("w", encoding="utf-8") as file:
        for row in rows:
            shown = {name: value for name, value in asdict(row).items() if value is not None}
            line = json.dumps(shown, ensure_ascii=False)
            # Half a surrogate pair is legal in JSON as an escape, but not in UTF-8.
            file.write(SURROGATE.sub(lambda half: f"\\u{ord(half.group()):04x}", line) + "\n")
    put_file(partial, path)


def holds_answer(text: str, answers: Iterable[GoldAnswer]) -> bool:
    """A text has the words of an answer somewhere, whatever their capitals.

    >>> holds_answer("Ada SANG.", [GoldAnswer("sang", 4)])
    True
    """
    folded = text.lower()
    return any(answer.text.lower().strip() in folded for answer in answers)


def problem_list(path: Path, problems: Sequence[str]) -> str:
    """Say which rows of a file are wrong and how; of many, the first ones."""
    more = len(problems) - NAMED_ROWS
    shown = [*problems[:NAMED_ROWS], *([f"and {more} more"] if more > 0 else [])]
    rows = "row" if len(problems) == 1 else "rows"
    listed = "\n  ".join(shown)
    return f"{path}: {len(problems)} bad {rows}; correct or remove them:\n  {listed}"


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank."""
    unpack = gzip.open if path.suffix == ".gz" else open
    with unpack(path, "rt", encoding="utf-8") as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
        except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
            raise TrainingDataError(f"{path}: not readable as UTF-8 JSON lines: {error}") from error


def parse_object(line: str) -> dict[str, Any]:
    """Read one line's JSON object.

    Raises:
        ValueError: it is none.
    """
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got {type(value).__name__}")
    return value


def parse_row(line: str) -> QuestionRow:
    """Turn one JSON line into a row.

    Raises:
        ValueError: says which field is wrong and how.
    """
    value = parse_object(line)
    context = _text(value, "context")
    answers = value.get("answers")
    if not isinstance(answers, list):
        raise ValueError("'answers' must be a list; leave it empty for an unanswerable question")
    return QuestionRow(
        id=_text(value, "id"),
        source=_text(value, "source", default="own"),
        title=_text(value, "title", default="untitled"),
        question=_text(value, "question"),
        context=context,
        answers=tuple(_answer(answer, i, context) for i, answer in enumerate(answers)),
    )


def _text(value: dict[str, Any], name: str, default: str | None = None) -> str:
    text = value.get(name, default)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{name!r} must be text that is not blank, got {text!r}")
    return text


def _answer(value: Any, index: int, context: str) -> GoldAnswer:
    where = f"answers[{index}]"
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object with text and start, got {value!r}")
    text, start = value.get("text"), value.get("start")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{where}.text must be text that is not blank, got {text!r}")
    if start is None:
        return GoldAnswer(text, None)
    if isinstance(start, bool) or not isinstance(start, int) or start < 0:
        raise ValueError(f"{where}.start must be null or a character offset, got {start!r}")
    found = context[start : start + len(text)]
    if not _agree(found, text):
        raise ValueError(f"{where}: the context at {start} reads {found!r}, not {text!r}")
    return GoldAnswer(text, start)


def _agree(found: str, text: str) -> bool:
    """Equal but for what annotators change: capitals, punctuation, a last letter made a stop."""
    if _folded(found) == _folded(text):
        return bool(found)
    return text.endswith(".") and len(text) > 8 and _folded(found[:-1]) == _folded(text)


def _folded(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())
