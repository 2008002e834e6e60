"""Nobody ever holds an answer that the log doesn't: disk full, database locked, process killed."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from sqlalchemy import event

from knowledge_bases.home import Home
from rag.errors import RagError, RecordError

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
    assert home.audit.verify().ok


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


def test_a_database_locked_by_another_process_gives_no_answer(answering) -> None:
    home, base = answering
    script = (
        "import sqlite3, sys\n"
        "held = sqlite3.connect(sys.argv[1])\n"
        "held.execute('BEGIN EXCLUSIVE')\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(home.settings.home / "rag.sqlite3")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RecordError, match=r"withheld: .* locked by another process"):
            base.ask("What is the maximum dose?")
    assert base.ask("What is the maximum dose?").log_size == 2


ONE_QUESTION = """
import os, resource, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import WordEmbedder
from knowledge_bases.home import Home
from rag.errors import RagError
from rag.settings import Settings

settings = Settings(
    home=Path({home!r}), calibration=Path({calibration!r}), generator="extractive",
    verifier="guards", reranker="none", answer_threshold=0.0, database_timeout_seconds=0.2,
)
with Home(settings, embedder=WordEmbedder()) as home:
    base = home.open("docs")
    base.search("dose")
{fault}
    try:
        for number in range(200):
            recorded = base.ask(f"What is the maximum dose, number {{number}}?")
            print("answer", recorded.record.id, flush=True)
    except RagError as error:
        print("error", type(error).__name__, error, flush=True)
"""
FILE_TOO_LARGE = """
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    wal = settings.home / "rag.sqlite3-wal"
    most = max(wal.stat().st_size, (settings.home / "rag.sqlite3").stat().st_size) + 60_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
"""
ENDS_BEFORE_COMMIT = """
    import knowledge_bases.store.log as log
    log._rows = lambda *_: os._exit(9)
"""
ENDS_AT_COMMIT = """
    from sqlalchemy import event

    @event.listens_for(home._database._engine, "commit")
    def end(connection):
        os.kill(os.getpid(), signal.SIGKILL)
"""
READ_ONLY = """
    home._database.close()
    os.setgid(65534)
    os.setuid(65534)
"""


def ask_in_a_process(home: Home, calibration: Path, fault: str) -> tuple[list[str], list[str], int]:
    """Ask until it fails; return the ids of answers that were given, the errors, how it ended."""
    script = ONE_QUESTION.format(
        tests=str(Path(__file__).parents[1]),
        home=str(home.settings.home),
        calibration=str(calibration),
        fault=fault,
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    answers = [rest for kind, _, rest in lines if kind == "answer"]
    return answers, [rest for kind, _, rest in lines if kind == "error"], done.returncode


def test_a_file_that_may_not_grow_gives_no_answer(answering, word_calibration) -> None:
    home, _ = answering
    answers, errors, _ = ask_in_a_process(home, word_calibration, FILE_TOO_LARGE)
    assert len(errors) == 1
    assert errors[0].startswith("RecordError")
    log = home.store.log
    assert all(log.payload(log.get(record_id)) for record_id in answers)
    assert log.size() == 1 + len(answers)
    assert home.audit.verify().ok


@pytest.mark.parametrize("fault", [ENDS_BEFORE_COMMIT, ENDS_AT_COMMIT], ids=["before", "at"])
def test_a_process_that_ends_before_it_has_committed_gave_no_answer(
    answering, word_calibration, fault
) -> None:
    home, _ = answering
    answers, errors, code = ask_in_a_process(home, word_calibration, fault)
    assert (answers, errors) == ([], [])
    assert code in (9, -signal.SIGKILL)
    assert home.store.log.size() == 1
    assert home.audit.verify().ok


@pytest.mark.skipif(os.geteuid() != 0, reason="takes its own rights away, which only root can")
def test_a_read_only_folder_gives_no_answer(answering, word_calibration) -> None:
    home, _ = answering
    temporary = Path(tempfile.gettempdir())
    for folder in home.settings.home.parents:
        if temporary in folder.parents:
            folder.chmod(0o755)  # To be read by somebody without rights, but not written to.
    home.settings.home.chmod(0o755)
    answers, errors, _ = ask_in_a_process(home, word_calibration, READ_ONLY)
    assert answers == []
    assert len(errors) == 1
    assert home.store.log.size() == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to what is read-only")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_is_read_only_gives_no_answer(answering, what) -> None:
    home, base = answering
    home._database.close()
    path = home.settings.home / "rag.sqlite3" if what == "file" else home.settings.home
    mode = path.stat().st_mode
    path.chmod(0o400 if what == "file" else 0o500)
    try:
        with pytest.raises(RagError):
            base.ask("What is the maximum dose?")
    finally:
        path.chmod(mode)
    home._database.close()
    assert home.store.log.size() == 1
    assert base.ask("What is the maximum dose?").log_size == 2


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
    assert home.audit.verify().ok
