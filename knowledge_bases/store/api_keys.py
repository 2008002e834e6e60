"""The keys of the service and the sessions begun with them; of neither more than a digest."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from sqlalchemy import delete, func, or_, select, update

from knowledge_bases.database import Database
from knowledge_bases.store.shared import count, now
from knowledge_bases.tables import ApiKeyRow, ApiSessionRow
from rag.errors import NotFound

EVERY = "*"
"""Stands among the granted names for all knowledge bases; none can have it as its name."""
_NOTED_EVERY = datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of the service without its secret; see `knowledge_bases.tables.ApiKeyRow`."""

    id: str
    name: str
    scopes: tuple[str, ...]
    knowledge_bases: tuple[str, ...]
    created_at: datetime.datetime
    expires_at: datetime.datetime | None
    revoked_at: datetime.datetime | None = None
    last_used_at: datetime.datetime | None = None
    revocation_logged: bool = False

    def state(self, at: datetime.datetime | None = None) -> str:
        """Return "active", "expired" or "revoked", as of now or another moment."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= (at or now()):
            return "expired"
        return "active"


class ApiKeys:
    """Keeps keys by their public ids; whoever asks compares the digests."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, key: ApiKey, key_sha256: str) -> None:
        """Store a new key."""
        with self._database.write() as session:
            session.add(
                ApiKeyRow(
                    id=key.id,
                    name=key.name,
                    key_sha256=key_sha256,
                    scopes=list(key.scopes),
                    knowledge_bases=list(key.knowledge_bases),
                    created_at=key.created_at,
                    expires_at=key.expires_at,
                    revocation_logged=False,
                )
            )

    def find(self, key_id: str) -> tuple[ApiKey, str] | None:
        """Return a key, whatever its state, with the sha256 of its text; None if there is none."""
        with self._database.read() as session:
            row = session.get(ApiKeyRow, key_id)
            return (_key(row), row.key_sha256) if row else None

    def get(self, key_id: str) -> ApiKey:
        """Return a key, whatever its state.

        Raises:
            NotFound: there is none of that id.
        """
        found = self.find(key_id)
        if found is None:
            raise no_such_key(key_id)
        return found[0]

    def all(self) -> list[ApiKey]:
        """Return all keys, the oldest first."""
        with self._database.read() as session:
            rows = session.scalars(select(ApiKeyRow).order_by(ApiKeyRow.created_at, ApiKeyRow.id))
            return [_key(row) for row in rows]

    def any_active(self) -> bool:
        """Say whether a key would be let in now."""
        query = select(func.count(ApiKeyRow.id)).where(
            ApiKeyRow.revoked_at.is_(None),
            or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > now()),
        )
        with self._database.read() as session:
            return count(session, query) > 0

    def revoke(self, key_id: str) -> ApiKey:
        """Revoke a key from now on, with all sessions begun with it; a second time changes nothing.

        Raises:
            NotFound: there is none of that id.
        """
        with self._database.write() as session:
            session.execute(
                update(ApiKeyRow)
                .where(ApiKeyRow.id == key_id, ApiKeyRow.revoked_at.is_(None))
                .values(revoked_at=now())
            )
            session.execute(delete(ApiSessionRow).where(ApiSessionRow.key_id == key_id))
        return self.get(key_id)

    def note_revocation_logged(self, key_id: str) -> None:
        """Note that the log has the record of a revocation."""
        with self._database.write() as session:
            session.execute(
                update(ApiKeyRow).where(ApiKeyRow.id == key_id).values(revocation_logged=True)
            )

    def note_use(self, key: ApiKey) -> None:
        """Note that a key was used, at most once an hour, so that questions cost no write more."""
        at = now()
        if key.last_used_at is not None and at - key.last_used_at < _NOTED_EVERY:
            return
        with self._database.write() as session:
            session.execute(
                update(ApiKeyRow)
                .where(ApiKeyRow.id == key.id)
                .values(last_used_at=at.replace(minute=0, second=0, microsecond=0))
            )

    def add_session(self, token_sha256: str, key_id: str, expires_at: datetime.datetime) -> None:
        """Store a session, and forget those that have ended.

        Raises:
            NotFound: the key was revoked meanwhile.
        """
        with self._database.write() as session:
            row = session.get(ApiKeyRow, key_id, with_for_update=True)
            if row is None or row.revoked_at is not None:
                raise NotFound(f"there is no active key {key_id!r}")
            session.execute(delete(ApiSessionRow).where(ApiSessionRow.expires_at <= now()))
            session.add(
                ApiSessionRow(token_sha256=token_sha256, key_id=key_id, expires_at=expires_at)
            )

    def key_of_session(self, token_sha256: str) -> ApiKey | None:
        """Return the key that a session was begun with, whatever its state; None once it ended."""
        query = (
            select(ApiKeyRow)
            .join(ApiSessionRow, ApiSessionRow.key_id == ApiKeyRow.id)
            .where(ApiSessionRow.token_sha256 == token_sha256, ApiSessionRow.expires_at > now())
        )
        with self._database.read() as session:
            row = session.scalar(query)
            return _key(row) if row else None

    def end_session(self, token_sha256: str) -> None:
        """End a session; nothing happens if there is none."""
        with self._database.write() as session:
            session.execute(delete(ApiSessionRow).where(ApiSessionRow.token_sha256 == token_sha256))


def _key(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        scopes=tuple(row.scopes),
        knowledge_bases=tuple(row.knowledge_bases),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        revocation_logged=row.revocation_logged,
    )


def no_such_key(key_id: str) -> NotFound:
    """Return the error for an id that there is no key of, or none for who asks."""
    return NotFound(f"there is no key {key_id!r}; `rag key list` shows those there are")
