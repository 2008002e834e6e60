"""A log of its own, and records to append to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from knowledge_bases.audit.receipt import Cited
from knowledge_bases.database import Database
from knowledge_bases.store import Store
from knowledge_bases.store.log import Log, NewRecord
from rag.settings import Settings


@pytest.fixture
def database(tmp_path) -> Iterator[Database]:
    opened = Database(Settings(home=tmp_path / "home"))
    yield opened
    opened.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store.on(database)


@pytest.fixture
def log(store: Store) -> Log:
    return store.log


@pytest.fixture
def record() -> Callable[..., NewRecord]:
    def make(
        note: object = "", *, citations: tuple[Cited, ...] = (), subject: str | None = None
    ) -> NewRecord:
        payload = {
            "schema": "grounded-rag/review/1",
            "kind": "review",
            "software": "grounded-rag 0.1.0",
            "actor": "someone",
            "note": note,
        }
        return NewRecord("review", "docs", "approved", payload, citations, subject)

    return make
