"""Whom records are about, kept as an HMAC under the home's secret instead of in clear."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from rag.errors import StorageError

_SECRET_BYTES = 32


def subject_hash(secret: bytes, subject: str) -> str:
    """Return what is kept of a subject, hexadecimal.

    Args:
        secret: the home's.
        subject: as the asker was named.
    """
    return hmac.new(secret, subject.encode(), hashlib.sha256).hexdigest()


def subject_secret(home: Path) -> bytes:
    """Return the home's secret; the first call makes it, readable by its owner alone.

    Raises:
        StorageError: it can't be read or made, or is damaged.
    """
    path = home / "keys" / "subjects.secret"
    try:
        if not path.exists():
            _make(path)
        secret = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path} can't be used: {error.strerror}") from error
    if len(secret) != _SECRET_BYTES:
        raise StorageError(f"{path} is damaged; restore it from a backup")
    return secret


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with os.fdopen(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
        ) as new:
            new.write(os.urandom(_SECRET_BYTES))
            new.flush()
            os.fsync(new.fileno())
        # Unlike a rename this fails where another process was faster, whose secret then counts.
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)
