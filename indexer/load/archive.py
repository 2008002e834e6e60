"""Reads ZIP archives member by member, refusing what is unsafe."""

import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from lzma import LZMAError
from typing import IO, Any, cast

from indexer.load.detect import format_of_archive
from indexer.load.limits import Limits, mebibytes
from indexer.load.loaded import LoadFailure
from indexer.load.names import is_hidden, printable
from rag.errors import BrokenFile, LimitExceeded, LoadError

MAX_RATIO = 200
"""An archive may expand to this many times its size, once it expands beyond the grace."""
RATIO_GRACE_BYTES = 2**27

SAFE_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""For other methods zipfile expands a whole block of input at once: gigabytes from kilobytes."""

_READ_BYTES = 1 << 18
_DRIVE = re.compile(r"[A-Za-z]:")
# zipfile lets through whatever its decompressors and its own arithmetic on hostile fields raise.
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, LZMAError, EOFError, OSError, ValueError),
    *(IndexError, KeyError, OverflowError, NotImplementedError, RuntimeError),
)


@dataclass(slots=True)
class Budget:
    """What may still be expanded; shared by an archive and the archives in it."""

    name: str
    limits: Limits
    compressed_bytes: int
    expanded_bytes: int = 0
    members: int = 0

    @property
    def spent(self) -> bool:
        """Whether nothing more of the archive may be expanded."""
        return self.expanded_bytes > min(self.limits.max_expanded_bytes, self._largest_by_ratio)

    def spend(self, size: int) -> None:
        """Count expanded bytes.

        Raises:
            LimitExceeded: there are too many, absolutely or for the archive's size.
        """
        self.expanded_bytes += size
        if self.expanded_bytes > self.limits.max_expanded_bytes:
            raise _too_large(self.name, mebibytes(self.limits.max_expanded_bytes))
        if self.spent:
            raise _too_large(self.name, f"{MAX_RATIO} times its size")

    @property
    def _largest_by_ratio(self) -> int:
        return max(RATIO_GRACE_BYTES, MAX_RATIO * self.compressed_bytes)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive, not yet expanded."""

    uri: str
    _archive: zipfile.ZipFile = field(repr=False)
    _entry: zipfile.ZipInfo = field(repr=False)
    _budget: Budget = field(repr=False)

    def pieces(self) -> Iterator[bytes]:
        """Expand it piece by piece, counting what really comes out: declared sizes lie.

        Raises:
            LimitExceeded: the member is too large to read, or the archive's budget is spent.
            BrokenFile: it is damaged.
        """
        size = 0
        try:
            with self._archive.open(self._entry) as stream:
                while piece := stream.read(_READ_BYTES):
                    size += len(piece)
                    self._budget.spend(len(piece))
                    self._budget.limits.check_file_bytes(size, self.uri)
                    yield piece
        except DAMAGE as error:
            raise BrokenFile(f"{self.uri}: is damaged in its archive; make it again") from error


def members(
    stream: IO[bytes], uri: str, limits: Limits, budget: Budget
) -> Iterator[Member | LoadFailure]:
    """Return the files of an archive in order of name; unsafe ones as failures.

    Args:
        stream: the archive, seekable.
        uri: of the archive; a member's is "uri/path in the archive".
        limits: on members and expanded bytes.
        budget: of this archive, or of the one around it.

    Raises:
        BrokenFile: it is no readable archive, holds nothing, or is encrypted.
        LimitExceeded: it has too many members or declares too large an expansion.
    """
    with _open(stream, uri, limits) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        _check(entries, uri, limits, budget)
        taken: set[str] = set()
        for entry in sorted(entries, key=lambda entry: entry.filename):
            path = _path(entry)
            if any(map(is_hidden, path.split("/"))):
                continue
            plain = "/".join(part for part in path.split("/") if part not in ("", "."))
            member = f"{uri}/{printable(plain)}"
            reason = _why_refused(entry, path)
            if reason is None and member in taken:
                reason = "refused: the archive holds this name twice; make the archive again"
            taken.add(member)
            if reason:
                yield LoadFailure(member, reason)
            else:
                yield Member(member, archive, entry, budget)


def is_plain_archive(stream: IO[bytes], uri: str, limits: Limits) -> bool:
    """Tell an archive of files from an office document; one that can't be read is neither."""
    try:
        with _open(stream, uri, limits) as archive:
            return format_of_archive(archive, uri) == "zip"
    except LimitExceeded:
        return True  # expanding it says so again, with the reason
    except LoadError:
        return False


def _open(stream: IO[bytes], uri: str, limits: Limits) -> zipfile.ZipFile:
    try:
        # The stand-in has what zipfile uses of a file, but isn't one to the type checker.
        return zipfile.ZipFile(cast(Any, _Bounded(stream, limits, uri)))
    except DAMAGE as error:
        raise BrokenFile(f"{uri}: is a damaged or truncated ZIP archive; make it again") from error


def _check(entries: list[zipfile.ZipInfo], uri: str, limits: Limits, budget: Budget) -> None:
    budget.members += len(entries)
    if budget.members > limits.max_members:
        raise LimitExceeded(
            f"{uri}: has more than {limits.max_members:,} files; "
            "split it or raise RAG_LOAD_MAX_MEMBERS"
        )
    if not entries:
        raise BrokenFile(f"{uri}: is an archive without files; nothing to read")
    if all(entry.flag_bits & 1 for entry in entries):
        raise BrokenFile(f"{uri}: is encrypted; make it again without a password")
    declared = sum(entry.file_size for entry in entries)
    if budget.expanded_bytes + declared > limits.max_expanded_bytes:
        raise _too_large(uri, mebibytes(limits.max_expanded_bytes))


def _too_large(name: str, limit: str) -> LimitExceeded:
    return LimitExceeded(
        f"{name}: expands to more than {limit}; unpack what you need of it, or raise "
        "RAG_LOAD_MAX_EXPANDED_BYTES if you trust it"
    )


def _path(entry: zipfile.ZipInfo) -> str:
    name = entry.filename
    if not entry.flag_bits & 0x800 and not name.isascii():
        # Unmarked names are code page 437 by the book and UTF-8 by many programs.
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def _why_refused(entry: zipfile.ZipInfo, path: str) -> str | None:
    if path.startswith("/") or _DRIVE.match(path):
        return "refused: its path in the archive is absolute; make the archive again"
    if ".." in path.split("/"):
        return "refused: its path in the archive leads out of it; make the archive again"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "refused: it is a symbolic link; put the file itself into the archive"
    if entry.flag_bits & 1:
        return "is encrypted; make the archive again without a password"
    if entry.compress_type not in SAFE_METHODS:
        return "is compressed by a method other than deflate; make the archive again"
    return None


class _Bounded:
    """A stream that refuses a list of members too long to be read into memory."""

    def __init__(self, stream: IO[bytes], limits: Limits, uri: str) -> None:
        self._stream = stream
        # zipfile reads the whole list at once; an entry is 46 bytes and a name.
        self._largest_read = max(2**20, limits.max_members * 512)
        self._uri = uri

    def read(self, size: int = -1) -> bytes:
        if size > self._largest_read:
            raise LimitExceeded(
                f"{self._uri}: lists too many files; split it or raise RAG_LOAD_MAX_MEMBERS"
            )
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        """Leave the stream to whoever opened it."""
