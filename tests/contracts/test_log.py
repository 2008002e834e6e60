"""What the log must do on every database: on SQLite, and on the PostgreSQL that is given.

``TEST_POSTGRES_URL=postgresql+psycopg://user@host:port/db`` names a server on which databases may
be made and dropped; without it those cases are skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, event, make_url, text

from eval.bench.made_log import answer, sign
from knowledge_bases.audit import merkle
from knowledge_bases.audit.erase import Eraser
from knowledge_bases.audit.keys import KeyRing
from knowledge_bases.audit.verify import verify
from knowledge_bases.database import Database
from knowledge_bases.store import Store
from knowledge_bases.store.log import Log
from rag.errors import DigestMismatch, LegalHold, NotFound, RecordError, StorageError
from rag.settings import Settings

POSTGRES = os.environ.get("TEST_POSTGRES_URL")
"""Read once, before a fixture hides the user's settings."""
APPEND = """
import sys, threading
from pathlib import Path
from eval.bench.made_log import answer
from knowledge_bases.database import Database
from knowledge_bases.store import Store
from rag.settings import Settings

home, url, records = sys.argv[1:]
log = Store.on(Database(Settings(home=Path(home), database_url=url or None))).log
lock = threading.Lock()

def work():
    for number in range(int(records)):
        recorded = log.append(answer(number))
        with lock:
            print(recorded.sequence, recorded.leaf_hash, flush=True)

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param(
            "postgresql",
            marks=[
                pytest.mark.postgres,
                pytest.mark.skipif(not POSTGRES, reason="TEST_POSTGRES_URL is not set"),
            ],
        ),
    ]
)
def settings(request, tmp_path) -> Iterator[Settings]:
    if request.param == "sqlite":
        yield Settings(home=tmp_path / "home")
        return
    server = create_engine(make_url(POSTGRES or ""), isolation_level="AUTOCOMMIT")
    name = f"log_{uuid.uuid4().hex}"
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    url = make_url(POSTGRES or "").set(database=name).render_as_string(hide_password=False)
    yield Settings(home=tmp_path / "home", database_url=url)
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    server.dispose()


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    opened = Database(settings)
    yield opened
    opened.close()


@pytest.fixture
def log(database: Database) -> Log:
    return Store.on(database).log


def problems(database: Database, log: Log, **options) -> tuple:
    return verify(database, subject_hash=log.subject_hash, **options).problems


def test_threads_and_processes_at_once_leave_no_gap_and_no_fork(settings, database, log) -> None:
    arguments = [str(settings.home), settings.database_url or "", "10"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", APPEND, *arguments], text=True, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    told: list[tuple[int, str]] = []

    def work() -> None:
        for number in range(10):
            recorded = log.append(answer(number))
            told.append((recorded.sequence, recorded.leaf_hash))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        lines = process.communicate()[0].splitlines()
        assert (process.returncode, len(lines)) == (0, 30)
        told += [(int(sequence), leaf_hash) for sequence, leaf_hash in map(str.split, lines)]
    assert sorted(sequence for sequence, _ in told) == list(range(100))
    hashes = [found.hex() for found in log.leaf_hashes()]
    assert all(hashes[sequence] == leaf_hash for sequence, leaf_hash in told)
    assert log.root() == merkle.root([bytes.fromhex(one) for one in hashes])
    assert problems(database, log) == ()


def test_those_who_wait_share_a_transaction(database, log) -> None:
    log.append(answer(0))
    commits: list[int] = []
    event.listen(database._engine, "commit", lambda connection: commits.append(1))
    threads = [threading.Thread(target=lambda n=n: log.append(answer(n))) for n in range(12)]
    with database.write() as session:  # Nobody else appends meanwhile.
        session.execute(text("UPDATE audit_state SET id = id"))
        for thread in threads:
            thread.start()
        threads[0].join(0.5)
    for thread in threads:
        thread.join()
    assert log.size() == 13
    assert len(commits) <= 5
    assert problems(database, log) == ()


def test_proofs_and_checkpoints(settings, database, log) -> None:
    keys = KeyRing(settings.home / "keys")
    keys.create(log.state().log_id)
    for number in range(11):
        log.append(answer(number))
    sign(log, keys, 4)
    sign(log, keys)
    root = log.root()
    for index, leaf_hash in enumerate(log.leaf_hashes()):
        proof = log.inclusion_proof(index)
        assert merkle.verify_inclusion(leaf_hash, index, 11, proof, root)
    grown = log.consistency_proof(4)
    assert merkle.verify_consistency(4, 11, grown, log.root(4), root)
    found = verify(database, keys=keys.listed(), subject_hash=log.subject_hash)
    assert (found.problems, found.checkpoints, found.signed_size) == ((), 2, 11)
    with pytest.raises(DigestMismatch, match="another root"):
        log.add_checkpoint(11, b"\0" * 32, "")


def test_tampering_is_found(settings, database, log) -> None:
    keys = KeyRing(settings.home / "keys")
    keys.create(log.state().log_id)
    for number in range(9):
        log.append(answer(number))
    note = sign(log, keys)
    with database.write() as session:
        session.execute(text("UPDATE audit_records SET status = 'abstained' WHERE sequence = 5"))
    (problem,) = problems(database, log, keys=keys.listed(), notes={"kept": note})
    assert (problem.sequence, "status" in problem.line) == (5, True)
    with database.write() as session:
        for table in ("records", "payloads", "secrets", "citations", "subjects"):
            session.execute(text(f"DELETE FROM audit_{table} WHERE sequence >= 5"))
    found = verify(database, keys=keys.listed(), notes={"kept": note})
    assert found.first_bad is not None
    assert found.first_bad.sequence == 5
    with pytest.raises(DigestMismatch, match="rewritten"):
        log.append(answer(5))


def test_a_payload_without_its_shape_and_a_refused_write_leave_nothing(database, log) -> None:
    new = answer(0)
    log.append(new)
    with pytest.raises(RecordError):
        log.append(answer(1, text="x" * 9 + "\ud800"))
    with pytest.raises((StorageError, DigestMismatch)):
        log.append(new)  # There is a record of that id.
    assert log.size() == 1
    assert log.append(answer(2)).sequence == 1
    assert problems(database, log) == ()


def test_erasing_leaves_every_proof(settings, database, log) -> None:
    for number in range(8):
        log.append(answer(number, asker="jane.doe" if number % 2 else "someone"))
    root = log.root()
    held = [log.at(number).leaf for number in range(8)]
    log.set_state(legal_hold=True)

    def none_open(name: str):
        raise NotFound(name)

    eraser = Eraser(database, Store.on(database), none_open)
    with pytest.raises(LegalHold):
        eraser.erase_subject("jane.doe", actor="officer")
    log.set_state(legal_hold=False)
    assert eraser.erase_subject("jane.doe", actor="officer").records == 4
    assert [log.payload(log.at(number)) is None for number in range(8)] == [False, True] * 4
    assert [log.at(number).leaf for number in range(8)] == held
    assert (log.root(8), log.by_subject("jane.doe")) == (root, [])
    assert log.citing("docs", "a.txt") == [0, 2, 4, 6]
    assert problems(database, log) == ()
    assert not eraser.unfinished


def test_what_is_erased_is_in_no_file_of_a_server(database, log) -> None:
    for number in range(8):
        log.append(answer(number))
    with database.read() as session:
        sealed = text("SELECT key, salt FROM audit_secrets WHERE sequence < 4")
        secrets = [bytes(part) for row in session.execute(sealed) for part in row]
    log.erase(range(4))
    database.compact()
    stored = b"".join(_stored(database))
    assert len(stored) > 20_000
    assert not [secret for secret in secrets if secret in stored]
    assert problems(database, log)  # Nothing in the log says why they are gone.


def _stored(database: Database) -> Iterator[bytes]:
    """Yield the raw bytes that the tables are stored as."""
    if database.url.get_backend_name() == "sqlite":
        for path in database.home.rglob("rag.sqlite3*"):
            yield path.read_bytes()
        return
    with database.read() as session:
        files = text(
            "SELECT pg_read_binary_file(pg_relation_filepath(oid)) FROM pg_class "
            "WHERE relfilenode <> 0 AND relkind IN ('r', 'i', 't')"
        )
        session.execute(text("CHECKPOINT"))
        for (content,) in session.execute(files):
            yield bytes(content)
