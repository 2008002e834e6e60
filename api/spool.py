"""Uploads on the disk: from their first byte to the end of their job, a folder each."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from indexer.load.names import is_hidden, printable
from knowledge_bases.upload_clearing import SEALED
from rag.errors import StorageError
from rag.publish import sync

_URI_CHARS = 300
_PART_BYTES = 255
"""Longest name of a file or folder on common file systems."""


class Upload:
    """The files of one job.

    Attributes:
        id: the job's.
        content: folder to ingest; a file's path under it becomes its uri.
        files: how many it holds.
        refused: (name, reason) of files that can't be kept under their names.
        tags: put on every document.
    """

    def __init__(self, folder: Path) -> None:
        """Use `Spool.new` or `Spool.find`."""
        self.id = folder.name
        self.content = folder / "files"
        self.files = 0
        self.refused: list[tuple[str, str]] = []
        self.tags: tuple[str, ...] = ()
        self._folder = folder

    def add(self, name: str) -> BinaryIO | None:
        """Open a new file under a client's file name, or note why that can't be.

        Raises:
            StorageError: the disk refused it.
        """
        uri, reason = uri_for(name)
        if uri:
            path = self.content / uri
            with _disk_errors(self._folder):
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    file = path.open("xb")
                except (FileExistsError, NotADirectoryError):
                    reason = "another file or folder of this upload has the same name; rename it"
                else:
                    self.files += 1
                    return file
        self.refused.append((printable(name)[:_URI_CHARS] or "(no name)", reason))
        return None

    def write(self, file: BinaryIO, content: bytes) -> None:
        """Write to one of its files.

        Raises:
            StorageError: the disk refused it.
        """
        with _disk_errors(self._folder):
            file.write(content)

    def close(self, file: BinaryIO) -> None:
        """Close one of its files once its content is on the disk.

        Raises:
            StorageError: the disk refused it.
        """
        with _disk_errors(self._folder), file:
            _sync(file)

    def digest(self) -> str:
        """Return the sha256 of what it holds, in whatever order and form that was sent.

        Raises:
            StorageError: the disk refused it.
        """
        held: list[object] = [sorted(self.refused), sorted(self.tags)]
        with _disk_errors(self._folder):
            for path in sorted(self.content.rglob("*")):
                if path.is_file():
                    with path.open("rb") as file:
                        digest = hashlib.file_digest(file, "sha256").hexdigest()
                    held.append([path.relative_to(self.content).as_posix(), digest])
        return hashlib.sha256(json.dumps(held).encode()).hexdigest()

    def seal(self) -> None:
        """Make it survive a power cut; `Spool.find` finds it from now on.

        Raises:
            StorageError: the disk refused it.
        """
        receipt = {"files": self.files, "refused": self.refused, "tags": self.tags}
        with _disk_errors(self._folder):
            self.content.mkdir(exist_ok=True)
            with (self._folder / SEALED).open("wb") as file:
                file.write(json.dumps(receipt).encode())
                _sync(file)
            for folder, _, _ in os.walk(self._folder):
                sync(Path(folder))
            sync(self._folder.parent)

    def discard(self) -> None:
        """Remove it from the disk."""
        shutil.rmtree(self._folder, ignore_errors=True)


class Spool:
    """The folder of all uploads whose jobs have not ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def new(self) -> Upload:
        """Start an upload.

        Raises:
            StorageError: the disk refused it.
        """
        folder = self._folder / str(uuid.uuid4())
        with _disk_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)  # Nobody else's to read, whatever the home folder allows.
        return Upload(folder)

    def find(self, job_id: str) -> Upload | None:
        """Return a job's sealed upload, or None if it is not there."""
        upload = Upload(self._folder / job_id)
        try:
            receipt = json.loads((self._folder / job_id / SEALED).read_bytes())
            upload.files = receipt["files"]
            upload.refused = [(name, reason) for name, reason in receipt["refused"]]
            upload.tags = tuple(receipt["tags"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return upload

    def discard(self, job_id: str) -> None:
        """Remove a job's upload, if it is there."""
        Upload(self._folder / job_id).discard()

    def keep_only(self, job_ids: Collection[str]) -> None:
        """Remove what is not these jobs' uploads."""
        found = list(self._folder.iterdir()) if self._folder.is_dir() else []
        for folder in found:
            if folder.name not in job_ids:
                self.discard(folder.name)


def uri_for(name: str) -> tuple[str | None, str]:
    r"""Return the uri for a client's file name, or None and why there is none.

    Folders in it stay where they lead downwards; of any other path only the last part stays.

    >>> uri_for("wards/a.txt")[0], uri_for("../../etc/passwd")[0], uri_for("C:\\a.txt")[0]
    ('wards/a.txt', 'passwd', 'a.txt')
    >>> uri_for("..")
    (None, 'its name holds no letter or digit; rename it')
    """
    parts = printable(name).replace("\\", "/").split("/")
    leads_elsewhere = any(part in ("", ".", "..") or part.endswith(":") for part in parts)
    kept: Sequence[str] = parts[-1:] if leads_elsewhere else parts
    uri = "/".join(kept)
    if not any(char.isalnum() for char in uri):
        return None, "its name holds no letter or digit; rename it"
    if any(is_hidden(part) for part in kept):
        return None, "its name is that of a hidden or system file; rename it"
    if len(uri) > _URI_CHARS or any(len(part.encode()) > _PART_BYTES for part in kept):
        return None, f"its name is longer than {_URI_CHARS} characters; shorten it"
    return uri, ""


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError):
        raise
    except OSError as error:
        raise StorageError(
            f"the upload can't be kept in {folder} ({error.strerror}); free space there, try again"
        ) from error


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
