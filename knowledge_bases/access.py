"""Who may do what: the keys of the service, made, revoked and compared with what is shown."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from knowledge_bases import recording
from knowledge_bases.audit_log import AuditLog
from knowledge_bases.recording import LOCAL
from knowledge_bases.store import Store
from knowledge_bases.store.api_keys import EVERY, ApiKey
from knowledge_bases.store.shared import now
from rag.errors import NotFound, StorageError, UsageError

SCOPES = ("ask", "ingest", "audit", "review", "metrics", "admin")
"""What a key may be for; none of them contains another."""
SECRET = re.compile(r"rag_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
"""A key as text: its public id, and 256 random bits as base64url."""
_SESSION = datetime.timedelta(hours=12)
_NAME_CHARS = 100
_MOST_GRANTS = 500
_NO_DIGEST = "0" * 64
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asker:
    """Whoever sent a request, and what they may do.

    Attributes:
        id: the key's public id, or "local" where there are no keys.
        label: as the log names them.
        scopes: of `SCOPES`.
        knowledge_bases: names granted; None for all.
    """

    id: str
    label: str
    scopes: frozenset[str]
    knowledge_bases: frozenset[str] | None

    def sees(self, kb_name: str | None) -> bool:
        """Say whether something of a knowledge base is for them; None is of no single one."""
        return self.knowledge_bases is None or kb_name in self.knowledge_bases

    def may_manage(self, key: ApiKey) -> bool:
        """Say whether a key is granted nothing beyond what they are."""
        if self.knowledge_bases is None:
            return True
        return self.knowledge_bases.issuperset(key.knowledge_bases)


LOCAL_ASKER = Asker(LOCAL, LOCAL, frozenset(SCOPES), None)
"""Whoever uses this machine, where the service is for them alone."""


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in of which the token is told once."""

    token: str
    asker: Asker
    expires_at: datetime.datetime


class Access:
    """Makes and revokes keys, which the log tells of, and says who somebody is by what they show.

    Every question to it is one to the database, so that what another process revoked is revoked
    here at once.

    Args:
        store: keeps the keys' digests.
        audit: the log.
    """

    def __init__(self, store: Store, audit: AuditLog) -> None:
        self._kbs = store.kbs
        self._keys = store.api_keys
        self._audit = audit

    def create(
        self,
        name: str,
        *,
        scopes: Sequence[str],
        knowledge_bases: Sequence[str],
        expires_at: datetime.datetime | None,
        actor: str = LOCAL,
    ) -> tuple[ApiKey, str]:
        """Make a key and return it with its text, which nobody can tell again.

        The log has the record before the key is valid.

        Args:
            name: what it is for, e.g. who has it.
            scopes: of `SCOPES`.
            knowledge_bases: names that it is granted, or `EVERY` alone.
            expires_at: from when on it is not valid; None never.
            actor: who makes it.

        Raises:
            UsageError: there is no such scope, nothing is granted, or the name or time can't be.
            NotFound: there is no such knowledge base.
            RecordError: the log refused the record, so there is no key.
            StorageError: the database refused the key; the log's record is of one never used.
        """
        self._check(name, scopes, knowledge_bases, expires_at)
        key_id = secrets.token_hex(6)
        text = f"rag_{key_id}_{secrets.token_urlsafe(32)}"
        key = ApiKey(
            id=key_id,
            name=name,
            scopes=tuple(scope for scope in SCOPES if scope in scopes),
            knowledge_bases=tuple(sorted(set(knowledge_bases))),
            created_at=now(),
            expires_at=expires_at and expires_at.astimezone(datetime.UTC),
        )
        new = recording.access("created", key, actor=actor)
        self._audit.record(new, "the key could not be logged, so it is not made")
        self._keys.add(key, _digest(text))
        return key, text

    def revoke(self, key_id: str, *, actor: str = LOCAL) -> ApiKey:
        """Revoke a key, for the next request of any process; a second time changes nothing.

        Raises:
            NotFound: there is none of that id.
            RecordError: it is revoked, but the log refused the record of that.
        """
        key = self._keys.revoke(key_id)
        if not key.revocation_logged:
            new = recording.access("revoked", key, actor=actor)
            self._audit.record(
                new, f"key {key_id} is revoked, but that was not logged; revoke it again"
            )
            self._keys.note_revocation_logged(key_id)
        return key

    def asker_of_key(self, text: str) -> Asker | None:
        """Return who has a key; None unless it is one, and valid now.

        Raises:
            StorageError: the database can't be read.
        """
        key = self._valid(text)
        return None if key is None else self._used(key)

    def begin_session(self, text: str) -> Session | None:
        """Begin a session with a key; None unless it is one, and valid now.

        Raises:
            StorageError: the database refused it.
        """
        key = self._valid(text)
        if key is None:
            return None
        token = secrets.token_urlsafe(32)
        ends = now() + _SESSION
        if key.expires_at is not None:
            ends = min(ends, key.expires_at)
        try:
            self._keys.add_session(_digest(token), key.id, ends)
        except NotFound:
            return None  # Revoked a moment ago.
        return Session(token, self._used(key), ends)

    def asker_of_session(self, token: str) -> Asker | None:
        """Return who signed in; None once the session has ended or its key is not valid any more.

        Raises:
            StorageError: the database can't be read.
        """
        # Found by a digest of what was sent, whose bytes nobody can choose one by one.
        key = self._keys.key_of_session(_digest(token))
        return self._used(key) if key is not None and key.state() == "active" else None

    def end_session(self, token: str) -> None:
        """End a session; nothing happens if there is none."""
        self._keys.end_session(_digest(token))

    def _valid(self, text: str) -> ApiKey | None:
        named = SECRET.fullmatch(text)
        found = self._keys.find(named[1]) if named else None
        expected = found[1] if found else _NO_DIGEST
        same = hmac.compare_digest(expected, _digest(text))
        return found[0] if found and same and found[0].state() == "active" else None

    def _used(self, key: ApiKey) -> Asker:
        try:
            self._keys.note_use(key)
        except StorageError as error:  # That it was used is no reason to refuse it.
            _log.warning("the use of key %s could not be noted: %s", key.id, error)
        every = EVERY in key.knowledge_bases
        return Asker(
            key.id,
            f"{key.name} (key {key.id})",
            frozenset(key.scopes),
            None if every else frozenset(key.knowledge_bases),
        )

    def _check(
        self,
        name: str,
        scopes: Sequence[str],
        knowledge_bases: Sequence[str],
        expires_at: datetime.datetime | None,
    ) -> None:
        if not 1 <= len(name) <= _NAME_CHARS or not name.isprintable() or name != name.strip():
            raise UsageError(f"a key's name is one line of 1 to {_NAME_CHARS} characters")
        if SECRET.search(name):
            raise UsageError("a key's name is shown and logged: don't put a key into it")
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            wrong = f"there is no scope {unknown[0]!r}" if unknown else "a key needs a scope"
            raise UsageError(f"{wrong}; there are: {', '.join(SCOPES)}")
        if not knowledge_bases:
            raise UsageError("a key needs knowledge bases: name them, or grant all")
        if EVERY in knowledge_bases and set(knowledge_bases) != {EVERY}:
            raise UsageError("name knowledge bases, or grant all; not both")
        if len(set(knowledge_bases)) > _MOST_GRANTS:
            raise UsageError(f"a key may be granted {_MOST_GRANTS} knowledge bases by name, or all")
        for kb_name in knowledge_bases:
            if kb_name != EVERY:
                self._kbs.get(kb_name)
        if expires_at is not None and expires_at <= now():
            raise UsageError(f"{expires_at:%Y-%m-%d %H:%M} UTC is past: give a time to come")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
