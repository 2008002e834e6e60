"""Checks verdicts of the guards alone."""

from __future__ import annotations

import pytest

from rag.types import Claim
from rag.verify.guarded import GuardVerifier


def judged(text: str, evidence: list[str]):
    (verdict,) = GuardVerifier().verify([Claim(text, (1,))], [evidence])
    return verdict


@pytest.mark.parametrize(
    "text", ["The dose is 4 grams.", "Dr Zoë Müller did not come on 3 May 2024.", "It keeps cold."]
)
def test_a_sentence_supports_itself(text: str) -> None:
    verdict = judged(text, ["Elsewhere.", f"Before. {text} After."])
    assert (verdict.label, verdict.guards) == ("supported", ())
    assert (verdict.p_supported, verdict.p_contradicted) == (None, None)
    span = verdict.evidence_span
    assert span is not None
    assert (span.evidence, span.text) == (1, text)


def test_one_thing_missing_is_enough() -> None:
    verdict = judged("The dose is 5 g.", ["The dose is 4 g."])
    assert verdict.label == "unsupported"
    assert [guard.name for guard in verdict.guards] == ["number"]


@pytest.mark.parametrize("evidence", [[], [""], ["Something else entirely."]])
def test_without_evidence_nothing_is_supported(evidence: list[str]) -> None:
    assert judged("The dose is 4 g.", evidence).label == "unsupported"


@pytest.mark.parametrize(
    "claim", ["", "\0", "😀🎉", "投与量は4グラムです。", "x" * 5_000, "\u202e\u200b", "\ud800"]
)
def test_odd_claims_get_a_verdict(claim: str) -> None:
    assert judged(claim, ["Some evidence."]).label == "unsupported"
    assert judged("Some claim.", [claim]).label == "unsupported"


def test_there_is_a_verdict_for_each_claim_by_its_own_evidence() -> None:
    claims = [Claim("Ann left early.", ()), Claim("Bob stayed late.", ())]
    verdicts = GuardVerifier().verify(claims, [["Bob stayed late."], ["Bob stayed late."]])
    assert [verdict.claim for verdict in verdicts] == claims
    assert [verdict.label for verdict in verdicts] == ["unsupported", "supported"]
    with pytest.raises(ValueError, match="shorter"):
        GuardVerifier().verify(claims, [[]])


def test_other_texts_are_not_looked_at() -> None:
    text = "The dose is 4 g."
    assert GuardVerifier().disagreements([Claim(text, ())], ["The dose is 8 g."]) == [None]


def test_no_model_judges() -> None:
    assert GuardVerifier().model_sha256 is None
    assert GuardVerifier().digest.startswith("guards:")
