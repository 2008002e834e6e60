"""Keys and checkpoints come by themselves, and what goes wrong with them fails no answer."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from eval.bench.made_log import answer
from knowledge_bases.audit import checkpoint as checkpoints
from knowledge_bases.audit.verify import verify
from knowledge_bases.database import Database
from knowledge_bases.log_keeping import LogKeeping
from knowledge_bases.store import Store
from rag.errors import DigestMismatch, IntegrityError
from rag.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home", checkpoint_dir=tmp_path / "outside", checkpoint_leaves=5
    )


@pytest.fixture
def database(settings: Settings):
    opened = Database(settings)
    yield opened
    opened.close()


@pytest.fixture
def log(database):
    return Store.on(database).log


@pytest.fixture
def keeping(log, settings):
    made = LogKeeping(log, settings)
    yield made
    made.close()


def grow(log, keeping: LogKeeping, records: int) -> None:
    for number in range(records):
        keeping.appended(log.append(answer(number)).log_size)


def published(settings: Settings) -> list[str]:
    folder = settings.checkpoint_dir
    return sorted(path.name for path in folder.rglob("*.txt"))


def test_the_first_record_brings_a_key_and_a_checkpoint(log, keeping, settings) -> None:
    assert (keeping.verifier_keys(), list(keeping.problems())) == ([], [])
    grow(log, keeping, 1)
    keeping.close()
    (key,) = keeping.verifier_keys()
    (row,) = log.all(kinds=("key",))
    payload = log.payload(row)
    assert (row.status, payload["key"], payload["replaces"]) == ("created", str(key.key), None)
    (signed,) = log.checkpoints()
    assert (signed.size, signed.root) == (2, log.root().hex())
    assert checkpoints.verify(signed.note, [key]).size == 2
    assert published(settings) == ["000000000002.txt"]
    assert (settings.home / "published").read_text() == "2"
    assert list(keeping.problems()) == []


def test_more_come_after_so_many_records(log, keeping, database) -> None:
    grow(log, keeping, 1)
    deadline = time.monotonic() + 60
    while not log.checkpoints() and time.monotonic() < deadline:
        time.sleep(0.01)
    grow(log, keeping, 12)
    keeping.close()
    sizes = [row.size for row in log.checkpoints()]
    assert 2 <= len(sizes) <= 4
    assert log.size() - sizes[-1] < 5
    assert verify(database, keys=keeping.verifier_keys()).ok


def test_on_demand_one_is_signed_once(log, keeping) -> None:
    grow(log, keeping, 3)
    note = keeping.checkpoint()
    assert checkpoints.read(note).size == log.size()
    assert keeping.checkpoint() == note
    log.append(answer(9))
    assert checkpoints.read(keeping.checkpoint()).size == log.size()


def test_an_empty_log_can_be_signed(log, keeping) -> None:
    assert checkpoints.read(keeping.checkpoint()).size == log.size() == 1


def test_rotation(log, keeping, database) -> None:
    grow(log, keeping, 2)
    keeping.checkpoint()
    new = keeping.rotate(actor="officer")
    old, current = keeping.verifier_keys()
    assert (current.key, old.until) == (new, log.size())
    newest = next(iter(log.checkpoints(newest_first=True)))
    for key in (old, current):
        assert checkpoints.verify(newest.note, [key]).size == log.size()
    created, rotated = log.all(kinds=("key",), oldest_first=True)
    assert (created.status, rotated.status) == ("created", "rotated")
    assert log.payload(rotated)["replaces"] == str(old.key)
    keeping.rotate(lost=True, actor="officer")
    assert [row.status for row in log.all(kinds=("key",), limit=1)] == ["lost"]
    grow(log, keeping, 3)
    keeping.checkpoint()
    assert verify(database, keys=keeping.verifier_keys()).ok
    assert list(keeping.problems()) == []


def test_a_key_that_was_made_and_not_logged_is_logged_later(log, keeping) -> None:
    keeping.keys.create(log.state().log_id)
    keeping.checkpoint()
    assert [row.status for row in log.all(kinds=("key",))] == ["created"]


def test_a_failing_signature_fails_no_answer_and_is_told(log, keeping, settings) -> None:
    grow(log, keeping, 1)
    keeping.checkpoint()
    (secret,) = (settings.home / "keys").glob("*.key")
    secret.unlink()
    grow(log, keeping, 8)
    keeping.close()
    assert log.size() == 10
    assert any("no checkpoint was signed" in line for line in keeping.problems())
    with pytest.raises(IntegrityError, match="missing"):
        keeping.checkpoint()


def test_a_log_that_contradicts_its_checkpoint_is_not_signed(
    log, keeping, settings, database
) -> None:
    grow(log, keeping, 4)
    keeping.checkpoint()
    with closing(sqlite3.connect(settings.home / "rag.sqlite3")) as sql, sql:
        sql.execute("DELETE FROM audit_records WHERE sequence >= 2")
        sql.execute("DELETE FROM audit_nodes WHERE level > 1 OR position > 0")
        for table in ("payloads", "secrets", "citations", "subjects", "verdicts"):
            sql.execute(f"DELETE FROM audit_{table} WHERE sequence >= 2")
    with pytest.raises(DigestMismatch, match="contradicts"):
        keeping.checkpoint()
    assert any("CONTRADICTION" in line for line in keeping.problems())
    for number in range(6):
        log.append(answer(100 + number))
    with pytest.raises(DigestMismatch, match="contradicts"):
        keeping.checkpoint()
    assert any("CONTRADICTION" in line for line in keeping.problems())
    assert not verify(database, keys=keeping.verifier_keys()).ok


def test_checkpoints_outside_tell_of_those_that_were_taken_out_inside(
    log, keeping, settings
) -> None:
    grow(log, keeping, 4)
    keeping.checkpoint()
    keeping.close()
    with closing(sqlite3.connect(settings.home / "rag.sqlite3")) as sql, sql:
        sql.execute("DELETE FROM audit_checkpoints")
        sql.execute("UPDATE audit_records SET leaf_hash = hex(zeroblob(32)) WHERE sequence = 0")
        sql.execute("UPDATE audit_nodes SET hash = zeroblob(32) WHERE level = 2")
    assert any("CONTRADICTION" in line for line in LogKeeping(log, settings).problems())


def test_what_was_not_published_is_published_at_the_next_start(log, settings) -> None:
    nowhere = settings.model_copy(update={"checkpoint_dir": settings.home / "rag.sqlite3"})
    broken = LogKeeping(log, nowhere)
    grow(log, broken, 3)
    broken.checkpoint()
    broken.close()
    assert any("can't write checkpoints" in line for line in broken.problems())
    assert not (settings.home / "published").exists()
    again = LogKeeping(log, settings)
    again.start()
    again.close()
    assert published(settings) == [f"{row.size:012d}.txt" for row in log.checkpoints()]
    assert (settings.home / "published").read_text() == str(log.checkpoints()[-1].size)
    third = LogKeeping(log, settings)
    third.start()
    assert third.publisher.flush(0)
    third.close()


def test_two_at_once_sign_one_chain(log, settings, database) -> None:
    keepers = [LogKeeping(log, settings) for _ in range(3)]
    for number in range(20):
        size = log.append(answer(number)).log_size
        for keeper in keepers:
            keeper.appended(size)
    for keeper in keepers:
        keeper.close()
    assert len(keepers[0].verifier_keys()) == 1
    assert len(list(log.all(kinds=("key",)))) == 1
    assert verify(database, keys=keepers[0].verifier_keys()).ok


def test_keys_that_are_gone_are_not_made_anew_in_silence(log, settings) -> None:
    keeping = LogKeeping(log, settings)
    grow(log, keeping, 3)
    keeping.checkpoint()
    keeping.close()
    shutil.rmtree(settings.home / "keys", ignore_errors=False)
    again = LogKeeping(log, settings)
    log.append(answer(50))
    with pytest.raises(IntegrityError, match="rotate-key --lost"):
        again.checkpoint()
    assert any("rotate-key --lost" in line for line in again.problems())
    new = again.rotate(lost=True)
    assert again.verifier_keys()[-1].key == new
    assert "lost" in [row.status for row in log.all(kinds=("key",))]
    assert log.checkpoints()[-1].size == log.size()
    again.close()
