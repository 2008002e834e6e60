"""What is erased is nowhere in any file under the home, the log says so, and it still verifies."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from sqlalchemy import text

from eval.bench.made_log import answer
from knowledge_bases.audit.erase import Eraser
from knowledge_bases.audit.retention import Retention
from knowledge_bases.audit.verify import verify
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase
from knowledge_bases.upload_clearing import SEALED, SERVER_LOCK, SPOOL
from rag.errors import NotFound, RecordError, StorageError, UsageError

SECRET = "Zanthoxylumquist"
OTHER = "Myrobalanfern"
SUBJECT = "jane.doe@example.org"


def eraser_of(home: Home) -> Eraser:
    return home.audit.eraser


@pytest.fixture
def eraser(home: Home) -> Eraser:
    return eraser_of(home)


@pytest.fixture
def filled(kb: KnowledgeBase, tmp_path: Path) -> KnowledgeBase:
    """Two documents, one of them in two versions, and two askers."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "secret.txt").write_text(f"The dose of {SECRET} is 4 g in 24 hours. " * 12)
    (folder / "other.txt").write_text(f"The dose of {OTHER} is 5 g in 24 hours.")
    kb.ingest([folder])
    (folder / "secret.txt").write_text(f"The dose of {SECRET} is 3 g in 24 hours. " * 12)
    kb.ingest([folder])
    kb.ask(f"What is the dose of {OTHER}, {SUBJECT}?", asker=SUBJECT)
    kb.ask(f"What is the dose of {SECRET}?", asker="someone")
    kb.ask(f"What is the dose of {OTHER}?", asker="someone")
    return kb


def holding(home: Home, needle: str | bytes) -> list[str]:
    """The files under the home that hold some bytes, or a text in whatever case."""
    wanted = needle.lower().encode() if isinstance(needle, str) else needle
    found = []
    for path in home.settings.home.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        if isinstance(needle, str):
            content = (content + str(path.name).encode()).lower()
        if wanted in content:
            found.append(str(path.relative_to(home.settings.home)))
    return found


def problems(home: Home) -> tuple:
    return verify(home._database, subject_hash=home.store.log.subject_hash).problems


def test_by_subject(home, filled, eraser) -> None:
    log = home.store.log
    root, size = log.root(), log.size()
    gone = log.get(log.at(0).id)
    done = eraser.erase_subject(SUBJECT, actor="officer")
    assert (done.records, done.kinds) == (1, {"answer": 1})
    assert log.payload(gone) is None
    (said,) = done.recorded_as
    payload = log.payload(log.get(said))
    assert (payload["what"], payload["actor"], payload["records"]) == (
        "subject", "officer", [gone.id],
    )  # fmt: skip
    assert payload["subject_hmac"] == log.subject_hash(SUBJECT)
    assert SUBJECT not in str(payload)
    assert holding(home, SUBJECT) == []
    assert log.root(size) == root
    assert problems(home) == ()
    assert eraser.erase_subject(SUBJECT, actor="officer").recorded_as == ()
    assert (list(eraser.pending()), eraser.unfinished) == ([], False)


def test_by_record(home, filled, eraser) -> None:
    log = home.store.log
    row = log.at(1)
    assert eraser.erase_record(row.id[:12], actor="officer").records == 1
    assert log.payload(row) is None
    assert problems(home) == ()
    with pytest.raises(NotFound):
        eraser.erase_record(str(uuid.uuid4()), actor="officer")
    last = log.at(log.size() - 1)
    with pytest.raises(UsageError, match="never erased"):
        eraser.erase_record(last.id, actor="officer")


def test_a_document_with_all_that_came_from_it(home, filled, eraser) -> None:
    with home._database.read() as session:
        vectors = [
            row[0]
            for row in session.execute(
                text(
                    "SELECT DISTINCT e.vector FROM embeddings e JOIN chunks c USING (input_sha256) "
                    "JOIN documents d ON d.id = c.document_id WHERE d.uri = 'secret.txt'"
                )
            )
        ]
    assert len(vectors) > 1
    assert holding(home, SECRET)
    assert holding(home, vectors[0])
    home.store.jobs.create(filled.row.id, "job", {"failed": [{"path": "secret.txt"}]})
    home.store.jobs.update("job", state="done", progress={"failed": [{"path": "secret.txt"}]})
    done = eraser.erase_document("docs", "secret.txt", actor="officer")
    assert (done.versions, done.records >= 1) == (2, True)
    assert done.chunks > 2
    for needle in (SECRET, "secret.txt", *vectors):
        assert holding(home, needle) == []
    assert [hit.document.uri for hit in filled.search("dose", k=50)] == ["other.txt"]
    assert np.isfinite([hit.score for hit in filled.search(OTHER)]).all()
    assert [state.document.uri for state in filled.documents()] == ["other.txt"]
    assert holding(home, OTHER)
    assert list(filled.lifecycle.problems()) == []
    assert problems(home) == ()
    assert not eraser.unfinished
    with pytest.raises(NotFound):
        eraser.erase_document("docs", "secret.txt", actor="officer")


def test_a_vector_that_another_document_shares_stays(home, kb, eraser, tmp_path) -> None:
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text("The same words.")
    kb.ingest([tmp_path / "one.txt", tmp_path / "two.txt"])
    eraser.erase_document("docs", "one.txt", actor="officer")
    assert [hit.document.uri for hit in kb.search("words")] == ["two.txt"]
    assert list(home.store.health.chunk_problems(kb.row.id)) == []


def delete(base: KnowledgeBase, folder: Path) -> None:
    base.delete_document("secret.txt")


def delete_and_take_in_again(base: KnowledgeBase, folder: Path) -> None:
    base.delete_document("secret.txt")
    base.ingest([folder])


def change_and_delete(base: KnowledgeBase, folder: Path) -> None:
    (folder / "secret.txt").write_text(f"{SECRET} is not given any more. " * 9)
    base.ingest([folder])
    base.delete_document("secret.txt")


def leave_indexes(base: KnowledgeBase, folder: Path) -> None:
    """One was set aside as damaged, another was being built when its process ended."""
    generations = base.home.folder(base.row)
    newest = max(path for path in generations.iterdir() if path.is_dir())
    for name in ("building-0123", "damaged-00000002-0123"):
        shutil.copytree(newest, generations / name)


def leave_an_upload(base: KnowledgeBase, folder: Path) -> None:
    """A job has ended, but what was uploaded for it is still there."""
    shutil.copytree(folder, base.home.settings.home / SPOOL / "0b7f" / "files")


def fail_in_a_job(base: KnowledgeBase, folder: Path) -> None:
    jobs = base.home.store.jobs
    jobs.create(base.row.id, "job", {})
    failed = {"failed": [{"path": "secret.txt", "reason": "it is empty"}]}
    jobs.update("job", state="done", progress=failed, error="secret.txt")


@pytest.mark.parametrize(
    "before",
    [
        delete,
        delete_and_take_in_again,
        change_and_delete,
        leave_indexes,
        leave_an_upload,
        fail_in_a_job,
    ],
)
def test_a_document_in_whatever_state_it_is(home, filled, eraser, tmp_path, before) -> None:
    before(filled, tmp_path / "files")
    assert holding(home, SECRET)
    assert eraser.erase_document("docs", "secret.txt", actor="officer").versions >= 2
    assert holding(home, SECRET) == []
    assert holding(home, "secret.txt") == []
    assert list(filled.lifecycle.problems()) == []
    assert problems(home) == ()


def test_a_graph_of_vectors_is_built_anew(settings, embedder, tmp_path) -> None:
    (tmp_path / "secret.txt").write_text(f"The dose of {SECRET} is 4 g. " * 12)
    (tmp_path / "other.txt").write_text(f"The dose of {OTHER} is 5 g. " * 12)
    with Home(settings.model_copy(update={"exact_below": 0}), embedder=embedder) as home:
        base = home.create("docs")
        base.ingest([tmp_path / "secret.txt", tmp_path / "other.txt"])
        assert base.lifecycle.current().manifest.vectors_kind != "exact"
        with home._database.read() as session:
            vectors = [
                row[0]
                for row in session.execute(
                    text(
                        "SELECT DISTINCT e.vector FROM embeddings e "
                        "JOIN chunks c USING (input_sha256) "
                        "JOIN documents d ON d.id = c.document_id WHERE d.uri = 'secret.txt'"
                    )
                )
            ]
        assert vectors
        base.delete_document("secret.txt")
        home.audit.eraser.erase_document("docs", "secret.txt", actor="officer")
        for needle in (SECRET, "secret.txt", *vectors):
            assert holding(home, needle) == []
        assert {hit.document.uri for hit in base.search("dose", k=9)} == {"other.txt"}


def test_a_name_that_json_writes_otherwise(home, kb, eraser) -> None:
    name = 'report "Müller"\\1.txt'
    home.store.jobs.create(kb.row.id, "job", {})
    home.store.jobs.update("job", state="done", progress={"failed": [{"path": name}]})
    home.store.jobs.create(kb.row.id, "another", {})
    home.store.jobs.update("another", state="done", progress={"failed": [{"path": "b.txt"}]})
    assert eraser.erase_document("docs", name, actor="officer").recorded_as
    with pytest.raises(NotFound):
        home.store.jobs.get("job")
    assert home.store.jobs.get("another").state == "done"
    with pytest.raises(NotFound, match="nothing of"):
        eraser.erase_document("docs", name, actor="officer")


def test_not_while_an_upload_may_bring_it_back(home, filled, eraser) -> None:
    home.store.jobs.create(filled.row.id, "job", {})
    (home.settings.home / SPOOL / "job").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"1 uploads into 'docs' .* job job"):
        eraser.erase_document("docs", "secret.txt", actor="officer")
    assert filled.documents()[1].document.uri == "secret.txt"
    home.store.jobs.update("job", state="done", progress={})
    assert eraser.erase_document("docs", "secret.txt", actor="officer").versions == 2
    assert not (home.settings.home / SPOOL / "job").exists()


def test_uploads_that_are_coming_in_stay(home, filled, eraser) -> None:
    coming = home.settings.home / SPOOL / "coming"
    ended = home.settings.home / SPOOL / "ended"
    for upload in (coming, ended):
        upload.mkdir(parents=True)
    (ended / SEALED).write_text("{}")
    os.utime(ended / SEALED, (1e9, 1e9))
    with FileLock(home.settings.home / SERVER_LOCK):
        eraser.erase_document("docs", "secret.txt", actor="officer")
    assert (coming.exists(), ended.exists()) == (True, False)


def test_a_document_of_a_deleted_knowledge_base(home, filled, eraser) -> None:
    folder = home.folder(filled.row)
    orphan = folder.with_name("0123456789abcdef")
    shutil.copytree(folder, orphan)  # As if removing the knowledge base's folder had failed.
    home.delete("docs")
    assert eraser.erase_document("docs", "other.txt", actor="officer").records >= 1
    assert not orphan.exists()
    for needle in (OTHER, SECRET, "other.txt", "secret.txt"):
        assert holding(home, needle) == []
    assert eraser.erase_document("docs", "other.txt", actor="officer").recorded_as == ()
    with pytest.raises(NotFound, match="nothing of"):
        eraser.erase_document("never", "other.txt", actor="officer")
    assert problems(home) == ()


def test_what_deleting_a_knowledge_base_left_in_files(home, kb, eraser, tmp_path) -> None:
    (tmp_path / "secret.txt").write_text(f"The dose of {SECRET} is 4 g.")
    kb.ingest([tmp_path / "secret.txt"])
    home.delete("docs")
    assert holding(home, SECRET)  # In the WAL, though no record rests on it.
    assert eraser.erase_document("docs", "secret.txt", actor="officer").recorded_as == ()
    assert holding(home, SECRET) == []


def test_nothing_under_a_legal_hold(home, filled, eraser) -> None:
    Retention(home._database, home.store.log).hold(True, "case 7", actor="counsel")
    size = home.store.log.size()
    for erase in (
        lambda: eraser.erase_subject(SUBJECT, actor="officer"),
        lambda: eraser.erase_record(home.store.log.at(0).id, actor="officer"),
        lambda: eraser.erase_document("docs", "secret.txt", actor="officer"),
        eraser.finish,
    ):
        with pytest.raises(UsageError, match="legal hold"):
            erase()
    assert home.store.log.size() == size
    assert home.store.log.payload(home.store.log.at(0)) is not None
    assert filled.documents()[1].document.uri == "secret.txt"


def test_what_can_not_be_logged_is_not_erased(home, filled, eraser, monkeypatch) -> None:
    def refuse(*_):
        raise StorageError("the disk is full")

    monkeypatch.setattr(type(home.store.log), "append_all", refuse)
    with pytest.raises(RecordError, match="nothing is erased"):
        eraser.erase_subject(SUBJECT, actor="officer")
    assert not eraser.unfinished
    assert home.store.log.payload(home.store.log.at(0)) is not None


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize(
    "moment",
    [
        ("knowledge_bases.store.log.Log.append_all", "before"),
        ("knowledge_bases.store.log.Log.append_all", "after"),
        ("knowledge_bases.store.log.Log.erase", "after"),
        ("knowledge_bases.store.erasing.Erasing.forget_document", "after"),
        ("knowledge_bases.lifecycle.Lifecycle.catch_up", "before"),
        ("knowledge_bases.database.Database.compact", "before"),
        ("knowledge_bases.database.Database.compact", "after"),
    ],
    ids=lambda moment: f"{moment[1]} {moment[0].rsplit('.', 1)[1]}",
)
def test_a_kill_at_any_step_is_made_good(home, filled, eraser, moment) -> None:
    target, when = moment
    module, name, method = target.rsplit(".", 2)
    owner = getattr(__import__(module, fromlist=[name]), name)
    real = getattr(owner, method)

    def killed(*arguments, **options):
        if when == "after":
            real(*arguments, **options)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, method, killed)
        with pytest.raises(Killed):
            eraser.erase_document("docs", "secret.txt", actor="officer")
    # Whatever is gone, a record names it.
    assert problems(home) == ()
    again = eraser_of(home)
    assert again.unfinished
    again.finish()
    assert not again.unfinished
    assert list(again.pending()) == []
    assert problems(home) == ()
    assert list(filled.lifecycle.problems()) == []
    if (method, when) == ("append_all", "before"):
        assert holding(home, SECRET)
    else:
        assert holding(home, SECRET) == []


def test_many_records_are_named_by_several(home, monkeypatch) -> None:
    monkeypatch.setattr("knowledge_bases.audit.erase._IDS_PER_RECORD", 4)
    for number in range(10):
        home.store.log.append(answer(number, asker=SUBJECT))
    done = eraser_of(home).erase_subject(SUBJECT, actor="officer")
    assert (done.records, len(done.recorded_as)) == (10, 3)
    found = verify(home._database)
    assert (found.problems, found.erased) == ((), 10)


def test_an_answer_that_was_being_written_is_erased_too(home, filled, eraser, monkeypatch) -> None:
    clear = type(eraser)._clear_document
    late = []

    def slow(self, marked):
        clear(self, marked)
        if not late:
            late.append(home.store.log.append(answer(1, asker="someone", uri="secret.txt")).id)

    monkeypatch.setattr(type(eraser), "_clear_document", slow)
    done = eraser.erase_document("docs", "secret.txt", actor="officer")
    assert len(done.recorded_as) == 2
    assert home.store.log.payload(home.store.log.get(late[0])) is None
    assert problems(home) == ()


def test_a_knowledge_base_stays_under_a_legal_hold(home, filled) -> None:
    home.audit.retention.hold(True, "case 7", actor="counsel")
    with pytest.raises(UsageError, match="legal hold"):
        home.delete("docs")
    assert filled.search(OTHER)
