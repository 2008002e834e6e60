"""Checks that codes, years and names of a question must stand where its answer comes from."""

import pytest

from rag.types import Pointer, Token
from rag.verify.mentions import from_table, unmentioned

TEXT = (
    "The TL-450 weighs 1.2 kg and runs for 11 hours. The TL-540 runs for 7 hours. "
    "It costs 900 euros."
)


def copied(text: str, words: str) -> list[Token]:
    start = text.index(words)
    return [Token(words, 0.9, 1.0, Pointer(0, start, start + len(words)))]


@pytest.mark.parametrize(
    ("question", "words", "missing"),
    [
        ("How long does the TL-540 run?", "7 hours", []),
        ("How long does the tl-540 run?", "7 hours", []),
        ("How long does the TL-540 run?", "11 hours", ["tl-540"]),
        ("How long does the TL-460 run?", "11 hours", ["tl-460"]),
        ("What does the TL-540 cost?", "900 euros", []),  # named in the sentence before
        ("What does the TL-460 cost?", "900 euros", ["tl-460"]),
        ("How long does it run in 2022?", "11 hours", ["2022"]),
        ("How much for 5mg or the 3rd at 82 kg?", "11 hours", []),  # quantities
        ("How long does it run?", "11 hours", []),
    ],
)
def test_codes_and_years(passage_of, question, words, missing):
    assert unmentioned(question, copied(TEXT, words), [passage_of(TEXT)]) == missing


def test_a_years_place_taken_by_another_is_missing(passage_of):
    text = "The policy of 2021 was issued on 5 May. Those of 2022 were not."
    tokens = copied(text, "5 May")
    assert unmentioned("When was the policy of 2022 issued?", tokens, [passage_of(text)]) == [
        "2022"
    ]
    assert unmentioned("When was the policy of 2021 issued?", tokens, [passage_of(text)]) == []


def test_names_count_where_they_are_asked_for(passage_of):
    text = "Visa applications for India take 15 working days."
    tokens, passages = copied(text, "15 working days"), [passage_of(text)]
    for question, missing in (
        ("How long do visas for Brazil take?", ["Brazil"]),
        ("How long do visas for India take?", []),
        ("Brazil takes how long?", []),  # the first word's capital says nothing
        ("HOW LONG DOES BRAZIL TAKE?", []),
    ):
        assert unmentioned(question, tokens, passages, names=True) == missing
        assert unmentioned(question, tokens, passages) == []


def test_nothing_copied_misses_nothing(passage_of):
    assert unmentioned("TL-1?", [], [passage_of(TEXT)]) == []
    assert unmentioned("TL-1?", [Token("x", 0.9, 0.0, None)], [passage_of(TEXT)]) == []


def test_rows_of_tables_are_known(passage_of):
    row = "vehicle: Bicycle | code: BI-10 | rate: 0.05 | maximum: 80"
    assert from_table(copied(row, "0.05"), [passage_of(row)])
    assert not from_table(copied(TEXT, "11 hours"), [passage_of(TEXT)])
