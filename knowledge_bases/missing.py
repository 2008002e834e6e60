"""Which documents came from a folder and are no longer in it."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from indexer.load.names import printable
from knowledge_bases.store.documents import Known, Place


@dataclass(slots=True)
class Seen:
    """What a walk came across.

    Attributes:
        uris: of documents.
        failed: uris of what could not be read.
        files: paths of the files that something was read from.
        troubled: those of them in which something failed.
    """

    uris: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    troubled: set[str] = field(default_factory=set)

    def add(self, uri: str, place: Place) -> None:
        """Note a document."""
        self.uris.add(uri)
        self.files.add(place.path)

    def add_failed(self, uri: str, place: Place | None) -> None:
        """Note what could not be read."""
        self.failed.add(uri)
        if place:
            self.troubled.add(place.path)

    def lacks(self, uri: str, place: Place) -> bool:
        """Say whether a document is gone; what could not be read may still be there."""
        if uri in self.uris or place.path in self.troubled:
            return False
        if any(above in self.failed for above in _above(uri)):
            return False
        return place.path in self.files or _is_gone(place.path)


def missing(known: Mapping[str, Known], folders: Collection[str], seen: Seen) -> list[str]:
    """Return the uris of the documents of these folders that are no longer there, sorted.

    Args:
        known: the documents, by uri.
        folders: absolute paths of the folders that were walked, whole.
        seen: what was found there.
    """
    return sorted(
        uri
        for uri, document in known.items()
        if document.place and document.place.folder in folders and seen.lacks(uri, document.place)
    )


def folder_of(path: Path) -> str | None:
    """Return a given folder as places name it; None if it is none."""
    return printable(str(path.resolve())) if path.is_dir() else None


def _above(uri: str) -> Iterator[str]:
    """Yield a uri and those of the folders, archives and messages that it is in."""
    yield uri
    for at, char in enumerate(uri):
        if char in "/#":
            yield uri[:at]


def _is_gone(path: str) -> bool:
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
