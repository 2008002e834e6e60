import hashlib
import shutil
from dataclasses import replace

import pytest
from sqlalchemy import text

from knowledge_bases.doctor import examine
from knowledge_bases.home import Home
from rag.calibration import BUNDLED
from rag.errors import GenerationTimeout, NotFound, QuestionError, RecordError, StorageError
from rag.generate.choose import Writers
from rag.pipeline import Writer
from rag.settings import Settings
from rag.types import Decision, Draft, Filters, Token


def payload(home, recorded):
    log = home.store.log
    return log.payload(log.get(recorded.record.id))


@pytest.fixture
def answering(settings, embedder, tmp_path):
    """A knowledge base that answers whatever it finds."""
    always = settings.model_copy(update={"answer_threshold": 0.0})
    with Home(always, embedder=embedder) as home:
        base = home.create("docs")
        file = tmp_path / "dose.txt"
        file.write_text("The maximum dose of paracetamol is 4 g in 24 hours. Keep it dry.")
        base.ingest([file])
        yield home, base


def test_a_record_holds_everything_the_answer_came_from(answering):
    home, base = answering
    recorded = base.ask("What is the maximum dose of paracetamol?", asker="someone")
    receipt = payload(home, recorded)
    answer = recorded.answer
    assert answer.status == "answered"
    assert receipt["question"] == "What is the maximum dose of paracetamol?"
    assert receipt["text"] == answer.text
    assert receipt["asker"] == "someone"
    assert receipt["index"] == {
        "generation": 1,
        "manifest_sha256": base.lifecycle.current().digest,
    }
    assert set(receipt["models"]) == {"embedder", "generator", "verifier", "decider"}
    (passage,) = receipt["passages"]
    assert passage["text_sha256"] == hashlib.sha256(answer.passages[0].text.encode()).hexdigest()
    assert "".join(token[0] for token in receipt["draft"]["tokens"]) == answer.text
    assert receipt["citations"][0]["quote"] == answer.citations[0].quote
    assert receipt["verdicts"][0]["label"] == "supported"
    assert {"settings_sha256", "decision", "timings_ms", "schema"} <= set(receipt)


def test_the_leaf_hash_is_of_the_stored_bytes(answering):
    _, base = answering
    record = base.ask("What is the maximum dose?").record
    expected = hashlib.sha256(b"\x00" + record.leaf.encode()).hexdigest()
    assert record.leaf_hash == expected


def test_abstentions_are_logged_with_their_draft(settings, embedder, tmp_path):
    never = settings.model_copy(update={"answer_threshold": 1.0})
    with Home(never, embedder=embedder) as home:
        base = home.create("docs")
        (tmp_path / "a.txt").write_text("Keep it dry.")
        base.ingest([tmp_path / "a.txt"])
        recorded = base.ask("Is it kept dry?")
        receipt = payload(home, recorded)
    assert (receipt["status"], receipt["text"]) == ("abstained", "")
    assert receipt["draft"]["tokens"]
    assert "answers are given from 100 %" in receipt["reason"]


def test_sequence_numbers_have_no_gap(answering):
    home, base = answering
    sizes = [base.ask(f"Question {i}?").log_size for i in range(5)]
    assert sizes == [1, 2, 3, 4, 5]
    assert [row.sequence for row in home.store.log.all(oldest_first=True)] == [0, 1, 2, 3, 4]


def test_no_record_no_answer(answering, monkeypatch):
    home, base = answering

    def refuse(*args):
        raise StorageError("the disk is full")

    monkeypatch.setattr(type(home.store.log), "append", refuse)
    with pytest.raises(RecordError, match="withheld: the disk is full"):
        base.ask("What is the maximum dose?")


def test_a_read_only_database_gives_no_answer(answering):
    home, base = answering
    from sqlalchemy import event

    @event.listens_for(home._database._engine, "connect")
    def make_read_only(connection, _):
        connection.execute("PRAGMA query_only = ON")

    home._database.close()
    with pytest.raises(RecordError, match="read-only"):
        base.ask("What is the maximum dose?")


@pytest.mark.parametrize(
    ("question", "why", "kept"),
    [
        ("", "holds no words", ""),
        ("?!", "holds no words", "?!"),
        ("x" * 100_000, "100,000 characters", "x" * 4_000),
        ("a\0b", "NUL", "a\0b"),
        ("\ud800", "broken Unicode", "\\ud800"),
    ],
)
def test_bad_questions_are_refused_and_logged_as_refusals(answering, question, why, kept):
    home, base = answering
    with pytest.raises(QuestionError, match=why):
        base.ask(question, asker="someone")
    (row,) = home.store.log.all()
    assert (row.kind, row.status, row.kb_name) == ("refusal", "QuestionError", "docs")
    refusal = home.store.log.payload(row)
    assert (refusal["question"], refusal["question_chars"]) == (kept, len(question))
    assert refusal["actor"] == "someone"
    assert why in refusal["error"]["message"]
    assert home.store.log.by_subject("someone") == [0]


def test_a_question_that_ends_in_an_error_is_logged(answering, monkeypatch):
    home, base = answering
    for error in (GenerationTimeout("too slow"), StorageError("the disk is gone")):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(type(base), "_pipeline", fail)
        with pytest.raises(type(error), match=str(error)):
            base.ask("What is the maximum dose?")
    with pytest.raises(NotFound):
        base.ask("What?", filters=Filters(documents=("none.txt",)))
    statuses = [row.status for row in home.store.log.all(kinds=("refusal",), oldest_first=True)]
    assert statuses == ["GenerationTimeout", "StorageError", "NotFound"]


def test_an_error_stays_the_one_it_was_where_it_can_not_be_logged(answering, monkeypatch):
    home, base = answering

    def refuse(*_):
        raise StorageError("the disk is full")

    monkeypatch.setattr(type(home.store.log), "append", refuse)
    with pytest.raises(QuestionError, match="holds no words"):
        base.ask("")


@pytest.mark.parametrize("question", ["投与量は？", '"AND" OR (x:y)*', "\u202e1", "a" * 500])
def test_odd_questions_get_an_answer_or_an_abstention(answering, question):
    _, base = answering
    assert base.ask(question).answer.status in ("answered", "abstained")


def test_an_empty_knowledge_base_abstains(home):
    answer = home.create("empty").ask("What is the dose?").answer
    assert answer.status == "abstained"
    assert "nothing in the knowledge base" in answer.decision.reason


def test_records_outlive_their_knowledge_base(answering):
    home, base = answering
    recorded = base.ask("What is the maximum dose?")
    before = payload(home, recorded)
    home.delete("docs")
    assert payload(home, recorded) == before
    assert home.store.log.get(recorded.record.id).leaf == recorded.record.leaf


def test_doctor_finds_a_changed_and_a_missing_record(answering):
    home, base = answering
    for i in range(3):
        base.ask(f"Question {i}?")
    assert home.audit.verify().ok
    with home._database.write() as session:
        session.execute(
            text("UPDATE audit_records SET leaf = replace(leaf, '202', '203') WHERE sequence = 2")
        )
        session.execute(text("DELETE FROM audit_records WHERE sequence = 1"))
    problems = home.audit.verify().problems
    assert {problem.sequence for problem in problems} >= {1, 2}
    told = [finding for finding in examine(home) if finding.check == "log"]
    assert [finding.detail for finding in told] == [problem.line for problem in problems]
    assert {finding.state for finding in told} == {"problem"}


@pytest.mark.parametrize("column", ["status", "kb_name", "created_at", "id"])
def test_doctor_finds_a_changed_column(answering, column):
    home, base = answering
    base.ask("Question?")
    with home._database.write() as session:
        session.execute(text(f"UPDATE audit_records SET {column} = '2020-01-01 00:00:00.000000'"))
    assert home.audit.verify().first_bad.sequence == 0


def test_the_record_says_what_the_search_was_limited_to(answering):
    home, base = answering
    receipt = payload(home, base.ask("What?", filters=Filters(tags=("x",))))
    assert receipt["filters"]["tags"] == ["x"]


def test_a_calibration_of_another_model_is_refused(tmp_path, embedder):
    from rag.errors import DigestMismatch

    with (
        Home(Settings(home=tmp_path), embedder=embedder) as home,
        pytest.raises(DigestMismatch, match="53aa51172d14"),
    ):
        home.create("docs").ask("Anything?")


def test_a_page_of_the_log_reads_no_newer_records(answering):
    from sqlalchemy import event

    home, base = answering
    for number in range(4):
        base.ask(f"What is dose {number}?")
    loaded = []

    def note(target, context):
        loaded.append(target.sequence)

    kind = type(home.store.log.get(next(home.store.log.all()).id))
    event.listen(kind, "load", note)
    try:
        page = list(home.store.log.all(before=2, limit=1))
    finally:
        event.remove(kind, "load", note)
    assert [row.sequence for row in page] == loaded == [1]


def test_doctor_finds_changed_weights(settings, embedder, tmp_path):
    folder = tmp_path / "generator"
    shutil.copytree(BUNDLED.parent / "generator", folder)
    changed = folder / "weights.safetensors"
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    own = settings.model_copy(update={"generator": str(folder)})
    with Home(own, embedder=embedder) as home:
        found = {finding.check: finding for finding in examine(home)}
        assert "weights.safetensors has sha256" in found["models"].detail
        assert "generator" not in found
        assert "models" not in {finding.check for finding in examine(home, quick=True)}


class Mumbles:
    """A generator that is never sure, and reads the question its own way."""

    digest = "mumbles:0"

    def generate(self, question, passages):
        return Draft((Token("um", 0.1, 0.0, None),), 0.1, self.digest, {"sure": 0.0}, "Um?")

    def generate_all(self, requests):
        return [self.generate(*request) for request in requests]


class Never:
    digest = "never:0"

    def decide(self, question, draft, verdicts, passages):
        return Decision("abstained", 0.1, 0.9, "not sure")


def test_a_record_holds_what_was_tried_and_not_served(answering):
    home, base = answering
    quoting = home.writers.main
    home.__dict__["writers"] = Writers(Writer(Mumbles(), Never()), fallback=quoting)
    recorded = base.ask("What is the maximum dose of paracetamol?")
    receipt = payload(home, recorded)
    assert recorded.answer.status == "answered"
    assert receipt["models"]["generator"].startswith("extractive:")
    assert receipt["draft"]["read_as"] is None
    (attempt,) = receipt["attempts"]
    assert attempt["models"]["generator"] == "mumbles:0"
    assert attempt["models"]["decider"] == "never:0"
    assert attempt["draft"]["tokens"] == [["um", 0.1, 0.0, None, None, None]]
    assert attempt["draft"]["read_as"] == "Um?"
    assert attempt["decision"] == {"probability": 0.1, "threshold": 0.9, "reason": "not sure"}
    home.__dict__["writers"] = Writers(replace(quoting, decider=Never()))
    alone = payload(home, base.ask("What is the maximum dose of paracetamol?"))
    assert (alone["attempts"], alone["status"]) == ([], "abstained")


def test_changed_settings_are_logged_before_the_next_answer(settings, embedder, tmp_path):
    (tmp_path / "dose.txt").write_text("The maximum dose of paracetamol is 4 g in 24 hours.")
    for threshold in (0.0, 0.0, 0.5):
        own = settings.model_copy(update={"answer_threshold": threshold})
        with Home(own, embedder=embedder) as home:
            base = home.open("docs") if home.store.kbs.all() else home.create("docs")
            base.ingest([tmp_path / "dose.txt"])
            base.ask("What is the maximum dose?")
            base.ask("What is the maximum dose?")
            kinds = [row.kind for row in home.store.log.all(oldest_first=True)]
            (*_, newest) = home.store.log.all(kinds=("settings", "answer"), limit=3)
            change = home.store.log.payload(newest)
    assert kinds == ["answer"] * 4 + ["settings"] + ["answer"] * 2
    assert change["settings"]["answer_threshold"] == 0.5
    assert change["settings_sha256"] != change["before_sha256"]


def test_personal_data_is_masked_before_it_is_stored(settings, embedder, tmp_path):
    pytest.importorskip("stdnum")
    masking = settings.model_copy(update={"personal_data": "mask"})
    with Home(masking, embedder=embedder) as home:
        base = home.create("docs")
        recorded = base.ask("Did jane.doe@example.org ask for the dose?")
        stored = payload(home, recorded)
        assert recorded.answer.question == "Did jane.doe@example.org ask for the dose?"
    assert "jane" not in stored["question"]
    assert stored["personal_data"]["mode"] == "mask"
