"""Finds and masks personal data in questions before they are stored, by patterns and checksums."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from ipaddress import ip_address
from typing import Any, Literal

from rag.errors import MissingDependency

Mode = Literal["off", "mark", "mask"]
_REGIONS = ("GB", "US", "DE", "FR", "ES", "IT", "NL", "IN", "AU")
"""Whose phone numbers are known also without a country code, written as is usual there."""
_LATER = 48
"""Characters before a number in which the word may stand that says what it is."""
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+%'-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])")
_IP = re.compile(
    r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)|(?<![\w:.])[0-9a-fA-F:]{3,39}(?![\w:])"
)
_BORN = re.compile(
    r"\b(?:born(?:\s+on)?|d\.?o\.?b\.?|date\s+of\s+birth|birth\s?day|né[e]?\s+le|geboren(?:\s+am)?)"
    r"\b[\s:,.=(-]{0,4}"
    r"(\d{1,4}[./-]\d{1,2}[./-]\d{2,4}"
    r"|\d{1,2}(?:st|nd|rd|th)?\.?\s+[^\W\d_]{3,10}\.?,?\s+\d{4}"
    r"|[^\W\d_]{3,10}\.?\s+\d{1,2}(?:st|nd|rd|th)?,?\s+\d{4})",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Number:
    """A kind of number with a check digit or a fixed form.

    Attributes:
        check: module of python-stdnum that validates it; None where its form must do.
        cue: what must stand before it, where one number in ten would pass the check by chance.
    """

    kind: str
    pattern: re.Pattern[str]
    check: str | None
    cue: re.Pattern[str] | None = None


def _number(kind: str, pattern: str, check: str | None, cue: str | None = None) -> _Number:
    said = re.compile(rf"\b(?:{cue})\b", re.IGNORECASE) if cue else None
    return _Number(kind, re.compile(rf"(?<![\w-]){pattern}(?![\w]|-\w)"), check, said)


_NUMBERS = (
    _number("iban", r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?", "iban"),
    _number("credit card", r"[2-6]\d{3}(?:[ -]?\d){8,15}", "luhn"),
    _number("national id", r"[12]\d{4}(?:\d|[AB])\d{7}(?: ?\d{2})", "fr.nir"),
    _number("national id", r"[A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z]", "it.codicefiscale"),
    _number("national id", r"(?:\d{8}|[XYZ]\d{7})-?[A-Z]", "es.nif"),
    _number("national id", r"\d{6}[-+A]\d{3}[0-9A-Y]", "fi.hetu"),
    _number("national id", r"(?:19|20)?\d{6}[-+]\d{4}", "se.personnummer"),
    _number("national id", r"\d{6}-[1-8]\d{6}", "kr.rrn"),
    _number("national id", r"756\.\d{4}\.\d{4}\.\d{2}", "ch.ssn"),
    _number("national id", r"\d{3}\.\d{3}\.\d{3}-\d{2}", "br.cpf"),
    _number("national id", r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", "be.nn"),
    _number("national id", r"\d{3}-\d{2}-\d{4}", "us.ssn"),
    _number("national id", r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?: ?\d{2}){3} ?[A-D]", None),
    _number("national id", r"\d{3}[ -]?\d{3}[ -]?\d{4}", "gb.nhs", "NHS"),
    _number("national id", r"\d{9}", "nl.bsn", "BSN|burgerservicenummer"),
    _number("national id", r"\d{3}[ -]?\d{3}[ -]?\d{3}", "ca.sin", "SIN|social insurance"),
    _number("national id", r"\d{3} ?\d{3} ?\d{3}", "au.tfn", "TFN|tax file"),
    _number("national id", r"\d{4} ?\d{4} ?\d{4}", "in_.aadhaar", "aadhaar|aadhar|UIDAI"),
    _number("national id", r"\d{11}", "pl.pesel", "PESEL"),
    _number("national id", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", "de.idnr", "steuer-?id\\w*|IdNr|tax id"),
    _number("national id", r"\d{11}", "tr.tckimlik", "kimlik|TCKN"),
    _number("national id", r"\d{6}[ +-]?\d{5}", "no.fodselsnummer", "fødselsnummer|fnr|personnr"),
    _number("national id", r"\d{6}-?\d{4}", "dk.cpr", "CPR|personnummer"),
    _number("national id", r"\d{13}", "za.idnr", "ID|identity"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """Personal data in a text: characters ``[start, end)``."""

    kind: str
    start: int
    end: int


def find(text: str) -> list[Found]:
    """Find e-mail and IP addresses, phone, account and identity numbers, and dates of birth.

    What has no form of its own, as names and postal addresses, is not found.

    Returns:
        in order, never overlapping; of two that do, the longer.

    Raises:
        MissingDependency: the libraries of the extra `pii` are not installed.
    """
    found = [*_addresses(text), *_numbers(text), *_births(text), *_phones(text)]
    chosen: list[Found] = []
    for one in sorted(found, key=lambda one: one.start - one.end):  # Stable: kinds in that order.
        if all(one.end <= other.start or one.start >= other.end for other in chosen):
            chosen.append(one)
    return sorted(chosen, key=lambda one: one.start)


def mask(text: str) -> tuple[str, dict[str, int]]:
    """Put the kind of each piece of personal data in its place.

    Returns:
        the text, and how many pieces there were of each kind.

    Raises:
        MissingDependency: the libraries of the extra `pii` are not installed.
    """
    found = find(text)
    pieces, end = [], 0
    for one in found:
        pieces += [text[end : one.start], f"[{one.kind}]"]
        end = one.end
    return "".join([*pieces, text[end:]]), dict(sorted(Counter(o.kind for o in found).items()))


def protected(payload: Mapping[str, Any], mode: Mode) -> dict[str, Any]:
    """Return a payload as it may be stored: what its question holds counted, and masked if asked.

    The question stands there as asked, and in drafts as the generator read it.

    Args:
        payload: of an answer, a refusal or a check; it stays as it is.
        mode: "off" leaves it alone, "mark" counts, "mask" masks as well.

    Raises:
        MissingDependency: the libraries of the extra `pii` are not installed.
    """
    question = payload.get("question")
    if mode == "off" or not isinstance(question, str):
        return dict(payload)
    masked, counts = mask(question)
    stored = {**payload, "personal_data": {"mode": mode, "found": counts}}
    if mode == "mark":
        return stored
    stored["question"] = masked
    if payload.get("conversation"):
        stored["conversation"] = _masked_texts(payload["conversation"])
    if "draft" in payload:
        stored["draft"] = _masked_draft(payload["draft"])
    if "attempts" in payload:
        stored["attempts"] = [
            {**attempt, "draft": _masked_draft(attempt["draft"])} for attempt in payload["attempts"]
        ]
    return stored


def masked_count(payload: Mapping[str, Any]) -> int:
    """Return how many pieces of a payload's question were masked."""
    noted = payload.get("personal_data") or {}
    return sum(noted.get("found", {}).values()) if noted.get("mode") == "mask" else 0


def _masked_texts(value: Any) -> Any:
    """All that was said in a conversation, masked."""
    if isinstance(value, str):
        return mask(value)[0]
    if isinstance(value, Mapping):
        return {
            name: own if name in ("rule", "answer_id") else _masked_texts(own)
            for name, own in value.items()
        }
    return [_masked_texts(own) for own in value] if isinstance(value, list) else value


def _masked_draft(draft: Mapping[str, Any]) -> dict[str, Any]:
    read_as = draft.get("read_as")
    return {**draft, "read_as": mask(read_as)[0]} if isinstance(read_as, str) else dict(draft)


def _addresses(text: str) -> Iterator[Found]:
    for match in _EMAIL.finditer(text):
        yield Found("e-mail address", match.start(), match.end())
    for match in _IP.finditer(text):
        try:
            address = ip_address(match.group())
        except ValueError:
            continue
        if address.version == 6 or _looks_assigned(match.group()):
            yield Found("IP address", match.start(), match.end())


def _looks_assigned(address: str) -> bool:
    """Say whether four numbers are an address; "1.2.3.4" is more often a version or a section."""
    numbers = [int(part) for part in address.split(".")]
    return max(numbers) >= 100 or min(numbers) >= 10 or numbers[0] == 10


def _numbers(text: str) -> Iterator[Found]:
    for number in _NUMBERS:
        for match in number.pattern.finditer(text):
            before = text[max(0, match.start() - _LATER) : match.start()]
            if number.cue and not number.cue.search(before):
                continue
            if _is_valid(number.check, match.group()):
                yield Found(number.kind, match.start(), match.end())


def _births(text: str) -> Iterator[Found]:
    for match in _BORN.finditer(text):
        yield Found("date of birth", match.start(1), match.end(1))


def _phones(text: str) -> Iterator[Found]:
    phonenumbers = _library("phonenumbers")
    for region in (None, *_REGIONS):
        leniency = phonenumbers.Leniency
        strict = leniency.VALID if region is None else leniency.STRICT_GROUPING
        for match in phonenumbers.PhoneNumberMatcher(text, region, strict):
            # Ten digits in a row are a reference as likely as a number without its prefix.
            if match.raw_string.startswith(("+", "0", "(")) or not match.raw_string.isdigit():
                yield Found("phone number", match.start, match.end)


def _is_valid(check: str | None, written: str) -> bool:
    if check is None:
        return True
    if check == "luhn":  # The only one that takes no separators.
        written = written.replace(" ", "").replace("-", "")
    return bool(_library(f"stdnum.{check}").is_valid(written))


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingDependency(
            "finding personal data needs python-stdnum and phonenumbers: pip install "
            "'grounded-rag[pii]', or set RAG_PERSONAL_DATA=off"
        ) from error
