"""What is deleted is looked for before the log says that it is gone."""

from __future__ import annotations

import shutil

import pytest

from knowledge_bases.home import Home
from rag.errors import NotFound, RecordError, StorageError


@pytest.fixture
def filled(kb, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "dose.txt").write_text("The maximum dose of paracetamol is 4 g in 24 hours. " * 12)
    (folder / "other.txt").write_text("Keep it dry.")
    kb.ingest([folder])
    return kb


def deletions(home: Home) -> list:
    return list(home.store.log.all(kinds=("deletion",), oldest_first=True))


def test_a_deleted_document_has_a_record_of_where_it_was_looked_for(home, filled) -> None:
    chunks = filled.document("dose.txt").chunks
    assert filled.delete_document("dose.txt", actor="curator") == chunks > 1
    (row,) = deletions(home)
    assert (row.kb_name, row.status) == ("docs", "deleted")
    payload = home.store.log.payload(row)
    current = filled.lifecycle.current()
    assert payload["actor"] == "curator"
    assert (payload["what"], payload["document"]) == ("document", "dose.txt")
    assert (payload["versions_kept"], payload["older_generations"]) == (1, 1)
    assert payload["checked"] == {
        "revision": filled.revision(),
        "generation": current.manifest.number,
        "manifest_sha256": current.digest,
        "chunks": chunks,
        "live_chunks": 0,
        "found": 0,
        "texts": 0,
        "vectors": 0,
    }
    assert "dose.txt" not in {hit.document.uri for hit in filled.search("maximum dose")}


def test_a_graph_that_still_holds_its_vectors_is_said_to(settings, embedder, tmp_path) -> None:
    pytest.importorskip("faiss")
    graph = settings.model_copy(update={"exact_below": 0, "device": "cpu"})
    with Home(graph, embedder=embedder) as home:
        base = home.create("docs")
        for number in range(30):
            (tmp_path / f"{number}.txt").write_text(f"Text of number {number}, and more of it.")
        base.ingest([tmp_path / f"{number}.txt" for number in range(30)])
        base.delete_document("3.txt")
        (row,) = deletions(home)
        checked = home.store.log.payload(row)["checked"]
        assert (checked["chunks"], checked["vectors"], checked["found"]) == (1, 1, 0)
        assert "3.txt" not in {hit.document.uri for hit in base.search("number 3", k=30)}


def test_what_is_still_found_is_not_logged_as_gone(home, filled, monkeypatch) -> None:
    monkeypatch.setattr(type(home.store.chunks), "count_live_of", lambda self, ids: 1)
    with pytest.raises(StorageError, match="still there"):
        filled.delete_document("dose.txt")
    assert deletions(home) == []


def test_a_deletion_that_was_not_logged_is_logged_at_the_next_try(home, filled) -> None:
    real = home.store.log.append

    def refuse(*_):
        raise StorageError("the disk is full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(home.store.log), "append", refuse)
        with pytest.raises(RecordError, match="delete it again: the disk is full"):
            filled.delete_document("dose.txt")
    assert real == home.store.log.append
    assert "dose.txt" not in {state.document.uri for state in filled.documents()}
    filled.delete_document("dose.txt")
    assert len(deletions(home)) == 1
    with pytest.raises(NotFound):
        filled.delete_document("dose.txt")


def test_a_document_can_come_back_and_be_deleted_again(home, filled, tmp_path) -> None:
    for number in range(2):
        filled.delete_document("dose.txt")
        filled.ingest([tmp_path / "files"])
        assert len(deletions(home)) == number + 1
    assert home.store.log.payload(deletions(home)[1])["versions_kept"] == 2


def test_documents_that_an_ingest_withdraws_have_a_record_each(home, filled, tmp_path) -> None:
    (tmp_path / "files" / "dose.txt").unlink()
    assert filled.ingest([tmp_path / "files"], prune=True).withdrawn == 1
    assert [home.store.log.payload(row)["document"] for row in deletions(home)] == ["dose.txt"]


def test_a_deleted_knowledge_base_has_a_record(home, filled) -> None:
    counts = filled.counts()
    folder = home.folder(filled.row)
    record = home.delete("docs", actor="curator")
    assert not folder.exists()
    payload = home.store.log.payload(home.store.log.get(record.id))
    assert payload["actor"] == "curator"
    assert {key: payload[key] for key in counts} == counts
    assert payload["checked"] == {"documents": 0, "chunks": 0, "index_folder": 0, "open_here": 0}


def test_a_folder_that_stays_is_not_logged_as_gone(home, filled, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(StorageError, match="its index folder"):
        home.delete("docs")
    assert deletions(home) == []


def test_a_record_that_is_opened_is_logged_first(home, filled) -> None:
    answer = filled.ask("What is the maximum dose?").record
    row = home.store.log.get(answer.id)
    opened = home.audit.read(row, how="show", actor="auditor")
    assert opened == home.store.log.opened(row)
    reading = home.store.log.at(1)
    assert (reading.kind, reading.status, reading.kb_name) == ("read", "show", "docs")
    assert home.store.log.payload(reading)["records"] == [answer.id]
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_):
            raise StorageError("the disk is full")

        patch.setattr(type(home.store.log), "append", refuse)
        with pytest.raises(RecordError, match="records stay closed"):
            home.audit.read(row, how="show")
    home.store.log.erase([0])
    assert home.audit.read(row, how="show") is None
    assert home.store.log.size() == 2


def test_a_check_is_logged_before_its_verdict_is_known(home) -> None:
    checked, record = home.check("It is 4 g.", ["It is 4 g."], actor="someone")
    payload = home.store.log.payload(home.store.log.get(record.id))
    assert record.kind == "check"
    assert record.status == payload["verdict"] == checked.worst.label
    assert payload["evidence"] == ["It is 4 g."]
