"""Finds the documents under the paths that someone names."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from indexer.load.expand import Expander, Source
from indexer.load.limits import Limits
from indexer.load.loaded import LoadFailure
from indexer.load.names import is_hidden, printable, why_unreadable

__all__ = ["Source", "discover"]


@contextmanager
def discover(paths: Sequence[Path], limits: Limits) -> Iterator[Iterator[Source | LoadFailure]]:
    """Walk files, folders and archives, in an order that depends on names only.

    Use as ``with discover(paths, limits) as sources:``. Archives are expanded while ``sources`` is
    read, into a temporary folder that is gone after the block; ``source.discard()`` frees the room
    of one that is done. Whatever can't be read is a ``LoadFailure`` in its place; nothing that lies
    in a folder ends the walk. Hidden files are skipped. A symbolic link counts for what it leads
    to if that lies in the same folder and was not met otherwise.

    Args:
        paths: as given on a command line.
        limits: on archives.

    Yields:
        the sources, each uri once.
    """
    with Expander(limits) as expander:
        yield _distinct(_walk(paths, expander))


def _walk(paths: Sequence[Path], expander: Expander) -> Iterator[Source | LoadFailure]:
    seen: set[Path] = set()
    for path in paths:
        uri = printable(path.name or path.absolute().name)
        try:
            resolved = path.resolve(strict=True)
            is_folder = resolved.is_dir()
        except (OSError, RuntimeError, ValueError) as error:
            yield LoadFailure(uri, why_unreadable(error))
            continue
        if resolved in seen:
            continue
        seen.add(resolved)
        if is_folder:
            yield from _placed(_Folder(resolved, expander).walk(), resolved)
        else:
            # By the name given: what a link leads to may change, and is then its next version.
            around = path.absolute().parent.resolve()
            file = around / path.absolute().name
            yield from _placed(expander.sources(uri, path), around, file)


def _placed(
    sources: Iterator[Source | LoadFailure], folder: Path, file: Path | None = None
) -> Iterator[Source | LoadFailure]:
    """Say of each source from which folder and file it came."""
    for source in sources:
        if isinstance(source, LoadFailure):
            yield source
        else:
            origin = str(file or source.origin or source.path)
            yield replace(source, origin=printable(origin), folder=printable(str(folder)))


class _Folder:
    """One walk through a folder: first what really lies in it, then what only links lead to."""

    def __init__(self, root: Path, expander: Expander) -> None:
        self._root = root
        self._expander = expander
        self._seen: set[tuple[int, int]] = set()
        self._links: list[tuple[Path, str]] = []

    def walk(self) -> Iterator[Source | LoadFailure]:
        yield from self._walk_tree(self._root, "")
        # Following a link may bring up more of them.
        for link, uri in self._links:
            yield from self._follow(link, uri)

    def _walk_tree(self, top: Path, top_uri: str) -> Iterator[Source | LoadFailure]:
        stack = [(top, top_uri)]
        while stack:
            folder, uri = stack.pop()
            try:
                if self._is_known(folder.stat()):
                    continue
                with os.scandir(folder) as entries:
                    children = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                yield LoadFailure(uri or printable(folder.name), why_unreadable(error))
                continue
            below = []
            for child in children:
                if is_hidden(child.name):
                    continue
                child_uri = printable(f"{uri}/{child.name}" if uri else child.name)
                try:
                    if child.is_symlink():
                        self._links.append((Path(child.path), child_uri))
                    elif child.is_dir():
                        below.append((Path(child.path), child_uri))
                    else:
                        self._is_known(child.stat())
                        yield from self._expander.sources(child_uri, Path(child.path))
                except OSError as error:
                    yield LoadFailure(child_uri, why_unreadable(error))
            stack.extend(reversed(below))

    def _follow(self, link: Path, uri: str) -> Iterator[Source | LoadFailure]:
        try:
            target = link.resolve(strict=True)
            around = link.parent.resolve(strict=True)
            status = target.stat()
        except (OSError, RuntimeError) as error:  # a RuntimeError is a link that leads to itself
            yield LoadFailure(uri, why_unreadable(error))
            return
        if around.is_relative_to(target):
            yield LoadFailure(uri, "is a symbolic link to a folder around it; remove the loop")
        elif not target.is_relative_to(self._root):
            yield LoadFailure(
                uri, "is a symbolic link that leads out of the folder; add its target on its own"
            )
        elif stat.S_ISDIR(status.st_mode):
            yield from self._walk_tree(link, uri)
        elif not self._is_known(status):
            yield from self._expander.sources(uri, link)

    def _is_known(self, status: os.stat_result) -> bool:
        """Remember a file or folder; True if it was met before."""
        identity = (status.st_dev, status.st_ino)
        known = identity in self._seen
        self._seen.add(identity)
        return known


def _distinct(sources: Iterator[Source | LoadFailure]) -> Iterator[Source | LoadFailure]:
    """Let each uri pass once: the second of two files would become a new version of the first."""
    taken: dict[str, Path] = {}
    for source in sources:
        if isinstance(source, LoadFailure):
            yield source
            continue
        first = taken.setdefault(source.uri, source.path)
        if first is source.path:
            yield source
        elif not _is_same(first, source.path):
            yield LoadFailure(
                source.uri,
                f"has the same name as {printable(str(first))}; give the folder that holds both",
            )


def _is_same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False
