"""Checks that a text is judged sentence by sentence, and that the worst one decides."""

from __future__ import annotations

import pytest

from rag.verify.check import check_text
from rag.verify.nli import NliVerifier
from rag.verify.saved import Verdicts

SUPPORTED = {"Ann left.": 0.9, "Bob stayed.": 0.8, "Cleo slept.": 0.3, "Dan sang.": 0.1}
CONTRADICTED = {"Dan sang.": 0.85, "Cleo slept.": 0.2}
EVIDENCE = ["Ann left, Bob stayed, Cleo slept, Dan sang."]


@pytest.fixture
def scorer(pair_scorer):
    return pair_scorer(
        lambda claim, text: SUPPORTED.get(claim, 0.6),
        lambda claim, text: CONTRADICTED.get(claim, 0.0),
        lambda question, text: 1.0,
    )


@pytest.fixture
def verifier(scorer) -> NliVerifier:
    return NliVerifier(scorer, Verdicts(temperature=1, supported=0.5, contradicted=0.8))


@pytest.mark.parametrize(
    ("text", "label", "supported", "contradicted", "worst"),
    [
        ("Ann left.", "supported", 0.9, 0.0, "Ann left."),
        ("Ann left. Bob stayed.", "supported", 0.8, 0.0, "Bob stayed."),
        ("Ann left. Cleo slept. Bob stayed.", "unsupported", 0.3, 0.2, "Cleo slept."),
        ("Cleo slept. Dan sang. Ann left.", "contradicted", 0.1, 0.85, "Dan sang."),
    ],
)
def test_the_worst_sentence_decides(verifier, text, label, supported, contradicted, worst) -> None:
    checked = check_text(verifier, text, EVIDENCE)
    assert checked.worst.label == label
    assert checked.worst.claim.text == worst
    assert checked.p_supported == pytest.approx(supported)
    assert checked.p_contradicted == pytest.approx(contradicted)
    assert " ".join(verdict.claim.text for verdict in checked.verdicts) == text


def test_a_contradicted_sentence_is_worse_than_one_less_supported(pair_scorer) -> None:
    scorer = pair_scorer(
        lambda claim, text: 0.0 if "Ann" in claim else 0.15,
        lambda claim, text: 0.0 if "Ann" in claim else 0.85,
    )
    verifier = NliVerifier(scorer, Verdicts(temperature=1, supported=0.5, contradicted=0.8))
    checked = check_text(verifier, "Ann left. Bob stayed.", EVIDENCE)
    assert checked.worst.claim.text == "Bob stayed."
    assert (checked.p_supported, checked.p_contradicted) == pytest.approx((0.0, 0.85))


def test_a_short_answer_is_judged_with_its_question(verifier, scorer) -> None:
    checked = check_text(verifier, "Ann. Ltd.", EVIDENCE, "Who left?")
    (verdict,) = checked.verdicts
    assert (verdict.claim.text, verdict.claim.question) == ("Ann. Ltd.", "Who left?")
    assert scorer.pairs[0][0] == "Who left? Ann. Ltd."
    assert verdict.relevance == 1.0


def test_a_statement_stands_without_its_question(verifier, scorer) -> None:
    text = "Ann left early on that rainy day. Bob stayed."
    checked = check_text(verifier, text, EVIDENCE, "Who left?")
    assert [verdict.claim.question for verdict in checked.verdicts] == [None, None]
    assert "Who left?" not in {claim for claim, _ in scorer.pairs}


@pytest.mark.parametrize("text", ["Ann left.", "7", "ไป"])
def test_without_evidence_nothing_is_supported(verifier, text) -> None:
    checked = check_text(verifier, text, [])
    assert checked.worst.label == "unsupported"
    assert (checked.p_supported, checked.p_contradicted) == (0.0, 0.0)
    assert len(checked.verdicts) == 1


def test_all_sentences_are_judged_in_one_call(verifier, scorer) -> None:
    checked = check_text(verifier, "Ann left. Bob stayed. " * 500, EVIDENCE)
    assert len(checked.verdicts) == 1_000
    assert [len(call) for call in scorer.calls] == [2], "equal sentences are scored once"


def test_guards_alone_give_no_probability() -> None:
    from rag.verify.guarded import GuardVerifier

    checked = check_text(GuardVerifier(), "Ann left. Bob took 5 g.", ["Ann left. Bob took 4 g."])
    assert (checked.p_supported, checked.p_contradicted) == (None, None)
    assert (checked.worst.label, checked.worst.claim.text) == ("unsupported", "Bob took 5 g.")
