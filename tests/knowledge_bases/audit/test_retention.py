"""Payloads are kept for six months at least; what is dropped, and every change, is in the log."""

from __future__ import annotations

import datetime

import pytest
from sqlalchemy import text

from eval.bench.made_log import answer
from knowledge_bases.audit import acts
from knowledge_bases.audit.erase import Eraser
from knowledge_bases.audit.retention import FLOOR_DAYS, Retention
from knowledge_bases.audit.verify import verify
from knowledge_bases.database import Database
from knowledge_bases.store import Store
from knowledge_bases.store.shared import now
from rag.errors import NotFound, RecordError, StorageError, UsageError
from rag.settings import Settings


@pytest.fixture
def database(tmp_path):
    opened = Database(Settings(home=tmp_path / "home"))
    yield opened
    opened.close()


@pytest.fixture
def log(database):
    return Store.on(database).log


@pytest.fixture
def retention(database, log) -> Retention:
    return Retention(database, log)


def later(days: int) -> datetime.datetime:
    return now() + datetime.timedelta(days=days)


def no_base(name: str):
    raise NotFound(name)


def test_less_than_six_months_is_refused_in_one_line(log, retention) -> None:
    for days in (FLOOR_DAYS - 1, 30, 0, -1):
        with pytest.raises(UsageError, match=r"183 days.* at least") as raised:
            retention.keep(days, actor="officer")
        assert "\n" not in str(raised.value)
    assert (log.size(), retention.state.retention_days) == (0, None)


def test_what_is_older_is_dropped_and_the_rest_stays(database, log, retention) -> None:
    for number in range(4):
        log.append(answer(number))
    retention.keep(200, actor="officer")
    dropped = retention.prune(later(199), actor="timer")
    assert (dropped.records, dropped.recorded_as) == (0, None)
    root = log.root()
    dropped = retention.prune(later(201), actor="timer")
    assert (dropped.records, dropped.kinds) == (4, {"answer": 4})
    row = log.get(dropped.recorded_as)
    assert (row.kind, row.status, row.sequence) == ("retention", "pruned", 5)
    payload = log.payload(row)
    assert (payload["actor"], payload["retention_days"]) == ("timer", 200)
    assert [log.payload(log.at(number)) for number in range(4)] == [None] * 4
    assert log.payload(log.at(4))["retention_days"] == 200, "what says so is never dropped"
    assert log.root(5) == root
    found = verify(database, subject_hash=log.subject_hash)
    assert (found.problems, found.erased) == ((), 4)
    log.append(answer(5))
    assert verify(database).pending == 0, "what came after the pruning is not named by it"
    log.erase([6])
    assert verify(database).first_bad.sequence == 6
    assert retention.state.last_pruned > later(200)


def test_it_must_be_said_first_how_long(log, retention) -> None:
    with pytest.raises(UsageError, match="set how many days"):
        retention.prune(later(1_000), actor="timer")
    log.append(answer(1))
    retention.keep(FLOOR_DAYS, actor="officer")
    log.set_state(retention_days=5)  # As somebody may who has the database.
    assert retention.prune(later(100), actor="timer").records == 0
    assert len(retention.settle()) == 1
    assert retention.state.retention_days == FLOOR_DAYS
    retention.keep(None, actor="officer")
    assert retention.state.retention_days is None
    assert retention.settle() == []


def test_a_legal_hold(log, retention) -> None:
    log.append(answer(1))
    retention.keep(200, actor="officer")
    held = retention.hold(True, "case 7", actor="counsel")
    assert (held.kind, held.status) == ("retention", "hold on")
    assert log.payload(log.get(held.id))["reason"] == "case 7"
    with pytest.raises(UsageError, match="legal hold"):
        retention.prune(later(300), actor="timer")
    with pytest.raises(UsageError, match="on already"):
        retention.hold(True, actor="counsel")
    log.set_state(legal_hold=False)
    assert len(retention.settle()) == 1
    assert retention.state.legal_hold
    assert retention.hold(False, "closed", actor="counsel").status == "hold off"
    assert retention.prune(later(300), actor="timer").records == 1


def test_what_can_not_be_logged_is_not_done(log, retention, monkeypatch) -> None:
    log.append(answer(1))
    retention.keep(200, actor="officer")

    def refuse(*_):
        raise StorageError("the disk is full")

    monkeypatch.setattr(type(log), "append", refuse)
    for act in (
        lambda: retention.keep(300, actor="officer"),
        lambda: retention.hold(True, actor="officer"),
        lambda: retention.prune(later(300), actor="timer"),
    ):
        with pytest.raises(RecordError, match="nothing is changed"):
            act()
    assert (retention.state.retention_days, retention.state.legal_hold) == (200, False)
    assert log.payload(log.at(0)) is not None


def test_a_pruning_that_was_cut_short_is_finished(database, log, retention) -> None:
    for number in range(3):
        log.append(answer(number))
    retention.keep(200, actor="officer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(log), "erase", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            retention.prune(later(201), actor="timer")
    found = verify(database)
    assert (found.problems, found.pending) == ((), 3)
    eraser = Eraser(database, Store.on(database), no_base)
    assert eraser.unfinished
    assert [one.sequence for one in eraser.pending()] == [0, 1, 2]
    assert eraser.finish() == 3
    assert not eraser.unfinished
    found = verify(database)
    assert (found.problems, found.pending, found.erased) == ((), 0, 3)


def test_a_moment_without_a_zone_names_nothing(database, log) -> None:
    with pytest.raises(ValueError, match="no zone"):
        acts.moment("2026-01-01T00:00:00")
    log.append(answer(1))
    with database.write() as session:
        session.execute(text("DELETE FROM audit_secrets"))
        session.execute(text("DELETE FROM audit_payloads"))
    assert not verify(database).ok


def test_a_hold_whose_record_is_damaged_stays_on(retention, database) -> None:
    held = retention.hold(True, "case 7", actor="counsel")
    with database.write() as session:
        session.execute(
            text("UPDATE audit_payloads SET ciphertext = zeroblob(40) WHERE sequence = :at"),
            {"at": held.sequence},
        )
    assert retention.settle() == []
    assert retention.state.legal_hold
