"""Says what the end of a parser's process means for the file."""

import signal
import tempfile
from typing import Any

from indexer.load.limits import Limits
from rag.errors import BrokenFile, LimitExceeded, RagError, StorageError

EXIT_ERROR = 3
"""Exit code of a parser that wrote an error instead of documents."""
EXIT_MEMORY = 4
EXIT_NO_ROOM = 5
"""Exit code of a parser that could not write its documents."""


def error_for(outcome: dict[str, Any], name: str, limits: Limits) -> RagError:
    """Return the error for a child that ended without telling why."""
    code = outcome.get("exit")
    if outcome.get("timeout") or code == -signal.SIGXCPU:
        return LimitExceeded(
            f"{name}: took longer than {limits.seconds:g} seconds; "
            "split it or raise RAG_LOAD_TIMEOUT_SECONDS"
        )
    if code in (EXIT_MEMORY, -signal.SIGKILL):
        return LimitExceeded(
            f"{name}: needs too much memory; split it or raise RAG_LOAD_MEMORY_BYTES"
        )
    if code == EXIT_NO_ROOM:
        return no_room(name)
    return BrokenFile(
        f"{name}: crashed its parser; it is damaged or needs more memory than "
        "RAG_LOAD_MEMORY_BYTES; save it again with the program it is from"
    )


def no_room(name: str) -> StorageError:
    """Return the error for a text that does not fit on the disk."""
    return StorageError(
        f"{name}: there is no room for its text in {tempfile.gettempdir()}; "
        "free some, or let TMPDIR name another folder"
    )
