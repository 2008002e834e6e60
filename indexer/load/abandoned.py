"""Temporary folders that outlived their process: claims on them, and their removal."""

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_UNCLAIMED_SECONDS = 60.0
"""A younger folder may be one whose process has yet to claim it."""


def claim(folder: Path) -> int:
    """Lock a folder for as long as this process lives and return the lock's descriptor.

    The kernel lets go of it however the process ends; a process id could be another's by then.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    with suppress(OSError):  # A file system without locks: then nobody else's claim works either.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def remove_abandoned(prefix: str) -> None:
    """Remove our own temporary folders of this prefix that no living process claims."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with suppress(OSError):
            status = folder.lstat()
            if status.st_uid != os.getuid() or time.time() - status.st_mtime < _UNCLAIMED_SECONDS:
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
