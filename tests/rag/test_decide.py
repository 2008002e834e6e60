import pytest

from rag.calibration import Calibration, sigmoid
from rag.decide import (
    FEATURES,
    SECOND_FEATURES,
    WRITTEN_FEATURES,
    CalibratedDecider,
    Fitted,
    evidence,
    second_evidence,
)
from rag.types import Claim, Draft, Guard, Pointer, Token, Verdict

WORDS = (Token("4 g", 0.9, 1.0, None),)


@pytest.fixture
def calibration(word_calibration):
    return Calibration.load(word_calibration)


def verdict(label="supported", guards=()):
    return Verdict(Claim("4 g", (1,)), label, None, None, guards, None)


def draft(**features):
    return Draft(WORDS, 0.5, "test", features)


def test_the_threshold_comes_from_the_calibration_file(calibration, passage_of):
    decider = CalibratedDecider(Fitted.bundled(calibration))
    strong = decider.decide(
        "?", draft(similarity=1.0, coverage=1.0), [verdict()], [passage_of("x")]
    )
    weak = decider.decide("?", draft(), [verdict()], [passage_of("x", dense=0.0)])
    assert (
        strong.threshold
        == weak.threshold
        == calibration.model("decide", FEATURES).extra("threshold")
    )
    assert strong.probability > weak.probability
    assert weak.status == "abstained"
    assert weak.reason == (
        "the best answer found is 0 % likely to be right; answers are given from 84 %"
    )


@pytest.mark.parametrize(("threshold", "shown"), [(0.07, 7), (0.29, 29), (1.0, 100), (0.8301, 84)])
def test_shown_percentages_never_deny_the_decision(calibration, passage_of, threshold, shown):
    decider = CalibratedDecider(Fitted.bundled(calibration), threshold=threshold)
    weak = decider.decide("?", draft(), [verdict()], [passage_of("x", dense=0.0)])
    assert f"given from {shown} %" in (weak.reason or "")


@pytest.mark.parametrize("label", ["unsupported", "contradicted"])
def test_an_unsupported_claim_is_withheld_whatever_its_probability(calibration, passage_of, label):
    decider = CalibratedDecider(Fitted.bundled(calibration), threshold=0.0)
    guard = Guard("number", ("5 g",))
    decision = decider.decide(
        "?", draft(similarity=1.0), [verdict(), verdict(label, (guard,))], [passage_of("x")]
    )
    assert decision.status == "abstained"
    said = {"contradicted": "denied", "unsupported": "not borne out"}[label]
    assert decision.reason == (
        f"the best answer found is {said} by the text it would cite: not found: number 5 g"
    )


def test_nothing_found_and_nothing_written_are_told_apart(calibration, passage_of):
    decider = CalibratedDecider(Fitted.bundled(calibration), threshold=0.0)
    empty = Draft((), 0.0, "test")
    assert "nothing in the knowledge base" in (decider.decide("?", empty, [], []).reason or "")
    assert "hold no answer" in (decider.decide("?", empty, [], [passage_of("x")]).reason or "")


def test_evidence_is_in_the_order_of_the_features(passage_of):
    passages = [passage_of("x", dense=0.8), passage_of("y", index=1, dense=0.5)]
    named = dict(zip(FEATURES, evidence(draft(similarity=0.7), passages, FEATURES), strict=True))
    assert named["similarity"] == 0.7
    assert named["passage_lead"] == pytest.approx(0.3)
    assert named["coverage"] == 0.0


def test_each_generator_is_judged_by_its_own_evidence():
    written = draft(absent=-3.0, log_prob=-0.2, lead=0.9)
    named = dict(zip(WRITTEN_FEATURES, evidence(written, [], WRITTEN_FEATURES), strict=True))
    assert named["absent"] == -3.0
    assert named["words"] == 0.0


def test_an_answer_that_did_not_end_is_withheld(calibration, passage_of):
    decider = CalibratedDecider(Fitted.bundled(calibration), threshold=0.0)
    cut = decider.decide("?", draft(finished=0.0), [verdict()], [passage_of("x")])
    assert cut.status == "abstained"
    assert cut.reason == "the best answer found breaks off in the middle"
    whole = decider.decide("?", draft(finished=1.0), [verdict()], [passage_of("x")])
    assert whole.status == "answered"


def test_sigmoid_does_not_overflow():
    assert sigmoid(-1e4) == 0.0
    assert sigmoid(1e4) == 1.0
    assert sigmoid(0) == 0.5


def test_what_the_question_names_must_be_cited(calibration, passage_of):
    text = "The TL-450 runs for 11 hours. In Brazil it is sold as a row | of cells."
    tokens = (Token("11 hours", 0.9, 1.0, Pointer(0, 20, 28)),)
    cell = (Token("cells", 0.9, 1.0, Pointer(0, text.index("cells"), len(text) - 1)),)
    fitted = Fitted.bundled(calibration)
    strict = CalibratedDecider(fitted, threshold=0.0)
    loose = CalibratedDecider(fitted, threshold=0.0, names=False, tables=False)

    def decided(decider, question, words=tokens):
        said = Draft(words, 0.5, "test")
        return decider.decide(question, said, [verdict()], [passage_of(text)]).reason

    for decider in (strict, loose):
        assert decided(decider, "How long does the TL-540 run?") == (
            "what it would cite does not mention tl-540"
        )
        assert decided(decider, "How long does the TL-450 run?") is None
    assert "does not mention India" in decided(strict, "How long does it run in India?")
    assert decided(loose, "How long does it run in India?") is None
    assert decided(strict, "Of what?", cell) is None
    assert "a cell of a table" in decided(loose, "Of what?", cell)


def text_of(text: str, **features: float) -> Draft:
    return Draft((Token(text, 0.9, 0.0, None),), 0.9, "test", features)


@pytest.mark.parametrize(
    ("first", "second", "agrees"),
    [
        ("within 4 hours", "Red cells run Within 4 hours, no later.", 1.0),
        ("4 hours", "It takes 14 hours.", 0.0),
        ("hours 4", "It takes 4 hours.", 0.0),
        ("", "It takes 4 hours.", 0.0),
        ("—", "It takes 4 hours.", 0.0),
    ],
)
def test_a_sentence_agrees_with_an_answer_whose_words_it_holds(first, second, agrees) -> None:
    assert second_evidence(text_of(first), text_of(second))["agrees"] == agrees


def test_evidence_of_the_withheld_answer_is_evidence_of_the_next() -> None:
    told = second_evidence(text_of("Ada", absent=0.3, entailed=-1.0), text_of("Bela", lead=9.0))
    assert told == {"agrees": 0.0, "written_absent": 0.3, "written_entailed": -1.0}
    named = {name.removeprefix("written_") for name in SECOND_FEATURES}
    assert {"absent", "entailed", "agrees", "lead"} <= named
