"""Names of a claim, and whether the evidence has them; by rules (ADR 0007)."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rag.sentences import sentence_spans
from rag.verify.plain_text import fold, plain
from rag.words import STOP_WORDS

ORDINARY_WORDS = Path(__file__).with_name("ordinary_words.json")
"""Words that texts mostly write small (made by ``eval.bench.ordinary_words``)."""

_WORD = re.compile(r"(?:[^\W\d_]\.){2,}|[^\W\d_](?:[^\W_]|['&](?=[^\W_]))*|[^\W_]+")
_STOP_WORDS = frozenset(STOP_WORDS)
_CALENDAR = frozenset(
    "january february march april may june july august september october november december jan feb "
    "mar apr jun jul aug sep sept oct nov dec monday tuesday wednesday thursday friday saturday "
    "sunday mondays tuesdays wednesdays thursdays fridays saturdays sundays bc bce ad ce am pm "
    "us$ usd eur gbp".split()
)
_TITLE_WORDS = 4  # fewer capitalised words in a row are a name, not a title
_TITLE_SHARE = 0.8
_LONGEST_CLAIM = 20_000  # characters in which sentences are looked for
_SMALL_BETWEEN = frozenset("of the and for de in on".split())


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    start: int
    end: int

    @property
    def folded(self) -> str:
        return _folded(self.text)

    @property
    def acronym(self) -> bool:
        return _is_acronym(self.text)


def names(text: str) -> list[str]:
    """Return the words of a text that may be names, as written, each once.

    A word counts if it has a capital or begins with a letter and has digits (B12), unless the
    capital says nothing: at the start of a sentence and in titles for ordinary words; months and
    weekdays are dates.

    >>> names("The patients see Dr Zoë Müller. Heparin is given.")
    ['Dr', 'Zoë', 'Müller', 'Heparin']
    """
    return list(dict.fromkeys(word.text for word in _names(text)))


def missing_names(claim: str, evidence: Sequence[str]) -> list[str]:
    """Return the names of a claim that its evidence lacks, as written.

    Case, accents, possessives, hyphens, full stops and a plural's s don't count, but a name that is
    spelt like an ordinary word (US, IT, WHO) must be in capitals there, too. An initial is met by a
    name that begins with it, a row of initials (WHO) by the names that they stand for.
    """
    wanted = list(_names(claim))
    if not wanted:
        return []
    there = [word for text in evidence for word in _WORD.findall(plain(text))]
    folded = {_folded(word) for word in there}
    capital = {_folded(word) for word in there if _is_acronym(word)}
    initials = {_folded(word)[:1] for word in there if word[:1].isupper()}
    shouted = _is_shouted(claim)
    missing = set()
    for word in wanted:
        if len(word.folded) == 1:
            met = word.folded in initials
        elif word.acronym and not shouted and word.folded in _ordinary() | _STOP_WORDS:
            met = word.folded in capital
        else:
            met = bool(_forms(word.folded) & folded) or _joined(word.folded, folded)
        if not met and word.acronym and len(word.folded) > 2:
            met = _spelt_out(word.folded, there)
        if not met:
            missing.add(word.text)
    return sorted(missing)


def _names(text: str) -> Iterator[_Word]:
    source = plain(text)
    words = list(_words(source))
    title = _is_title(words) or _is_shouted(source)
    starts = _sentence_starts(source, words)
    for word in words:
        folded = word.folded
        has_digit = any(char.isdigit() for char in word.text)
        if not word.text[0].isalpha() or (word.text.islower() and not has_digit):
            continue
        if not any(char.isupper() for char in word.text) and not has_digit:
            continue  # a script without cases
        if folded in _CALENDAR or (folded in _STOP_WORDS and not (word.acronym and not title)):
            continue
        if folded in _STOP_WORDS and len(folded) < 2:
            continue
        if (title or word.start in starts) and not has_digit and _is_ordinary(folded):
            continue
        if len(folded) == 1 and source[word.end : word.end + 1] != ".":
            continue  # a letter, not an initial
        yield word


def _words(source: str) -> Iterator[_Word]:
    for match in _WORD.finditer(source):
        yield _Word(match.group(), match.start(), match.end())


def _sentence_starts(source: str, words: Sequence[_Word]) -> set[int]:
    """Where the first words of sentences start, also those behind a colon, a quote or a bullet."""
    spans = sentence_spans(source) if len(source) <= _LONGEST_CLAIM else [(0, len(source))]
    begins = {begin for begin, _ in spans}
    starts = set()
    end = 0
    for word in words:
        between = source[end : word.start]
        if any(begin in begins for begin in range(end, word.start + 1)) or re.search(
            r"[.?!:\"“”•]\s*[\"'“(\[]*$|^\s*[\"“(\[]+$", between
        ):
            starts.add(word.start)
        end = word.end
    return starts


def _is_title(words: Sequence[_Word]) -> bool:
    """Whether nearly all words but the small ones have a capital, which then says little."""
    weighty = [w for w in words if w.text[0].isalpha() and w.folded not in _STOP_WORDS]
    capital = sum(word.text[0].isupper() for word in weighty)
    return len(weighty) >= _TITLE_WORDS and capital >= _TITLE_SHARE * len(weighty)


def _is_shouted(text: str) -> bool:
    return text.isupper() and len(text.split()) > 2


def _is_ordinary(folded: str) -> bool:
    return bool(_forms(folded) & (_ordinary() | _STOP_WORDS))


@lru_cache(maxsize=1)
def _ordinary() -> frozenset[str]:
    return frozenset(json.loads(ORDINARY_WORDS.read_text("utf-8")))


@lru_cache(maxsize=50_000)
def _folded(word: str) -> str:
    word = fold(word).replace(".", "")
    return word.removesuffix("'s").rstrip("'")


def _is_acronym(word: str) -> bool:
    letters = word.replace(".", "")
    return letters.isupper() and len(letters) > 1 and letters.isalpha()


def _forms(folded: str) -> set[str]:
    """A word with and without a plural's s."""
    singular = folded.removesuffix("s") if len(folded) > 3 else folded
    return {folded, singular, f"{folded}s"}


def _joined(folded: str, there: set[str]) -> bool:
    """Whether a word stands in two there ("Birming-ham", "SARS CoV" for "SARSCoV")."""
    return len(folded) > 5 and any(
        folded[:i] in there and folded[i:] in there for i in range(3, len(folded) - 2)
    )


def _spelt_out(letters: str, words: Sequence[str]) -> bool:
    capitals = "".join(
        _folded(word)[:1]
        for word in words
        if word[0].isupper() and _folded(word) not in _SMALL_BETWEEN
    )
    return letters in capitals
