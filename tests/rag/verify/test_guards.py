from datetime import date

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rag.verify.guards import check, closest_sentence, dates, names, numbers, quotations


def missed(claim, *evidence, **given):
    return {guard.name: guard.missing for guard in check(claim, evidence, **given)}


ODD_TEXTS = [
    "",
    "\0",
    "\ud800 5 mg \udfff",
    "😀🎉 5 😀",
    "投与量は4グラムです。",
    "x" * 5_000,
    "A b. " * 1_000,
    "9" * 400,
    "9" * 5_000,
    "-" + "9" * 400 + " mg per day",
    "1e999999",
    "1e-999999 km",
    "1e99999999999999999999",
    "² m² 5²",
    "٣٫٥ mg on ٥/٣/٢٠٢٤",
    "1/0",
    "½/0 5 0/0",
    "0/0/0000 and 99/99/9999",
    "0000-00-00",
    "99th of February 0000, 0 BC",
    "9999 centuries ago, next February",
    "1,2,3,4,5,6",
    "1.2.3.4.5",
    "1 000 000 000 000 000",
    "“" * 500,
    "5 mg/" * 200,
    "one hundred thousand million billion and a half third " * 20,
    "\u202e\u200b",
    "İstanbul ſ ß ŉ",
]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_any_text_supports_itself(text):
    assert [guard for guard in check(text, [text]) if guard.name != "negation"] == []


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_any_text_can_be_claimed_of_any_other(text):
    check(text, ["Some evidence of 5 mg."], today=date(1, 1, 1))
    check("On 5 March 2024 Dr Li gave 5 mg, not “ten”.", [text], today=date(9999, 12, 31))
    assert check(text, []) == check(text, [""])


_PIECES = st.sampled_from(
    "5 1,000 2.5 -3 mg km % per day million third half $ € March 2024 05/03/2024 yesterday ago two "
    "weeks century 1990s not un- U.S. Müller B12 ( ) “ ” \" ' . ? - – / : am".split()
)
_TEXTS = st.one_of(st.text(max_size=60), st.lists(_PIECES, max_size=12).map(" ".join))


@settings(max_examples=300, deadline=None)
@given(_TEXTS, st.lists(_TEXTS, max_size=3), st.one_of(st.none(), st.dates()))
@example("\ud800", ["\udfff"], None)
def test_no_text_makes_a_guard_fail(claim, evidence, today):
    for guard in check(claim, evidence, today=today):
        assert guard.missing


@settings(max_examples=200, deadline=None)
@given(_TEXTS, _TEXTS)
def test_more_evidence_never_loses_a_number_a_name_or_a_quotation(claim, other):
    kinds = {guard.name for guard in check(claim, [claim, other])}
    assert kinds <= {"negation"}


@given(st.integers(0, 10**9))
def test_grouped_digits_are_the_same_number(number):
    for grouped in (
        f"{number:,}",
        f"{number:,}".replace(",", "\u202f"),
        str(number),
    ):
        assert numbers(grouped) == {str(number)}


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_number_is_met_by_itself_alone(one, other):
    claim, evidence = f"It was {one} mg.", f"It was {other} mg."
    assert ("number" in missed(claim, evidence)) == (one != other)


@given(st.dates(min_value=date(1000, 1, 1), max_value=date(2199, 12, 31)))
def test_every_way_to_write_a_date_is_the_same(day):
    month = day.strftime("%B")
    ways = [
        day.isoformat(),
        f"{day.day} {month} {day.year}",
        f"{month} {day.day}, {day.year}",
        f"the {day.day}th of {month} {day.year}",
        f"{day.day:02}.{day.month:02}.{day.year}",
        f"{month[:3]}. {day.day}, {day.year}",
    ]
    for way in ways:
        assert dates(way) == {day.isoformat()}, way


def test_ten_thousand_sentences_are_looked_through():
    evidence = [f"Sentence {i} says that Dr Smith{i} gave {i} mg." for i in range(10_000)]
    assert missed("Dr Smith9999 gave 9,999 mg.", *evidence) == {}
    assert missed("Dr Jones gave 10,001 mg.", *evidence) == {
        "name": ("Jones",),
        "number": ("10,001 mg",),
    }


def test_one_guard_for_each_kind_says_what_it_missed_in_the_claim_s_words():
    found = missed(
        "On 3 May 2024 Dr Ahmed did not give 1,000 mg and 5 %, “as soon as possible”.",
        "On 4 May 2024 Dr Patel did give 10 mg and 6 %, “within an hour”.",
    )
    assert found == {
        "number": ("1,000 mg", "5 %"),
        "date": ("3 May 2024",),
        "name": ("Ahmed",),
        "quotation": ("as soon as possible",),
        "negation": ("not",),
    }


def test_normal_forms():
    assert numbers("1,000 mg twice") == {"0.001 kilogram", "2"}
    assert dates("from 3rd of Feb to 2 September 2024") == {"--02-03", "2024-09-02"}
    assert names("The patients see Dr Zoë Müller. They wait.") == {"Dr", "Zoë", "Müller"}
    assert quotations("It says “as  soon as possible”.") == {"as soon as possible"}


def test_the_closest_sentence_shares_most_words_with_the_claim():
    found = closest_sentence(
        "Give heparin daily.", ["It rains.", "Before. Heparin is given daily."]
    )
    assert found is not None
    assert (found.evidence, found.text) == (1, "Heparin is given daily.")
    assert closest_sentence("Give heparin.", []) is None
