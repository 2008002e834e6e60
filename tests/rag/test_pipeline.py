"""Checks that writers are tried in turn, and that all of it is kept."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from rag.cite import PassageText
from rag.errors import GenerationTimeout
from rag.pipeline import Pipeline, Writer
from rag.types import Claim, Decision, Draft, Filters, Passage, Token, Verdict


class Says:
    """Writes one word, and takes too long over questions that say so."""

    def __init__(self, word: str) -> None:
        self.digest = f"says:{word}"
        self.word = word
        self.asked: list[str] = []
        self.read: list[list[str]] = []

    def generate(self, question, passages):
        return self.generate_all([(question, passages)])[0]

    def generate_all(self, requests):
        self.asked += [question for question, _ in requests]
        self.read += [[passage.text for passage in passages] for _, passages in requests]
        if any(self.word in question and "slow" in question for question, _ in requests):
            raise GenerationTimeout(f"{self.word} did not finish")
        return [Draft((Token(self.word, 0.9, 0.0, None),), 0.9, self.digest) for _ in requests]


class Serves:
    """Serves the answers that hold to a condition on the question."""

    def __init__(self, holds: Callable[[str], bool]) -> None:
        self.digest = "serves:0"
        self.holds = holds

    def decide(self, question, draft, verdicts, passages):
        served = bool(draft.tokens) and self.holds(question)
        return Decision("answered" if served else "abstained", 0.5, 0.4, None if served else "no")


class Agrees:
    digest = "agrees:0"

    def verify(self, claim: Claim, evidence) -> Verdict:
        return Verdict(claim, "supported", None, None, (), None)


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline(
        writers=(
            Writer(Says("first"), Serves(lambda question: "easy" in question)),
            Writer(Says("second"), Serves(lambda question: "hard" not in question)),
        ),
        verifier=Agrees(),
        source=PassageText(),
    )


class Finds:
    """Finds passages that are numbered."""

    def __init__(self, passage_of) -> None:
        self.passage_of = passage_of

    def retrieve(self, question: str, k: int, filters: Filters) -> list[Passage]:
        return [self.passage_of(f"text {i}", index=i) for i in range(k)]


@pytest.fixture
def ask(pipeline: Pipeline, passage_of):
    found = replace(pipeline, retriever=Finds(passage_of), candidates=9)
    return lambda question: found.ask(question, Filters())


def test_an_answer_that_is_served_ends_the_search(pipeline: Pipeline, ask) -> None:
    answer = ask("easy?")
    assert (answer.status, answer.text, answer.attempts) == ("answered", "first", ())
    assert answer.models["generator"] == "says:first"
    assert pipeline.writers[1].generator.asked == []


def test_where_one_withholds_the_next_is_tried(ask) -> None:
    answer = ask("which?")
    assert (answer.status, answer.text) == ("answered", "second")
    assert answer.models["generator"] == "says:second"
    (attempt,) = answer.attempts
    assert (attempt.draft.text, attempt.decision.status) == ("first", "abstained")
    assert [verdict.label for verdict in attempt.verdicts] == ["supported"]
    assert attempt.models["generator"] == "says:first"


def test_where_all_withhold_the_first_one_says_why(ask) -> None:
    answer = ask("hard?")
    assert (answer.status, answer.text, answer.draft.text) == ("abstained", "", "first")
    assert [attempt.draft.text for attempt in answer.attempts] == ["second"]


def test_all_writers_read_the_same_passages(pipeline: Pipeline, ask) -> None:
    answer = ask("which?")
    texts = [f"text {i}" for i in range(5)]
    assert [passage.text for passage in answer.passages] == texts
    assert [writer.generator.read for writer in pipeline.writers] == [[texts], [texts]]
    assert set(answer.timings_ms) == {"retrieve", "generate", "cite", "verify", "decide"}


def test_one_that_takes_too_long_leaves_it_to_the_next(ask) -> None:
    answer = ask("slow first?")
    assert answer.text == "second"
    assert [attempt.draft.text for attempt in answer.attempts] == [""]


def test_what_took_too_long_is_no_abstention(ask) -> None:
    with pytest.raises(GenerationTimeout, match="first did not finish"):
        ask("slow first, hard?")
    with pytest.raises(GenerationTimeout, match="second did not finish"):
        ask("slow second?")


def test_given_passages_are_read_by_the_first_alone(pipeline: Pipeline) -> None:
    answers = pipeline.read_all([(question, []) for question in ("easy?", "which?", "easy 2?")])
    assert [answer.text for answer in answers] == ["first", "", "first"]
    assert [answer.attempts for answer in answers] == [(), (), ()]
    assert pipeline.writers[1].generator.asked == []
    assert [pipeline.read(q, []).text for q in ("easy?", "which?")] == ["first", ""]
    with pytest.raises(GenerationTimeout, match="first did not finish"):
        pipeline.read_all([("easy?", []), ("slow first?", [])])
