import pytest

from rag.types import Claim
from rag.verify.guards import GuardVerifier, check, dates, names, numbers


def missed(claim, *evidence):
    return {guard.name: guard.missing for guard in check(claim, evidence)}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1,000 mg twice", {"1000 mg"}),
        ("between −25 °C and 8 °C", {"-25 °c", "8 °c"}),
        ("0.50 mg/L", {"0.5 mg/l"}),
        ("three doses", {"3"}),
        ("10 of 12 patients", {"10", "12"}),
        ("10 µg or 10 μg", {"10 µg"}),
        ("no figure", set()),
    ],
)
def test_numbers(text, found):
    assert numbers(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("on 2 September 2024", {"2024-09-02"}),
        ("September 2, 2024", {"2024-09-02"}),
        ("2024-09-02", {"2024-09-02"}),
        ("from 3rd of Feb", {"--02-03"}),
    ],
)
def test_dates(text, found):
    assert dates(text) == found


def test_names_are_capitalised_words_without_stop_words():
    assert names("The patients see Dr Zoë Müller. They wait.") == {"dr", "zoe", "muller"}


def test_a_name_inside_another_word_is_missed():
    assert missed("Signed by Lee.", "Signed by the sleep lab.") == {"name": ("lee",)}


def test_a_name_at_the_start_of_a_sentence_is_missed():
    assert missed("Heparin is given.", "Warfarin is given.") == {"name": ("heparin",)}


def test_a_date_without_a_year_is_met_by_one_with():
    assert missed("It starts on 3 May.", "It starts on 3 May 2024.") == {}
    assert "date" in missed("It starts on 3 May 2023.", "It starts on 3 May 2024.")


def test_a_swapped_number_is_missed():
    assert missed("The maximum is 5 g a day.", "The maximum is 4 g a day.") == {"number": ("5 g",)}


def test_a_number_with_another_unit_is_missed():
    assert missed("Give 10 mg.", "Give 10 mL.") == {"number": ("10 mg",)}


def test_a_swapped_date_is_missed():
    result = missed("In force from 3 May 2024.", "In force from 4 May 2024.")
    assert result["date"] == ("2024-05-03",)


def test_a_swapped_name_is_missed():
    assert missed("Call Dr Ahmed now.", "Call Dr Patel now.") == {"name": ("ahmed",)}


def test_a_negation_on_one_side_is_missed():
    assert "negation" in missed("Do not give it with food.", "Give it with food.")
    assert "negation" in missed("Give it with food.", "Do not give it with food.")


def test_a_changed_quotation_is_missed():
    assert "quotation" in missed("It says “as soon as possible”.", "It says “within an hour”.")


@pytest.mark.parametrize(
    "text",
    [
        "After removal of an epidural catheter, wait at least 4 hours before giving enoxaparin.",
        "On 2 May 2024 Dr Li gave 2.5 mg, not 25 mg.",
        "“Stop” means stop.",
    ],
)
def test_a_sentence_supports_itself(text):
    verdict = GuardVerifier().verify(Claim(text, (1,)), [f"Before. {text} After."])
    assert (verdict.label, verdict.guards) == ("supported", ())
    assert verdict.evidence_span is not None
    assert verdict.evidence_span.text == text


@pytest.mark.parametrize("evidence", [[], [""], ["Something else entirely."]])
def test_without_evidence_nothing_is_supported(evidence):
    assert GuardVerifier().verify(Claim("The dose is 4 g.", ()), evidence).label == "unsupported"


@pytest.mark.parametrize("claim", ["😀🎉", "投与量は4グラムです。", "x" * 5_000, "\u202e\u200b"])
def test_odd_claims_get_a_verdict(claim):
    assert GuardVerifier().verify(Claim(claim, ()), ["Some evidence."]).label == "unsupported"
