"""Makes training questions from plain text: a piece of a sentence is asked for by the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random

from rag.training.augment import NAME
from rag.training.data import GoldAnswer, QuestionRow
from rag.training.texts import SENTENCE_END

PASSAGE_CHARS = 900  # of one context; sentences are never cut
SHORTEST_SENTENCE = 5  # words; less is no statement
LONGEST_SENTENCE = 60  # words; more is a list or a table

YEAR = re.compile(r"\b(?:1[0-9]{3}|20[0-9]{2})\b(?![,.]?\d)")
DATE = re.compile(
    r"\b(?:\d{1,2} )?(?:January|February|March|April|May|June|July|August|September|October"
    r"|November|December)(?: \d{1,2})?,? \d{4}\b"
)
COUNT = re.compile(r"\b\d[\d,.]*\b(?= (?P<counted>[a-z]{3,}))")
DEFINITION = re.compile(
    r"\b(?P<verb>is|was|are|were) (?P<phrase>(?:an?|the) [a-z]+"
    r"(?: (?!(?:that|which|who|of|in|on|at|by|for|and|with|to|from)\b)[a-z]+){0,2})"
)
PREPOSITION = re.compile(r"\b(?:in|on|at|by|from|of|since|during|near|to|with|for|until) $", re.I)
PLACE = re.compile(r"\b(?:in|at|near|from) $", re.I)
DOER = re.compile(
    r"^(?: (?:was born|died|wrote|said|led|married|became|founded|discovered|invented|painted"
    r"|argued|won|served|moved|returned|announced|signed|built|defeated|ruled))\b"
)
FUNCTION_WORDS = frozenset(
    "a an the of in on at by to from with for and or but as that which is was are were be been "
    "has have had its his her their it this these those also".split()
)
POINTING = re.compile(r"^(?:he|she|it|they|this|these|those|his|her|their|its)\b", re.I)


@dataclass(frozen=True)
class Cloze:
    """What may be asked for in a sentence: characters [start, end) and how to begin the question.

    Attributes:
        cut: characters before it that go with it, as the preposition of "in 1066".
        tail: characters after it that go with it, as the noun of "700 ships".
    """

    start: int
    end: int
    opening: str
    cut: int = 0
    tail: int = 0


def synthetic_rows(
    documents: Iterable[tuple[str, str]],
    *,
    seed: int = 0,
    per_passage: int = 3,
    dropped: float = 0.3,
) -> Iterator[QuestionRow]:
    """Turn plain text into training rows (cloze translation, after Lewis et al., 2019).

    Args:
        documents: titles and texts; titles should differ.
        seed: decides everything.
        per_passage: most questions about one passage.
        dropped: share of a sentence's other words that a question leaves out, so that finding
            the same words is not enough.

    Yields:
        rows of source "synthetic", each with one answer that stands in its context.
    """
    for number, (title, text) in enumerate(documents):
        for p, (start, end) in enumerate(passages(text)):
            context = text[start:end]
            rng = Random(f"{seed}/{number}/{p}")
            found = [
                (begin, sentence, cloze)
                for begin, sentence in sentences(context)
                for cloze in clozes(sentence)
            ]
            rng.shuffle(found)
            asked: set[str] = set()
            for begin, sentence, cloze in found:
                answer = sentence[cloze.start : cloze.end]
                question = ask(sentence, cloze, rng, dropped=dropped)
                if question is None or answer in asked or len(asked) == per_passage:
                    continue
                asked.add(answer)
                yield QuestionRow(
                    id=f"synthetic-{number}-{p}-{len(asked)}",
                    source="synthetic",
                    title=title if title.strip() else "untitled",
                    question=question,
                    context=context,
                    answers=(GoldAnswer(answer, begin + cloze.start),),
                )


def passages(text: str) -> list[tuple[int, int]]:
    """Characters of paragraphs, long ones cut between sentences."""
    found = []
    for paragraph in re.finditer(r"\S(?:(?!\n\s*\n)[\s\S])*", text):
        begin = None
        stop = paragraph.start()
        for start, sentence in sentences(paragraph.group()):
            start += paragraph.start()
            end = start + len(sentence)
            if begin is not None and end - begin > PASSAGE_CHARS:
                found.append((begin, stop))
                begin = None
            begin = start if begin is None else begin
            stop = end
        if begin is not None:
            found.append((begin, stop))
    return found


def sentences(text: str) -> list[tuple[int, str]]:
    """Sentences with their first character, without the space round them."""
    ends = [match.start() for match in SENTENCE_END.finditer(text)] + [len(text)]
    found, begin = [], 0
    for end in ends:
        piece = text[begin:end]
        if piece.strip():
            found.append((begin + len(piece) - len(piece.lstrip()), piece.strip()))
        begin = end
    return found


def clozes(sentence: str) -> list[Cloze]:
    """What can be asked for in a sentence; nothing where it leans on the one before it.

    >>> [sentence_part.opening for sentence_part in clozes("In 1066 William invaded all England.")]
    ['In what year', 'What']
    """
    if not SHORTEST_SENTENCE <= len(sentence.split()) <= LONGEST_SENTENCE:
        return []
    if POINTING.match(sentence):
        return []
    found: list[Cloze] = []

    def add(start: int, end: int, opening: str, cut: int = 0, tail: int = 0) -> None:
        if all(end <= other.start or start >= other.end for other in found):
            found.append(Cloze(start, end, opening, cut, tail))

    for match in DATE.finditer(sentence):
        add(match.start(), match.end(), "When", _before(PREPOSITION, sentence, match.start()))
    for match in YEAR.finditer(sentence):
        cut = _before(PREPOSITION, sentence, match.start())
        add(match.start(), match.end(), "In what year" if cut else "What year", cut)
    for match in COUNT.finditer(sentence):
        counted = match.group("counted")
        add(match.start(), match.end(), f"How many {counted}", tail=1 + len(counted))
    for match in NAME.finditer(sentence):
        opening, cut = _asking_for_name(sentence, match)
        if opening:
            add(match.start(), match.end(), opening, cut)
    for match in DEFINITION.finditer(sentence):
        verb = match.group("verb")
        add(*match.span("phrase"), f"What {verb}", 1 + len(verb))
    return found


def _before(pattern: re.Pattern[str], sentence: str, at: int) -> int:
    """Length of the word that ends right before a place; 0 if it is no such word."""
    match = pattern.search(sentence[:at])
    return at - match.start() if match else 0


def _asking_for_name(sentence: str, match: re.Match[str]) -> tuple[str, int]:
    """How to ask for a name, and what goes with it; "" where the capital may mean nothing."""
    several = " " in match.group()
    if match.start() == 0 and not several and not DOER.match(sentence[match.end() :]):
        return "", 0
    if DOER.match(sentence[match.end() :]):
        return "Who", 0
    cut = _before(PLACE, sentence, match.start())
    return ("Where", cut) if cut else ("What", 0)


def ask(sentence: str, cloze: Cloze, rng: Random, *, dropped: float) -> str | None:
    """A question for a piece of a sentence.

    Args:
        sentence: without the space round it.
        cloze: the piece.
        rng: decides which words are left out.
        dropped: share of the content words that are; function words go twice as often.

    Returns:
        the question; None if nothing is left to ask with, or it gives the answer away.
    """
    before, after = sentence[: cloze.start - cloze.cut], sentence[cloze.end + cloze.tail :]
    words = f"{before} {after}".rstrip(" .!?\"”'").split()
    if before.strip() and words and words[0].istitle() and words[0].lower() in FUNCTION_WORDS:
        words[0] = words[0].lower()
    kept = []
    for word in words:
        bare = word.strip(",;:()\"“”'").lower()
        chance = min(1.0, 2 * dropped) if bare in FUNCTION_WORDS else dropped
        # Names and numbers say what the question is about.
        if word[:1].islower() and rng.random() < chance:
            continue
        kept.append(word.strip(',;:()"“”'))
    content = [w for w in kept if w and w.lower() not in FUNCTION_WORDS]
    question = " ".join([cloze.opening, *(w for w in kept if w)]) + "?"
    answer = sentence[cloze.start : cloze.end]
    if len(content) < 2 or answer.lower() in question.lower():
        return None
    return question
