"""The secret that whom records are about is noted under: kept, lost, replaced, made anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock
from sqlalchemy import text

from eval.bench.made_log import answer
from knowledge_bases.home import Home
from knowledge_bases.upload_clearing import SERVER_LOCK
from rag.errors import StorageError, UsageError
from rag.settings import Settings

WHO = "jane.doe@example.org"


@pytest.fixture
def secret(home: Home) -> Path:
    """Two records about somebody, one about another; the file of the secret."""
    for number, asker in enumerate((WHO, "someone", WHO)):
        home.store.log.append(answer(number, asker=asker))
    return home.settings.home / "keys" / "subjects.secret"


def again(home: Home) -> Home:
    return Home(Settings(home=home.settings.home))


@pytest.mark.parametrize("harm", ["lost", "replaced", "damaged"])
def test_a_secret_that_is_not_the_logs_finds_nobody_instead_of_nothing(
    home: Home, secret: Path, harm: str
) -> None:
    before = secret.read_bytes()
    if harm == "lost":
        secret.unlink()
    else:
        secret.write_bytes(b"x" * (32 if harm == "replaced" else 5))
    with again(home) as opened:
        log = opened.store.log
        size = log.size()
        for use in (
            lambda: opened.audit.eraser.erase_subject(WHO, actor="officer"),
            lambda: log.append(answer(9)),
        ):
            with pytest.raises(StorageError, match="renew-subjects"):
                use()
        assert log.size() == size
        found = opened.audit.verify()
        assert [one.line for one in found.problems if "renew-subjects" in one.line]
        assert secret.exists() == (harm != "lost")
    secret.write_bytes(before)
    with again(home) as opened:
        assert opened.audit.verify().ok
        assert opened.audit.eraser.erase_subject(WHO, actor="officer").records == 2


def test_it_is_made_anew_from_the_payloads(home: Home, secret: Path) -> None:
    before = secret.read_bytes()
    home.audit.eraser.erase_record(home.store.log.at(2).id, actor="officer")
    secret.unlink()
    with again(home) as opened:
        done = opened.audit.renew_subjects(actor="officer")
        assert (done.noted, done.unreadable) == (2, 0)
        assert secret.read_bytes() != before
        assert secret.stat().st_mode & 0o777 == 0o600
        assert list(secret.parent.glob(".subjects*")) == []
        assert opened.audit.verify().ok
        log = opened.store.log
        said = log.at(log.size() - 1)
        assert (said.kind, said.status) == ("retention", "subjects renewed")
        assert log.by_subject(WHO) == [0]
        assert opened.audit.eraser.erase_subject(WHO, actor="officer").records == 1
        assert log.by_subject("someone") == [1]
        assert opened.audit.verify().ok


def test_a_payload_that_cant_be_opened_is_counted_and_stops_nothing(
    home: Home, secret: Path
) -> None:
    with home._database.write() as session:
        session.execute(text("UPDATE audit_secrets SET key = zeroblob(32) WHERE sequence = 0"))
    secret.unlink()
    with again(home) as opened:
        done = opened.audit.renew_subjects(actor="officer")
        assert (done.noted, done.unreadable) == (2, 1)
        assert opened.store.log.by_subject(WHO) == [2]


def test_one_edited_note_does_not_stop_the_log(home: Home, secret: Path) -> None:
    with home._database.write() as session:
        session.execute(text("UPDATE audit_subjects SET subject_hash = 'x' WHERE sequence = 2"))
    with again(home) as opened:
        opened.store.log.append(answer(9))
        found = opened.audit.verify().first_bad
        assert found is not None
        assert found.sequence == 2


def test_not_while_a_server_runs(home: Home, secret: Path) -> None:
    before = secret.read_bytes()
    with FileLock(home.settings.home / SERVER_LOCK), pytest.raises(UsageError, match="rag serve"):
        home.audit.renew_subjects(actor="officer")
    assert secret.read_bytes() == before


def test_a_log_about_nobody_gets_a_secret(home: Home) -> None:
    assert home.store.log.by_subject(WHO) == []
    assert len((home.settings.home / "keys" / "subjects.secret").read_bytes()) == 32
