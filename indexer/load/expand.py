"""Turns files into sources, archives into the files they hold."""

import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from indexer.load.abandoned import claim, remove_abandoned
from indexer.load.archive import Budget, Member, is_plain_archive, members
from indexer.load.detect import is_zip
from indexer.load.limits import Limits
from indexer.load.loaded import LoadFailure
from indexer.load.names import why_unreadable
from rag.errors import LoadError

_PREFIX = "rag-expanded-"
MAX_ARCHIVE_DEPTH = 2
"""Archives in archives are expanded this far."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file to load.

    Attributes:
        uri: its name; in a folder its path under that folder; in an archive "archive.zip/path".
        path: where its bytes are.
        temporary: whether it was expanded from an archive.
        origin: absolute path of the file that someone named or that lies in the folder: itself, or
            the outermost archive that holds it.
        folder: absolute path of the folder that was given, or of the one that holds the file given.
    """

    uri: str
    path: Path
    temporary: bool = False
    origin: str = ""
    folder: str = ""

    def discard(self) -> None:
        """Delete it if it is temporary; spares disk while a large archive is worked through."""
        if self.temporary:
            self.path.unlink(missing_ok=True)


class Expander:
    """Expands archives into a temporary folder, one file at a time, as its results are asked for.

    A context manager: the folder comes with the first archive and goes with the block.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._claim = -1
        self._count = 0

    def __enter__(self) -> "Expander":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            os.close(self._claim)

    def sources(self, uri: str, path: Path) -> Iterator[Source | LoadFailure]:
        """Return the file itself, or the files of the archive that it is by content."""
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                yield LoadFailure(uri, "is not a regular file; leave it out")
                return
            is_archive = _is_archive(path, uri, self._limits)
        except OSError as error:
            yield LoadFailure(uri, why_unreadable(error))
            return
        if is_archive:
            budget = Budget(uri, self._limits, status.st_size)
            for source in self._expand(uri, path, budget, depth=1):
                if isinstance(source, Source):
                    source = replace(source, origin=str(path))
                yield source
        else:
            yield Source(uri, path)

    def _expand(
        self, uri: str, path: Path, budget: Budget, depth: int
    ) -> Iterator[Source | LoadFailure]:
        try:
            with path.open("rb") as stream:
                for member in members(stream, uri, self._limits, budget):
                    if isinstance(member, LoadFailure):
                        yield member
                    else:
                        yield from self._expand_member(member, budget, depth)
        except LoadError as error:
            if budget.spent and depth > 1:
                raise  # the outermost archive is to blame
            yield LoadFailure(uri, str(error).removeprefix(f"{uri}: "))
        except OSError as error:
            yield LoadFailure(uri, why_unreadable(error))

    def _expand_member(
        self, member: Member, budget: Budget, depth: int
    ) -> Iterator[Source | LoadFailure]:
        path = self._new_path()
        try:
            with path.open("xb") as expanded:
                for piece in member.pieces():
                    expanded.write(piece)
        except LoadError as error:
            path.unlink(missing_ok=True)
            if budget.spent:
                raise
            yield LoadFailure(member.uri, str(error).removeprefix(f"{member.uri}: "))
            return
        if not _is_archive(path, member.uri, self._limits):
            yield Source(member.uri, path, temporary=True)
            return
        if depth < MAX_ARCHIVE_DEPTH:
            yield from self._expand(member.uri, path, budget, depth + 1)
        else:
            yield LoadFailure(
                member.uri, "is an archive too deep in other archives; add it on its own"
            )
        path.unlink(missing_ok=True)

    def _new_path(self) -> Path:
        """Return where to put a file: no place that its name in the archive could have a say in."""
        if self._folder is None:
            remove_abandoned(_PREFIX)
            self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True)
            self._claim = claim(Path(self._folder.name))
        self._count += 1
        return Path(self._folder.name) / str(self._count)


def _is_archive(path: Path, uri: str, limits: Limits) -> bool:
    with path.open("rb") as stream:
        head = stream.read(4)
        stream.seek(0)
        return is_zip(head) and is_plain_archive(stream, uri, limits)
