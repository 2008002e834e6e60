"""Dates of a claim, absolute and relative, and whether the evidence has them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

from rag.verify.number_words import spelled
from rag.verify.plain_text import plain, small_words
from rag.verify.relative_dates import relative_dates
from rag.verify.units import BARE, unit_after

Day = tuple[int, int, int]
"""Year, month, day; 0 where not said; years before Christ are negative."""
Reading = Day | str
"""A day, month or year, or a decade, century, weekday or relative date in words."""

MONTHS = (
    "january february march april may june july august september october november december"
).split()
WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
_MONTH = rf"(?P<month>{'|'.join(f'{m[:3]}(?:{m[3:]})?' for m in MONTHS)}|sept)\b\.?"
_YEAR = r"(?P<year>\d{4})(?!\d|,\d|\.\d)"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_DAYS = rf"(?P<days>{_DAY}(?:\s?(?:-|\u2013|,|\bto\b|\band\b|\bor\b|&)\s?{_DAY}){{0,5}})"
_ERA = r"(?:\s?(?P<era>BCE?|B\.C\.(?:E\.)?))?"
_WRITTEN = (
    re.compile(rf"(?<![\d.,])\b{_DAYS}\s+(?:of\s+)?{_MONTH}(?:,?\s+(?:of\s+)?{_YEAR})?", re.I),
    re.compile(rf"\b{_MONTH}\s+(?:the\s+)?{_DAYS}(?![\d%:])(?:,?\s+{_YEAR})?", re.I),
    re.compile(rf"\b{_MONTH},?\s+(?:of\s+)?{_YEAR}", re.I),
)
_ISO = re.compile(r"(?<![\d.])(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?![\d.]\d|\d)")
_NUMERIC = re.compile(r"(?<![\d./-])(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})(?![\d/-]|\.\d)")
_MONTH_ALONE = re.compile(
    rf"\b(?:{'|'.join(m.capitalize() for m in MONTHS if m not in ('may', 'march'))})\b"
    r"|(?<=[a-z,;] )(?:May|March)\b"  # with a capital inside a sentence
)
_YEARS = re.compile(
    r"(?<![\w.,$€£/-])(?P<from>1\d{3}|20\d\d|21\d\d)(?:\s?[-\u2013/]\s?(?P<to>\d{4}|\d{2})(?!\d))?"
    r"(?![\d%\u00b0]|[.,]\d|'?s\b|-?[a-z]*\d)" + _ERA
)
_ERA_YEAR = re.compile(
    r"\b(?P<ad>AD|A\.D\.)\s?(?P<after>\d{1,4})\b|(?<![\d.,])(?P<before>\d{1,4})\s?"
    r"(?P<era>BCE?\b|B\.C\.(?:E\.)?|CE\b|AD\b|A\.D\.)"
)
_DECADE = re.compile(r"(?<![\w.,])'?(?P<decade>\d{2,3}0|[2-9]0)'?s\b")
_MAGNITUDE = re.compile(r"\s(?:hundred|thousand|million|billion|trillion|dozen)\b", re.I)
_TENS = "twenties thirties forties fifties sixties seventies eighties nineties".split()
_DECADE_WORD = re.compile(rf"\b(?:{'|'.join(_TENS)})\b", re.IGNORECASE)
_CENTURY = re.compile(
    r"(?P<ordinals>(?:\b[\w-]+[\s-]+(?:(?:and|to|or|through|early|late|mid)\s+)?|[,\u2013-]\s?)"
    rf"{{0,6}}?)\b(?:century|centuries)\b{_ERA}",
    re.IGNORECASE,
)
_ORDINAL = re.compile(r"\b(\d{1,2})(?:st|nd|rd|th)\b", re.IGNORECASE)
_WEEKDAY = re.compile(rf"\b({'|'.join(day.capitalize() for day in WEEKDAYS)})s?\b")
_BORROWED_WITHIN = 40  # characters up to the date whose year "from 5 March to 7 April 2024" shares
_DIGIT = re.compile(r"\d")
_MONTH_WORDS = frozenset({*MONTHS, *(month[:3] for month in MONTHS), "sept"})
_FOUR_DIGITS = re.compile(r"(?<![\w.,])\d{4}(?!\d|'?s\b)")


@dataclass(frozen=True, slots=True)
class Mention:
    """A date at characters ``[start, end)``; ambiguous ones have several readings."""

    start: int
    end: int
    readings: frozenset[Reading]


def mentions(text: str, *, today: date | None = None) -> list[Mention]:
    """Find the dates of a text, in order, none overlapping.

    Args:
        text: a claim or evidence.
        today: the day that relative dates are relative to; without it they keep their words.
    """
    source = plain(text)
    digit = _DIGIT.search(source) is not None
    candidates = [
        *(Mention(r.start, r.end, r.readings(today)) for r in relative_dates(source)),
        *(_numeric(source) if digit else ()),
        *_written(source),
        *_centuries(source),
        *_decades(source),
        *(_years(source) if digit else ()),
        *(_day_or_month(source)),
    ]
    found: list[Mention] = []
    for mention in sorted(candidates, key=lambda m: (m.start, -m.end)):
        if not found or mention.start >= found[-1].end:
            found.append(mention)
    return found


def missing_dates(
    claim: str, evidence: Sequence[str], *, today: date | None = None
) -> tuple[list[str], list[tuple[int, int]]]:
    """Return the dates of a claim that its evidence lacks, as written, and where its dates are.

    A date is met by one that says as much or more: "March 2024" by "5 March 2024", not the other
    way round.
    """
    wanted = mentions(claim, today=today)
    spans = [(mention.start, mention.end) for mention in wanted]
    if not wanted:
        return [], []
    there: set[Reading] = set()
    for text in evidence:
        found = mentions(text, today=today)
        there |= _more(found)
        there |= {reading for mention in _with_years(text, found) for reading in mention.readings}
    days = {day for day in there if isinstance(day, tuple)}
    words = {reading for reading in there if isinstance(reading, str)}
    words |= {f"weekday {_weekday(day)}" for day in days if _weekday(day)}
    numbers = {int(n) for text in evidence for n in _FOUR_DIGITS.findall(plain(text))}
    days |= {(number, 0, 0) for number in numbers}
    missing = [
        " ".join(claim[mention.start : mention.end].split())
        for mention in wanted
        if not any(_met(reading, days, words) for reading in mention.readings)
    ]
    return sorted(set(missing)), spans


def _met(wanted: Reading, days: set[Day], words: set[str]) -> bool:
    if isinstance(wanted, str):
        return wanted in words
    if wanted in days:
        return True
    return any(all(part in (0, its) for part, its in zip(wanted, day, strict=True)) for day in days)


def _numeric(text: str) -> Iterator[Mention]:
    for match in _ISO.finditer(text):
        day = (int(match[1]), int(match[3]), int(match[4]))
        if _valid(day):
            yield Mention(match.start(), match.end(), frozenset({day}))
    for match in _NUMERIC.finditer(text):
        one, other = int(match[1]), int(match[3])
        years = (
            [int(match[4])] if len(match[4]) == 4 else [1900 + int(match[4]), 2000 + int(match[4])]
        )
        orders = [(other, one)] if match[2] == "." else [(other, one), (one, other)]
        readings = frozenset((y, m, d) for y in years for m, d in orders if _valid((y, m, d)))
        if readings:
            yield Mention(match.start(), match.end(), readings)


def _written(text: str) -> Iterator[Mention]:
    """Dates with a month's name: one mention for each day of "5, 6 and 7 March"."""
    if _MONTH_WORDS.isdisjoint(small_words(text)) or not _DIGIT.search(text):
        return
    for pattern in _WRITTEN:
        for match in pattern.finditer(text):
            parts = match.groupdict()
            name, year = match["month"], int(match["year"] or 0)
            if name.islower() and name in {"may", "march", "mar", "sun", "dec", "jan"} and not year:
                continue
            month = next(i for i, m in enumerate(MONTHS, 1) if m.startswith(name.lower()[:3]))
            if not parts.get("days"):
                yield Mention(match.start(), match.end(), frozenset({(year, month, 0)}))
                continue
            days = list(re.finditer(r"\d+", parts["days"]))
            if not all(_valid((year or 2000, month, int(day.group()))) for day in days):
                continue
            # The spans tile the whole match, so that none of its digits is left for a number.
            offset = match.start("days")
            edges = [match.start(), *(offset + day.start() for day in days[1:]), match.end()]
            for day, start, end in zip(days, edges, edges[1:], strict=False):
                yield Mention(start, end, frozenset({(year, month, int(day.group()))}))


def _centuries(text: str) -> Iterator[Mention]:
    if "centur" not in text.lower():  # the pattern is slow
        return
    for match in _CENTURY.finditer(text):
        era = " bc" if match["era"] else ""
        before = match["ordinals"]
        found = [(m.start(), int(m[1])) for m in _ORDINAL.finditer(before)]
        found += [(s.start, int(s.value)) for s in spelled(before) if s.ordinal and s.value]
        if not found:
            continue
        found.sort()
        edges = [*(match.start() + start for start, _ in found), match.end()]
        for (_, number), start, end in zip(found, edges, edges[1:], strict=False):
            yield Mention(start, end, frozenset({f"century {number}{era}"}))


def _decades(text: str) -> Iterator[Mention]:
    for match in _DECADE.finditer(text):
        number = int(match["decade"])
        if number < 100:
            readings = {f"decade {century + number}" for century in (1800, 1900, 2000)}
        else:
            readings = {f"decade {number}"}
            if number % 100 == 0:
                readings.add(f"century {number // 100 + 1}")
        yield Mention(match.start(), match.end(), frozenset(readings))
    if small_words(text).isdisjoint(_TENS):
        return
    for match in _DECADE_WORD.finditer(text):
        ten = 20 + 10 * _TENS.index(match.group().lower())
        readings = {f"decade {century + ten}" for century in (1800, 1900, 2000)}
        yield Mention(match.start(), match.end(), frozenset(readings))


def _years(text: str) -> Iterator[Mention]:
    for match in _YEARS.finditer(text):
        first = int(match["from"])
        if _MAGNITUDE.match(text, match.end()) or unit_after(text, match.end()).units != (BARE,):
            continue  # "1500 mg" is no year.
        sign = -1 if match["era"] else 1
        if match["to"] is None:
            yield Mention(match.start(), match.end(), frozenset({(sign * first, 0, 0)}))
            continue
        last = int(match["to"])
        if len(match["to"]) == 2:
            last += first // 100 * 100
        # "2024-05" may be a month as well.
        month = (
            {(first, last % 100, 0)} if len(match["to"]) == 2 and 0 < last % 100 <= 12 else set()
        )
        middle = match.start("to")
        yield Mention(match.start(), middle, frozenset({(sign * first, 0, 0)}))
        yield Mention(middle, match.end(), frozenset({(sign * last, 0, 0), *month}))
    for match in _ERA_YEAR.finditer(text):
        year = int(match["after"] or match["before"])
        before = (match["era"] or "").startswith("B")
        yield Mention(match.start(), match.end(), frozenset({(-year if before else year, 0, 0)}))


def _day_or_month(text: str) -> Iterator[Mention]:
    for match in _MONTH_ALONE.finditer(text):
        month = MONTHS.index(match.group().lower()) + 1
        yield Mention(match.start(), match.end(), frozenset({(0, month, 0)}))
    for match in _WEEKDAY.finditer(text):
        yield Mention(match.start(), match.end(), frozenset({f"weekday {match[1].lower()}"}))


def _with_years(text: str, found: Sequence[Mention]) -> Iterator[Mention]:
    """Dates without a year once more, with the year of the next date close by."""
    for i, mention in enumerate(found):
        for other in found[i + 1 : i + 6]:
            if other.start - mention.end > _BORROWED_WITHIN:
                break
            years = {day[0] for day in other.readings if isinstance(day, tuple) and day[0]}
            yearless = [day for day in mention.readings if isinstance(day, tuple) and not day[0]]
            if years and yearless:
                borrowed = frozenset((y, m, d) for y in years for _, m, d in yearless)
                yield replace(mention, readings=borrowed)
                break


def _more(found: Sequence[Mention]) -> set[Reading]:
    return {reading for mention in found for reading in mention.readings}


def _weekday(day: Day) -> str | None:
    return WEEKDAYS[date(*day).weekday()] if all(day) and _valid(day) and day[0] > 0 else None


def _valid(day: Day) -> bool:
    try:
        date(*day)
    except ValueError:
        return False
    return True
