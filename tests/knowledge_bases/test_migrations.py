"""A database with the records that older versions wrote becomes one with a sealed log."""

from __future__ import annotations

import datetime
import json
import sqlite3
import uuid
from pathlib import Path

import pytest
import rfc8785

from eval.bench.made_log import fill
from knowledge_bases.audit import merkle
from knowledge_bases.audit.leaf import parse
from knowledge_bases.audit.verify import verify
from knowledge_bases.database import Database
from knowledge_bases.store import Store
from rag.errors import IntegrityError
from rag.settings import Settings

RECORDS = 1_203
VERDICTS = ([], ["supported"], ["supported", "contradicted"])


def older_home(home: Path) -> list[tuple[str, str, str]]:
    """Make a home as 0002 left it, with records; return (id, receipt, leaf hash) of each."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine

    import knowledge_bases

    home.mkdir()
    config = Config()
    migrations = Path(knowledge_bases.__file__).parent / "migrations"
    config.set_main_option("script_location", str(migrations))
    engine = create_engine(f"sqlite:///{home / 'rag.sqlite3'}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    engine.dispose()
    rows, told = [], []
    for sequence in range(RECORDS):
        created_at = datetime.datetime(2026, 1, 1, microsecond=sequence, tzinfo=datetime.UTC)
        receipt = {
            "schema": "grounded-rag/receipt/1",
            "id": str(uuid.uuid4()),
            "sequence": sequence,
            "created_at": created_at.isoformat(timespec="microseconds"),
            "kind": "answer",
            "knowledge_base": "docs",
            "asker": f"person-{sequence % 3}",
            "status": "abstained" if sequence % 2 else "answered",
            "question": f"Which is number {sequence}?",
            "passages": [
                {"document": "a.txt", "version": 1},
                {"document": "b.txt", "version": 2},
            ],
            "citations": [{"document": "a.txt", "document_id": "7", "version": 1}],
            "verdicts": [
                {"label": label, "disagreement": None} for label in VERDICTS[sequence % 3]
            ],
        }
        canonical = rfc8785.dumps(receipt)
        leaf_hash = merkle.leaf_hash(canonical)
        told.append((receipt["id"], canonical.decode(), leaf_hash))
        rows.append(
            (
                sequence,
                receipt["id"],
                "answer",
                "docs",
                receipt["status"],
                created_at.replace(tzinfo=None).isoformat(" ", timespec="microseconds"),
                leaf_hash,
                canonical.decode(),
            )
        )
    connection = sqlite3.connect(home / "rag.sqlite3")
    with connection:
        connection.executemany("INSERT INTO audit_records VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    connection.close()
    return told


def test_older_records_are_sealed_and_nothing_of_them_is_lost(tmp_path) -> None:
    told = older_home(tmp_path / "home")
    database = Database(Settings(home=tmp_path / "home"))
    store = Store.on(database)
    log = store.log
    assert log.size() == RECORDS
    for record_id, receipt, leaf_hash in told:
        row = log.get(record_id)
        opened = log.opened(row)
        assert opened.payload.decode() == receipt
        assert merkle.leaf_hash(opened.payload) == leaf_hash, "what askers were given still fits"
        assert parse(row.leaf.encode()).created_at == row.created_at
        assert (
            row.created_at.isoformat(timespec="microseconds") == json.loads(receipt)["created_at"]
        )
    assert verify(database).ok
    assert log.root() == merkle.root(list(log.leaf_hashes()))
    assert log.by_subject("person-2") == list(range(2, RECORDS, 3))
    assert log.citing("docs", "a.txt", 1) == list(range(RECORDS))
    assert log.citing("docs", "b.txt") == []
    assert len(log.citing("docs", "b.txt", read=True)) == RECORDS
    for labels in VERDICTS[1:]:
        found = [row.sequence for row in log.all(verdict=labels[-1], oldest_first=True)]
        assert found == list(range(len(labels), RECORDS, 3))
    database.compact()
    database.close()
    held = (tmp_path / "home" / "rag.sqlite3").read_bytes()
    assert b"Which is number" not in held


def test_changed_or_missing_older_records_are_not_sealed(tmp_path) -> None:
    told = older_home(tmp_path / "home")
    connection = sqlite3.connect(tmp_path / "home" / "rag.sqlite3")
    for statement, why in (
        ("UPDATE audit_records SET receipt = '{}' WHERE sequence = 700", "700 .* was changed"),
        ("DELETE FROM audit_records WHERE sequence = 3", "3 of the log is missing"),
    ):
        with connection:
            connection.execute(statement)
        with pytest.raises(IntegrityError, match=why):
            Database(Settings(home=tmp_path / "home"))
        kept = connection.execute("SELECT count(*) FROM audit_records WHERE receipt <> ''")
        assert kept.fetchone()[0] >= len(told) - 1, "all is as it was"
    connection.close()


def test_records_that_can_t_be_opened_get_no_verdict_and_keep_nobody_out(tmp_path) -> None:
    settings = Settings(home=tmp_path / "home")
    database = Database(settings)
    fill(Store.on(database).log, 4)
    database.close()
    connection = sqlite3.connect(tmp_path / "home" / "rag.sqlite3")
    with connection:
        for statement in (
            "DROP TABLE audit_verdicts",
            "UPDATE alembic_version SET version_num = '0006'",
            "UPDATE audit_payloads SET ciphertext = x'00' WHERE sequence = 1",
            "DELETE FROM audit_payloads WHERE sequence = 2",
        ):
            connection.execute(statement)
    connection.close()
    database = Database(settings)
    found = [row.sequence for row in Store.on(database).log.all(verdict="supported")]
    assert found == [3, 0]
    assert {problem.sequence for problem in verify(database).problems} == {1, 2}
    database.close()
