"""Checks what is taken for personal data, what is not, and what is stored of a question."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge_bases.audit import personal_data
from knowledge_bases.audit.personal_data import find, mask, masked_count, protected
from knowledge_bases.samples import QUESTIONS
from rag.errors import MissingDependency


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Mail jane.doe+x@example.co.uk.", "Mail [e-mail address]."),
        ("<siobhán@exämple.org>", "<[e-mail address]>"),
        ("Ring +44 20 7946 0958 now", "Ring [phone number] now"),
        ("Ring 020 7946 0958 or (212) 555-0187", "Ring [phone number] or [phone number]"),
        ("Tel. 030/901820", "Tel. [phone number]"),
        ("IBAN GB82 WEST 1234 5698 7654 32.", "IBAN [iban]."),
        ("to DE89370400440532013000", "to [iban]"),
        ("card 4111 1111 1111 1111", "card [credit card]"),
        ("card 4111-1111-1111-1111,", "card [credit card],"),
        ("from 192.168.10.7:", "from [IP address]:"),
        ("from 10.0.0.7", "from [IP address]"),
        ("from 2001:db8::1", "from [IP address]"),
        ("SSN 536-90-4399", "SSN [national id]"),
        ("NINO AB 12 34 56 C", "NINO [national id]"),
        ("NHS number 943 476 5919", "NHS number [national id]"),
        ("NIF 12345678Z", "NIF [national id]"),
        ("RSSMRA85T10A562S", "[national id]"),
        ("PESEL 44051401359", "PESEL [national id]"),
        ("born on 12/03/1984 in", "born on [date of birth] in"),
        ("DOB: 1984-03-12", "DOB: [date of birth]"),
        ("date of birth 3rd March 1984", "date of birth [date of birth]"),
        ("born March 3, 1984", "born [date of birth]"),
    ],
)
def test_personal_data_is_masked_by_its_kind(text, masked):
    assert mask(text)[0] == masked


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t",
        "Call bleep 2417 within 24 hours.",
        "Give 7 mg/kg, at most 4 g a day, 1,000,000 units.",
        "SOP-2024-118, section 4.2.1, version 1.2.3.4, batch 20240131, ref 1234567890",
        "card 4111 1111 1111 1112",
        "GB82 WEST 1234 5698 7654 33",
        "Reviewed 2026-01-05, due 12/03/2027.",
        "order 9434765919",
        "a@b, @home, user@localhost",
        "12:30:45 and ::",
        "sha256 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ],
)
def test_what_is_no_personal_data_stays(text):
    assert mask(text) == (text, {})


def test_the_sample_questions_hold_none():
    assert find(QUESTIONS.read_text(encoding="utf-8")) == []


def test_pieces_are_counted_by_kind():
    assert mask("a@example.org, b@example.org, 10.0.0.1")[1] == {
        "IP address": 1,
        "e-mail address": 2,
    }


PIECES = st.sampled_from(
    ["a@example.org", "+44 20 7946 0958", "10.0.0.1", "4111111111111111", "born 1.2.1999", "\x00",
     "\ud800", "\u202e", "=", "٣٤", "\n", "x" * 70, "1" * 30, "@", "..", "::", "née le 1/2/99"]
)  # fmt: skip


@given(st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=12))
def test_masking_cuts_out_what_was_found_and_nothing_else(parts):
    text = " ".join(parts)
    found = find(text)
    assert all(one.start < one.end for one in found)
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))
    masked, counts = mask(text)
    assert sum(counts.values()) == len(found)
    rest, end = [], 0
    for one in found:
        rest.append(text[end : one.start])
        end = one.end
    assert masked.startswith(rest[0] if rest else text)
    assert "a@example.org" not in masked


@pytest.mark.parametrize("piece", ["a", "1", "1 ", "a@", "a.", "1.", ":", "A1", "+1", "born 1/"])
def test_huge_texts_take_no_long_time(piece):
    text = piece * (20_000 // len(piece))
    begun = time.process_time()
    find(text)
    assert time.process_time() - begun < 20


RECEIPT = {
    "kind": "answer",
    "question": "May a@example.org have it?",
    "text": "Yes.",
    "draft": {"read_as": "May a@example.org have it", "tokens": []},
    "attempts": [{"draft": {"read_as": None}}, {"draft": {"read_as": "a@example.org"}}],
}


def test_a_masked_receipt_holds_it_nowhere():
    stored = protected(RECEIPT, "mask")
    assert "a@example.org" not in str(stored)
    assert stored["question"] == "May [e-mail address] have it?"
    assert stored["personal_data"] == {"mode": "mask", "found": {"e-mail address": 1}}
    assert masked_count(stored) == 1
    assert "a@example.org" in str(RECEIPT)


def test_a_marked_receipt_is_only_counted():
    stored = protected(RECEIPT, "mark")
    assert {**stored, "personal_data": None} == {**RECEIPT, "personal_data": None}
    assert stored["personal_data"] == {"mode": "mark", "found": {"e-mail address": 1}}
    assert masked_count(stored) == 0


def test_off_changes_nothing_and_needs_no_library(monkeypatch):
    monkeypatch.setattr(personal_data, "import_module", None)
    assert protected(RECEIPT, "off") == RECEIPT
    assert protected({"question": None}, "mask") == {"question": None}


def test_a_missing_library_is_named(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(personal_data, "import_module", missing)
    with pytest.raises(MissingDependency, match=r"pip install 'grounded-rag\[pii\]'"):
        mask("anything")


MAIL, PHONE = "jane.smith@example.org", "+44 20 7946 0958"
CHECK = {
    "kind": "check",
    "claim": f"Jane writes from {MAIL}. She is called on {PHONE}.",
    "evidence": [f"Jane's address is {MAIL}.", "The ward is open."],
    "question": None,
    "verdict": "unsupported",
    "verdicts": [
        {
            "claim": f"She is called on {PHONE}.",
            "label": "unsupported",
            "p_supported": 0.1,
            "guards": [{"name": "number", "missing": ["7946", "0958"]}],
            "evidence_span": f"Jane's address is {MAIL}.",
        }
    ],
}


def test_a_masked_check_holds_it_nowhere():
    stored = protected(CHECK, "mask")
    for piece in (MAIL, "7946", "0958"):
        assert piece not in str(stored)
        assert piece in str(CHECK)
    assert stored["claim"] == "Jane writes from [e-mail address]. She is called on [phone number]."
    assert stored["evidence"] == ["Jane's address is [e-mail address].", "The ward is open."]
    (verdict,) = stored["verdicts"]
    assert (verdict["label"], verdict["p_supported"]) == ("unsupported", 0.1)
    assert verdict["guards"][0] == {"name": "number", "missing": ["[phone number]"] * 2}
    found = {"e-mail address": 2, "phone number": 1}
    assert stored["personal_data"] == {"mode": "mask", "found": found}
    marked = protected(CHECK, "mark")
    assert marked == {**CHECK, "personal_data": {"mode": "mark", "found": found}}


def test_a_masked_refusal_s_message_holds_it_not():
    refusal = {
        "kind": "refusal",
        "question": f"Who is {MAIL}?",
        "error": {"type": "NotFound", "message": f"there is no {MAIL.upper()}, nor {PHONE}"},
    }
    stored = protected(refusal, "mask")
    assert stored["error"] == {
        "type": "NotFound",
        "message": "there is no [e-mail address], nor [phone number]",
    }
    assert stored["personal_data"]["found"] == {"e-mail address": 1}


def test_reasons_name_no_part_of_what_was_masked():
    receipt = {
        "kind": "answer",
        "question": f"Is {PHONE} on call?",
        "reason": "what it would cite does not mention 7946, 0958",
        "verdicts": [{"claim": f"Call {PHONE}.", "label": "supported"}],
        "draft": {"read_as": None},
        "attempts": [
            {
                "draft": {"read_as": None},
                "decision": {"probability": 0.2, "reason": "not found: number 0958"},
            }
        ],
    }
    stored = protected(receipt, "mask")
    assert "7946" not in stored["reason"]
    assert "0958" not in stored["reason"]
    reason = "not found: number [phone number]"
    assert stored["attempts"][0]["decision"] == {"probability": 0.2, "reason": reason}
    assert stored["verdicts"] == receipt["verdicts"]  # What a document says stays.
