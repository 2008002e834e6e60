"""Checks that writers are tried in turn, what is verified, and that all of it is kept."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from rag.cite import PassageText, cite
from rag.errors import GenerationTimeout, TextError
from rag.pipeline import Pipeline, Writer, compared, judged, verified
from rag.rerank import CrossReranker
from rag.types import (
    Claim,
    Decision,
    Disagreement,
    Draft,
    Filters,
    Passage,
    Pointer,
    Segment,
    Token,
    Verdict,
)
from rag.verify.nli import NliVerifier
from rag.verify.saved import Verdicts


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
    model_sha256 = None

    def __init__(self) -> None:
        self.compared: list[str] = []

    def for_question(self) -> "Agrees":
        return self

    def verify(self, claims: Sequence[Claim], evidence) -> list[Verdict]:
        return [Verdict(claim, "supported", None, None, (), None) for claim in claims]

    def disagreements(self, claims: Sequence[Claim], texts) -> list[Disagreement | None]:
        self.compared += [claim.text for claim in claims]
        return [None] * len(claims)


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


def test_without_passages_no_knowledge_base_is_blamed(pipeline: Pipeline) -> None:
    assert pipeline.read("hard?", []).decision.reason == "no passages were given"


def test_passages_beyond_the_limit_are_refused(pipeline: Pipeline, passage_of) -> None:
    bounded = replace(pipeline, max_passage_chars=10)
    assert bounded.read("easy?", [passage_of("a" * 5)] * 2).status == "answered"
    with pytest.raises(TextError, match="give at most 10"):
        bounded.read("easy?", [passage_of("a" * 6)] * 2)
    assert bounded.writers[0].generator.asked == ["easy?"]


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


def test_a_later_answer_knows_what_was_withheld(ask) -> None:
    answer = ask("which?")
    assert answer.draft.features["agrees"] == 0.0
    assert "agrees" not in answer.attempts[0].draft.features


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


def test_after_one_that_took_too_long_the_next_is_decided_on_alone(
    pipeline: Pipeline, passage_of
) -> None:
    first, second = pipeline.writers
    strict = replace(second, decider=Serves(lambda question: False), alone_decider=second.decider)
    found = replace(pipeline, writers=(first, strict), retriever=Finds(passage_of))
    assert found.ask("slow first?", Filters()).text == "second"
    assert found.ask("which?", Filters()).status == "abstained"


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


def test_given_passages_may_be_decided_on_otherwise(pipeline: Pipeline) -> None:
    lenient = replace(pipeline.writers[0], reading_decider=Serves(lambda question: True))
    reading = replace(pipeline, writers=(lenient, *pipeline.writers[1:]))
    assert reading.read("which?", []).status == "answered"
    assert pipeline.read("which?", []).status == "abstained"
    assert reading.ask("which?", Filters()).text == "second", "asking is as it was"


def test_a_trial_has_each_writer_s_answer(pipeline: Pipeline, passage_of) -> None:
    found = replace(pipeline, retriever=Finds(passage_of))
    answers = found.trials("easy?", Filters())
    assert [(answer.status, answer.draft.text) for answer in answers] == [
        ("answered", "first"),
        ("answered", "second"),
    ]
    assert [answer.models["generator"] for answer in answers] == ["says:first", "says:second"]
    assert [answer.attempts for answer in answers] == [(), ()]
    withheld = found.trials("hard?", Filters())
    assert [(answer.status, answer.draft.text) for answer in withheld] == [
        ("abstained", "first"),
        ("abstained", "second"),
    ]
    with pytest.raises(GenerationTimeout, match="second did not finish"):
        found.trials("easy, slow second?", Filters())


def test_what_reranks_is_named_and_timed(pipeline: Pipeline, passage_of, pair_scorer) -> None:
    scorer = pair_scorer(relevance=lambda question, text: float(text.split()[-1]))
    found = replace(
        pipeline,
        retriever=Finds(passage_of),
        reranker=CrossReranker(scorer, depth=8),
        candidates=9,
        passages=3,
    )
    answer = found.ask("which?", Filters())
    assert [passage.text for passage in answer.passages] == ["text 7", "text 6", "text 5"]
    assert [passage.scores["relevance"] for passage in answer.passages] == [7.0, 6.0, 5.0]
    assert answer.models["reranker"] == scorer.digest
    assert answer.attempts[0].models["reranker"] == scorer.digest
    assert answer.timings_ms["rerank"] >= 0
    assert "reranker" not in pipeline.read("easy?", []).models


def test_given_passages_are_not_reranked(pipeline: Pipeline, passage_of, pair_scorer) -> None:
    scorer = pair_scorer(relevance=lambda question, text: 1.0)
    answer = replace(pipeline, reranker=CrossReranker(scorer)).read("easy?", [passage_of("text")])
    assert "rerank" not in answer.timings_ms
    assert scorer.calls == []


DOSE = "The daily dose of morphine is 4 g."
OTHER = "It rained. The daily dose of morphine is 8 g."


def quoted(text: str, passages: Sequence[Passage], at: int):
    """Segments and citations of a draft that copies a text from a passage."""
    start = passages[at].text.index(text)
    token = Token(text, 0.9, 1.0, Pointer(at, start, start + len(text)))
    return cite(Draft((token,), 0.9, "test"), passages, PassageText())


@pytest.fixture
def verifier_of(pair_scorer):
    def make(entailed, contradicted=lambda claim, text: 0.0):
        scorer = pair_scorer(entailed, contradicted, lambda question, text: 2.5)
        verdicts = Verdicts(temperature=1, supported=0.7, contradicted=0.8)
        return NliVerifier(scorer, verdicts), scorer

    return make


def test_the_whole_answer_is_judged_beside_its_sentences(verifier_of, passage_of) -> None:
    verifier, scorer = verifier_of(lambda claim, text: 0.6 if claim.startswith("How") else 0.9)
    text = "It is 4 g of morphine. It is given once a day."
    passages = [passage_of(text)]
    segments, citations = quoted(text, passages, 0)
    verdicts, whole = judged(verifier, "How much?", segments, citations, passages)
    assert [verdict.claim.text for verdict in verdicts] == [
        "It is 4 g of morphine.",
        "It is given once a day.",
    ]
    assert [verdict.p_supported for verdict in verdicts] == [1.0, 1.0], "they stand there"
    assert whole is not None
    assert whole.claim == Claim(text, (1,), "How much?")
    assert (whole.p_supported, whole.relevance) == (pytest.approx(0.6), 2.5)
    assert len(scorer.calls) == 1


def test_a_short_answer_is_the_whole_answer(verifier_of, passage_of) -> None:
    verifier, scorer = verifier_of(lambda claim, text: 0.9)
    passages = [passage_of(DOSE)]
    verdicts, whole = judged(verifier, "How much?", *quoted("4 g", passages, 0), passages)
    assert verdicts == (whole,)
    assert scorer.pairs[0] == ("How much? 4 g", DOSE)


def test_nothing_said_nothing_judged(verifier_of, passage_of) -> None:
    verifier, scorer = verifier_of(lambda claim, text: 0.9)
    blank = (Segment(" ", "generated", 1.0, None),)
    for segments in ((), blank):
        assert judged(verifier, "How much?", segments, (), [passage_of(DOSE)]) == ((), None)
    assert scorer.pairs == []


def test_uncited_words_have_no_evidence(verifier_of, passage_of) -> None:
    verifier, _ = verifier_of(lambda claim, text: 1.0)
    segments = (Segment("The dose is four grams a day.", "generated", 1.0, None),)
    verdicts, whole = judged(verifier, "How much?", segments, (), [passage_of(DOSE)])
    assert [verdict.label for verdict in verdicts] == ["unsupported"]
    assert whole is not None
    assert whole.p_supported == 0.0


def test_a_disagreement_names_the_passage_among_all(verifier_of, passage_of) -> None:
    verifier, _ = verifier_of(
        lambda claim, text: 0.9, lambda claim, text: 0.95 if "8 g" in text else 0.0
    )
    texts = ["Nothing.", DOSE, "Nothing else.", OTHER]
    passages = [passage_of(text, index=i) for i, text in enumerate(texts)]
    segments, citations = quoted(DOSE, passages, 1)
    verdicts, _ = judged(verifier, "How much?", segments, citations, passages)
    assert [verdict.disagreement for verdict in verdicts] == [None], "not asked yet"
    (verdict,) = compared(verifier, verdicts, citations, passages)
    found = verdict.disagreement
    assert found is not None
    assert found.passage == 3
    assert passages[3].text[found.start : found.end] == found.text != OTHER
    assert replace(verdict, disagreement=None) == verdicts[0]
    segments, citations = quoted(OTHER, passages, 3)
    verdicts, _ = judged(verifier, "How much?", segments, citations, passages)
    both = compared(verifier, verdicts, citations, passages)
    assert all(verdict.disagreement is None for verdict in both), "what is cited is no other text"


def test_only_what_is_served_is_compared_with_other_passages(pipeline: Pipeline, ask) -> None:
    withheld = ask("hard?")
    assert (withheld.status, len(withheld.attempts)) == ("abstained", 1)
    assert pipeline.verifier.compared == []
    assert ask("which?").text == "second"
    assert pipeline.verifier.compared == ["second"]


def test_what_several_drafts_ask_is_scored_once(verifier_of, pipeline, passage_of) -> None:
    class Quotes(Says):
        def generate_all(self, requests):
            start = DOSE.index(self.word)
            token = Token(self.word, 0.9, 1.0, Pointer(0, start, start + len(self.word)))
            return [Draft((token,), 0.9, self.digest) for _ in requests]

    verifier, scorer = verifier_of(lambda claim, text: 0.9)
    writers = tuple(Writer(Quotes("4 g"), Serves(lambda question: False)) for _ in range(2))
    both = replace(pipeline, writers=writers, verifier=verifier)
    both = replace(both, retriever=Finds(lambda text, index: passage_of(DOSE)), passages=1)
    first = both.ask("How much?", Filters())
    assert first.verdicts == first.attempts[0].verdicts
    assert len(scorer.pairs) == len(set(scorer.pairs)) == 2
    assert both.ask("How much?", Filters()).verdicts == first.verdicts
    assert len(scorer.pairs) == 4, "another time it is another question"


@pytest.mark.parametrize(
    ("probability", "log_odds"),
    [(0.5, 0.0), (0.9, math.log(9)), (0.0, math.log(1e-4 / (1 - 1e-4))), (1.0, math.log(9999))],
)
def test_verdicts_become_bounded_log_odds(probability: float, log_odds: float) -> None:
    verdict = Verdict(Claim("x", ()), "supported", probability, 1 - probability, (), None, 1.5)
    found = verified(verdict)
    assert found == {
        "entailed": pytest.approx(log_odds, abs=1e-5),
        "refuted": pytest.approx(-log_odds, abs=1e-5),
        "relevant": 1.5,
    }
    assert "relevant" not in verified(replace(verdict, relevance=None))


def test_where_no_model_judged_there_is_no_evidence() -> None:
    verdict = Verdict(Claim("x", ()), "supported", None, None, (), None)
    assert verified(verdict) == verified(None) == {}


def test_what_decides_weighs_the_verdict_on_the_whole(verifier_of, pipeline, passage_of) -> None:
    class Copies(Says):
        def generate_all(self, requests):
            token = Token(DOSE, 0.9, 1.0, Pointer(0, 0, len(DOSE)))
            return [Draft((token,), 0.9, self.digest, {"own": 1.0}) for _ in requests]

    verifier, _ = verifier_of(lambda claim, text: 0.9)
    served = Writer(Copies("dose"), Serves(lambda question: True))
    reading = replace(pipeline, writers=(served,), verifier=verifier)
    answer = reading.read("How?", [passage_of(DOSE)])
    assert answer.draft.features == {
        "own": 1.0,
        "entailed": pytest.approx(math.log(9), abs=1e-4),
        "refuted": pytest.approx(math.log(1e-4), abs=1e-3),
        "relevant": 2.5,
    }
