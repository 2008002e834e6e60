"""Removes uploads whose jobs have ended from the spool, where a stop or crash left them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection
from pathlib import Path

from filelock import FileLock, Timeout

from rag.errors import StorageError

SPOOL = "spool"
"""The folder of uploads in a home folder; each lies in a folder that has its job's id as name."""
SERVER_LOCK = "server.lock"
"""Held by the server that works on a home folder."""
SEALED = "upload.json"
"""Written into an upload's folder when it is complete, right before its job is noted."""
_NOTED_SECONDS = 60.0


def waiting_uploads(home: Path, job_ids: Collection[str]) -> list[str]:
    """Return those of these jobs whose uploads are on the disk."""
    return sorted(job for job in job_ids if (home / SPOOL / job).exists())


def clear_uploads(home: Path, unfinished: Collection[str]) -> int:
    """Remove uploads that no unfinished job needs.

    While a server works on the home folder, uploads may be coming in whose jobs are not noted
    yet; then only those go that were complete a minute ago.

    Args:
        home: the home folder.
        unfinished: ids of the jobs that are queued or running.

    Returns:
        how many were removed.

    Raises:
        StorageError: the disk refused it.
    """
    spool = home / SPOOL
    if not spool.is_dir():
        return 0
    lock = FileLock(home / SERVER_LOCK, thread_local=False)
    try:
        try:
            lock.acquire(timeout=0)
            served = False
        except Timeout:
            served = True
        left = [path for path in spool.iterdir() if path.name not in unfinished]
        if served:
            left = [path for path in left if _is_over(path)]
        for path in left:
            shutil.rmtree(path)
    except OSError as error:
        raise StorageError(
            f"uploads in {spool} can't be removed ({error.strerror}); make it writable, try again"
        ) from error
    finally:
        lock.release()
    return len(left)


def _is_over(upload: Path) -> bool:
    try:
        return time.time() - (upload / SEALED).stat().st_mtime > _NOTED_SECONDS
    except FileNotFoundError:
        return False
