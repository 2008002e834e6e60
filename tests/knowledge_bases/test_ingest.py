import time

import pytest

from knowledge_bases.home import Home
from rag.errors import AlreadyExists, DigestMismatch, NotFound, StorageError, UsageError
from rag.types import Filters

DOSE = "The maximum dose of paracetamol is 4 g in 24 hours."


@pytest.fixture
def folder(tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    (files / "dose.txt").write_text(DOSE)
    (files / "storage.md").write_text("# Storage\n\nKeep insulin between 2 and 8 degrees.\n")
    return files


def uris(passages):
    return [passage.document.uri for passage in passages]


def test_a_second_ingest_embeds_nothing(kb, folder, embedder):
    first = kb.ingest([folder])
    assert (first.added, first.failed) == (2, [])
    embedder.embedded.clear()
    second = kb.ingest([folder])
    assert (second.added, second.updated, second.unchanged) == (0, 0, 2)
    assert embedder.embedded == []


def test_a_changed_file_is_a_new_version_and_the_old_text_stays(kb, folder):
    kb.ingest([folder])
    (folder / "dose.txt").write_text(DOSE.replace("4 g", "3 g"))
    summary = kb.ingest([folder])
    assert (summary.added, summary.updated, summary.unchanged) == (0, 1, 1)
    state, text = kb.document_at("dose.txt")
    assert state.version == 2
    assert "3 g" in text
    assert kb.document_at("dose.txt", 1)[1] == DOSE
    hits = kb.search("maximum dose of paracetamol")
    assert [hit.text for hit in hits if hit.document.uri == "dose.txt"] == [text]


def test_a_changed_file_embeds_only_what_changed(kb, tmp_path, embedder):
    sentences = [
        f"Sentence number {i} is about topic{i} and nothing else at all." for i in range(40)
    ]
    file = tmp_path / "long.txt"
    file.write_text("\n\n".join(sentences))
    first = kb.ingest([file])
    file.write_text("\n\n".join([*sentences, "A new last sentence."]))
    second = kb.ingest([file])
    assert first.embedded > 10
    assert second.embedded <= 2


def test_a_deleted_document_is_out_of_every_search_at_once(kb, folder):
    kb.ingest([folder])
    old = kb.search("paracetamol dose")
    assert "dose.txt" in uris(old)
    assert kb.delete_document("dose.txt") == 1
    assert "dose.txt" not in uris(kb.search("paracetamol dose"))
    generation = kb.lifecycle.current()
    chunk_id = next(p.chunk_id for p in old if p.document.uri == "dose.txt")
    assert chunk_id not in [i for i, _ in generation.lexical.search("paracetamol", 10)]
    with pytest.raises(NotFound, match=r"dose\.txt"):
        kb.document("dose.txt")
    with pytest.raises(NotFound):
        kb.delete_document("dose.txt")


def test_deletion_does_not_wait_for_the_index(kb, folder, monkeypatch):
    kb.ingest([folder])

    def fail(**_):
        raise StorageError("no room for a new index")

    monkeypatch.setattr(kb.lifecycle, "catch_up", fail)
    with pytest.raises(StorageError, match="no room"):
        kb.delete_document("dose.txt")
    assert "dose.txt" not in uris(kb.search("paracetamol dose"))
    assert list(kb.store.log.all(kinds=("deletion",))) == [], "its index files still hold it"


def test_a_deleted_document_comes_back_as_its_next_version(kb, folder):
    kb.ingest([folder])
    kb.delete_document("dose.txt")
    assert kb.ingest([folder]).added == 1
    assert kb.document("dose.txt").version == 2
    assert "dose.txt" in uris(kb.search("paracetamol dose"))


def test_a_bad_file_is_reported_and_the_rest_goes_on(kb, folder):
    (folder / "empty.txt").write_text("")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\n garbage")
    summary = kb.ingest([folder])
    assert summary.added == 2
    assert sorted(uri for uri, _ in summary.failed) == ["broken.pdf", "empty.txt"]
    assert all(reason and uri not in reason for uri, reason in summary.failed)


def test_fifty_megabytes_on_one_line_are_refused_in_time(kb, tmp_path):
    (tmp_path / "line.txt").write_bytes(b"word " * (10 * 2**20))
    started = time.monotonic()
    summary = kb.ingest([tmp_path / "line.txt"])
    ((uri, reason),) = summary.failed
    assert uri == "line.txt"
    assert "52,428,799 characters" in reason or "52,428,800 characters" in reason
    assert "RAG_MAX_DOCUMENT_CHARS" in reason
    assert time.monotonic() - started < 60


def test_two_rows_of_one_uri_do_not_hide_each_other(kb, tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"uri": "a", "text": "First."}\n{"uri": "a", "text": "Second."}\n')
    summary = kb.ingest([corpus])
    assert summary.added == 1
    assert [uri for uri, _ in summary.failed] == ["corpus.jsonl#2"]


def test_two_files_of_one_uri_do_not_hide_each_other(kb, tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"uri": "a", "text": "Text {name}."}}\n')
    summary = kb.ingest([tmp_path / "one.jsonl", tmp_path / "two.jsonl"])
    assert summary.added == 1
    assert [uri for uri, _ in summary.failed] == ["a"]


def test_corpus_rows_carry_title_date_and_tags(kb, tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(
        '{"uri": "old", "title": "Old", "date": "2020-05-01", "tags": ["x"], "text": "Dose one."}\n'
        '{"uri": "new", "title": "New", "date": "2024-05-01", "tags": ["y"], "text": "Dose two."}\n'
    )
    kb.ingest([corpus])
    import datetime

    day = datetime.date
    assert uris(kb.search("dose", filters=Filters(tags=("x",)))) == ["old"]
    assert uris(kb.search("dose", filters=Filters(since=day(2021, 1, 1)))) == ["new"]
    assert uris(kb.search("dose", filters=Filters(until=day(2020, 5, 1)))) == ["old"]
    assert uris(kb.search("dose", filters=Filters(documents=("new",)))) == ["new"]
    assert uris(kb.search("dose", filters=Filters(tags=("none",)))) == []
    assert sorted(uris(kb.search("dose"))) == ["new", "old"]


def test_tags_given_again_leave_a_document_its_own(kb, tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"uri": "a", "tags": ["own"], "text": "Some text."}\n')
    kb.ingest([corpus], tags=["given"])
    kb.ingest([corpus], tags=["given"])
    assert kb.document("a").tags == ("given", "own")


def test_an_attachment_deleted_or_lost_comes_back(kb, tmp_path):
    import email.message

    message = email.message.EmailMessage()
    message["Subject"], message["From"] = "Dose", "a@example.org"
    message.set_content("See the attachment.")
    message.add_attachment(b"The dose is 4 g.", "text", "plain", filename="dose.txt")
    (tmp_path / "mail.eml").write_bytes(bytes(message))
    assert kb.ingest([tmp_path / "mail.eml"]).added == 2
    kb.delete_document("mail.eml/dose.txt")
    summary = kb.ingest([tmp_path / "mail.eml"])
    assert (summary.added, summary.unchanged) == (1, 1)


def test_tags_given_on_a_second_run_are_put_on_unchanged_files(kb, folder):
    kb.ingest([folder])
    kb.ingest([folder], tags=["pharmacy"])
    assert kb.document("dose.txt").tags == ("pharmacy",)


def test_every_chunk_is_a_slice_of_its_version(kb, folder):
    kb.ingest([folder])
    for passage in kb.search("dose insulin degrees", k=50):
        _, text = kb.document_at(passage.document.uri, passage.version)
        assert text[passage.start : passage.end] == passage.text


def test_another_process_sees_what_this_one_ingested(kb, folder, settings, embedder):
    with Home(settings, embedder=embedder) as other:
        base = other.open("docs")
        assert base.search("paracetamol") == []
        kb.ingest([folder])
        base.lifecycle.catch_up()
        assert "dose.txt" in uris(base.search("paracetamol"))


def test_two_ingests_at_once_lose_and_double_nothing(settings, embedder, tmp_path):
    import threading

    folders = []
    for name in ("left", "right"):
        folder = tmp_path / name
        folder.mkdir()
        for i in range(30):
            (folder / f"{name}-{i}.txt").write_text(f"Text {i} of {name}.")
            (folder / f"shared-{i}.txt").write_text(f"Shared text {i}.")
        folders.append(folder)
    with Home(settings, embedder=embedder) as home:
        home.create("docs")
    failures = []

    def ingest(folder):
        try:
            with Home(settings, embedder=type(embedder)()) as own:
                failures.extend(own.open("docs").ingest([folder]).failed)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ingest, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with Home(settings, embedder=embedder) as home:
        base = home.open("docs")
        assert base.counts() == {"documents": 90, "versions": 90, "chunks": 90}
        assert base.lifecycle.catch_up().manifest.chunks == 90
        assert len(base.search("text", k=200)) == 90


def test_a_lost_index_is_rebuilt_from_the_database(kb, folder, settings, embedder):
    import shutil

    kb.ingest([folder])
    shutil.rmtree(settings.home / "indexes")
    with Home(settings, embedder=embedder) as fresh:
        assert "dose.txt" in uris(fresh.open("docs").search("paracetamol"))


def test_a_damaged_index_is_set_aside_and_rebuilt(kb, folder, settings, embedder):
    kb.ingest([folder])
    generation = kb.lifecycle.current()
    (generation.path / "vectors.index").write_bytes(b"garbage")
    with Home(settings, embedder=embedder) as fresh:
        assert "dose.txt" in uris(fresh.open("docs").search("paracetamol"))


def test_old_generations_are_removed(kb, folder, settings):
    for i in range(4):
        (folder / "dose.txt").write_text(f"Version {i}.")
        kb.ingest([folder])
    numbers = sorted(p.name for p in kb.lifecycle.current().path.parent.iterdir() if p.is_dir())
    assert len(numbers) == settings.keep_generations


def test_a_full_disk_is_one_line_and_loses_nothing(kb, folder, monkeypatch):
    kb.ingest([folder])
    (folder / "more.txt").write_text("More text.")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("indexer.vectors.create", full)
        patch.setattr("indexer.vectors.load", full)
        with pytest.raises(StorageError, match="No space left"):
            kb.ingest([folder])
    assert "more.txt" in uris(kb.search("more text"))
    assert "dose.txt" in uris(kb.search("paracetamol dose"))


def test_a_full_database_is_one_line(kb, folder, home):
    from sqlalchemy import text

    with home._database.read() as session:
        pages = session.execute(text("PRAGMA page_count")).scalar()
    from sqlalchemy import event

    @event.listens_for(home._database._engine, "connect")
    def limit(connection, _):
        connection.execute(f"PRAGMA max_page_count = {pages}")

    home._database.close()
    for i in range(50):
        (folder / f"file-{i}.txt").write_text(f"Some text {i} " * 200)
    with pytest.raises(StorageError, match="the disk is full"):
        kb.ingest([folder])


@pytest.mark.parametrize("name", ["", "../x", "a/b", "x" * 101, " a", "a\nb", "-rf"])
def test_bad_names_are_refused(home, name):
    with pytest.raises(UsageError, match="can't be a name"):
        home.create(name)


def test_a_name_is_taken_once(home, kb):
    with pytest.raises(AlreadyExists, match="docs"):
        home.create("docs")


def test_an_unknown_knowledge_base_is_not_found(home):
    with pytest.raises(NotFound, match="nowhere"):
        home.open("nowhere")


def test_a_deleted_knowledge_base_is_gone_and_its_name_free(home, kb, folder):
    kb.ingest([folder])
    home.delete("docs")
    with pytest.raises(NotFound):
        home.open("docs")
    assert home.create("docs").search("paracetamol") == []


def test_the_index_of_a_deleted_knowledge_base_is_never_taken_for_another(
    home, kb, folder, monkeypatch
):
    kb.ingest([folder])
    # As if killed between deleting the rows and the folder.
    monkeypatch.setattr("shutil.rmtree", lambda *args, **kwargs: None)
    with pytest.raises(StorageError, match="its index folder"):
        home.delete("docs")
    again = home.create("docs")
    again.ingest([folder])
    assert "dose.txt" in uris(again.search("paracetamol"))
    assert list(again.lifecycle.problems()) == []


def test_doctor_finds_an_index_that_lacks_chunks(home, kb, folder, monkeypatch):
    kb.ingest([folder])
    monkeypatch.setattr(type(home.store.chunks), "count_live", lambda *args: 3)
    assert any("of 3 chunks" in problem for problem in kb.lifecycle.problems())


def test_search_looks_chunks_up_by_their_id(home, kb, folder):
    from sqlalchemy import event

    kb.ingest([folder])
    plans = []

    @event.listens_for(home._database._engine, "before_cursor_execute")
    def explain(connection, cursor, statement, parameters, *_):
        if "FROM chunks" in statement and "versions" in statement:
            plans.extend(cursor.execute("EXPLAIN QUERY PLAN " + statement, parameters).fetchall())

    kb.search("paracetamol dose")
    assert plans
    assert any("INTEGER PRIMARY KEY" in plan[-1] and "chunks" in plan[-1] for plan in plans)


def test_questions_go_on_while_an_index_is_built(kb, folder, monkeypatch):
    import threading

    from knowledge_bases import lifecycle

    kb.ingest([folder])
    kb.search("paracetamol")
    building, finish = threading.Event(), threading.Event()
    build = lifecycle.build

    def slow(*args, **kwargs):
        building.set()
        assert finish.wait(30)
        build(*args, **kwargs)

    monkeypatch.setattr(lifecycle, "build", slow)
    monkeypatch.setattr(lifecycle, "REFRESH_SECONDS", 0.0)
    (folder / "more.txt").write_text("More text.")
    thread = threading.Thread(target=kb.ingest, args=([folder],))
    thread.start()
    found = []
    try:
        assert building.wait(30)
        asking = threading.Thread(target=lambda: found.extend(uris(kb.search("paracetamol"))))
        asking.start()
        asking.join(10)
        assert "dose.txt" in found  # From the generation before; a build takes minutes.
    finally:
        finish.set()
        thread.join()
        asking.join()
    assert "more.txt" in uris(kb.search("more text"))


def test_doctor_finds_a_changed_vector(home, kb, folder):
    from sqlalchemy import text

    from knowledge_bases.doctor import examine

    kb.ingest([folder])
    assert [f for f in examine(home) if f.state == "problem"] == []
    with home._database.write() as session:
        session.execute(
            text("UPDATE embeddings SET vector = zeroblob(length(vector)) WHERE rowid = 1")
        )
    (problem,) = [f.detail for f in examine(home) if f.state == "problem"]
    assert problem.startswith("1 vectors were changed")


def test_documents_of_before_take_the_place_they_are_found_in(home, kb, folder, tmp_path):
    from sqlalchemy import text

    kb.ingest([folder])
    with home._database.write() as session:
        session.execute(text("UPDATE documents SET source_path = NULL, source_folder = NULL"))
    assert kb.ingest([folder]).unchanged == 2
    other = tmp_path / "other"
    other.mkdir()
    (other / "dose.txt").write_text("Another dose.")
    ((uri, reason),) = kb.ingest([other]).failed
    assert uri == "dose.txt"
    assert str(folder / "dose.txt") in reason


def test_what_two_runs_bring_at_once_is_no_version_of_each_other(kb, folder, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    (other / "dose.txt").write_text("Another dose.")
    # As if the other run had begun before this one stored anything.
    monkeypatch.setattr(type(kb.store.documents), "known", lambda *args: {})
    kb.ingest([folder])
    ((uri, reason),) = kb.ingest([other]).failed
    assert (uri, "--replace" in reason) == ("dose.txt", True)
    assert kb.document("dose.txt").version == 1


def test_a_corpus_that_can_not_be_read_loses_nothing(kb, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    corpus = folder / "corpus.jsonl"
    corpus.write_text('{"uri": "a", "text": "First."}\n{"uri": "b", "text": "Second."}\n')
    kb.ingest([folder])
    corpus.write_text('{"uri": "a", "text": "First."}\n{"uri": "b", "text": \n')
    summary = kb.ingest([folder], prune=True)
    assert (summary.missing, summary.withdrawn, len(summary.failed)) == ([], 0, 1)


def test_another_embedder_is_refused(kb, folder, settings, embedder):
    kb.ingest([folder])
    embedder.digest = "f" * 64
    with (
        Home(settings, embedder=embedder) as other,
        pytest.raises(DigestMismatch, match="was made with"),
    ):
        other.open("docs").search("paracetamol")
