"""Nobody ever holds an answer that the log doesn't: disk full, database locked, process killed."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import event

from knowledge_bases.home import Home
from rag.errors import RecordError

SCRIPT = """
import sys, threading
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import WordEmbedder
from knowledge_bases.home import Home
from rag.settings import Settings

settings = Settings(
    home=Path({home!r}), calibration=Path({calibration!r}), generator="extractive",
    verifier="guards", reranker="none", answer_threshold=0.0,
)
with Home(settings, embedder=WordEmbedder()) as home:
    base = home.open("docs")
    lock = threading.Lock()

    def work():
        for number in range(10_000):
            recorded = base.ask(f"What is the maximum dose, number {{number}}?")
            with lock:
                print(recorded.record.id, recorded.answer.text, flush=True)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


@pytest.fixture
def answering(settings, embedder, tmp_path):
    """A knowledge base that answers whatever it finds, and waits for no lock."""
    always = settings.model_copy(update={"answer_threshold": 0.0, "database_timeout_seconds": 0.2})
    with Home(always, embedder=embedder) as home:
        base = home.create("docs")
        (tmp_path / "dose.txt").write_text("The maximum dose of paracetamol is 4 g in 24 hours.")
        base.ingest([tmp_path / "dose.txt"])
        base.ask("What is the maximum dose?")
        yield home, base


def test_a_full_disk_gives_no_answer(answering) -> None:
    home, base = answering

    @event.listens_for(home._database._engine, "connect")
    def fill(connection, _):
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    home._database.close()
    told = []

    def ask_on():
        for number in range(50):  # Until the pages that there are have no room left.
            told.append(base.ask(f"What is dose {number}?").log_size)

    with pytest.raises(RecordError, match="withheld: the disk is full"):
        ask_on()
    assert home.store.log.size() == 1 + len(told)
    assert list(home.store.health.log_problems()) == []


def test_a_locked_database_gives_no_answer(answering) -> None:
    home, base = answering
    other = sqlite3.connect(home.settings.home / "rag.sqlite3")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RecordError, match=r"withheld: .* locked by another process"):
        base.ask("What is the maximum dose?")
    other.rollback()
    other.close()
    assert home.store.log.size() == 1
    assert base.ask("What is the maximum dose?").log_size == 2


def test_a_log_that_was_rewritten_gives_no_answer(answering) -> None:
    home, base = answering
    base.ask("What is the maximum dose?")
    with home._database.write() as session:
        session.connection().exec_driver_sql("DELETE FROM audit_records WHERE sequence = 1")
    with pytest.raises(RecordError, match=r"withheld: .* rewritten"):
        base.ask("What is the maximum dose?")


def test_killed_between_answer_and_commit(answering, word_calibration, tmp_path) -> None:
    home, _ = answering
    script = SCRIPT.format(
        tests=str(Path(__file__).parents[1]),
        home=str(home.settings.home),
        calibration=str(word_calibration),
    )
    moments = random.Random(3)
    told: dict[str, str] = {}
    for attempt in range(4):
        lines = tmp_path / f"told-{attempt}"
        with lines.open("w") as output:
            process = subprocess.Popen([sys.executable, "-c", script], stdout=output)
            wanted, deadline = moments.randint(1, 25), time.monotonic() + 100
            while lines.read_bytes().count(b"\n") < wanted and time.monotonic() < deadline:
                assert process.poll() is None
                time.sleep(0.002)
            time.sleep(moments.random() * 0.05)
            process.send_signal(signal.SIGKILL)
            process.wait()
        complete = [one for one in lines.read_text().splitlines(keepends=True) if one[-1] == "\n"]
        told |= dict(line.rstrip("\n").split(" ", 1) for line in complete)
    assert len(told) >= 4
    log = home.store.log
    for record_id, answer in told.items():
        assert log.payload(log.get(record_id))["text"] == answer
    assert list(home.store.health.log_problems()) == []
