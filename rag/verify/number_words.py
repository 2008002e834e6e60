"""Numbers written as words: twenty-five, one hundred and two, a dozen, two thirds, third."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from rag.verify.plain_text import small_words

_SMALL = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen".split()
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate(
        "twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2
    )
}
MAGNITUDES = {
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_ORDINALS = {
    word: value
    for value, word in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
        "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth".split(),
        start=1,
    )
}
_ORDINALS |= {f"{word[:-1]}ieth": value for word, value in _TENS.items()}
_ORDINALS |= {"hundredth": 100, "thousandth": 1000}
_PARTS = {"half": 2, "halves": 2, "quarter": 4, "quarters": 4, "third": 3, "thirds": 3}
_PARTS |= {f"{word}s": value for word, value in _ORDINALS.items() if value > 3}
_PARTS |= {word: value for word, value in _ORDINALS.items() if value > 3}
_TIMES = {"twice": 2, "thrice": 3}
_VAGUE = frozenset("dozens hundreds thousands millions billions trillions".split())
_WORDS = frozenset(
    {
        *_SMALL,
        *_TENS,
        *MAGNITUDES,
        *_ORDINALS,
        *_PARTS,
        *_TIMES,
        *_VAGUE,
        "hundred",
        "dozen",
        "once",
    }
)
_STARTS = sorted(_WORDS, key=len, reverse=True)
_RUN = re.compile(
    rf"\b(?:an?\s+(?=(?:hundred|dozen|half|quarter|third|fifth|tenth|{'|'.join(MAGNITUDES)})\b))?"
    rf"(?:{'|'.join(_STARTS)})\b"
    rf"(?:(?:\s+and\s+(?:an?\s+)?|\s+an?\s+(?=half)|-and-(?:a-)?|\s+|-)(?:{'|'.join(_STARTS)})\b)*",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"[a-z]+", re.IGNORECASE)
_PRONOUN_BEFORE = re.compile(
    r"(?:\b(?:no|any|every|some|each|another|the|this|that|which|for|at)[\s-]+)$", re.IGNORECASE
)
_PRONOUN_AFTER = re.compile(r"(?:\s+(?:another|who|day|by|can|must|should)\b|'|-)", re.IGNORECASE)
_ONCE_AFTER = re.compile(r"\s+(?:an?|per|each|every|daily|weekly|monthly)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Spelled:
    """A number in words, at characters ``[start, end)``.

    Attributes:
        value: None for a vague one (hundreds).
        ordinal: whether it counts a place (third), not an amount.
    """

    start: int
    end: int
    value: Fraction | None
    ordinal: bool = False


def spelled(text: str) -> Iterator[Spelled]:
    """Find the numbers written as words.

    >>> [str(found.value) for found in spelled("twenty-five of one hundred and two, or a quarter")]
    ['25', '102', '1/4']
    """
    if _WORDS.isdisjoint(small_words(text)):
        return
    for run in _RUN.finditer(text):
        reader = _Reader()
        for token in _TOKEN.finditer(text, run.start(), run.end()):
            reader.read(token.group().lower(), token.start(), token.end())
        reader.close()
        for found in reader.found:
            if not _is_pronoun(text, found):
                yield found


def _is_pronoun(text: str, found: Spelled) -> bool:
    word = text[found.start : found.end].lower()
    if word == "once":
        return not _ONCE_AFTER.match(text, found.end)
    if word != "one":
        return False
    before = text[max(0, found.start - 12) : found.start]
    return bool(_PRONOUN_BEFORE.search(before) or _PRONOUN_AFTER.match(text, found.end))


class _Reader:
    """Adds the words of a run up, and starts a new number where they don't go on from the last."""

    def __init__(self) -> None:
        self.found: list[Spelled] = []
        self._clear()

    def _clear(self) -> None:
        self._start: int | None = None
        self._end = 0
        self._total = Fraction(0)
        self._group: int | None = None
        self._scale = 10**15
        self._after_and = False

    def close(self) -> None:
        """End the number being read."""
        if self._start is not None:
            value = self._total + (self._group or 0)
            self.found.append(Spelled(self._start, self._end, value))
        self._clear()

    def read(self, word: str, start: int, end: int) -> None:
        """Take the next word."""
        if word in {"and", "a", "an"}:
            self._after_and = self._after_and or word == "and"
            return
        if word in _VAGUE:
            self.close()
            self.found.append(Spelled(start, end, None))
        elif word in _TIMES or word == "once":
            self.close()
            self.found.append(Spelled(start, end, Fraction(_TIMES.get(word, 1))))
        elif word in _ORDINALS or word in _PARTS:
            self._end_with(word, start, end)
        elif word == "hundred" or word in MAGNITUDES or word == "dozen":
            self._multiply(word, start, end)
        else:
            self._add(_SMALL.get(word, _TENS.get(word, 0)), start, end)

    def _add(self, value: int, start: int, end: int) -> None:
        group = self._group
        if group is not None:
            fits = (group % 100 == 0 and group) or (
                group % 100 >= 20 and group % 10 == 0 and 0 < value < 10
            )
            if not fits or (self._after_and and group % 100):
                self.close()
        self._extend(start, end)
        self._group = (self._group or 0) + value

    def _multiply(self, word: str, start: int, end: int) -> None:
        factor = {"hundred": 100, "dozen": 12}.get(word) or MAGNITUDES[word]
        if factor >= self._scale or (word != "hundred" and self._start and self._group is None):
            self.close()
        self._extend(start, end)
        group = 1 if self._group is None else self._group
        if word == "hundred":
            self._group = group * 100
        else:
            self._total += group * factor
            self._group, self._scale = None, factor

    def _end_with(self, word: str, start: int, end: int) -> None:
        group = self._group
        tens = group is not None and group % 100 >= 20 and group % 10 == 0
        place = _ORDINALS.get(word)
        if self._start is None:
            if place is None or word == "half":
                self.found.append(Spelled(start, end, Fraction(1, _PARTS[word])))
            else:
                self.found.append(Spelled(start, end, Fraction(place), ordinal=True))
        elif place and (tens or (group and group % 100 == 0) or group is None) and place < 100:
            value = self._total + (group or 0) + place
            self.found.append(Spelled(self._start, end, value, ordinal=True))
        elif word == "second" or word not in _PARTS:
            self.close()  # "five second": a unit
        elif word == "half":
            self.found.append(
                Spelled(self._start, end, self._total + (group or 0) + Fraction(1, 2))
            )
        else:
            value = Fraction(self._total + (group or 0), _PARTS[word])
            self.found.append(Spelled(self._start, end, value))
        self._clear()

    def _extend(self, start: int, end: int) -> None:
        if self._start is None:
            self._start = start
        self._end = end
