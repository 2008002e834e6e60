import hashlib
import json
import shutil
from dataclasses import replace

import pytest
from sqlalchemy import text

from knowledge_bases.doctor import examine
from knowledge_bases.knowledge_base import Home
from rag.calibration import BUNDLED
from rag.errors import QuestionError, RecordError, StorageError
from rag.generate.choose import Writers
from rag.pipeline import Writer
from rag.settings import Settings
from rag.types import Decision, Draft, Token


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
    receipt = json.loads(home.store.log.get(recorded.record.id).receipt)
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
    assert {"settings_sha256", "decision", "timings_ms", "created_at", "schema"} <= set(receipt)


def test_the_leaf_hash_is_of_the_stored_bytes(answering):
    _, base = answering
    record = base.ask("What is the maximum dose?").record
    expected = hashlib.sha256(b"\x00" + record.receipt.encode()).hexdigest()
    assert record.leaf_hash == expected


def test_abstentions_are_logged_with_their_draft(settings, embedder, tmp_path):
    never = settings.model_copy(update={"answer_threshold": 1.0})
    with Home(never, embedder=embedder) as home:
        base = home.create("docs")
        (tmp_path / "a.txt").write_text("Keep it dry.")
        base.ingest([tmp_path / "a.txt"])
        recorded = base.ask("Is it kept dry?")
        receipt = json.loads(recorded.record.receipt)
    assert (receipt["status"], receipt["text"]) == ("abstained", "")
    assert receipt["draft"]["tokens"]
    assert "threshold" in receipt["reason"]


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
    ("question", "why"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("x" * 100_000, "100,000 characters"),
        ("a\0b", "NUL"),
        ("\ud800", "broken Unicode"),
    ],
)
def test_bad_questions_are_refused_and_not_logged(answering, question, why):
    home, base = answering
    with pytest.raises(QuestionError, match=why):
        base.ask(question)
    assert list(home.store.log.all()) == []


@pytest.mark.parametrize("question", ["???", "😀", "投与量は？", '"AND" OR (x:y)*', "\u202e"])
def test_odd_questions_get_an_answer_or_an_abstention(answering, question):
    _, base = answering
    assert base.ask(question).answer.status in ("answered", "abstained")


def test_an_empty_knowledge_base_abstains(home):
    answer = home.create("empty").ask("What is the dose?").answer
    assert answer.status == "abstained"
    assert "nothing in the knowledge base" in answer.decision.reason


def test_records_outlive_their_knowledge_base(answering):
    home, base = answering
    record = base.ask("What is the maximum dose?").record
    home.delete("docs")
    assert home.store.log.get(record.id).receipt == record.receipt


def test_doctor_finds_a_changed_and_a_missing_record(answering):
    home, base = answering
    for i in range(3):
        base.ask(f"Question {i}?")
    assert list(home.store.health.log_problems()) == []
    with home._database.write() as session:
        session.execute(
            text("UPDATE audit_records SET receipt = replace(receipt, 'Question 2', 'Question 9')")
        )
        session.execute(text("DELETE FROM audit_records WHERE sequence = 1"))
    problems = list(home.store.health.log_problems())
    assert problems == [
        "records 1 to 1 of the log are missing",
        "record 2 of the log was changed",
    ]


@pytest.mark.parametrize("column", ["status", "kb_name", "created_at", "id"])
def test_doctor_finds_a_changed_column(answering, column):
    home, base = answering
    base.ask("Question?")
    with home._database.write() as session:
        session.execute(text(f"UPDATE audit_records SET {column} = '2020-01-01 00:00:00.000000'"))
    assert list(home.store.health.log_problems()) == ["record 0 of the log was changed"]


def test_the_record_says_what_the_search_was_limited_to(answering):
    from rag.types import Filters

    _, base = answering
    receipt = json.loads(base.ask("What?", filters=Filters(tags=("x",))).record.receipt)
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
    receipt = json.loads(recorded.record.receipt)
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
    alone = json.loads(base.ask("What is the maximum dose of paracetamol?").record.receipt)
    assert (alone["attempts"], alone["status"]) == ([], "abstained")
