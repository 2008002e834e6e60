"""Batch files: JSON lines in, JSON lines out, every bad row named."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag.errors import NotFound, StorageError, UsageError

Row = TypeVar("Row", bound=BaseModel)


class QuestionRow(BaseModel):
    """A row for ``rag ask --batch``."""

    model_config = ConfigDict(extra="ignore")
    id: str | int
    question: str


class ReadRow(QuestionRow):
    """A row for ``rag read --batch``."""

    passages: list[str]


class CheckRow(BaseModel):
    """A row for ``rag check --batch``."""

    model_config = ConfigDict(extra="ignore")
    id: str | int
    claim: str = Field(min_length=1)
    evidence: list[str]
    question: str | None = None


def rows(path: Path, kind: type[Row]) -> list[Row]:
    """Read a JSONL file whole, so that a bad row is refused before work starts.

    Raises:
        NotFound: there is no such file.
        UsageError: naming the row and what is wrong with it.
    """
    return list(_parsed(path, kind))


def _parsed(path: Path, kind: type[Row]) -> Iterator[Row]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read as UTF-8 text: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield kind.model_validate(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path}, row {number}: {_what(error)}") from error


def _what(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the row"
        return f"{place}: {first['msg']}"
    return f"not JSON ({error})"


def check_output(path: Path, reading: Path | None = None) -> None:
    """Refuse an output that can't be one, before any work is done.

    Args:
        path: to write to.
        reading: the batch file, which is neither to be overwritten nor truncated.

    Raises:
        UsageError: the path is a folder or a device, or the batch file by any of its names.
    """
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a file; name a file to write")
    if reading is not None and any(
        _is_same(reading, written) for written in (path.resolve(), _temporary(path))
    ):
        raise UsageError(f"--out {path} would overwrite --batch {reading}; name another file")


def _temporary(path: Path) -> Path:
    final = path.resolve()
    return final.with_name(f".{final.name}.partial")


def _is_same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:  # One of them is not there (yet).
        return first.resolve() == second


class Output:
    """Writes JSON lines to a file beside the final one, which is replaced when all is well.

    When it is not, what was written stays in ``.NAME.partial``.

    Raises:
        StorageError: the file can't be written.
        UsageError: the path is a folder or a device.
    """

    def __init__(self, path: Path) -> None:
        check_output(path)
        self._path = path.resolve()
        self._temporary = _temporary(path)
        try:
            self._file = self._temporary.open("w", encoding="utf-8")
        except OSError as error:
            raise StorageError(f"{path} can't be written: {error.strerror}") from error

    def write(self, row: dict[str, Any]) -> None:
        """Write one row."""
        try:
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise StorageError(f"{self._path} can't be written: {error.strerror}") from error

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self._file.close()
            if kind is None:
                self._temporary.replace(self._path)
        except OSError as error:
            raise StorageError(f"{self._path} can't be written: {error.strerror}") from error
