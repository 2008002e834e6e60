"""New files: never in the place of another, whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rag.errors import AlreadyExists, NotFound, StorageError, UsageError
from rag.publish import PARTIAL, put_file


def check_new(path: Path) -> None:
    """Refuse a path that no new file can have, before any work is done.

    Raises:
        UsageError: it is a folder.
        AlreadyExists: something is there.
        NotFound: its folder isn't.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file to write")
    if path.exists() or path.is_symlink():
        raise AlreadyExists(f"{path} is there already and is not overwritten; name another file")
    if not path.parent.is_dir():
        raise NotFound(f"there is no folder {path.parent} to write {path.name} into")


@contextmanager
def new_file(path: Path) -> Iterator[TextIO]:
    """Open a new file for text, UTF-8 and line ends as they come.

    It appears when all is written; after an error nothing of it is left.

    Raises:
        UsageError, AlreadyExists, NotFound: as `check_new`.
        StorageError: it can't be written.
    """
    check_new(path)
    partial = path.with_name(f"{PARTIAL}{path.name}")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            yield file
        check_new(path)
        put_file(partial, path)
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def write_new(path: Path, text: str) -> None:
    """Write a new file; see `new_file`."""
    with new_file(path) as file:
        file.write(text)
