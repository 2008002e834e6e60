"""The keys that sign checkpoints: private halves in a closed folder, public halves in a list.

``keys.json`` lists every key that ever signed for the log, oldest first, with the log sizes that
it signs from and until; it is what the operator publishes. Beside it lies one ``<id>.key`` for
each key in use; a retired key's is deleted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from knowledge_bases.audit import checkpoint as checkpoints
from knowledge_bases.audit.checkpoint import ORIGIN, Checkpoint
from knowledge_bases.audit.key_list import ListedKey, list_text, parse_list
from knowledge_bases.audit.note_keys import SigningKey, VerifierKey
from rag.errors import AlreadyExists, IntegrityError, NotFound, StorageError, UsageError
from rag.publish import PARTIAL, put_file, sync

_LOCK_SECONDS = 30.0
_REMEDY = "restore it from a backup, or give it up: rag audit rotate-key --lost"


class KeyRing:
    """The signing keys of one log; reads its folder anew each time, so processes may share it.

    Args:
        folder: ``<home>/keys``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def exists(self) -> bool:
        """Whether keys were made here."""
        return self._list.exists()

    def create(self, log_id: str) -> VerifierKey:
        """Make the first key of a log.

        Raises:
            AlreadyExists: the folder has keys.
            StorageError: it can't be written.
        """
        with self._locked():
            if self.exists:
                raise AlreadyExists(f"{self.folder} has keys already; rotate them instead")
            self.folder.chmod(0o700)
            key = self._new_key(ORIGIN + log_id)
            self._write_list(log_id, [ListedKey(key.verifier, created_at=_now())])
        return key.verifier

    def listed(self) -> list[ListedKey]:
        """Return all keys, oldest first, those retired included.

        Raises:
            NotFound: none were made.
            IntegrityError: the list is damaged.
        """
        return self._read_list()[1]

    @property
    def log_id(self) -> str:
        """Uuid of the log that the keys are for."""
        return self._read_list()[0]

    def published(self) -> str:
        """Return the list as text, to be published: it has no secrets."""
        return list_text(*self._read_list())

    def sign(self, checkpoint: Checkpoint) -> str:
        """Sign a checkpoint with every key in use; write nothing.

        After a rotation that is the old and the new one until `settle` is called.

        Raises:
            NotFound: no keys were made.
            IntegrityError: a key is damaged, missing, or begins at a larger size.
            StorageError: others may read a key.
        """
        self.listed()  # So that a home without keys stays without a folder for them.
        with self._locked():  # Else a key read from the list may be gone when it is to sign.
            in_use = [key for key in self.listed() if key.until is None]
            able = [key for key in in_use if key.covers(checkpoint.size)]
            if not able:
                raise IntegrityError(
                    f"the log has {checkpoint.size} records, but its key {in_use[-1].key.short} "
                    f"signs from size {in_use[-1].since} on: the log is shorter than it was; "
                    "restore it"
                )
            return checkpoints.sign(checkpoint, [self._signing_key(key.key) for key in able])

    def settle(self, size: int) -> list[VerifierKey]:
        """Retire what a rotation replaced, now that a checkpoint with both signatures is kept.

        Args:
            size: of that checkpoint; the last that the old key alone may vouch for.

        Returns:
            the keys retired, whose private halves are now gone; usually none.
        """
        if sum(key.until is None for key in self.listed()) <= 1:
            return []
        with self._locked():
            log_id, keys = self._read_list()
            old = [key for key in keys[:-1] if key.until is None]
            if size < keys[-1].since:  # The checkpoint is from before the rotation.
                return []
            self._write_list(log_id, [_retired(key, size) if key in old else key for key in keys])
            self._drop_retired()
        return [key.key for key in old]

    def rotate(self, size: int, *, lost: bool = False) -> VerifierKey:
        """Make a new key; the checkpoint signed next carries the old key's signature too.

        Args:
            size: the log's now; the new key signs from it on.
            lost: the old key is lost or no longer trusted: it is retired at once, and the new
                key's first checkpoint is signed by the new key alone.

        Raises:
            NotFound: there is no key to replace.
            UsageError: the log was larger when the present key was made.
        """
        self.listed()
        with self._locked():
            log_id, keys = self._read_list()
            if size < keys[-1].since:
                raise UsageError(
                    f"the log has {size} records, but its key begins at {keys[-1].since}; "
                    "restore the log first"
                )
            if not lost:  # An old key that can't sign should be found now, not at the checkpoint.
                for key in keys:
                    if key.until is None:
                        self._signing_key(key.key)
            else:
                keys = [_retired(key, size) if key.until is None else key for key in keys]
            new = self._new_key(ORIGIN + log_id)
            self._write_list(log_id, [*keys, ListedKey(new.verifier, size, created_at=_now())])
            self._drop_retired()
        return new.verifier

    @property
    def _list(self) -> Path:
        return self.folder / "keys.json"

    def _secret_file(self, key: VerifierKey) -> Path:
        return self.folder / f"{key.key_id.hex()}.key"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock", timeout=_LOCK_SECONDS, mode=0o600):
                yield
        except Timeout as error:
            raise StorageError(
                f"another process has held {self.folder} for {_LOCK_SECONDS:.0f} s; try again"
            ) from error
        except OSError as error:
            raise StorageError(f"can't write {self.folder}: {error.strerror}") from error

    def _new_key(self, origin: str) -> SigningKey:
        key = SigningKey.generate(origin)
        self._write(self._secret_file(key.verifier), f"{key.secret}\n")
        return key

    def _signing_key(self, listed: VerifierKey) -> SigningKey:
        """Read a private key that nobody else may read."""
        path = self._secret_file(listed)
        try:
            for place, allowed in ((self.folder, 0o700), (path, 0o600)):
                mode = place.stat().st_mode & 0o777
                if mode & ~allowed and os.name != "nt":
                    raise StorageError(
                        f"{place} is open to others (mode {mode:04o}), so its key may be known; "
                        f"chmod {allowed:o} it, and rotate the key if anyone could have read it"
                    )
            content = path.read_text(encoding="ascii")
            if not content.endswith("\n"):
                raise UsageError("it is cut off")
            key = SigningKey.parse(content[:-1])
        except FileNotFoundError as error:
            raise IntegrityError(f"{path} is missing; {_REMEDY}") from error
        except OSError as error:
            raise StorageError(f"can't read {path}: {error.strerror}") from error
        except (UsageError, UnicodeError) as error:
            reason = "it is not text" if isinstance(error, UnicodeError) else error
            raise IntegrityError(f"{path} is damaged: {reason}; {_REMEDY}") from error
        if key.verifier != listed:
            raise IntegrityError(f"{path} holds another key than keys.json lists; {_REMEDY}")
        return key

    def _drop_retired(self) -> None:
        in_use = {self._secret_file(key.key) for key in self.listed() if key.until is None}
        for path in self.folder.glob("*.key"):
            if path not in in_use:
                path.unlink()

    def _read_list(self) -> tuple[str, list[ListedKey]]:
        try:
            return parse_list(self._list.read_bytes())
        except FileNotFoundError as error:
            raise NotFound(f"there are no signing keys in {self.folder}") from error
        except OSError as error:
            raise StorageError(f"can't read {self._list}: {error.strerror}") from error
        except IntegrityError as error:
            raise IntegrityError(f"{self._list}: {error}; restore it from a backup") from error

    def _write_list(self, log_id: str, keys: list[ListedKey]) -> None:
        self._write(self._list, list_text(log_id, keys))

    def _write(self, path: Path, text: str) -> None:
        """Replace a file, never readable by others, whole or not at all."""
        partial = path.with_name(f"{PARTIAL}{path.name}")
        partial.unlink(missing_ok=True)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii", newline="\n") as file:
            file.write(text)
        put_file(partial, path)
        sync(self.folder.parent)


def _retired(key: ListedKey, size: int) -> ListedKey:
    return replace(key, until=size)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
