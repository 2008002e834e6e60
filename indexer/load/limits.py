"""What loading one file may cost at most."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.errors import LimitExceeded

if TYPE_CHECKING:
    from rag.settings import Settings  # pydantic, which the processes that parse can do without


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one file; see the settings of the same names for their meaning."""

    seconds: float = 120.0
    memory_bytes: int = 4 * 2**30
    max_file_bytes: int = 256 * 2**20
    max_pages: int = 10_000
    max_chars: int = 200_000_000
    max_expanded_bytes: int = 2**29
    max_members: int = 20_000

    @classmethod
    def from_settings(cls, settings: "Settings") -> "Limits":
        """Return the limits that the settings ask for."""
        return cls(
            seconds=settings.load_timeout_seconds,
            memory_bytes=settings.load_memory_bytes,
            max_file_bytes=settings.max_file_bytes,
            max_pages=settings.load_max_pages,
            max_chars=settings.load_max_chars,
            max_expanded_bytes=settings.load_max_expanded_bytes,
            max_members=settings.load_max_members,
        )

    def check_file_bytes(self, size: int, name: str) -> None:
        """Refuse a file that is too large to read.

        Raises:
            LimitExceeded: it is larger than ``max_file_bytes``.
        """
        if size > self.max_file_bytes:
            raise LimitExceeded(
                f"{name}: is larger than {mebibytes(self.max_file_bytes)}; "
                "split it or raise RAG_MAX_FILE_BYTES"
            )


def mebibytes(size: int) -> str:
    """Return a size for people.

    >>> mebibytes(256 * 2**20)
    '256 MiB'
    """
    if size < 2**20:
        return f"{size:,} bytes"
    return f"{size / 2**20:,.0f} MiB"
