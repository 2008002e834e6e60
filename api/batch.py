"""Batch files: JSON lines in, every bad row named in one line."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from rag.asked import BROKEN, UNSTORABLE
from rag.errors import NotFound, UsageError

_NAMED = 10
"""Bad rows that are named; the others are counted."""
_MISSPELT = 0.85
"""Likeness (difflib's ratio) from which an unknown field is taken for a misspelt one: "pasages"
has 0.93, while "question_id" is somebody's own at 0.84."""
_LONGEST_NAME = 60

_WANTED = {
    "id": "a text or a whole number",
    "question": "a text",
    "passages": "a list of texts",
    "claim": "a text",
    "evidence": "a list of texts",
}


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    id: str | int


class QuestionRow(_Row):
    """A row for ``rag ask --batch``."""

    question: str


class ReadRow(QuestionRow):
    """A row for ``rag read --batch``."""

    passages: list[str]


class CheckRow(_Row):
    """A row for ``rag check --batch``."""

    claim: str
    evidence: list[str]
    question: str | None = None


Row = TypeVar("Row", bound=_Row)


@dataclass(frozen=True)
class Rows(Generic[Row]):
    """The rows of a batch file, and the names of fields in them that nothing reads."""

    rows: list[Row]
    unread: tuple[str, ...]


def rows(path: Path, kind: type[Row]) -> Rows[Row]:
    """Read a JSONL file whole, so that bad rows are refused before work starts.

    Raises:
        NotFound: there is no such file.
        UsageError: naming the rows and what is wrong with each.
    """
    found: list[Row] = []
    bad: list[str] = []
    unread: dict[str, None] = {}
    first_with: dict[str | int, int] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            content = _parsed(line)
            row = _validated(content, kind)
        except ValueError as error:
            bad.append(f"row {number}: {error}")
            continue
        if (first := first_with.setdefault(row.id, number)) != number:
            bad.append(
                f"row {number}: its id {json.dumps(row.id)} is that of row {first} too; "
                "give each its own"
            )
        unread |= dict.fromkeys(name for name in content if name not in kind.model_fields)
        found.append(row)
    if bad:
        more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise UsageError(f"{path}, {'; '.join(bad[:_NAMED])}{more}")
    return Rows(found, tuple(unread))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read as UTF-8 text: {error}") from error


def _parsed(line: str) -> Any:
    """Return a line's JSON.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from error


def _validated(content: object, kind: type[Row]) -> Row:
    """Return a row.

    Raises:
        ValueError: in words for whoever wrote it.
    """
    if not isinstance(content, dict):
        fields = ", ".join(f'"{name}": …' for name in kind.model_fields)
        raise ValueError(f"is not an object; write {{{fields}}}")
    wrong = _misspelt(content, tuple(kind.model_fields))
    try:
        row = kind.model_validate(content)
    except ValidationError as error:
        wrong |= {
            str(one["loc"][0]): _wrong(one["loc"], one["type"])
            for one in error.errors(include_url=False, include_input=False)
            if one["loc"][0] not in wrong
        }
        raise ValueError(", ".join(wrong.values())) from error
    if wrong:
        raise ValueError(", ".join(wrong.values()))
    if isinstance(row.id, str) and UNSTORABLE.search(row.id):
        raise ValueError(f"'id' {BROKEN}")
    return row


def _misspelt(content: Mapping[str, Any], known: Sequence[str]) -> dict[str, str]:
    """What is wrong by the known field that is not there but was probably meant."""
    missing = [name for name in known if name not in content]
    wrong = {}
    for name in content:
        if name not in known:
            for meant in difflib.get_close_matches(name.casefold(), missing, 1, _MISSPELT):
                wrong[meant] = f"{name[:_LONGEST_NAME]!r} is not known: write {meant!r}"
    return wrong


def _wrong(location: Sequence[str | int], kind: str) -> str:
    name = str(location[0])
    if kind == "missing":
        return f"{name!r} is missing: give {_WANTED[name]}"
    place, wanted = repr(name), _WANTED[name]
    if len(location) > 1 and isinstance(location[1], int):
        place, wanted = f"{place}[{location[1]}]", "a text"
    return f"{place} must be {wanted}"
