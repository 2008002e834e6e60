"""Guards: numbers, dates, names, negations and quotations of a claim must be in its evidence.

A guard can only lower a verdict; passing all of them proves nothing by itself.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from rag.sentences import sentence_spans
from rag.types import Claim, EvidenceSpan, Guard, Verdict
from rag.words import STOP_WORDS, content_words

_NUMBER = re.compile(r"(?<![\w.])[-−+]?\d+(?:[,\u202f\u00a0]\d{3})*(?:\.\d+)?")
_UNIT = re.compile(r"\s?(%|°[CF]|[a-zµμ]{1,4}(?:/[a-zA-Z0-9]{1,3})?)(?![a-z])", re.IGNORECASE)
_SMALL_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()
_MONTHS = (
    "january february march april may june july august september october november december"
).split()
_MONTH = rf"(?P<month>{'|'.join(f'{month[:3]}(?:{month[3:]})?' for month in _MONTHS)})\.?"
_DATES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?P<year>\d{4})-(?P<number>\d{2})-(?P<day>\d{2})\b",
        rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}(?:,?\s+(?P<year>\d{{4}}))?\b",
        rf"\b{_MONTH}\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s+(?P<year>\d{{4}}))?\b",
    )
)
_NAME = re.compile(r"\b(?:[^\W\d_a-z][\w'’-]*)(?:\s+(?:[^\W\d_a-z][\w'’-]*))*")
_WORD = re.compile(r"[^\W_][\w'’-]*")
_STOP_WORDS = frozenset(STOP_WORDS)
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|\w+n[’']t)\b", re.IGNORECASE
)
_QUOTATION = re.compile(r"[“\"„«]([^“”\"„«»]{3,})[”\"“»]")

Items = frozenset[str]


def numbers(text: str) -> Items:
    """Return the numbers of a text with their units, each in one normal form.

    >>> sorted(numbers("two doses of 1,000 mg"))
    ['1000 mg', '2']
    """
    found = set()
    for match in _NUMBER.finditer(text):
        digits = re.sub(r"[,\u202f\u00a0]", "", match.group()).replace("−", "-")
        try:
            value = format(Decimal(digits).normalize(), "f")
        except InvalidOperation:
            continue
        unit = _UNIT.match(text, match.end())
        name = unit.group(1).replace("μ", "µ").lower() if unit else ""
        found.add(f"{value} {name}" if name and _is_unit(name) else value)
    words = re.findall(r"[a-z]+", text.lower())
    found.update(str(_SMALL_NUMBERS.index(word)) for word in words if word in _SMALL_NUMBERS)
    return frozenset(found)


def dates(text: str) -> Items:
    """Return the absolute dates of a text as ISO dates, or as --MM-DD without a year."""
    found = set()
    for pattern in _DATES:
        for match in pattern.finditer(text):
            parts = match.groupdict()
            month = parts.get("number") or f"{_month_number(parts['month']):02}"
            found.add(f"{parts['year'] or '-'}-{month}-{int(parts['day']):02}")
    return frozenset(found)


def names(text: str) -> Items:
    """Return capitalised words, folded to lower case, without stop words.

    A word that starts a sentence counts too: whether it is a name can't be seen from its case, but
    it must be in the evidence either way.
    """
    words = (word for match in _NAME.finditer(text) for word in match.group().split())
    folded = (_fold(word.rstrip("’'")) for word in words)
    return frozenset(word for word in folded if len(word) > 1 and word not in _STOP_WORDS)


def quotations(text: str) -> Items:
    """Return what stands in quotation marks, white space folded."""
    return frozenset(" ".join(found.split()) for found in _QUOTATION.findall(text))


def check(claim: str, evidence: Sequence[str]) -> tuple[Guard, ...]:
    """Return the guards that miss something of the claim in the evidence."""
    together = "\n".join(evidence)
    folded = {_fold(word.rstrip("’'")) for word in _WORD.findall(together)}
    flat = " ".join(together.split())
    missing = (
        ("number", _missing_numbers(numbers(claim), numbers(together))),
        ("date", _missing_dates(dates(claim), dates(together))),
        ("name", sorted(names(claim) - folded)),
        ("quotation", sorted(quote for quote in quotations(claim) if quote not in flat)),
        ("negation", _missing_negation(claim, together)),
    )
    return tuple(Guard(name, tuple(items)) for name, items in missing if items)  # type: ignore[arg-type]


class GuardVerifier:
    """Judges by the guards alone: unsupported if one misses something, else supported.

    Without a model there is no probability, and a claim with no evidence is unsupported.
    """

    @property
    def digest(self) -> str:
        """Sha256 of the rules' source files."""
        return f"guards:{_rules_digest()}"

    def verify(self, claim: Claim, evidence: Sequence[str]) -> Verdict:
        """Judge a claim by the evidence texts alone."""
        span = closest_sentence(claim.text, evidence)
        guards = check(claim.text, evidence)
        shares_words = span is not None and bool(
            set(content_words(claim.text)) & set(content_words(span.text))
        )
        label = "supported" if shares_words and not guards else "unsupported"
        return Verdict(claim, label, None, None, guards, span)  # type: ignore[arg-type]


def closest_sentence(claim: str, evidence: Sequence[str]) -> EvidenceSpan | None:
    """Return the sentence of the evidence that shares most content words with the claim."""
    wanted = set(content_words(claim))
    best: tuple[float, EvidenceSpan] | None = None
    for index, text in enumerate(evidence):
        for start, end in sentence_spans(text):
            words = set(content_words(text[start:end]))
            overlap = len(wanted & words) / (len(wanted | words) or 1)
            if best is None or overlap > best[0]:
                best = overlap, EvidenceSpan(index, start, end, text[start:end])
    return best[1] if best else None


def _missing_dates(wanted: Items, there: Items) -> list[str]:
    """A claim's date without a year is met by that day of any year."""
    days = {f"-{date[4:]}" if not date.startswith("-") else date for date in there}
    return sorted(date for date in wanted if date not in there and date not in days)


def _missing_numbers(wanted: Items, there: Items) -> list[str]:
    bare = {number.partition(" ")[0] for number in there}
    # A claim's number without a unit may stand in the evidence with one, not the other way round.
    return sorted(n for n in wanted if n not in there and (" " in n or n not in bare))


def _missing_negation(claim: str, evidence: str) -> list[str]:
    closest = closest_sentence(claim, [evidence])
    negations: Callable[[str], list[str]] = _NEGATION.findall
    if closest and negations(claim) and not negations(evidence):
        return sorted({found.lower() for found in negations(claim)})
    if closest and negations(closest.text) and not negations(claim):
        return sorted({found.lower() for found in negations(closest.text)})
    return []


@lru_cache(maxsize=1)
def _rules_digest() -> str:
    files = [Path(__file__), *(Path(__file__).parents[1] / n for n in ("sentences.py", "words.py"))]
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _month_number(name: str) -> int:
    return next(i for i, month in enumerate(_MONTHS, 1) if month.startswith(name.lower()[:3]))


def _is_unit(name: str) -> bool:
    return name not in {"a", "and", "as", "at", "by", "for", "if", "in", "is", "of", "on", "or",
                        "per", "the", "to", "was", "are", "but", "not", "had", "has", "were",
                        "with", "from", "that", "who", "men"}  # fmt: skip


def _fold(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char))
