"""Follow-ups over the sample collection: what completing them finds, whose turns may be used."""

import uuid

import pytest

from knowledge_bases.conversations import Earlier
from knowledge_bases.home import Home
from knowledge_bases.samples import DOCUMENTS
from knowledge_bases.store.conversations import Conversations
from rag.errors import NotFound, QuestionError, UsageError
from rag.settings import Settings

HATCH = "When is the outpatient hatch open on weekdays?"
FOLLOW_UPS = [
    # the question before; the follow-up; where its answer is, and words of it
    ("What is the maximum daily dose of morphine?", "And codeine?", "240 mg in 24 hours"),
    (
        "What is the maximum single dose of gentamicin?",
        "How long is it infused?",
        "by infusion over 30 minutes",
    ),
    ("What is the alarm delay of the plasma freezer?", "And on Juniper Ward?", "Juniper Ward"),
    (
        "What is the target pre-dose level of gentamicin?",
        "What about vancomycin?",
        "target pre-dose vancomycin level",
    ),
    ("How much is the loading dose of vancomycin?", "How fast may it run?", "10 mg a minute"),
    (
        "Once out of the fridge, how long can rocuronium be kept?",
        "And suxamethonium?",
        "Suxamethonium injection",
    ),
    ("At which haemoglobin are red cells transfused?", "And in acute coronary syndrome?", "80 g/L"),
    ("How are red cells stored?", "What about platelets?", "20–24 °C on the agitator"),
    (
        "What share of septic patients on Maple Ward had antibiotics in the hour?",
        "And on Cedar Ward?",
        "Cedar Ward",
    ),
    ("Who unlocks the emergency cupboard at night?", "Why?", "emergency cupboard"),
    (
        "How often must the code of a treatment room's lock change?",
        "How warm may it be?",
        "must not exceed 25 °C",
    ),
    (
        "How many ampoules of fentanyl may Critical Care hold?",
        "And morphine?",
        "Morphine 10 mg/mL ampoule",
    ),
]


@pytest.fixture(scope="module")
def samples(tmp_path_factory, minilm):
    settings = Settings(home=tmp_path_factory.mktemp("talks"), generator="extractive")
    with Home(settings, embedder=minilm) as home:
        base = home.create("samples")
        assert base.ingest([DOCUMENTS]).failed == []
        yield base


def found(base, question, words, k=3):
    return any(words in passage.text for passage in base.search(question, k=k))


def test_completed_questions_find_what_they_are_about(samples):
    before = {row[1]: found(samples, row[1], row[2]) for row in FOLLOW_UPS}
    after, lines = {}, []
    for earlier, asked, words in FOLLOW_UPS:
        said = samples.spoken(asked, [Earlier(earlier)], "local")
        after[asked] = found(samples, said.question, words)
        lines.append(
            f"{before[asked]!s:5} {after[asked]!s:5} {said.completed.rule}: {said.question}"
        )
    table = "\n".join(lines)
    print(f"{sum(before.values())} and {sum(after.values())} of {len(FOLLOW_UPS)}\n{table}")
    assert sum(after.values()) >= 10, table
    assert sum(after.values()) >= sum(before.values()) + 4, table


@pytest.mark.parametrize("asked", [row[0] for row in FOLLOW_UPS])
def test_a_question_that_stands_alone_stays_as_it_is(samples, asked):
    said = samples.spoken(asked, [Earlier(HATCH)], "local")
    assert (said.question, said.completed.rule) == (asked, "as asked")


def test_follow_ups_lean_on_completed_ones(samples):
    turns = [Earlier("What is the maximum single dose of gentamicin?"), Earlier("And vancomycin?")]
    said = samples.spoken("How fast may it run?", turns, "local")
    assert said.completed.rule == "topic"
    assert "vancomycin" in said.question
    assert "gentamicin" not in said.question


def test_who_it_was_is_taken_from_the_answer(samples):
    first = samples.ask("Who countersigns a prescription for dalteparin?")
    said = samples.spoken("How are they reached?", [Earlier(None, first.record.id)], "local")
    own = said.completed
    if first.answer.status == "answered" and len(first.answer.text.split()) <= 12:
        assert (own.rule, own.added) == ("answer", first.answer.text.rstrip("."))
    else:
        assert own.rule == "topic"
    assert said.turns[0].question == first.answer.question


def test_the_receipt_says_how(samples):
    turns = [Earlier(HATCH)]
    recorded = samples.ask("And on Saturday?", earlier=turns)
    assert recorded.answer.question == "When is the outpatient hatch open on Saturday?"
    log = samples.store.log
    receipt = log.payload(log.get(recorded.record.id))
    assert receipt["question"] == recorded.answer.question
    assert receipt["conversation"] == {
        "original": "And on Saturday?",
        "rule": "swap",
        "replaced": "weekdays",
        "added": "Saturday",
        "turns": [{"question": HATCH, "answer_id": None}],
    }
    alone = samples.ask(HATCH)
    assert "conversation" not in log.payload(log.get(alone.record.id))


def test_anothers_answers_are_not_there(samples):
    theirs = samples.ask(HATCH, asker="somebody else")
    other = samples.home.create(f"other-{uuid.uuid4().hex[:8]}").ask(HATCH)
    for answer_id in (theirs.record.id, other.record.id, str(uuid.uuid4())):
        with pytest.raises(NotFound) as refused:
            samples.ask("And on Saturday?", earlier=[Earlier(None, answer_id)])
        assert answer_id in str(refused.value)
        assert "hatch" not in str(refused.value)


def test_too_many_turns_are_refused(samples):
    with pytest.raises(UsageError, match="at most 20"):
        samples.ask("And on Saturday?", earlier=[Earlier(HATCH)] * 21)
    assert next(samples.store.log.all(limit=1)).status == "UsageError"


def test_a_completed_question_can_be_too_long(samples):
    with pytest.raises(QuestionError, match="4,000"):
        samples.ask("Why?", earlier=[Earlier("ward " * 800)])


def test_an_erased_turn_says_nothing(samples):
    first = samples.ask("Who countersigns a prescription for dalteparin?")
    samples.home.audit.eraser.erase_record(first.record.id, actor="local")
    said = samples.spoken("And on Saturday?", [Earlier(None, first.record.id)], "local")
    assert (said.question, said.turns) == ("And on Saturday?", ())


def test_personal_data_of_a_conversation_is_masked(samples):
    from knowledge_bases.audit.personal_data import protected

    said = samples.spoken("Why?", [Earlier("Who is a.person@example.org?")], "local")
    payload = {"question": said.question, "conversation": said.as_json()}
    assert "a.person" in str(payload)
    assert "a.person" not in str(protected(payload, "mask"))


def test_a_conversation_is_for_who_began_it(samples):
    talks: Conversations = samples.store.conversations
    own = talks.create(samples.row.id, "key one")
    for record_id in ("a", "b", "a"):
        talks.add(own, record_id)
    assert talks.answers(samples.row.id, own, "key one") == ["a", "b"]
    for kb_id, asker in ((samples.row.id, "key two"), (samples.row.id + 1, "key one")):
        with pytest.raises(NotFound, match="there is no conversation"):
            talks.answers(kb_id, own, asker)
