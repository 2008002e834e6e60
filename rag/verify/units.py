"""Units of measure and currencies after a number, in one normal form, by pint."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

ONE = Fraction(1)
_SYMBOLS = frozenset(
    "mg g kg µg mcg ug ng pg t lb lbs oz km m cm mm µm nm mi ft yd h hr hrs min mins s sec secs ms "
    "wk wks yr yrs l L ml mL dl dL cl µl µL Hz kHz MHz GHz W kW MW GW V mV kV A mA J kJ MJ cal "
    "kcal Pa hPa kPa MPa bar psi mmHg K mol mmol µmol mM µM ha cc rpm mph kph KB MB GB TB "
    "kB Mb Gb N kN "
    "Wh kWh MWh GWh eV keV MeV GeV".split()
)
_RENAMED = {"mins": "min", "secs": "s", "wk": "week", "wks": "week", "yrs": "year", "lbs": "lb"}
_RENAMED |= {"kB": "kilobyte", "KB": "kilobyte", "ug": "µg"}
_TEMPERATURES = {"°c": "degC", "°f": "degF", "℃": "degC", "℉": "degF"}
_ITSELF = frozenset(
    "IU mEq dB degree degrees °".split()
)  # what pint lacks or makes a bare number of
# Ordinary words that pint reads as units.
_NOT_UNITS = frozenset(
    "point points hand hands turn turns count counts dot dots link links chain chains rod rods "
    "pole poles cycle cycles league leagues slug slugs mark marks barn barns grade grades particle "
    "particles person survey scruple stone stones cable cables fathoms rope ropes span mass speed "
    "second-hand drop drops tower towers minutemen moles pica pint-sized".split()
)
_CURRENCY_WORDS = {
    "dollar": ("USD",),
    "euro": ("EUR",),
    "yen": ("JPY",),
    "yuan": ("CNY",),
    "renminbi": ("CNY",),
    "rupee": ("INR",),
    "franc": ("CHF", "FRF"),
    "ruble": ("RUB",),
    "sterling": ("GBP",),
    "pound": ("GBP", "pound"),
    "pound sterling": ("GBP",),
    "cent": ("cent",),
    "penny": ("penny",),
    "pence": ("penny",),
}
_CODES = frozenset(
    "USD EUR GBP JPY CNY INR CHF RUB AUD CAD NZD SEK NOK DKK PLN BRL ZAR KRW".split()
)
_SIGNS = {"$": "USD", "US$": "USD", "A$": "AUD", "C$": "CAD", "NZ$": "NZD", "HK$": "HKD"}
_SIGNS |= {"€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "₽": "RUB", "₩": "KRW"}
_NATIONAL = {"us": "USD", "american": "USD", "australian": "AUD", "canadian": "CAD"}
_NATIONAL |= {"u.s.": "USD", "hong kong": "HKD", "new zealand": "NZD"}

CURRENCY_BEFORE = re.compile(
    rf"(?:(?:US|A|C|NZ|HK)?[$]|[€£¥₹₽₩]|\b(?:{'|'.join(sorted(_CODES))}))[ \u202f]?$"
)
_PERCENT = re.compile(r"[\s-]?(?:%|percent\b|per\s?cent\b|pct\b|percentage\spoints?\b)", re.I)
_SPACE = re.compile(r"(?:\s|-)?")
_NATIONAL_DOLLAR = re.compile(rf"({'|'.join(map(re.escape, _NATIONAL))})\sdollars?\b", re.I)
_POWER_BEFORE = re.compile(r"(square|sq\.?|cubic|cu\.?)[\s-]", re.IGNORECASE)
_WORD = re.compile(
    r"°\s?[CF]?\b|°|[℃℉$€£¥₹]|degrees?\s(?:celsius|fahrenheit|[CF])\b|[^\W\d_²³¹]+", re.IGNORECASE
)
_POWER_AFTER = re.compile(r"\^?([23²³])(?![\w.])")
_PER = re.compile(r"\s?/\s?|\s?\bper\s|\s(?:each|every|an?)\s", re.IGNORECASE)
_OFTEN = re.compile(
    r"(?:\s+times?)?[\s,]+(hourly|daily|nightly|weekly|monthly|yearly|annually)\b", re.IGNORECASE
)
_OFTEN_UNITS = {"hourly": "hour", "daily": "day", "nightly": "day", "weekly": "week"}
_OFTEN_UNITS |= {"monthly": "month", "yearly": "year", "annually": "year"}
_NOUN = re.compile(r"\s[a-z]+(?=\s(?:per|an?|each|every)\s|/)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Unit:
    """What a number is multiplied by (and shifted by, for temperatures) to be in base units."""

    name: str
    factor: Fraction = ONE
    offset: Fraction = Fraction(0)


BARE = Unit("")
PERCENT = Unit("percent")


def currency_sign(before: str) -> Unit | None:
    """Return the currency whose sign or code ends a text."""
    match = CURRENCY_BEFORE.search(before)
    if match is None:
        return None
    sign = match.group().rstrip(" \u202f")
    return Unit(_SIGNS.get(sign, sign))


@dataclass(frozen=True, slots=True)
class Following:
    """The unit that follows a number.

    Attributes:
        units: its possible meanings (one, unless it is a pound); `BARE` without one.
        end: where it ends.
        rateless: the same without what it is counted per: mg of "mg per day".
    """

    units: tuple[Unit, ...]
    end: int
    rateless: tuple[Unit, ...] = ()


def unit_after(text: str, position: int) -> Following:
    """Read the unit that follows a number, with what it is counted per."""
    percent = _PERCENT.match(text, position)
    if percent:
        return Following((PERCENT,), percent.end())
    units, end = _unit(text, _start(text, position))
    if not units:
        end = position
        noun = _NOUN.match(text, position)
        per, after = _per(text, noun.end() if noun else position)
        return Following((per,), after) if per else Following((BARE,), position)
    per, after = _per(text, end)
    if per is None:
        return Following(units, end)
    return Following(tuple(_product(unit, per) for unit in units), after, units)


def _start(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _unit(text: str, position: int) -> tuple[tuple[Unit, ...], int]:
    national = _NATIONAL_DOLLAR.match(text, position)
    if national:
        return (Unit(_NATIONAL[national.group(1).lower()]),), national.end()
    power = _POWER_BEFORE.match(text, position)
    word = _WORD.match(text, power.end() if power else position)
    if word is None:
        return (), position
    units, end = _meanings(word.group()), word.end()
    after = _POWER_AFTER.match(text, end)
    exponent = 1
    if power:
        exponent = 2 if power.group(1)[0] in "sS" else 3
    elif after and units:
        exponent, end = {"2": 2, "²": 2, "3": 3, "³": 3}[after.group(1)], after.end()
    return tuple(_power(unit, exponent) for unit in units), end


def _per(text: str, position: int) -> tuple[Unit | None, int]:
    """What stands behind "per", "/", "a" or as "daily", as a factor; None without one."""
    often = _OFTEN.match(text, position)
    if often:
        return _inverse(_meanings(_OFTEN_UNITS[often.group(1).lower()])[0]), often.end()
    found: Unit | None = None
    while True:
        per = _PER.match(text, position)
        if per is None:
            return found, position
        units, end = _unit(text, per.end())
        of_time = bool(units) and units[0].name == "second"
        if not units or not (of_time or per.group().strip().lower() in {"/", "per"}):
            return found, position
        step = _inverse(units[0])
        found = step if found is None else _product(found, step)
        position = end


@lru_cache(maxsize=20_000)
def _meanings(word: str) -> tuple[Unit, ...]:
    lower = " ".join(word.lower().split())
    if word in _SIGNS or word in _CODES:
        return (Unit(_SIGNS.get(word, word)),)
    if word in _ITSELF:
        return (Unit("degree" if word.startswith(("deg", "°")) else word),)
    temperature = lower.replace("degrees", "°").replace("degree", "°").replace(" ", "")[:2]
    if temperature in _TEMPERATURES:
        return _of_pint(_TEMPERATURES[temperature])
    for singular in (lower, lower.removesuffix("s"), lower.removesuffix("es")):
        if singular in _CURRENCY_WORDS:
            names = _CURRENCY_WORDS[singular]
            return tuple(u for n in names for u in (_of_pint(n) if n == "pound" else (Unit(n),)))
    if word in _SYMBOLS:
        return _of_pint(_RENAMED.get(word, word))
    if len(word) > 1 and word.isupper() and any(lower == symbol.lower() for symbol in _SYMBOLS):
        return _of_pint(_RENAMED.get(lower, lower))  # "5 MG" in a text all in capitals
    if len(lower) < 3 or lower in _NOT_UNITS or not lower.isascii():
        return ()
    if len(lower) == 3 and lower not in {"day", "ton", "bit", "mol"}:
        return ()
    return _of_pint(lower)


def _of_pint(word: str) -> tuple[Unit, ...]:
    registry = _registry()
    try:
        unit = registry.parse_units(word)
        zero = registry.Quantity(Fraction(0), unit).to_base_units()
        one = registry.Quantity(Fraction(1), unit).to_base_units()
        factor, offset = Fraction(one.magnitude - zero.magnitude), Fraction(zero.magnitude)
        dimensions = _dimensions(one)
    except Exception:  # pint raises many kinds for words that aren't units.
        return ()
    return (Unit(_name(dimensions), factor, offset),) if dimensions else ()


def _dimensions(quantity: Any) -> list[tuple[str, Fraction]]:
    powers = quantity.unit_items()
    return sorted((str(name), Fraction(power)) for name, power in powers)


def _name(dimensions: Sequence[tuple[str, Fraction]]) -> str:
    return "·".join(name if power == 1 else f"{name}^{power}" for name, power in dimensions)


def _split(name: str) -> dict[str, Fraction]:
    parts = (part.partition("^") for part in name.split("·") if part)
    return {base: Fraction(power or 1) for base, _, power in parts}


def _power(unit: Unit, exponent: int) -> Unit:
    if exponent == 1:
        return unit
    powers = {base: power * exponent for base, power in _split(unit.name).items()}
    return Unit(_name(sorted(powers.items())), unit.factor**exponent)


def _inverse(unit: Unit) -> Unit:
    powers = {base: -power for base, power in _split(unit.name).items()}
    return Unit(_name(sorted(powers.items())), 1 / unit.factor)


def _product(one: Unit, other: Unit) -> Unit:
    powers = _split(one.name)
    for base, power in _split(other.name).items():
        powers[base] = powers.get(base, Fraction(0)) + power
    kept = sorted((base, power) for base, power in powers.items() if power)
    return Unit(_name(kept), one.factor * other.factor)


@lru_cache(maxsize=1)
def _registry() -> Any:
    import pint  # takes a second to load: only where a number has a unit

    return pint.UnitRegistry(non_int_type=Fraction)
