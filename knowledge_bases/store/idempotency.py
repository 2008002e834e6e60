"""What requests that may be sent twice came of, for a day."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError as SqlIntegrityError

from knowledge_bases.database import Database
from knowledge_bases.store.shared import now
from knowledge_bases.tables import IdempotencyRow
from rag.errors import StorageError

KEPT = datetime.timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier request with the same key.

    Attributes:
        fingerprint: of what it asked for; None while it goes on.
        resource: name of what it made; None while it goes on.
    """

    fingerprint: str | None
    resource: str | None


class Idempotency:
    """Notes which request a key was used for, and what it made; never a response."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, key_hash: str) -> Earlier | None:
        """Note that a request begins; return the earlier one if its key was used, else None."""
        try:
            with self._database.write() as session:
                old = IdempotencyRow.created_at <= now() - KEPT
                session.execute(delete(IdempotencyRow).where(old))
                row = session.get(IdempotencyRow, key_hash)
                if row is not None:
                    return Earlier(row.fingerprint, row.resource)
                session.add(IdempotencyRow(key_hash=key_hash, created_at=now()))
        except StorageError as error:
            if not isinstance(error.__cause__, SqlIntegrityError):
                raise
            return Earlier(None, None)  # Somebody was faster, where the database locks rows only.
        return None

    def finish(self, key_hash: str, fingerprint: str, resource: str) -> None:
        """Note what a request asked for, and made."""
        with self._database.write() as session:
            session.execute(
                update(IdempotencyRow)
                .where(IdempotencyRow.key_hash == key_hash)
                .values(fingerprint=fingerprint, resource=resource)
            )

    def release(self, key_hash: str) -> None:
        """Forget a request that made nothing, so that it may be sent again."""
        with self._database.write() as session:
            session.execute(delete(IdempotencyRow).where(IdempotencyRow.key_hash == key_hash))

    def release_unfinished(self) -> None:
        """Forget the requests that went on when the only server ended."""
        with self._database.write() as session:
            session.execute(delete(IdempotencyRow).where(IdempotencyRow.resource.is_(None)))
