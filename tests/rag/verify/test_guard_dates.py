from datetime import date

import pytest

from rag.verify.guards import check, dates

TODAY = date(2024, 3, 6)  # a Wednesday


def missed(claim, evidence, today=None):
    return {guard.name for guard in check(claim, [evidence], today=today)} & {"date", "number"}


@pytest.mark.parametrize(
    ("claim", "evidence"),
    [
        ("on 5 March 2024", "on 2024-03-05"),
        ("on 5 March 2024", "on March 5th, 2024"),
        ("on 5 March 2024", "on 05.03.2024"),
        ("on 5 March 2024", "on the 5th of March 2024"),
        ("on 5 March 2024", "on 05/03/2024"),
        ("on 3 May 2024", "on 05/03/2024"),
        ("on 05/03/2024", "on 5 March 2024"),
        ("on 5 March", "on 5 March 2024"),
        ("in March 2024", "on 5 March 2024"),
        ("in March", "on 2024-03-05"),
        ("in 2024", "on 5 March 2024"),
        ("in 2024", "in 2023–24"),
        ("from 2023 to 2024", "in 2023/24"),
        ("on 5 March 2024", "from 5 March to 7 April 2024"),
        ("on 6 March 2024", "on 5, 6 and 7 March 2024"),
        ("in the 1990s", "in the 1990's"),
        ("in the 90s", "in the 1990s"),
        ("in the nineties", "in the '90s"),
        ("in the 10th century", "in the tenth century"),
        ("in the 900s", "in the 10th century"),
        ("in the 19th century", "in the 19th and 20th centuries"),
        ("in 500 BC", "in 500 B.C."),
        ("on Monday", "on Mondays"),
        ("on Tuesday", "on 5 March 2024"),
        ("yesterday", "Yesterday it rained"),
        ("two weeks ago", "14 days ago"),
        ("a year ago", "twelve months ago"),
        ("last year", "Last year"),
        ("It may happen in 5 days", "5 days later it may happen"),
    ],
)
def test_a_date_is_met(claim, evidence):
    assert missed(f"It began {claim}.", f"It began {evidence}.") == set()


@pytest.mark.parametrize(
    ("claim", "evidence"),
    [
        ("on 5 March 2024", "on 6 March 2024"),
        ("on 5 March 2024", "on 5 April 2024"),
        ("on 5 March 2024", "on 5 March 2023"),
        ("on 5 March 2024", "in March 2024"),
        ("on 05.03.2024", "on 3 May 2024"),
        ("on 05/03/2024", "on 6 March 2024"),
        ("in March 2024", "in March 2023"),
        ("in May", "in March"),
        ("in 2024", "in 2023"),
        ("in 1990", "in the 1990s"),
        ("in the 1990s", "in 1990"),
        ("in the 1990s", "in the 1980s"),
        ("in the nineties", "in the eighties"),
        ("in the 10th century", "in the 11th century"),
        ("in the 10th century", "on the 10th day"),
        ("in the 10th century BC", "in the 10th century"),
        ("in 500 BC", "in 500 AD"),
        ("on Monday", "on Tuesday"),
        ("on Monday", "on 5 March 2024"),
        ("yesterday", "today"),
        ("two weeks ago", "three weeks ago"),
        ("two weeks ago", "two weeks later"),
        ("last year", "next year"),
        ("last week", "last month"),
    ],
)
def test_a_date_is_missed(claim, evidence):
    assert "date" in missed(f"It began {claim}.", f"It began {evidence}.")


@pytest.mark.parametrize(
    ("words", "day"),
    [
        ("yesterday", "2024-03-05"),
        ("the day before yesterday", "2024-03-04"),
        ("two weeks ago", "2024-02-21"),
        ("next Monday", "2024-03-11"),
        ("last Wednesday", "2024-02-28"),
        ("this Monday", "2024-03-04"),
        ("three months ago", "2023-12"),
        ("next month", "2024-04"),
        ("last year", "2023"),
        ("ten years ago", "2014"),
        ("last March", "2023-03"),
        ("next February", "2025-02"),
    ],
)
def test_with_a_day_to_count_from_a_relative_date_is_resolved(words, day):
    assert day in dates(words, today=TODAY)
    assert missed(f"It began {words}.", f"It began {day} or so.", TODAY) == set()
    assert "date" in missed(f"It began {words}.", f"It began {day} or so.")
    assert "date" in missed(f"It began {words}.", "It began on 1 January 1999.", TODAY)


def test_what_is_no_date_has_none():
    assert dates("It may march on; 5 may fail; 1,990 men of 2000000; room 30 B") == frozenset()


@pytest.mark.parametrize("claim", ["on 31 February 2024", "on 99.99.2024"])
def test_an_impossible_date_is_met_by_its_own_words_only(claim):
    assert missed(f"It began {claim}.", f"It began {claim}.") == set()
    assert missed(f"It began {claim}.", "It began on 1 March 2023.")
