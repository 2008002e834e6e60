"""The database connection: engine, transactions, migrations, and errors in our words."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock
from sqlalchemy import URL, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from rag.errors import MissingDependency, RagError, StorageError, UsageError
from rag.settings import Settings

SCHEMA_HEAD = "0007"
"""The newest migration's revision; a test compares it with the migrations folder."""


class Database:
    """Sessions on SQLite (WAL) or any SQLAlchemy URL, migrated to the newest schema.

    Args:
        settings: names the home folder or the database's URL.

    Raises:
        StorageError: the database can't be opened or migrated.
        UsageError: its URL makes no sense.
        MissingDependency: its driver isn't installed.
    """

    def __init__(self, settings: Settings) -> None:
        self.home = settings.home
        try:
            settings.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{settings.home} can't be created ({error.strerror}): choose another --home"
            ) from error
        self.url = URL.create("sqlite", database=str(settings.home / "rag.sqlite3"))
        try:
            if settings.database_url:
                self.url = make_url(settings.database_url)
            self._engine = _engine(self.url, settings.database_timeout_seconds)
        except ArgumentError as error:
            raise UsageError(
                "RAG_DATABASE_URL is no database URL; write e.g. sqlite:////path/rag.sqlite3"
            ) from error
        except ImportError as error:
            raise MissingDependency(f"the database needs {error.name}: pip install it") from error
        # Takes SQLite's write lock at BEGIN, so that reads inside can't turn stale before a write.
        self._write_engine = self._engine.execution_options(begin_immediate=True)
        with self.errors():
            _migrate(self._engine, self.url, settings.home)

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for reading."""
        with self.errors(), Session(self._engine) as session:
            yield session

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """Open a transaction; it is committed at the end and rolled back on any error."""
        with (
            self.errors(),
            Session(self._write_engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    def compact(self) -> None:
        """Rewrite the database without what was deleted from it, and empty its WAL.

        What the file system, a disk's firmware or a backup keeps of old blocks is beyond this.

        Raises:
            StorageError: another process is reading or writing; nothing is lost by that.
        """
        with (
            self.errors(),
            self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        ):
            if self._engine.dialect.name != "sqlite":
                connection.exec_driver_sql("VACUUM FULL")
                return
            connection.exec_driver_sql("PRAGMA temp_store = FILE")  # Else the copy is in memory.
            try:
                connection.exec_driver_sql("VACUUM")
            finally:
                connection.exec_driver_sql("PRAGMA temp_store = MEMORY")
            busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar()
            if busy:
                raise StorageError(
                    f"{self.url.render_as_string()} is in use, so its WAL keeps what was deleted; "
                    "try again when others have finished"
                )

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the driver's errors into `StorageError` with a remedy."""
        try:
            yield
        except RagError:
            raise
        except DBAPIError as error:
            raise StorageError(self._explain(error)) from error
        except PoolTimeout as error:
            raise StorageError("all database connections are in use; try again") from error

    def _explain(self, error: DBAPIError) -> str:
        reason = str(error.orig)
        place = self.url.render_as_string()
        if "full" in reason:
            return f"the disk is full; free space beside {place} and try again"
        if "locked" in reason or "busy" in reason:
            return f"{place} is locked by another process; try again when it has finished"
        if "readonly" in reason or "read-only" in reason:
            return f"{place} is read-only; give write permission to it and its folder"
        if "malformed" in reason or "not a database" in reason:
            return f"{place} is damaged ({reason}); restore it from a backup"
        if isinstance(error, OperationalError):
            return f"{place} can't be used: {reason}"
        return f"{place}: {reason}"


def _engine(url: URL, timeout_seconds: float) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": timeout_seconds})

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # We emit BEGIN ourselves, see below.
        with contextlib.closing(connection.cursor()) as cursor:
            for pragma in (
                "journal_mode = WAL",
                "synchronous = FULL",  # A logged answer survives a power cut.
                "foreign_keys = ON",
                "secure_delete = ON",  # What is erased is overwritten, not only forgotten.
                "temp_store = MEMORY",
                "cache_size = -65536",
            ):
                cursor.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("isolation_level") == "AUTOCOMMIT":
            return
        immediate = options.get("begin_immediate")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _migrate(engine: Engine, url: URL, home: Path) -> None:
    if _schema(engine) == SCHEMA_HEAD:
        return
    from alembic import command  # Slow to import, and needed once per upgrade.
    from alembic.config import Config
    from alembic.util import CommandError

    with FileLock(home / "migrate.lock"):
        if _schema(engine) == SCHEMA_HEAD:
            return
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            config.attributes["home"] = home
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise StorageError(
                    f"{url.render_as_string()} has a newer schema than this program; "
                    "upgrade grounded-rag"
                ) from error


def _schema(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return str(version) if version else None
