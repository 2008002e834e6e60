"""Guards: numbers, dates, names, negations and quotations of a claim must be in its evidence.

A guard can only lower a verdict; passing all of them proves nothing by itself. They are strict:
what is rounded, converted by a rate of exchange or said in other words is missed (ADR 0007).
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from rag.sentences import sentence_spans
from rag.types import EvidenceSpan, Guard
from rag.verify.dates import mentions, missing_dates
from rag.verify.names import missing_names
from rag.verify.names import names as names_of
from rag.verify.negations import missing_negations
from rag.verify.quantities import missing_quantities, quantities
from rag.verify.quotations import missing_quotations
from rag.verify.quotations import quotations as quotations_of
from rag.words import content_words, whole

Items = frozenset[str]

_FOLDER = Path(__file__).parent
_RULES = (
    *(_FOLDER / f"{name}.py" for name in ("guards", "dates", "relative_dates", "names", "units")),
    *(_FOLDER / f"{name}.py" for name in ("negations", "number_words", "plain_text", "quantities")),
    _FOLDER / "quotations.py",
    _FOLDER / "ordinary_words.json",
    _FOLDER.parent / "sentences.py",
    _FOLDER.parent / "words.py",
)


def numbers(text: str) -> Items:
    """Return the numbers of a text in base units, each in one normal form.

    >>> sorted(numbers("two doses of 1,000 mg"))
    ['0.001 kilogram', '2']
    """
    return frozenset(
        f"{value if isinstance(value, str) else _decimal(value)} {unit}".rstrip()
        for quantity in quantities(text)
        for value, unit in quantity.readings
    )


def dates(text: str, *, today: date | None = None) -> Items:
    """Return the dates of a text: as ISO dates with "-" for what isn't said, or in words.

    >>> sorted(dates("on 2 September 2024, in the 1990s"))
    ['2024-09-02', 'decade 1990']
    """
    readings = (r for mention in mentions(text, today=today) for r in mention.readings)
    return frozenset(r if isinstance(r, str) else _iso(*r) for r in readings)


def names(text: str) -> Items:
    """Return the words of a text that may be names, as written."""
    return frozenset(names_of(text))


def quotations(text: str) -> Items:
    """Return what stands in quotation marks, white space folded."""
    return frozenset(quotations_of(text))


def check(claim: str, evidence: Sequence[str], *, today: date | None = None) -> tuple[Guard, ...]:
    """Return the guards that miss something of the claim in the evidence, in the claim's words.

    Args:
        claim: a statement.
        evidence: texts, each of one sentence or more.
        today: the day that relative dates are relative to, where it is known; without it "last
            week" is only met by the same words.
    """
    missed_dates, dated = missing_dates(claim, evidence, today=today)
    closest = closest_sentence(claim, evidence)
    missing = (
        ("number", missing_quantities(claim, evidence, dated)),
        ("date", missed_dates),
        ("name", missing_names(claim, evidence)),
        ("quotation", missing_quotations(claim, evidence)),
        ("negation", missing_negations(claim, closest.text if closest else None)),
    )
    return tuple(Guard(name, tuple(items)) for name, items in missing if items)  # type: ignore[arg-type]


def closest_sentence(claim: str, evidence: Sequence[str]) -> EvidenceSpan | None:
    """Return the sentence of the evidence that shares most content words with the claim."""
    wanted = set(content_words(claim))
    best: tuple[float, EvidenceSpan] | None = None
    for index, text in enumerate(evidence):
        for start, end in sentence_spans(whole(text)):
            words = set(content_words(text[start:end]))
            overlap = len(wanted & words) / (len(wanted | words) or 1)
            if best is None or overlap > best[0]:
                best = overlap, EvidenceSpan(index, start, end, text[start:end])
    return best[1] if best else None


def _decimal(value: Fraction) -> str:
    """A fraction as a decimal number, exact where one is and short."""
    bottom = value.denominator
    for prime in (2, 5):
        while bottom % prime == 0:
            bottom //= prime
    if bottom > 1 or max(value.numerator, value.denominator) > 10**24:
        return str(value) if value.numerator < 10**400 else "a very large number"
    return format((Decimal(value.numerator) / Decimal(value.denominator)).normalize(), "f")


def _iso(year: int, month: int, day: int) -> str:
    parts = (
        f"{year:04}" if year else "-",
        f"{month:02}" if month else "",
        f"{day:02}" if day else "",
    )
    return "-".join(part for part in parts if part)


@lru_cache(maxsize=1)
def rules_digest() -> str:
    """Sha256 of the rules: their source files and the list of ordinary words."""
    return sha256(b"".join(file.read_bytes() for file in _RULES)).hexdigest()
