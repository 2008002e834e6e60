"""The file that a batch writes: whole, or set aside with what was done."""

import json
from pathlib import Path
from typing import Any

from rag.errors import StorageError, UsageError


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

    When it is not, the rows that were written are kept in ``NAME.partial.jsonl``, which nothing
    ever overwrites: the next such file is ``NAME.partial-2.jsonl``. Rows that a killed process
    left are set aside in the same way.

    Attributes:
        written: rows so far.
        kept: where the rows are after a failure; None if there are none, or all is well.
        left_over: where the rows of a killed process were put; None if there were none.

    Raises:
        StorageError: the file can't be written.
        UsageError: the path is a folder or a device.
    """

    def __init__(self, path: Path) -> None:
        check_output(path)
        self._shown = path
        self._path = path.resolve()
        self._temporary = _temporary(path)
        self.written = 0
        self.kept: Path | None = None
        self.left_over: Path | None = None
        try:
            if self._temporary.is_file() and self._temporary.stat().st_size:
                self.left_over = self._set_aside()
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
        self.written += 1

    def done_of(self, total: int) -> str:
        """Say what a failure left of so many rows, and what running again does."""
        if self.kept is None:
            return f"none of {total} rows was done"
        return (
            f"{self.written} of {total} rows are done, in {self.kept}; "
            "the same command begins again and leaves that file"
        )

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self._file.close()
            if kind is None:
                self._temporary.replace(self._path)
            elif self.written:
                self.kept = self._set_aside()
            else:
                self._temporary.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{self._path} can't be written: {error.strerror}") from error

    def _set_aside(self) -> Path:
        """Give the file beside the final one a name of its own; of the final one's folder."""
        number = 1
        while True:
            infix = ".partial" if number == 1 else f".partial-{number}"
            name = f"{self._path.stem}{infix}{self._path.suffix}"
            try:
                self._path.with_name(name).hardlink_to(self._temporary)  # Fails if it is there.
            except FileExistsError:
                number += 1
                continue
            self._temporary.unlink()
            return self._shown.with_name(name) if self._shown.name else self._path.with_name(name)
