"""What happens in the process that parses one file."""

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import IO, NoReturn

from indexer.load import wire
from indexer.load.compose import check_chars
from indexer.load.dispatch import load_document
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded
from indexer.load.names import why_unreadable
from indexer.load.outcome import EXIT_ERROR, EXIT_MEMORY, EXIT_NO_ROOM
from rag.errors import BrokenFile, RagError

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1
_RESULT_SLACK_BYTES = 2**30
"""Room for marks and titles beside the text in the file of results."""


def run_child(name: str, limits: Limits, source: int, result: int, helper: int) -> NoReturn:
    """Parse one file in this process and end it; call it in a fresh fork only.

    Args:
        name: the file's uri.
        limits: enforced by the operating system from here on.
        source: descriptor of the file.
        result: descriptor of the file to write to.
        helper: id of the process that forked; without it there is nobody to work for.
    """
    code = 1
    try:
        _confine(limits)
        if os.getppid() != helper:
            os._exit(code)  # it died before the child could ask to die with it
        with os.fdopen(result, "wb", closefd=False) as stream:
            try:
                content = _read(source, name)
                length = 0
                for document in load_document(content, name, limits):
                    if isinstance(document, Loaded):
                        length += len(document.text)
                        check_chars(length, limits.max_chars, name)
                    wire.write_document(stream, document)
                stream.flush()
                code = 0
            except RagError as error:
                _replace_by_error(stream, error)
                code = EXIT_ERROR
            except MemoryError:
                code = EXIT_MEMORY
            except OSError:
                code = EXIT_NO_ROOM
    finally:
        os._exit(code)


def _read(source: int, name: str) -> bytes:
    try:
        with os.fdopen(source, "rb", closefd=False) as file:
            return file.read()
    except OSError as error:
        raise BrokenFile(f"{name}: {why_unreadable(error)}; check its disk") from error


def _replace_by_error(stream: IO[bytes], error: RagError) -> None:
    # What could not be flushed must not follow the error.
    with suppress(OSError):
        stream.flush()
    os.ftruncate(stream.fileno(), 0)
    os.lseek(stream.fileno(), 0, os.SEEK_SET)
    wire.write_error(stream, error)
    stream.flush()


def _confine(limits: Limits) -> None:
    """Give up what parsing doesn't need."""
    if _LIBC:
        # The child must not outlive the helper, whatever kills that.
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123
            score.write("1000")
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    seconds = int(limits.seconds) + 1
    largest_result = 4 * limits.max_chars + _RESULT_SLACK_BYTES
    for what, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        # The signal at the soft limit tells time from memory, which the hard one's does not.
        (resource.RLIMIT_CPU, seconds, seconds + 5),
        (resource.RLIMIT_NOFILE, 64, 64),
        (resource.RLIMIT_FSIZE, largest_result, largest_result),
        (resource.RLIMIT_AS, limits.memory_bytes, limits.memory_bytes),
    ):
        with suppress(ValueError, OSError):  # a lower limit is in force already
            resource.setrlimit(what, (soft, hard))
