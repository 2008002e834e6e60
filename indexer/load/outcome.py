"""Says what the end of a parser's process means for the file."""

import signal
from typing import Any

from indexer.load.limits import Limits
from rag.errors import BrokenFile, LimitExceeded, RagError

EXIT_ERROR = 3
"""Exit code of a parser that wrote an error instead of documents."""
EXIT_MEMORY = 4


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
    return BrokenFile(
        f"{name}: crashed its parser; it is damaged or needs more memory than "
        "RAG_LOAD_MEMORY_BYTES; save it again with the program it is from"
    )
