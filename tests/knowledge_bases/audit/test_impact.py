"""Checks that answers are judged again by the current version of what they cite."""

import csv
import io
import json

import pytest

from knowledge_bases.audit.export import safe_cell
from knowledge_bases.audit.impact import Cited, Current, Row, impact
from rag.verify.choose import Judges
from rag.verify.guarded import GuardVerifier

OLD = "Adults first. The maximum dose of paracetamol is 4 g in 24 hours. Keep it dry."
OTHER = "Insulin is kept between 2 and 8 degrees in the fridge."
QUESTION = "What is the maximum dose of paracetamol?"


def receipt(claim="The maximum dose of paracetamol is 4 g in 24 hours.", **changes):
    start = OLD.index(claim)
    return {
        "kind": "answer",
        "status": "answered",
        "question": QUESTION,
        "text": claim,
        "draft": {"tokens": [[claim, 0.9, 1.0, 0, start, start + len(claim)]]},
        "citations": [
            {
                "index": 1,
                "document": "dose.txt",
                "version": 1,
                "start": start,
                "end": start + len(claim),
                "quote": claim,
            }
        ],
        "verdicts": [
            {
                "claim": claim,
                "citations": [1],
                "label": "supported",
                "p_supported": 0.9,
                "p_contradicted": 0.01,
            }
        ],
        **changes,
    }


def texts(uri, version):
    return {("dose.txt", 1): OLD, ("fridge.txt", 1): OTHER}.get((uri, version))


def judged(text, *receipts, version=2, verifier=None, nearest=lambda sought: ()):
    records = [Cited(f"a{n}", "2026-01-02T03:04:05+00:00", one) for n, one in enumerate(receipts)]
    current = Current("dose.txt", version if text is not None else None, text, nearest)
    return list(impact(records, current, verifier or GuardVerifier(), texts=texts))


def test_an_answer_whose_sentence_is_still_there_stands():
    (one,) = judged("A new first page.\n\n" + OLD, receipt())
    (claim,) = one.claims
    assert (claim.found, claim.label_then, claim.label_now) == (
        "resolved",
        "supported",
        "supported",
    )
    assert one.stands
    assert one.citations[0].start == len("A new first page.\n\n") + OLD.index("The maximum")


def test_a_changed_sentence_is_lost_and_judged_by_the_nearest_passages():
    sought = []

    def nearest(words):
        sought.append(words)
        return ["The maximum dose of paracetamol is 3 g in 24 hours."]

    (one,) = judged(OLD.replace("4 g", "3 g"), receipt(), nearest=nearest)
    (claim,) = one.claims
    assert (claim.found, claim.label_now) == ("lost", "unsupported")
    assert claim.guards_now == ("number 4 g",)
    assert not one.stands
    assert sought == [f"{QUESTION} {claim.text}"]
    near = one.citations[0].nearest
    assert near is not None
    assert "3 g" in near.text


def test_a_withdrawn_document_bears_nothing_out():
    (one,) = judged(None, receipt())
    (claim,) = one.claims
    assert (claim.found, claim.label_now, one.stands) == ("withdrawn", "unsupported", False)


def test_a_short_answer_is_judged_with_its_question():
    asked = []

    class Noting(GuardVerifier):
        def verify(self, claims, evidence):
            asked.extend(zip(claims, evidence, strict=True))
            return super().verify(claims, evidence)

    judged(OLD, receipt("4 g in 24 hours"), receipt(), verifier=Noting())
    (short, premises), (long, _) = asked
    assert (short.text, short.question) == ("4 g in 24 hours", QUESTION)
    assert long.question is None
    assert premises == [OLD]


def test_claims_that_rest_on_other_documents_keep_that_evidence():
    two = receipt()
    two["citations"].append(
        {
            "index": 2,
            "document": "fridge.txt",
            "version": 1,
            "start": 0,
            "end": len(OTHER),
            "quote": OTHER,
        }
    )
    two["verdicts"][0]["citations"] = [1, 2]
    two["verdicts"].append({**two["verdicts"][0], "claim": OTHER, "citations": [2]})
    (one,) = judged(OLD, two)
    assert [claim.text for claim in one.claims] == [two["verdicts"][0]["claim"]]
    assert [citation.state for citation in one.citations] == ["resolved", "elsewhere"]


def test_an_erased_old_text_is_found_by_its_quote_alone():
    gone = receipt()
    gone["citations"][0]["version"] = 7
    (one,) = judged("New. " + OLD, gone)
    assert one.claims[0].found == "moved"
    assert one.claims[0].label_now == "supported"


def test_an_erased_record_is_named_without_what_it_said():
    (one,) = judged(OLD, None)
    assert (one.text, one.claims, one.stands) == (None, (), False)
    (row,) = one.rows()
    assert (row.answer_id, row.citation, row.stands) == ("a0", "erased", "no")


def test_many_answers_share_few_calls():
    calls = []

    class Counting(GuardVerifier):
        def verify(self, claims, evidence):
            calls.append(len(claims))
            return super().verify(claims, evidence)

    found = judged(OLD, *[receipt()] * 100, None, verifier=Counting())
    assert len(found) == 101
    assert sum(calls) == 100
    assert len(calls) <= 4


def test_the_report_is_json_and_csv():
    found = judged(OLD.replace("4 g", "3 g"), receipt(question="=1+1"))
    again = json.loads(json.dumps([one.as_json() for one in found]))
    assert again[0]["claims"][0]["found"] == "lost"
    assert again[0]["stands"] is False
    out = io.StringIO(newline="")
    table = csv.writer(out)
    table.writerow(Row.header())
    for one in found:
        for row in one.rows():
            table.writerow([safe_cell(cell) for cell in row.cells()])
    (row,) = csv.DictReader(io.StringIO(out.getvalue()))
    assert row["question"] == "'=1+1"
    assert (row["verdict_then"], row["verdict_now"]) == ("supported", "unsupported")
    assert row["version"] == "1"


@pytest.mark.parametrize("text", ["", "\0", "a" * 1_000_000, "The maximum " * 50_000])
def test_odd_texts_are_judged(text):
    (one,) = judged(text, receipt())
    assert one.claims[0].found == "lost"


def test_the_bundled_verifier_sees_that_a_dose_was_changed(settings):
    verifier = Judges(settings.model_copy(update={"verifier": "bundled:verifier"})).verifier
    (same,) = judged("Preface.\n\n" + OLD, receipt(), verifier=verifier)
    changed = OLD.replace("4 g", "3 g")
    (other,) = judged(changed, receipt(), verifier=verifier, nearest=lambda sought: [changed])
    assert same.claims[0].label_now == "supported"
    assert other.claims[0].label_now in ("contradicted", "unsupported")
    assert same.claims[0].p_supported_now > 0.5
