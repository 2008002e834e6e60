"""Checks how pairs become verdicts, with a cross-encoder whose probabilities are known."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.types import Claim
from rag.verify.nli import CLAIM_TOKENS, ELSEWHERE, NliVerifier
from rag.verify.premises import LONGEST_SENTENCE, MOST_PREMISES, NEIGHBOUR_CHARS
from rag.verify.saved import Verdicts

SENTENCES = ["Ann left early.", "Bob stayed late.", "Cleo slept well.", "Dan sang."]
TEXT = " ".join(SENTENCES)


@pytest.fixture
def verifier_of(pair_scorer):
    """A verifier over functions of pairs, with its scorer."""

    def make(entailed, contradicted=lambda claim, text: 0.0, relevance=None):
        scorer = pair_scorer(entailed, contradicted, relevance)
        verdicts = Verdicts(temperature=1.0, supported=0.7, contradicted=0.8)
        return NliVerifier(scorer, verdicts), scorer

    return make


def verdict_on(verifier, text, evidence, question=None):
    (verdict,) = verifier.verify([Claim(text, (), question)], [evidence])
    return verdict


def disagreement_with(verifier, text, texts, question=None):
    (found,) = verifier.disagreements([Claim(text, (), question)], texts)
    return found


def test_a_claim_is_scored_against_each_sentence_with_its_neighbours(verifier_of) -> None:
    verifier, scorer = verifier_of(lambda claim, text: 0.9 if "Dan" in text else 0.2)
    verdict = verdict_on(verifier, "Dan surely sang.", [TEXT, "Eve ran."])
    windows = [SENTENCES[:2], SENTENCES[:3], SENTENCES[1:], SENTENCES[2:], ["Eve ran."]]
    assert scorer.pairs == [("Dan surely sang.", " ".join(window)) for window in windows]
    assert verdict.p_supported == pytest.approx(0.9)
    assert (verdict.label, verdict.p_contradicted) == ("supported", 0.0)


@pytest.mark.parametrize(("probability", "label"), [(0.71, "supported"), (0.69, "unsupported")])
def test_the_threshold_is_the_verifiers_own(verifier_of, probability, label) -> None:
    verifier, _ = verifier_of(lambda claim, text: probability)
    assert verdict_on(verifier, "Dan surely sang.", [TEXT]).label == label


def test_a_long_claim_is_as_good_as_its_worst_part(verifier_of) -> None:
    words = [f"w{i}" for i in range(2 * CLAIM_TOKENS + 5)]
    worst = {words[0]: 0.95, words[CLAIM_TOKENS]: 0.9, words[2 * CLAIM_TOKENS]: 0.3}
    verifier, scorer = verifier_of(lambda part, text: worst[part.split()[0]])
    verdict = verdict_on(verifier, " ".join(words), ["Something is said."])
    assert verdict.p_supported == pytest.approx(0.3)
    assert verdict.label == "unsupported"
    assert " ".join(part for part, _ in scorer.pairs) == " ".join(words)
    assert max(len(part.split()) for part, _ in scorer.pairs) == CLAIM_TOKENS


def test_a_claim_without_spaces_is_judged_to_its_end(verifier_of) -> None:
    claim = "剂" * 500 + "毒"
    verifier, scorer = verifier_of(lambda part, text: 0.1 if "毒" in part else 0.9)
    verdict = verdict_on(verifier, claim, ["剂量是四克。"])
    assert "".join(dict.fromkeys(part for part, _ in scorer.pairs if "毒" in part)).endswith("毒")
    assert max(len(part) for part, _ in scorer.pairs) <= CLAIM_TOKENS
    assert verdict.p_supported == pytest.approx(0.1)


def test_of_windows_alike_that_with_the_claims_words_is_pointed_at(verifier_of) -> None:
    verifier, _ = verifier_of(lambda claim, text: 0.9 if "Dan" in text else 0.2)
    verdict = verdict_on(verifier, "Dan sang.", [TEXT])
    assert verdict.evidence_span.text == "Dan sang."


def test_the_claim_itself_is_believed_without_a_model(verifier_of) -> None:
    doubting, scorer = verifier_of(lambda claim, text: 0.1, lambda claim, text: 0.9)
    verdict = verdict_on(doubting, "Bob stayed  late", [TEXT])
    assert (verdict.label, verdict.p_supported, verdict.p_contradicted) == ("supported", 1.0, 0.0)
    assert verdict.evidence_span.text == "Bob stayed late."
    assert scorer.pairs == [], "there is nothing to ask"
    assert disagreement_with(doubting, "Bob stayed  late", ["Bob stayed late!"]) is None
    denied = ["Nobody says Bob stayed late."]
    assert verdict_on(doubting, "Bob stayed late.", denied).label == "contradicted"
    asked = verdict_on(doubting, "Bob stayed late.", [TEXT], question="Who slept?")
    assert asked.label == "contradicted"


def test_parts_of_a_claim_may_follow_from_unlike_sentences(verifier_of) -> None:
    claim = " ".join(["ann"] * CLAIM_TOKENS + ["dan"])
    verifier, _ = verifier_of(lambda part, text: 0.9 if part.split()[0] in text.lower() else 0.1)
    assert verdict_on(verifier, claim, [TEXT]).p_supported == pytest.approx(0.9)
    assert verdict_on(verifier, claim, ["Ann left."]).p_supported == pytest.approx(0.1)


def test_a_claim_may_follow_from_sentences_far_apart(verifier_of) -> None:
    far = "Ada was born in Paris.\nShe taught physics in Rome."
    verifier, scorer = verifier_of(lambda claim, text: 0.9 if text == far else 0.2)
    text = far.replace("\n", " It rained. Nobody came. Later she moved. ")
    verdict = verdict_on(verifier, "Ada of Paris taught physics in Rome", [text])
    assert (verdict.label, verdict.p_supported) == ("supported", pytest.approx(0.9))
    assert verdict.evidence_span.text in far.split("\n")
    assert len(scorer.pairs) == 6


def test_what_one_sentence_bears_out_no_other_refutes(verifier_of) -> None:
    evidence = ["Dan sang.", "Dan was silent."]
    verifier, _ = verifier_of(
        lambda claim, text: 0.9 if "sang" in text else 0.05,
        lambda claim, text: 0.95 if "silent" in text else 0.0,
    )
    borne_out = verdict_on(verifier, "Dan surely sang.", evidence)
    assert borne_out.label == "supported"
    assert borne_out.p_contradicted == pytest.approx(0.1)
    refuted = verdict_on(verifier, "Dan surely sang.", evidence[1:])
    assert refuted.label == "contradicted"
    assert (refuted.p_supported, refuted.p_contradicted) == pytest.approx((0.05, 0.95))


def test_less_than_sure_contradiction_is_no_support_only(verifier_of) -> None:
    verifier, _ = verifier_of(lambda claim, text: 0.1, lambda claim, text: 0.79)
    assert verdict_on(verifier, "Dan surely sang.", [TEXT]).label == "unsupported"


def test_guards_lower_a_verdict_whatever_the_model_says(verifier_of) -> None:
    verifier, _ = verifier_of(lambda claim, text: 0.99)
    verdict = verdict_on(verifier, "The dose is 5 g.", ["The dose is 4 g."])
    assert verdict.label == "unsupported"
    assert [(guard.name, guard.missing) for guard in verdict.guards] == [("number", ("5 g",))]
    assert verdict.p_supported == pytest.approx(0.99), "the model's word stays as it is"
    assert verdict_on(verifier, "The dose is 4 g.", ["The dose is 4 g."]).label == "supported"


def test_guards_never_raise_a_verdict(verifier_of) -> None:
    doubting, _ = verifier_of(lambda claim, text: 0.1)
    verdict = verdict_on(doubting, "The dose is 4 g.", ["The daily dose is 4 g."])
    assert (verdict.label, verdict.guards) == ("unsupported", ())
    refuting, _ = verifier_of(lambda claim, text: 0.1, lambda claim, text: 0.9)
    for claim in ("The dose is 4 g.", "The dose is 5 g."):
        assert verdict_on(refuting, claim, ["The daily dose is 4 g."]).label == "contradicted"


def test_the_span_is_the_best_sentence_without_its_neighbours(verifier_of) -> None:
    evidence = ["Before.  Eve ran.", f"  Nothing. {TEXT}"]
    verifier, _ = verifier_of(
        lambda claim, text: 0.9 if text == "Bob stayed late. Cleo slept well. Dan sang." else 0.3
    )
    span = verdict_on(verifier, "Cleo slept.", evidence).evidence_span
    assert (span.evidence, span.text) == (1, "Cleo slept well.")
    assert evidence[1][span.start : span.end] == span.text


def test_the_span_of_a_contradiction_is_the_sentence_that_contradicts(verifier_of) -> None:
    verifier, _ = verifier_of(
        lambda claim, text: 0.15 if text.startswith("Ann") else 0.0,
        lambda claim, text: 0.85 if text.startswith("Cleo") else 0.0,
    )
    verdict = verdict_on(verifier, "Dan is silent.", [TEXT])
    assert verdict.label == "contradicted"
    assert verdict.evidence_span.text == "Dan sang."


@pytest.mark.parametrize("evidence", [[], [""], [" \n\t", ""]])
def test_without_evidence_nothing_is_supported(verifier_of, evidence) -> None:
    verifier, scorer = verifier_of(lambda claim, text: 1.0, relevance=lambda question, text: 9.0)
    verdict = verdict_on(verifier, "Dan sang.", evidence, "Who sang?")
    assert (verdict.label, verdict.p_supported, verdict.p_contradicted) == ("unsupported", 0.0, 0.0)
    assert (verdict.evidence_span, verdict.relevance) == (None, None)
    assert scorer.pairs == []


def test_a_short_answer_is_judged_with_its_question(verifier_of) -> None:
    verifier, scorer = verifier_of(
        lambda claim, text: 0.9 if claim == "Who sang? Dan" else 0.0,
        relevance=lambda question, text: 3.5 if "Dan" in text else -2.0,
    )
    verdict = verdict_on(verifier, "Dan", [TEXT], "Who sang?")
    assert (verdict.label, verdict.relevance) == ("supported", 3.5)
    assert {claim for claim, _ in scorer.pairs} == {"Who sang? Dan", "Who sang?"}
    assert verdict_on(verifier, "Dan", [SENTENCES[0]], "Who sang?").relevance == -2.0


def test_a_long_question_is_no_claim_of_its_own(verifier_of) -> None:
    verifier, scorer = verifier_of(lambda claim, text: 0.9 if "Dan" in claim else 0.1)
    question = "Tell me, " + "because I have to know and nobody says, " * 30 + "who sang?"
    verdict = verdict_on(verifier, "Dan", ["Dan sang."], question=question)
    assert verdict.p_supported == pytest.approx(0.9)
    asked = [claim for claim, text in scorer.pairs if claim != question]
    assert asked, "the answer was judged"
    assert all(c.startswith("Tell me") and c.endswith("who sang? Dan") for c in asked)


def test_relevance_is_that_to_a_question(verifier_of) -> None:
    both, _ = verifier_of(lambda claim, text: 0.9, relevance=lambda question, text: 1.0)
    assert verdict_on(both, "Dan sang.", [TEXT]).relevance is None
    entailment_only, _ = verifier_of(lambda claim, text: 0.9)
    assert verdict_on(entailment_only, "Dan", [TEXT], "Who sang?").relevance is None


OTHERS = ["It rained on Sunday.", "Wind blew.  The daily dose of morphine is 8 g now. It snowed."]
CLAIM = "The daily dose of morphine is 4 g."


def test_what_another_text_says_otherwise_is_shown(verifier_of) -> None:
    verifier, scorer = verifier_of(
        lambda claim, text: 0.9 if "4 g" in text else 0.0,
        lambda claim, text: 0.85 if "8 g" in text else 0.99,
    )
    found = disagreement_with(verifier, CLAIM, OTHERS)
    assert (found.passage, found.text) == (1, "The daily dose of morphine is 8 g now.")
    assert OTHERS[1][found.start : found.end] == found.text
    assert found.p_contradicted == pytest.approx(0.85)
    assert not any("Sunday" in text for _, text in scorer.pairs), "that is about something else"


def test_only_a_sure_contradiction_is_a_disagreement(verifier_of) -> None:
    verifier, _ = verifier_of(lambda claim, text: 0.0, lambda claim, text: 0.79)
    assert disagreement_with(verifier, CLAIM, OTHERS) is None


def test_each_claim_has_its_own_disagreement(verifier_of) -> None:
    verifier, scorer = verifier_of(
        lambda claim, text: 0.0, lambda claim, text: 0.9 if "8 g" in text else 0.1
    )
    claims = [Claim(text, ()) for text in ("It rained in June.", CLAIM, CLAIM)]
    found = verifier.disagreements(claims, OTHERS)
    assert [own and own.passage for own in found] == [None, 1, 1]
    assert len(scorer.calls) == 1
    assert len(scorer.pairs) == len(set(scorer.pairs))
    assert verifier.disagreements(claims, []) == [None] * 3
    assert verifier.disagreements([], OTHERS) == []


def test_few_sentences_of_other_texts_are_asked(verifier_of) -> None:
    verifier, scorer = verifier_of(lambda claim, text: 0.9)
    others = [f"The daily dose of morphine is {i} g." for i in range(100)]
    disagreement_with(verifier, CLAIM, others)
    assert len(scorer.pairs) == ELSEWHERE


def test_each_pair_is_scored_once_in_one_call(verifier_of) -> None:
    verifier, scorer = verifier_of(lambda claim, text: 0.9)
    claims = [Claim(text, ()) for text in ("Dan surely sang.", "Ann left.", "Dan surely sang.")]
    verifier.verify(claims, [[TEXT, TEXT], [TEXT], [TEXT]])
    assert len(scorer.calls) == 1
    assert len(scorer.pairs) == len(set(scorer.pairs)) == 2 * len(SENTENCES)


def test_verdicts_are_those_of_the_claims_in_their_order(verifier_of) -> None:
    verifier, _ = verifier_of(lambda claim, text: 0.9 if claim in text else 0.1)
    claims = [Claim(text, ()) for text in ("Dan sang.", "Eve ran.", "Ann left early.", "Eve sat.")]
    evidence = [[TEXT], ["Eve ran."], [TEXT], []]
    verdicts = verifier.verify(claims, evidence)
    assert [verdict.claim for verdict in verdicts] == claims
    labels = [verdict.label for verdict in verdicts]
    assert labels == ["supported", "supported", "supported", "unsupported"]
    assert verdicts == [
        verifier.verify([claim], [texts])[0] for claim, texts in zip(claims, evidence, strict=True)
    ]
    assert verifier.verify([], []) == []
    with pytest.raises(ValueError, match="shorter"):
        verifier.verify(claims, evidence[:3])


def test_of_very_much_evidence_the_likeliest_sentences_are_read(verifier_of) -> None:
    verifier, scorer = verifier_of(lambda claim, text: 0.9 if "ward 7777" in text else 0.0)
    evidence = [
        " ".join(f"Sentence {i} is about ward {i}." for i in range(at, at + 1_000))
        for at in range(0, 10_000, 1_000)
    ]
    started = time.perf_counter()
    verdict = verdict_on(verifier, "This is about ward 7777.", evidence)
    assert time.perf_counter() - started < 20
    assert len(scorer.pairs) == MOST_PREMISES
    assert verdict.evidence_span.text == "Sentence 7777 is about ward 7777."
    assert (verdict.label, verdict.evidence_span.evidence) == ("supported", 7)


def test_text_without_sentences_is_read_in_pieces(verifier_of) -> None:
    table = "".join(f"cell{i:05};" for i in range(LONGEST_SENTENCE // 2))  # 10 characters each
    verifier, scorer = verifier_of(lambda claim, text: 0.9 if "cell00150" in text else 0.0)
    span = verdict_on(verifier, "A cell.", [table]).evidence_span
    assert len(scorer.pairs) == 5
    assert span.end - span.start == LONGEST_SENTENCE
    assert table[span.start : span.end] == span.text
    assert span.start - NEIGHBOUR_CHARS <= 1_500 < span.end + NEIGHBOUR_CHARS


def test_the_digest_names_the_model_and_the_rules(verifier_of) -> None:
    verifier, scorer = verifier_of(lambda claim, text: 0.9)
    assert verifier.model_sha256 == scorer.sha256
    assert verifier.digest.startswith(f"{scorer.digest}+guards:")


ODD = [
    "",
    " ",
    "\0",
    "\ud800 alone \udfff",
    "😀🎉 5 😀.",
    "投与量は4グラムです。",
    "الجرعة القصوى ٤ غرام.",
    "x" * 5_000,
    "A b. " * 1_000,
    "word " * 1_000,
    "\u202e\u200b",
]


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_get_a_verdict(verifier_of, text) -> None:
    verifier, _ = verifier_of(lambda claim, text: 0.9, relevance=lambda question, text: 1.0)
    for claim, evidence, question in ((text, TEXT, None), (TEXT, text, text), (text, text, text)):
        verdict = verdict_on(verifier, claim, [evidence], question)
        disagreement_with(verifier, claim, [text, TEXT], question)
        assert verdict.claim.text == claim
        assert (verdict.evidence_span is None) == (not evidence.strip())


TEXTS = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from([*SENTENCES, "4 g", "No.", "\n\n", "- ", " | ", "投与。"])).map(
        " ".join
    ),
)


@settings(max_examples=150)
@given(
    claims=st.lists(st.tuples(TEXTS, st.lists(TEXTS, max_size=3)), max_size=3),
    question=st.one_of(st.none(), TEXTS),
    elsewhere=st.lists(TEXTS, max_size=3),
    seed=st.integers(0, 9),
)
def test_no_text_makes_it_fail_and_offsets_always_slice(
    pair_scorer, claims, question, elsewhere, seed
) -> None:
    def probability(claim: str, text: str) -> float:
        return (hash((claim, text, seed)) % 100) / 200

    scorer = pair_scorer(
        probability, lambda claim, text: probability(text, claim), lambda question, text: 0.0
    )
    verifier = NliVerifier(scorer, Verdicts(temperature=1, supported=0.3, contradicted=0.3))
    evidence = [texts for _, texts in claims]
    asked = [Claim(text, (), question) for text, _ in claims]
    verdicts = verifier.verify(asked, evidence)
    assert len(verdicts) == len(claims)
    assert len(scorer.pairs) == len(set(scorer.pairs))
    others = verifier.disagreements(asked, elsewhere)
    once = verifier.for_question()
    assert [once.verify(asked, evidence) for _ in range(2)] == [verdicts] * 2
    for verdict, texts, other in zip(verdicts, evidence, others, strict=True):
        assert 0 <= verdict.p_supported <= 1
        assert 0 <= verdict.p_contradicted <= 1 - verdict.p_supported + 1e-6
        span = verdict.evidence_span
        if span is not None:
            assert texts[span.evidence][span.start : span.end] == span.text != ""
        if other is not None:
            assert elsewhere[other.passage][other.start : other.end] == other.text != ""
        if verdict.label == "supported":
            assert verdict.p_supported >= 0.3 - 1e-6
            assert not verdict.guards
