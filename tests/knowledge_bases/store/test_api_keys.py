"""Keys and sessions in the database: found, revoked, noted, forgotten."""

from __future__ import annotations

import datetime
import itertools

import pytest

from knowledge_bases.store import Store
from knowledge_bases.store.api_keys import ApiKey, ApiKeys
from knowledge_bases.store.shared import now
from rag.errors import NotFound

HOUR = datetime.timedelta(hours=1)
NUMBERS = itertools.count()


@pytest.fixture
def keys(store: Store) -> ApiKeys:
    return store.api_keys


def made(keys: ApiKeys, *, expires_at: datetime.datetime | None = None, name: str = "a") -> ApiKey:
    key = ApiKey(f"{next(NUMBERS):012x}", name, ("ask",), ("docs",), now(), expires_at)
    keys.add(key, "d" * 64)
    return key


def test_what_is_stored_is_found(keys: ApiKeys) -> None:
    key = made(keys, expires_at=now() + HOUR, name="Überweisung")
    assert keys.find(key.id) == (key, "d" * 64)
    assert keys.get(key.id) == key
    assert keys.find("none") is None
    with pytest.raises(NotFound, match="rag key list"):
        keys.get("none")


def test_all_are_listed_in_the_order_they_were_made(keys: ApiKeys) -> None:
    assert keys.all() == []
    each = [made(keys, name=name) for name in "cab"]
    keys.revoke(each[1].id)
    assert [key.id for key in keys.all()] == [key.id for key in each]


def test_the_state_of_a_key() -> None:
    at = now()
    key = ApiKey("0", "a", ("ask",), ("docs",), at, at + HOUR)
    assert key.state(at) == "active"
    assert key.state(at + HOUR) == "expired", "not valid at the moment it ends"
    assert key.state() == "active"
    revoked = ApiKey("0", "a", ("ask",), ("docs",), at, None, revoked_at=at)
    assert revoked.state() == "revoked"


def test_whether_any_would_be_let_in(keys: ApiKeys) -> None:
    assert not keys.any_active()
    made(keys, expires_at=now() - HOUR)
    assert not keys.any_active()
    ending, endless = made(keys, expires_at=now() + HOUR), made(keys)
    assert keys.any_active()
    keys.revoke(endless.id)
    assert keys.any_active()
    keys.revoke(ending.id)
    assert not keys.any_active()


def test_a_key_is_revoked_once(keys: ApiKeys) -> None:
    key = made(keys)
    first = keys.revoke(key.id)
    assert first.state() == "revoked"
    assert keys.revoke(key.id).revoked_at == first.revoked_at
    with pytest.raises(NotFound):
        keys.revoke("none")


def test_use_is_written_once_an_hour(keys: ApiKeys) -> None:
    key = made(keys)
    keys.note_use(key)
    used = keys.get(key.id)
    assert used.last_used_at == now().replace(minute=0, second=0, microsecond=0)
    recent = ApiKey(key.id, "a", ("ask",), ("docs",), now(), None, last_used_at=now() - HOUR / 2)
    keys.revoke(key.id)
    keys.note_use(recent)
    assert keys.get(key.id).last_used_at == used.last_used_at


def test_a_session_lasts_until_it_ends(keys: ApiKeys) -> None:
    key = made(keys)
    keys.add_session("1" * 64, key.id, now() + HOUR)
    keys.add_session("2" * 64, key.id, now() - HOUR)
    assert keys.key_of_session("1" * 64) == key
    assert keys.key_of_session("2" * 64) is None
    assert keys.key_of_session("3" * 64) is None
    keys.end_session("1" * 64)
    keys.end_session("1" * 64)
    assert keys.key_of_session("1" * 64) is None


def test_revoking_ends_the_sessions_of_that_key_alone(keys: ApiKeys) -> None:
    one, other = made(keys), made(keys)
    keys.add_session("1" * 64, one.id, now() + HOUR)
    keys.add_session("2" * 64, other.id, now() + HOUR)
    keys.revoke(one.id)
    assert keys.key_of_session("1" * 64) is None
    assert keys.key_of_session("2" * 64) == other


def test_no_session_begins_with_a_revoked_key(keys: ApiKeys) -> None:
    key = made(keys)
    keys.revoke(key.id)
    for key_id in (key.id, "none"):
        with pytest.raises(NotFound):
            keys.add_session("1" * 64, key_id, now() + HOUR)
