"""What `rag doctor` says of the log, and what it finishes there."""

from __future__ import annotations

import datetime
import hashlib
import json
import sqlite3
from contextlib import closing

import pytest

from knowledge_bases.audit import personal_data
from knowledge_bases.audit.checkpoint import ORIGIN, Checkpoint
from knowledge_bases.database import Database
from knowledge_bases.doctor import examine
from knowledge_bases.home import Home
from knowledge_bases.store.log import Log
from rag.errors import StorageError

TEXT = "The maximum dose of paracetamol is 4 g in 24 hours. Keep it dry."


@pytest.fixture
def asked(home, kb, tmp_path):
    """A home with three recorded answers, none of them signed yet."""
    file = tmp_path / "dose.txt"
    file.write_text(TEXT)
    kb.ingest([file])
    for number in range(3):
        kb.ask(f"What is the maximum dose of paracetamol, number {number}?")
    return home


def found(home, check, *, quick=False):
    return [(one.state, one.detail) for one in examine(home, quick=quick) if one.check == check]


def problems(home, *, quick=False):
    return [one.detail for one in examine(home, quick=quick) if one.state == "problem"]


def edit(home, statement, *values):
    with closing(sqlite3.connect(home.settings.home / "rag.sqlite3")) as database:
        database.execute(statement, values)
        database.commit()


def test_a_sound_log(asked):
    asked.audit.keeping.checkpoint()
    assert problems(asked) == []
    ((state, told),) = found(asked, "log")
    assert (state, told.partition(",")[0]) == ("ok", "4 records")  # The key is one.
    assert found(asked, "log", quick=True) == []
    ((state, told),) = found(asked, "checkpoints")
    assert (state, told.startswith("the newest, of 4 records, is ")) == ("ok", True)


def test_an_empty_log_needs_no_checkpoint(home):
    assert found(home, "checkpoints") == [("ok", "the log is empty")]


def test_unsigned_records_are_a_note(asked):
    told = found(asked, "checkpoints", quick=True)
    assert told == [("note", "none was signed yet; 3 records are unsigned")]
    asked.audit.keeping.checkpoint()
    asked.open("docs").ask("And in 48 hours?")
    edit(
        asked,
        "UPDATE audit_checkpoints SET created_at = ?",
        str(datetime.datetime.now(datetime.UTC).replace(tzinfo=None) - datetime.timedelta(days=3)),
    )
    told = found(asked, "checkpoints", quick=True)
    assert told == [("note", "the newest, of 4 records, is 3 days old; 1 records came after it")]


@pytest.mark.parametrize("quick", [True, False])
def test_a_contradiction_is_shouted(asked, quick):
    asked.audit.keeping.checkpoint()
    log = asked.store.log
    wrong = Checkpoint(ORIGIN + log.state().log_id, 2, hashlib.sha256(b"fork").digest())
    log.add_checkpoint(2, wrong.root, asked.audit.keeping.keys.sign(wrong))
    told = problems(asked, quick=quick)
    assert any(line.startswith("CONTRADICTION: the log's first 2 records") for line in told)


def test_a_log_that_was_cut_off_is_a_contradiction(asked):
    asked.audit.keeping.checkpoint()
    for table in ("records", "payloads", "secrets"):
        edit(asked, f"DELETE FROM audit_{table} WHERE sequence >= 2")
    assert any("CONTRADICTION: size 4 was signed" in line for line in problems(asked, quick=True))


def test_a_changed_payload_is_found_by_reading_all(asked):
    edit(asked, "UPDATE audit_payloads SET nonce = zeroblob(12) WHERE sequence = 1")
    assert problems(asked, quick=True) == []
    (told,) = problems(asked)
    assert "1" in told


def test_of_many_problems_some_are_told_and_the_rest_counted(asked):
    base = asked.open("docs")
    for number in range(30):
        base.ask(f"What is dose {number}?")
    edit(asked, "UPDATE audit_payloads SET nonce = zeroblob(12)")
    told = [detail for _, detail in found(asked, "log")]
    assert len(told) == 21
    assert told[-1].startswith("and 13 more; `rag audit verify --json`")


def cut_short(home, monkeypatch):
    """Erase an answer, but be cut short before the files are cleared; return its row."""
    row = next(home.store.log.all(kinds=("answer",)))

    def refused(*_):
        raise StorageError("the database is in use")

    with monkeypatch.context() as patch:
        patch.setattr(Log, "erase", refused)
        with pytest.raises(StorageError):
            home.audit.eraser.erase_record(row.id, actor="me")
    assert home.store.log.opened(row) is not None
    return row


@pytest.mark.parametrize("quick", [True, False])
def test_an_erasure_that_was_cut_short_is_finished(asked, monkeypatch, quick):
    row = cut_short(asked, monkeypatch)
    assert found(asked, "erasures", quick=quick) == [
        ("note", "one was cut short and is finished now; 1 payloads were left")
    ]
    assert asked.store.log.opened(row) is None
    assert found(asked, "erasures", quick=quick) == [("ok", "none is left unfinished")]
    assert problems(asked) == []


def test_a_restored_payload_is_erased_again(asked):
    row = next(asked.store.log.all(kinds=("answer",)))
    with closing(sqlite3.connect(asked.settings.home / "rag.sqlite3")) as database:
        kept = {
            table: database.execute(
                f"SELECT * FROM audit_{table} WHERE sequence = ?", (row.sequence,)
            ).fetchone()
            for table in ("payloads", "secrets")
        }
    asked.audit.eraser.erase_record(row.id, actor="me")
    for table, values in kept.items():
        edit(asked, f"INSERT INTO audit_{table} VALUES ({','.join('?' * len(values))})", *values)
    assert asked.store.log.opened(row) is not None
    ((state, told),) = found(asked, "erasures")
    assert (state, "1 payloads were left" in told) == ("note", True)
    assert asked.store.log.opened(row) is None


def test_a_legal_hold_keeps_an_erasure_unfinished(asked, monkeypatch):
    row = cut_short(asked, monkeypatch)
    asked.audit.retention.hold(True, "14 O 233/25", actor="me")
    ((state, told),) = found(asked, "erasures")
    assert (state, told) == (
        "note",
        "one was cut short; it is finished once the legal hold ends",
    )
    assert found(asked, "retention")[0][0] == "note"
    assert asked.store.log.opened(row) is not None
    asked.audit.retention.hold(False, actor="me")
    assert found(asked, "erasures")[0][1].startswith("one was cut short and is finished now")
    assert asked.store.log.opened(row) is None


def test_an_erasure_that_can_t_be_finished_is_a_problem(asked, monkeypatch):
    cut_short(asked, monkeypatch)

    def in_use(*_):
        raise StorageError("the database is in use")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "compact", in_use)
        ((state, told),) = found(asked, "erasures", quick=True)
    assert state == "problem"
    assert "`rag doctor` tries again" in told
    assert found(asked, "erasures", quick=True)[0][0] == "note"


def test_payloads_that_are_due_are_a_note(asked):
    assert found(asked, "retention") == [("ok", "payloads are kept for good")]
    asked.audit.retention.keep(200, actor="me")
    assert found(asked, "retention") == [("ok", "payloads are kept for 200 days")]
    edit(asked, "UPDATE audit_records SET created_at = '2020-01-01 00:00:00' WHERE sequence < 2")
    ((state, told),) = found(asked, "retention", quick=True)
    assert state == "note"
    assert "2 are older: `rag audit prune` drops them" in told


def test_a_hold_that_was_edited_away_is_set_right(asked):
    asked.audit.retention.hold(True, "14 O 233/25", actor="me")
    edit(asked, "UPDATE audit_state SET legal_hold = 0")
    told = found(asked, "retention")
    assert told[0][0] == "note"
    assert "legal_hold was False, not True as logged" in told[0][1]
    assert asked.audit.retention.state.legal_hold
    assert len(found(asked, "retention")) == 1


def test_what_finds_personal_data_must_be_there(settings, embedder, monkeypatch):
    masking = settings.model_copy(update={"personal_data": "mask"})
    with Home(masking, embedder=embedder) as home:
        assert found(home, "personal data", quick=True)[0][0] == "ok"

        def missing(name):
            raise ImportError(name)

        monkeypatch.setattr(personal_data, "import_module", missing)
        ((state, told),) = found(home, "personal data", quick=True)
    assert (state, "pip install 'grounded-rag[pii]'" in told) == ("problem", True)


def test_a_damaged_key_list_is_a_problem(asked):
    asked.audit.keeping.checkpoint()
    listed = asked.settings.home / "keys" / "keys.json"
    content = json.loads(listed.read_text())
    listed.write_text(json.dumps(content | {"log": "other"}))
    told = problems(asked)
    assert any("keys.json" in line and "restore it from a backup" in line for line in told)
