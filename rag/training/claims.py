"""Makes claims from questions and answers: true ones, and ones that the passage does not bear."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from random import Random

from rag.sentences import sentence_spans
from rag.training.augment import NAME, NUMBER
from rag.training.data import GoldAnswer, QuestionRow
from rag.training.scores import token_f1

NEIGHBOURS = 1  # sentences on either side of the one that an answer stands in
LONGEST_ANSWER_WORDS = 12  # of one cut from a passage at random
_WORD = re.compile(r"\S+")
_SUBJECT = re.compile(
    r"(?:who|what)\s+(?P<rest>(?P<verb>\w+)\s.+?)\s*\?*\s*", re.IGNORECASE | re.DOTALL
)
_COPULA = re.compile(r"(?:who|what)\s+(?P<verb>is|are|was|were)\s+(?P<rest>.+?)\s*\?*\s*", re.I)
_HELPERS = frozenset(
    "is are was were do does did can could will would shall should may might must has have had "
    "am be kind type sort year day time percentage number else other".split()
)


def declarative(question: str, answer: str) -> str | None:
    """A question and its answer as a statement; None where the rule would need a parser.

    >>> declarative("Who led the expedition?", "Jesse de Forest")
    'Jesse de Forest led the expedition.'
    >>> declarative("What is a chiton?", "a garment")
    'a chiton is a garment.'
    >>> declarative("When did it begin?", "in May") is None
    True
    """
    copula = _COPULA.fullmatch(question.strip())
    if copula:
        return f"{copula['rest']} {copula['verb'].lower()} {answer.rstrip('.')}."
    subject = _SUBJECT.fullmatch(question.strip())
    if subject and subject["verb"].lower() not in _HELPERS and subject["verb"].islower():
        return f"{answer.rstrip('.')} {subject['rest']}."
    return None


def stated(question: str, answer: str, rng: Random, *, declared: float = 0.3) -> str:
    """A claim: the question with the answer, or at times its declarative form."""
    if rng.random() < declared:
        statement = declarative(question, answer)
        if statement is not None:
            return statement
    return f"{question} {answer}"


@lru_cache(maxsize=50_000)
def sentences(context: str) -> tuple[tuple[int, int], ...]:
    """Sentences of a context as characters [start, end)."""
    return tuple(sentence_spans(context))


def window(context: str, start: int, end: int, neighbours: int = NEIGHBOURS) -> str:
    """The sentences that characters [start, end) stand in, with neighbours on either side."""
    spans = sentences(context)
    first = max(0, bisect_right([a for a, _ in spans], start) - 1)
    last = max(first, bisect_right([a for a, _ in spans], max(start, end - 1)) - 1)
    first, last = max(0, first - neighbours), min(len(spans) - 1, last + neighbours)
    return context[spans[first][0] : spans[last][1]] if spans else context


def wrong_answers(
    context: str, golds: Sequence[str], others: Sequence[GoldAnswer]
) -> list[tuple[str, int]]:
    """What a careless reader might answer from a context: (text, start), none overlapping a gold.

    Args:
        context: the passage.
        golds: right answers.
        others: answers to other questions on it.
    """
    found = {
        (other.text, other.start)
        for other in others
        if other.start is not None and other.text.strip()
    }
    for pattern in (NUMBER, NAME):
        found |= {(match.group(), match.start()) for match in pattern.finditer(context)}
    wrong = (
        (text, start)
        for text, start in found
        if all(token_f1(text, gold) == 0 for gold in golds)
        and not any(_inside(text, gold) for gold in golds)
    )
    return sorted(wrong, key=lambda answer: (answer[1], answer[0]))


def like(answer: str, candidates: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """The candidates of an answer's kind: with a digit, with a capital, or with neither."""
    return [found for found in candidates if _kind(found[0]) == _kind(answer)]


def random_span(context: str, golds: Sequence[str], rng: Random) -> tuple[str, int] | None:
    """Some words of a context's sentence that share none with the golds; None after a few tries."""
    spans = sentences(context)
    for _ in range(4):
        start, end = rng.choice(spans) if spans else (0, len(context))
        words = list(_WORD.finditer(context, start, end))
        if len(words) < 2:
            continue
        first = rng.randrange(len(words))
        last = min(len(words) - 1, first + rng.randrange(1, LONGEST_ANSWER_WORDS))
        text = context[words[first].start() : words[last].end()].strip(".,;:")
        if text and all(token_f1(text, gold) < 0.2 for gold in golds):
            return text, words[first].start()
    return None


def altered_number(text: str, rng: Random, others: Sequence[str] = ()) -> str | None:
    """A text with one of its numbers changed; None without one.

    Args:
        text: a claim or answer.
        rng: randomness.
        others: numbers that may take its place.
    """
    found = list(NUMBER.finditer(text))
    if not found:
        return None
    chosen = rng.choice(found)
    digits = chosen.group()
    usable = [other for other in others if other not in text]
    if usable and rng.random() < 0.5:
        new = rng.choice(usable)
    else:
        places = [i for i, letter in enumerate(digits) if letter.isdigit()]
        at = rng.choice(places)
        options = [d for d in "0123456789" if d != digits[at] and not (at == 0 and d == "0")]
        new = digits[:at] + rng.choice(options) + digits[at + 1 :]
    return text[: chosen.start()] + new + text[chosen.end() :]


def altered_name(text: str, others: Sequence[str], rng: Random) -> str | None:
    """A text with one of its names replaced; None without one or without another.

    Args:
        text: a claim or answer.
        others: names that may take its place.
        rng: randomness.
    """
    found = list(NAME.finditer(text))
    usable = [other for other in others if other.lower() not in text.lower()]
    if not found or not usable:
        return None
    chosen = rng.choice(found)
    return text[: chosen.start()] + rng.choice(sorted(usable)) + text[chosen.end() :]


def golds_of(row: QuestionRow) -> list[str]:
    """A row's right answers."""
    return [answer.text for answer in row.answers]


def _inside(text: str, gold: str) -> bool:
    a, b = text.lower().strip(), gold.lower().strip()
    return a in b or b in a


def _kind(answer: str) -> int:
    if any(letter.isdigit() for letter in answer):
        return 0
    return 1 if any(word[:1].isupper() for word in answer.split()) else 2
