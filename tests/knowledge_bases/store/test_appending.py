"""Many append at once, the disk fills, the process is killed: no gap, no fork, nothing lost."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from sqlalchemy import event

from knowledge_bases.audit import merkle
from knowledge_bases.audit.verify import verify
from knowledge_bases.database import Database
from knowledge_bases.store import Store
from knowledge_bases.store.log import Log
from rag.errors import RecordError, StorageError
from rag.settings import Settings

SCRIPT = """
import sys, threading
from pathlib import Path
from knowledge_bases.database import Database
from knowledge_bases.store import Store
from knowledge_bases.store.log import NewRecord
from rag.settings import Settings

home, threads, records = sys.argv[1:]
log = Store.on(Database(Settings(home=Path(home)))).log
lock = threading.Lock()

def work(thread):
    for number in range(int(records)):
        payload = {
            "schema": "grounded-rag/review/1", "kind": "review", "software": "x",
            "actor": f"thread {thread}", "note": number,
        }
        recorded = log.append(NewRecord("review", None, None, payload))
        with lock:
            print(recorded.id, recorded.sequence, recorded.leaf_hash, flush=True)

working = [threading.Thread(target=work, args=(t,)) for t in range(int(threads))]
for thread in working:
    thread.start()
for thread in working:
    thread.join()
"""


def appending(home, *, threads: int, records: int, **options) -> subprocess.Popen:
    arguments = [sys.executable, "-c", SCRIPT, str(home), str(threads), str(records)]
    return subprocess.Popen(arguments, text=True, **options)


def is_sound(log: Log) -> bool:
    hashes = list(log.leaf_hashes())
    rows = list(log.all(oldest_first=True))
    assert [row.sequence for row in rows] == list(range(len(rows)))
    assert all(log.payload(row) for row in rows)
    return log.root() == merkle.root(hashes)


def in_threads(count: int, work) -> list:
    """Run work(0), work(1), … at once; results or errors in that order."""
    found: list = [None] * count

    def run(number):
        try:
            found[number] = work(number)
        except Exception as error:
            found[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_threads_and_processes_at_once(log, record, database) -> None:
    processes = [
        appending(database.home, threads=3, records=12, stdout=subprocess.PIPE) for _ in range(3)
    ]
    own = in_threads(4, lambda t: [log.append(record((t, i))) for i in range(12)])
    told = [(r.id, r.sequence, r.leaf_hash) for part in own for r in part]
    for process in processes:
        lines = process.communicate()[0].splitlines()
        assert (process.returncode, len(lines)) == (0, 36)
        told += [(i, int(s), h) for i, s, h in (line.split() for line in lines)]
    assert sorted(sequence for _, sequence, _ in told) == list(range(len(told)))
    for record_id, sequence, leaf_hash in told:
        row = log.get(record_id)
        assert (row.sequence, row.leaf_hash) == (sequence, leaf_hash)
    assert is_sound(log)
    assert verify(database).ok


def test_those_who_wait_share_a_transaction(log, record, database) -> None:
    begun = []
    event.listen(database._engine, "begin", lambda connection: begun.append(1))
    blocker = sqlite3.connect(database.home / "rag.sqlite3", check_same_thread=False)
    blocker.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.5, blocker.rollback)
    timer.start()
    recorded = in_threads(12, lambda number: log.append(record(number)))
    timer.join()
    blocker.close()
    assert sorted(one.sequence for one in recorded) == list(range(12))
    assert len(begun) <= 4, "the first alone, then all who had come meanwhile"
    assert is_sound(log)


def test_one_unusable_payload_fails_its_own_caller_only(log, record) -> None:
    found = in_threads(
        10, lambda number: log.append(record(float("nan") if number % 3 == 0 else number))
    )
    assert [isinstance(one, RecordError) for one in found] == [n % 3 == 0 for n in range(10)]
    assert log.size() == 6
    assert is_sound(log)


def fill(database: Database) -> None:
    """Let the database grow no more."""

    @event.listens_for(database._engine, "connect")
    def limit(connection, _):
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    database.close()


def test_a_full_disk_fails_all_who_wait_and_leaves_nothing_of_them(log, record, database) -> None:
    kept = log.append(record("kept"))
    fill(database)
    found = in_threads(8, lambda number: log.append(record(f"{number}" * 50_000)))
    assert [type(one) for one in found] == [StorageError] * 8
    assert all("the disk is full" in str(one) for one in found)
    assert len({id(one) for one in found}) == 8
    assert [row.id for row in log.all()] == [kept.id]
    assert is_sound(log)


def test_the_log_goes_on_once_there_is_room_again(log, record, database) -> None:
    fill(database)
    with pytest.raises(StorageError, match="the disk is full"):
        log.append(record("x" * 100_000))
    database.close()
    again = Store.on(Database(Settings(home=database.home))).log
    assert again.append(record("y" * 100_000)).sequence == 0
    assert is_sound(again)


def test_a_locked_database_refuses(tmp_path, record) -> None:
    database = Database(Settings(home=tmp_path / "home", database_timeout_seconds=0.1))
    log = Store.on(database).log
    other = sqlite3.connect(database.home / "rag.sqlite3")
    other.execute("BEGIN IMMEDIATE")
    found = in_threads(5, lambda number: log.append(record(number)))
    assert all("locked by another process" in str(one) for one in found)
    other.rollback()
    other.close()
    assert log.append(record()).sequence == 0
    database.close()


def test_a_read_only_database_refuses(log, record, database) -> None:
    @event.listens_for(database._engine, "connect")
    def make_read_only(connection, _):
        connection.execute("PRAGMA query_only = ON")

    database.close()
    with pytest.raises(StorageError, match="read-only"):
        log.append(record())
    assert log.size() == 0


def test_an_interrupted_write_ends_nobodys_wait_for_good(log, record) -> None:
    calls = []
    real = Log._written

    def interrupted(self, batch):
        calls.append(len(batch))
        time.sleep(0.05)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return real(self, batch)

    log._append._write = lambda batch: interrupted(log, batch)

    def lead():
        with pytest.raises(KeyboardInterrupt):
            log.append(record())

    leader = threading.Thread(target=lead)
    leader.start()
    time.sleep(0.02)
    found = in_threads(4, lambda number: log.append(record(number)))
    leader.join()
    assert sorted(one.sequence for one in found) == [0, 1, 2, 3]
    assert is_sound(log)


def test_killed_at_random_moments(tmp_path, database, log) -> None:
    moments = random.Random(11)
    told: set[str] = set()
    for attempt in range(6):
        lines = tmp_path / f"told-{attempt}"
        with lines.open("w") as output:
            process = appending(database.home, threads=4, records=10_000, stdout=output)
            wanted, deadline = moments.randint(1, 60), time.monotonic() + 60
            while lines.read_bytes().count(b"\n") < wanted and time.monotonic() < deadline:
                assert process.poll() is None
                time.sleep(0.002)
            time.sleep(moments.random() * 0.02)
            process.send_signal(signal.SIGKILL)
            process.wait()
        complete = [
            line for line in lines.read_text().splitlines(keepends=True) if line[-1] == "\n"
        ]
        told |= {line.split()[0] for line in complete}
        assert told <= {row.id for row in log.all()}
    assert is_sound(log)
    assert verify(database).ok
