"""Whom records are about, kept as an HMAC under the home's secret instead of in clear."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag.errors import StorageError

ABOUT = {"answer": "asker", "refusal": "actor", "check": "actor", "read": "actor"}
"""Kind of record → the payload's member that says whom it is about."""
_SECRET_BYTES = 32
_RENEW = (
    "restore it from a backup, or, if there is none, make a new one with `rag audit renew-subjects`"
)


def subject_hash(secret: bytes, subject: str) -> str:
    """Return what is kept of a subject, hexadecimal.

    Args:
        secret: the home's.
        subject: as the asker was named.
    """
    return hmac.new(secret, subject.encode(), hashlib.sha256).hexdigest()


def subject_secret(home: Path, *, make: bool) -> bytes:
    """Return the home's secret.

    Args:
        home: the folder.
        make: where there is none, make one, readable by its owner alone. Records that were noted
            under another would never be found again, so only where there are none.

    Raises:
        StorageError: it is missing, can't be read or made, or is damaged.
    """
    path = _path(home)
    try:
        if make and not path.exists():
            _make(path)
        secret = path.read_bytes()
    except FileNotFoundError as error:
        raise StorageError(
            f"{path} is missing, without which the records about somebody can't be found: {_RENEW}"
        ) from error
    except OSError as error:
        raise StorageError(f"{path} can't be used: {error.strerror}") from error
    if len(secret) != _SECRET_BYTES:
        raise StorageError(f"{path} is damaged: {_RENEW}")
    return secret


def other_secret(home: Path) -> StorageError:
    """Return the error for a secret that is not the one that records were noted under."""
    return StorageError(f"{_path(home)} is not the secret that the log was kept with: {_RENEW}")


@contextmanager
def replaced_secret(home: Path) -> Iterator[bytes]:
    """Make a new secret, and put it in the place of the old one when the block ends without error.

    Raises:
        StorageError: it can't be made.
    """
    path = _path(home)
    try:
        temporary = _written(path)
        try:
            yield temporary.read_bytes()
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path} can't be made anew: {error.strerror}") from error


def _path(home: Path) -> Path:
    return home / "keys" / "subjects.secret"


def _written(path: Path) -> Path:
    """Write a new secret to a file beside."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as new:
        new.write(os.urandom(_SECRET_BYTES))
        new.flush()
        os.fsync(new.fileno())
    return temporary


def _make(path: Path) -> None:
    temporary = _written(path)
    try:
        # Unlike a rename this fails where another process was faster, whose secret then counts.
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)
