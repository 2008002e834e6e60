"""Checks the bundled verifier on what any verifier must tell apart; exact figures are not its."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from rag.settings import Settings
from rag.types import Claim, Verdict
from rag.verify.choose import Judges
from rag.verify.nli import NliVerifier
from rag.verify.scorer import TrainedScorer

OPPOSITES = [
    ("The pharmacy is open on Sundays.", "The pharmacy is not open on Sundays."),
    ("Patients may eat before the operation.", "Patients may not eat before the operation."),
    ("The bridge was built by the Romans.", "The bridge was not built by the Romans."),
]
LONG = "The canteen opens at seven. Visitors sign in at the desk. {} Badges are worn. It shuts."


@pytest.fixture(scope="module")
def judges() -> Judges:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("the network is cut off")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        chosen = Judges(Settings(device="cpu"))
        assert isinstance(chosen.verifier, NliVerifier)
    return chosen


@pytest.fixture(scope="module")
def scorer(judges: Judges) -> TrainedScorer:
    assert isinstance(judges.scorer, TrainedScorer)
    return judges.scorer


def verdict_on(judges: Judges, text: str, evidence: str, question: str | None = None) -> Verdict:
    return judges.verifier.verify([Claim(text, (), question)], [[evidence]])[0]


@pytest.mark.parametrize(("said", "opposite"), OPPOSITES)
def test_a_sentence_supports_itself_more_than_its_opposite(judges, said, opposite) -> None:
    for evidence in (said, LONG.format(said)):
        same, other = (verdict_on(judges, claim, evidence) for claim in (said, opposite))
        assert same.p_supported > other.p_supported + 0.2
        assert evidence[same.evidence_span.start :].startswith(same.evidence_span.text)
        assert other.label != "supported"


def test_what_is_about_something_else_supports_less(judges) -> None:
    claim = OPPOSITES[0][0]
    unrelated = verdict_on(judges, claim, "The bridge was built by the Romans.")
    assert unrelated.p_supported < verdict_on(judges, claim, claim).p_supported - 0.2
    assert unrelated.label != "supported"


def test_a_text_that_answers_is_more_relevant(scorer) -> None:
    question = "When does the canteen open?"
    texts = ["The canteen opens at seven.", "The bridge was built by the Romans."]
    relevance = scorer.score([(question, text) for text in texts]).relevance
    assert relevance[0] > relevance[1]


def test_a_batch_says_what_single_calls_say(scorer) -> None:
    pairs = [
        (claim, text)
        for claim, _ in OPPOSITES
        for text in (*OPPOSITES[0], LONG.format(OPPOSITES[1][0]), "", "word " * 700)
    ]
    together = scorer.score(pairs)
    for i, pair in enumerate(pairs):
        alone = scorer.score([pair])
        assert np.abs(together.labels[i] - alone.labels[0]).max() < 1e-4
        assert abs(together.relevance[i] - alone.relevance[0]) < 1e-3
    assert np.allclose(together.labels.sum(axis=1), 1, atol=1e-5)
    again = scorer.score(pairs)
    assert np.array_equal(together.labels, again.labels)


@pytest.mark.parametrize("text", ["", "\0", "\ud800", "😀", "投与量は4グラムです。", "x" * 5_000])
def test_odd_texts_get_a_verdict(judges, text) -> None:
    for claim, evidence in ((text, LONG), (LONG, text), (text, text)):
        verdict = verdict_on(judges, claim, evidence, "What?")
        assert 0 <= verdict.p_supported <= 1


def test_nothing_asked_nothing_said(scorer) -> None:
    scores = scorer.score([])
    assert (scores.labels.shape, scores.relevance.shape) == ((0, 3), (0,))


def test_two_passages_that_disagree_are_shown_beside_each_other(judges) -> None:
    said, other = "The maximum daily dose is 4 g.", "The maximum daily dose is 8 g."
    claims = [Claim(said, (1,))]
    (found,) = judges.verifier.disagreements(claims, [f"It rained. {other}"])
    assert found is not None
    assert (found.passage, found.start, found.text) == (0, len("It rained. "), other)
    assert judges.verifier.disagreements(claims, [f"It rained. {said}"]) == [None]


def test_a_question_s_verifier_says_the_same(judges) -> None:
    claims = [Claim(text, (), "How much?") for text in ("4 g", "The dose is 4 g.", "8 g")]
    evidence = [["The maximum daily dose is 4 g. It rained."]] * len(claims)
    once = judges.verifier.for_question()
    first = once.verify(claims[:2], evidence[:2])
    again = once.verify(claims, evidence)
    assert again[:2] == first
    for own, alone in zip(again, judges.verifier.verify(claims, evidence), strict=True):
        assert own.label == alone.label
        assert own.p_supported == pytest.approx(alone.p_supported, abs=1e-5)
        assert own.relevance == pytest.approx(alone.relevance, abs=1e-4)
