"""Numbers of a claim with their units, and whether the evidence has them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from rag.verify.number_words import MAGNITUDES, spelled
from rag.verify.plain_text import plain, small_words
from rag.verify.units import BARE, PERCENT, Unit, currency_sign, unit_after

Value = Fraction | str
Reading = tuple[Value, str]
"""A value in base units and their name; a value that isn't computed with is text."""

LONGEST_DIGITS = 1_000
"""Digits that are read of a number; two longer ones that begin alike count as one."""
_LARGEST_EXPONENT = 400
_DIGITS = re.compile(
    r"(?:(?<![\w)\]%'-])(?P<sign>[-+])(?:[$€£¥])?)?(?<![^\W\d])(?<!\d)(?<!\d[.,])"
    r"(?P<number>\d{1,3}(?:,\d{2,3})*,\d{3}(?!\d)(?:\.\d+)?"
    r"|\d{1,3}(?:\u202f\d{3})+(?!\d)(?:[.,]\d+)?"
    r"|\d{1,3}(?: \d{3})+(?![\d,.]*\d)"
    r"|\d{1,3}(?:\.\d{3}){2,}(?!\d)"
    r"|\d+(?:\.\d+){2,}"
    r"|\d+(?:[.,]\d+)?)"
    r"(?:[eE](?P<exponent>[-+]?\d+)(?!\w|\.\d))?"
)
_CLOCK = re.compile(
    r"(?<![\d:.,])(?P<hour>[01]?\d|2[0-4])(?::(?P<minute>[0-5]\d)(?::[0-5]\d)?)?"
    r"(?:\s?(?P<half>[ap])\.?m\b\.?)?(?![\d:])",
    re.IGNORECASE,
)
_DECADE = re.compile(r"'?s\b")
_ORDINAL = re.compile(r"(?:st|nd|rd|th)\b", re.IGNORECASE)
_MAGNITUDE = re.compile(
    r"[\s-]?(?P<word>hundred|thousand|million|billion|trillion|dozen|mn|bn|tn)\b"
    r"|(?P<letter>[kKmMbB])\b",
    re.IGNORECASE,
)
_FACTORS = {**MAGNITUDES, "hundred": 100, "dozen": 12, "mn": 10**6, "bn": 10**9, "tn": 10**12}
_LETTERS = {"k": 10**3, "m": 10**6, "b": 10**9}
_SLASH = re.compile(r"/(\d{1,3})(?![\d/])")
_MIXED = re.compile(r"[\s-](\d)/(\d{1,2})(?![\d/])")
_AND_HALF = re.compile(r"\s+and\s+a\s+(half|quarter)\b", re.IGNORECASE)
_VULGAR = {"½": (1, 2), "¼": (1, 4), "¾": (3, 4), "⅓": (1, 3), "⅔": (2, 3), "⅛": (1, 8)}
_VULGAR |= {"⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5), "⅘": (4, 5), "⅜": (3, 8), "⅝": (5, 8)}
_VULGAR_ALONE = re.compile(rf"(?<!\d)(?<!\d\s)[{''.join(_VULGAR)}]")
_RANGE = re.compile(r"\s?(?:-|\u2013|\bto\b|\bthrough\b)\s?[$€£¥]?", re.IGNORECASE)
_AND = re.compile(r"\s(?:and|or)\s[$€£¥]?", re.IGNORECASE)
_BETWEEN = re.compile(r"\bbetween\s[$€£¥]?$", re.IGNORECASE)
_MINUS = re.compile(r"\b(?:minus|negative)\s$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number at characters ``[start, end)``, its unit included.

    Attributes:
        values: what the number itself may be, magnitudes ("million") included.
        units: what its unit may be, with what it is counted per.
        rateless: the same without that.
    """

    start: int
    end: int
    values: tuple[Value, ...]
    units: tuple[Unit, ...] = (BARE,)
    rateless: tuple[Unit, ...] = ()

    @property
    def readings(self) -> frozenset[Reading]:
        """Every value with every unit, in base units."""
        return self._in(self.units)

    @property
    def meets(self) -> frozenset[Reading]:
        """What it says as evidence: "5 mg per day" is 5 mg, too."""
        return self._in((*self.units, *self.rateless))

    def _in(self, units: tuple[Unit, ...]) -> frozenset[Reading]:
        return frozenset(
            (value if isinstance(value, str) else value * unit.factor + unit.offset, unit.name)
            for value in self.values
            for unit in units
        )

    @property
    def bare(self) -> bool:
        """Whether it has no unit."""
        return self.units == (BARE,)


def quantities(text: str) -> list[Quantity]:
    """Find the numbers of a text with their units, in order."""
    source = plain(text)
    found: list[Quantity] = []
    clocks = list(_clocks(source))
    others = [*_in_digits(source), *_in_words(source)]
    for quantity in sorted((*clocks, *others), key=lambda q: (q.start, -q.end)):
        inside = quantity not in clocks and any(c.start <= quantity.start < c.end for c in clocks)
        if not inside and (not found or quantity.start >= found[-1].end):
            found.append(quantity)
    return _shared_units(source, found)


def missing_quantities(
    claim: str, evidence: Sequence[str], dated: Iterable[tuple[int, int]] = ()
) -> list[str]:
    """Return the numbers of a claim that its evidence lacks, as written.

    Args:
        claim: its text.
        evidence: texts.
        dated: characters of the claim that are dates, whose digits are no numbers.
    """
    spans = list(dated)
    wanted = [
        quantity
        for quantity in quantities(claim)
        if not any(a < quantity.end and quantity.start < b for a, b in spans)
    ]
    if not wanted:
        return []
    for text in evidence:
        there = quantities(text)
        readings = {reading for quantity in there for reading in quantity.meets}
        values = {value for quantity in there for value in quantity.values}
        values.update(_parts(plain(text)))
        wanted = [quantity for quantity in wanted if not _met(quantity, readings, values)]
        if not wanted:
            break
    return sorted({" ".join(claim[q.start : q.end].split()) for q in wanted})


def _met(wanted: Quantity, readings: set[Reading], values: set[Value]) -> bool:
    """A number without a unit may stand in the evidence with one, not the other way round."""
    if wanted.readings & readings:
        return True
    if wanted.bare and any(value in values for value in wanted.values):
        return True
    for value in wanted.values:  # A half is 50 %.
        if isinstance(value, Fraction):
            if wanted.bare and (value * 100, PERCENT.name) in readings and value.denominator > 1:
                return True
            if wanted.units == (PERCENT,) and (value / 100, "") in readings:
                return True
    return False


def _in_digits(text: str) -> Iterator[Quantity]:
    for match in _DIGITS.finditer(text):
        if _is_decade(text, match):
            continue
        value = _value(match)
        values: tuple[Value, ...] = (value,)
        end = match.end()
        if isinstance(value, Fraction):
            values, end = _extended(text, value, end)
            negative = match["sign"] == "-" or _MINUS.search(
                text, max(0, match.start() - 9), match.start()
            )
            if negative:
                values = tuple(-v for v in values if isinstance(v, Fraction))
        ordinal = _ORDINAL.match(text, end)
        currency = currency_sign(text[max(0, match.start("number") - 6) : match.start("number")])
        start = match.start()
        if ordinal:
            yield Quantity(start, ordinal.end(), values, (Unit("ordinal"),))
        elif currency:
            yield Quantity(start, end, values, (currency,))
        else:
            unit = unit_after(text, end)
            yield Quantity(start, unit.end, values, unit.units, unit.rateless)
    for match in _VULGAR_ALONE.finditer(text):
        unit = unit_after(text, match.end())
        yield Quantity(
            match.start(), unit.end, (Fraction(*_VULGAR[match.group()]),), unit.units, unit.rateless
        )


def _in_words(text: str) -> Iterator[Quantity]:
    for found in spelled(text):
        if found.value is None:
            word = text[found.start : found.end].lower()
            yield Quantity(found.start, found.end, (word,))
        elif found.ordinal:
            yield Quantity(found.start, found.end, (found.value,), (Unit("ordinal"),))
        else:
            unit = unit_after(text, found.end)
            yield Quantity(found.start, unit.end, (found.value,), unit.units, unit.rateless)


def _clocks(text: str) -> Iterator[Quantity]:
    if ":" not in text and small_words(text).isdisjoint(("am", "pm", "m")):
        return
    for match in _CLOCK.finditer(text):
        if not (match["minute"] or match["half"]):
            continue
        hour, minute = int(match["hour"]), int(match["minute"] or 0)
        hours = {hour % 12 + (12 if match["half"] in "pP" else 0)} if match["half"] else {hour}
        if not match["half"] and hour <= 12:
            hours |= {hour % 12, hour % 12 + 12}
        values = tuple(f"{h:02}:{minute:02}" for h in sorted(hours))
        yield Quantity(match.start(), match.end(), values, (Unit("clock"),))


def _is_decade(text: str, match: re.Match[str]) -> bool:
    number = match["number"]
    return number.endswith("0") and len(number) in (2, 4) and bool(_DECADE.match(text, match.end()))


def _value(match: re.Match[str]) -> Value:
    number, exponent = match["number"], match["exponent"] or "0"
    groups = number.split(".")
    if len(groups) > 2:
        if any(len(group) != 3 for group in groups[1:]):
            return number  # a version or a section
        number = number.replace(".", "")
    last = number.rpartition(",")[2]
    if "," in number and (len(last) != 3 or number.startswith("0,")) and "." not in number:
        number = number.replace(",", ".")
    digits = re.sub(r"[,\u202f ]", "", number)[:LONGEST_DIGITS].rstrip(".")
    if len(exponent) > 4 or abs(int(exponent)) > _LARGEST_EXPONENT:
        return match.group()[:LONGEST_DIGITS].lower()
    return Fraction(*Decimal(digits).as_integer_ratio()) * Fraction(10) ** int(exponent)


def _extended(text: str, value: Fraction, end: int) -> tuple[tuple[Value, ...], int]:
    """A number with what follows it: a fraction, "and a half", a magnitude."""
    for pattern in (_MIXED, _SLASH, _AND_HALF):
        part = pattern.match(text, end)
        if part is None:
            continue
        if pattern is _AND_HALF:
            return (value + Fraction(1, 2 if part[1].lower() == "half" else 4),), part.end()
        if pattern is _MIXED and int(part[2]):
            return (value + Fraction(int(part[1]), int(part[2])),), part.end()
        if pattern is _SLASH and int(part[1]):
            return (value / int(part[1]),), part.end()
    if text[end : end + 1] in _VULGAR:
        return (value + Fraction(*_VULGAR[text[end]]),), end + 1
    magnitude = _MAGNITUDE.match(text, end)
    if magnitude is None:
        return (value,), end
    if magnitude["word"]:
        return (value * _FACTORS[magnitude["word"].lower()],), magnitude.end()
    times = value * _LETTERS[magnitude["letter"].lower()]
    if magnitude["letter"] == "m":  # metres, too; the unit is read from there
        return (value, times), end
    return (times,), magnitude.end()


def _shared_units(text: str, found: Sequence[Quantity]) -> list[Quantity]:
    """In "10 to 15 mg" both numbers have the unit; in "$5–10 million" both may be millions."""
    shared = list(found)
    for i in range(len(shared) - 2, -1, -1):
        first, second = shared[i], shared[i + 1]
        between = text[first.end : second.start]
        if len(between) > 9 or not (
            _RANGE.fullmatch(between)
            or (_AND.fullmatch(between) and _BETWEEN.search(text[: first.start][-10:]))
        ):
            continue
        ordinal = "ordinal" in (first.units[0].name, second.units[0].name)
        if first.bare and not second.bare and not ordinal:
            shared[i] = replace(first, values=_scaled(text, first, second), units=second.units)
        elif second.bare and not first.bare and not ordinal:
            shared[i + 1] = replace(second, units=first.units)
            shared[i] = replace(first, values=_scaled(text, first, second))
        elif first.bare and second.bare:
            shared[i] = replace(first, values=_scaled(text, first, second))
    return shared


def _scaled(text: str, first: Quantity, second: Quantity) -> tuple[Value, ...]:
    word = next(
        (
            w
            for w in text[second.start : second.end].lower().replace("-", " ").split()
            if w in _FACTORS
        ),
        None,
    )
    if word is None:
        return first.values
    times = _FACTORS[word]
    more = (value * times for value in first.values if isinstance(value, Fraction))
    return (*first.values, *more)


_PART = re.compile(r"\d+(?:\.\d+)?")


def _parts(text: str) -> Iterator[Value]:
    """Numbers inside what may be one number or several: "1/2", "3 200", "1,2"."""
    for match in _COMPOUND.finditer(text):
        for part in _PART.findall(match.group()):
            yield Fraction(*Decimal(part[:LONGEST_DIGITS].rstrip(".")).as_integer_ratio())


_COMPOUND = re.compile(r"(?<![\w.,])\d+(?:[/ \u202f]\d+|,\d{1,2}(?!\d))+(?![\w])")
