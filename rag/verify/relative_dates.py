"""Dates that are relative to today: yesterday, two weeks ago, next Monday."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from rag.verify.number_words import spelled
from rag.verify.plain_text import small_words

Day = tuple[int, int, int]

_MONTHS = (
    "january february march april may june july august september october november december"
).split()
_WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
_DAYS = {"day": 1, "week": 7, "fortnight": 14}
_SPANS = {"month": 1, "year": 12, "decade": 120, "century": 1200}  # months
_NAMED = {"yesterday": -1, "today": 0, "tonight": 0, "tomorrow": 1}
_SIDES = {"last": -1, "past": -1, "previous": -1, "this": 0, "current": 0, "present": 0}
_SIDES |= {"next": 1, "coming": 1, "following": 1}
_UNIT = r"(?P<unit>days?|weeks?|fortnights?|months?|years?|decades?|centur(?:y|ies))"
_AMOUNT = r"(?P<amount>an?|\d{1,4}|[a-z]+(?:[- ][a-z]+)?)"
_PATTERNS = (
    re.compile(r"\bthe day (?P<around>before yesterday|after tomorrow)\b", re.IGNORECASE),
    re.compile(rf"\b(?P<named>{'|'.join(_NAMED)})\b", re.IGNORECASE),
    re.compile(
        rf"\b{_AMOUNT}\s{_UNIT}\s"
        r"(?P<way>ago|earlier|before|previously|later|afterwards|from\snow|hence)\b",
        re.IGNORECASE,
    ),
    re.compile(
        rf"\b(?P<side>{'|'.join(_SIDES)})\s"
        rf"(?P<what>day|week|fortnight|month|year|decade|century|spring|summer|autumn|winter|"
        rf"{'|'.join(_WEEKDAYS)}|{'|'.join(_MONTHS)})\b",
        re.IGNORECASE,
    ),
)
_SIGNS = frozenset({*_NAMED, *_SIDES, *"ago earlier before previously later hence".split()})
_SIGNS |= {"afterwards", "from", "after"}
_BACKWARDS = frozenset({"ago", "earlier", "before", "previously"})


@dataclass(frozen=True, slots=True)
class RelativeDate:
    """A relative date at characters ``[start, end)``.

    Attributes:
        words: its normal form, equal for "two weeks ago" and "14 days ago".
        what: what is counted: "day" or "month", or what stands behind last, this or next.
        by: how many of it.
        counted: whether it is so many units away ("a week ago"), not the unit itself ("last week").
    """

    start: int
    end: int
    what: str
    by: int
    counted: bool

    @property
    def words(self) -> str:
        """Its normal form."""
        return f"{'by' if self.counted else 'the'} {self.by} {self.what}"

    def readings(self, today: date | None) -> frozenset[Day | str]:
        """Its words, and with a day to count from, the days, month or year that it is."""
        words: frozenset[Day | str] = frozenset({self.words})
        if today is None:
            return words
        try:
            return words | _resolved(self, today)
        except (OverflowError, ValueError):  # before the year 1 or after 9999
            return words


def relative_dates(text: str) -> Iterator[RelativeDate]:
    """Find relative dates.

    >>> [found.words for found in relative_dates("Two weeks ago, not 14 days ago or last week.")]
    ['by -14 day', 'by -14 day', 'the -1 week']
    """
    if _SIGNS.isdisjoint(small_words(text)):
        return
    for pattern in _PATTERNS:
        for match in pattern.finditer(text):
            found = _read(match)
            if found is not None:
                yield found


def _read(match: re.Match[str]) -> RelativeDate | None:
    parts = {name: value.lower() for name, value in match.groupdict().items() if value}
    start, end = match.span()
    if "around" in parts:
        return RelativeDate(start, end, "day", -2 if "before" in parts["around"] else 2, True)
    if "named" in parts:
        return RelativeDate(start, end, "day", _NAMED[parts["named"]], True)
    if "side" in parts:
        return RelativeDate(start, end, parts["what"], _SIDES[parts["side"]], False)
    amount = _amount(parts["amount"])
    if amount is None:
        return None
    count, skipped = amount
    unit = parts["unit"].replace("centuries", "century").removesuffix("s")
    what, size = ("day", _DAYS[unit]) if unit in _DAYS else ("month", _SPANS[unit])
    by = count * size * (-1 if parts["way"] in _BACKWARDS else 1)
    return RelativeDate(start + skipped, end, what, by, True)


def _amount(words: str) -> tuple[int, int] | None:
    """A whole number and how many characters before it belong to something else."""
    if words in {"a", "an"}:
        return 1, 0
    if words.isdigit():
        return int(words), 0
    spelt = list(spelled(words))
    if not spelt or spelt[-1].end != len(words):
        return None
    last = spelt[-1]
    if last.value is None or last.ordinal or last.value.denominator != 1:
        return None
    return int(last.value), last.start


def _resolved(found: RelativeDate, today: date) -> frozenset[Day]:
    if found.counted and found.what == "day":
        return _days(today + timedelta(days=found.by))
    if found.counted or found.what in _SPANS:
        months = found.by * (1 if found.counted else _SPANS[found.what])
        if not found.counted and found.what in {"decade", "century"}:
            return frozenset()
        index = today.year * 12 + today.month - 1 + months
        whole_years = months % 12 == 0 and (found.counted or found.what == "year")
        date(index // 12, 1, 1)
        return frozenset({(index // 12, 0 if whole_years else index % 12 + 1, 0)})
    if found.what in _WEEKDAYS:
        ahead = (_WEEKDAYS.index(found.what) - today.weekday()) % 7
        if found.by == 0:
            ahead = _WEEKDAYS.index(found.what) - today.weekday()
        elif found.by > 0:
            ahead = ahead or 7
        else:
            ahead = ahead - 7
        return _days(today + timedelta(days=ahead))
    if found.what in _MONTHS:
        month = _MONTHS.index(found.what) + 1
        year = today.year
        if found.by < 0 and month >= today.month:
            year -= 1
        elif found.by > 0 and month <= today.month:
            year += 1
        return frozenset({(year, month, 0)})
    if found.what == "day":
        return _days(today + timedelta(days=found.by))
    return frozenset()  # A week or a season is no one day, month or year.


def _days(day: date) -> frozenset[Day]:
    return frozenset({(day.year, day.month, day.day)})
