"""Finds and masks personal data in what is asked before it is stored, by patterns and checksums."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from ipaddress import ip_address
from typing import Any, Literal

from rag.errors import MissingDependency

Mode = Literal["off", "mark", "mask"]
_REGIONS = ("GB", "US", "DE", "FR", "ES", "IT", "NL", "IN", "AU")
"""Whose phone numbers are known also without a country code, written as is usual there."""
_SENT = ("question", "claim", "evidence")
"""What a payload has of what was sent to be answered or judged."""
_OURS = ("label", "name", "type")
"""Fields of what repeats it that hold words of this project alone."""
_TELLING_CHARS = 4
"""Shorter parts of what was found are left where they stand alone."""
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
    """Return a payload as it may be stored: what was sent is counted, and masked if asked.

    What was sent is the question, and of a check its claim and evidence. What repeats it is masked
    alike: the question as the generator read it, reasons, a check's verdicts, an error's message.
    Documents are not: what an answer quotes of them stays what they say.

    Args:
        payload: of an answer, a refusal or a check; it stays as it is.
        mode: "off" leaves it alone, "mark" counts, "mask" masks as well.

    Raises:
        MissingDependency: the libraries of the extra `pii` are not installed.
    """
    sent = [text for name in _SENT for text in _texts(payload.get(name))]
    if mode == "off" or not sent:
        return dict(payload)
    found = [(one.kind, text[one.start : one.end]) for text in sent for one in find(text)]
    counts = dict(sorted(Counter(kind for kind, _ in found).items()))
    stored = {**payload, "personal_data": {"mode": mode, "found": counts}}
    if mode == "mark":
        return stored
    masker = _Masker(found)
    stored |= {name: _masked(payload[name]) for name in _SENT if name in payload}
    for name in ("reason", "error", *(("verdicts",) if payload.get("kind") == "check" else ())):
        if name in payload:
            stored[name] = masker.everywhere(payload[name], words=name == "reason")
    if payload.get("kind") == "answer":
        stored["verdicts"] = [masker.verdict(one) for one in payload.get("verdicts", ())]
    if payload.get("conversation"):
        stored["conversation"] = masker.conversation(payload["conversation"])
    if "draft" in payload:
        stored["draft"] = masker.draft(payload["draft"])
    if "attempts" in payload:
        stored["attempts"] = [masker.attempt(attempt) for attempt in payload["attempts"]]
    return stored


def masked_count(payload: Mapping[str, Any]) -> int:
    """Return how many pieces of what was asked were masked in a payload."""
    noted = payload.get("personal_data") or {}
    return sum(noted.get("found", {}).values()) if noted.get("mode") == "mask" else 0


def require() -> None:
    """Check that what finds personal data is installed.

    Raises:
        MissingDependency: it is not.
    """
    for name in ("phonenumbers", "stdnum.iban"):
        _library(name)


class _Masker:
    """Masks what was found, wherever it is repeated.

    Args:
        found: (kind, text).
    """

    def __init__(self, found: Sequence[tuple[str, str]]) -> None:
        self._kinds: dict[str, str] = {}
        for kind, text in found:
            self._kinds.setdefault(text.casefold(), kind)
        self._whole = _any_of(self._kinds)
        for kind, text in found:
            for word in re.findall(rf"\w{{{_TELLING_CHARS},}}", text):
                self._kinds.setdefault(word.casefold(), kind)
        self._words = _any_of(self._kinds)

    def text(self, text: str, *, words: bool = False) -> str:
        """Return a text without it.

        Args:
            text: the text.
            words: its single words count too, as where a text names what was not found.
        """
        masked = mask(text)[0]
        if not self._kinds:
            return masked
        repeated = self._words if words else self._whole
        return repeated.sub(lambda hit: f"[{self._kinds.get(hit[0].casefold(), '…')}]", masked)

    def everywhere(self, value: Any, *, words: bool = False) -> Any:
        """Return a JSON value whose texts are all without it."""
        if isinstance(value, str):
            return self.text(value, words=words)
        if isinstance(value, list | tuple):
            return [self.everywhere(one, words=words) for one in value]
        if isinstance(value, Mapping):
            return {
                name: one
                if name in _OURS
                else self.everywhere(one, words=words or name in ("missing", "reason"))
                for name, one in value.items()
            }
        return value

    def draft(self, draft: Mapping[str, Any]) -> dict[str, Any]:
        """Return a draft whose question as it was read is without it."""
        read_as = draft.get("read_as")
        return {**draft, "read_as": self.text(read_as)} if read_as else dict(draft)

    def conversation(self, conversation: Mapping[str, Any]) -> dict[str, Any]:
        """Return a conversation of which all that was said is without it."""
        return {
            name: own if name == "rule" else self._said(own) for name, own in conversation.items()
        }

    def _said(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [{**turn, "question": self.text(turn["question"])} for turn in value]
        return value

    def verdict(self, verdict: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is kept of a verdict on an answer's claim, its question without it."""
        question = verdict.get("question")
        return {**verdict, "question": self.text(question)} if question else dict(verdict)

    def attempt(self, attempt: Mapping[str, Any]) -> dict[str, Any]:
        """Return an attempt that was not served, its draft, questions and reason without it."""
        stored = {**attempt, "draft": self.draft(attempt["draft"])}
        stored["verdicts"] = [self.verdict(one) for one in attempt.get("verdicts", ())]
        if "decision" in attempt:
            stored["decision"] = self.everywhere(attempt["decision"])
        return stored


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    either = "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{either})(?!\w)", re.IGNORECASE)


def _masked(sent: Any) -> Any:
    """Return a field of what was sent, masked."""
    if isinstance(sent, list):
        return [_masked(one) for one in sent]
    return mask(sent)[0] if isinstance(sent, str) else sent


def _texts(value: Any) -> list[str]:
    """Return the texts that a field of a payload is, or lists."""
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


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
