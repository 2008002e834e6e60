import shutil
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import knowledge_bases
from knowledge_bases.database import SCHEMA_HEAD, Database
from knowledge_bases.tables import Base
from rag.errors import StorageError
from rag.settings import Settings

MIGRATIONS = Path(knowledge_bases.__file__).parent / "migrations"


def test_migrations_lead_to_the_tables(tmp_path):
    database = Database(Settings(home=tmp_path))
    with database._engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def test_the_newest_migration_is_known():
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA_HEAD


def test_sqlite_runs_in_wal_mode(tmp_path):
    database = Database(Settings(home=tmp_path))
    with database._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    database.close()


def test_a_home_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose another --home"):
        Database(Settings(home=tmp_path / "file" / "home"))


def test_a_file_that_is_no_database_is_one_line(tmp_path):
    (tmp_path / "rag.sqlite3").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StorageError, match="damaged"):
        Database(Settings(home=tmp_path))


def test_a_newer_schema_is_refused(tmp_path):
    database = Database(Settings(home=tmp_path))
    with database._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(StorageError, match="upgrade grounded-rag"):
        Database(Settings(home=tmp_path))


@pytest.mark.parametrize("name", ["with space", "percent%20", "question?mark", "ünïcode", "a#b"])
def test_any_folder_name_can_be_home(tmp_path, name):
    database = Database(Settings(home=tmp_path / name))
    database.close()
    assert (tmp_path / name / "rag.sqlite3").is_file()
    shutil.rmtree(tmp_path / name)


def test_a_locked_database_is_one_line(tmp_path):
    import sqlite3

    settings = Settings(home=tmp_path, database_timeout_seconds=0.1)
    database = Database(settings)
    other = sqlite3.connect(tmp_path / "rag.sqlite3")
    other.execute("BEGIN IMMEDIATE")
    with (
        pytest.raises(StorageError, match="locked by another process"),
        database.write() as session,
    ):
        session.connection()
    other.close()
    database.close()
