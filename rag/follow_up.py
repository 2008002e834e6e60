"""Completes a question that leans on the one before it, by rules that can be told."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rag.protocols import Embedder
from rag.words import STOP_WORDS, content_words

Rule = Literal["as asked", "swap", "aside", "topic", "answer"]
"""How a question was completed: not at all; a piece of the one before replaced, or put beside it;
what that one was about added, or what answered it."""

LEAST_ALIKE = 0.2
"""Cosine similarity from which on a piece of the question before is taken to be what is swapped."""
_SWAPPED_IN = 40  # words at the end of a question
_FEW = 2  # content words of a question that can do without the one before
_MANY = 4  # from so many on a pronoun most likely means something in the same question
_SHORT_ANSWER = 12  # words
_WORD = re.compile(r"\w+(?:[.,'’/-]\w+)*")
_OPENING = re.compile(r"(?:(?:and|but|or|so|also|then|ok|okay|now)\b[\s,]*)+", re.IGNORECASE)
_ABOUT = re.compile(r"(?:what|how) (?:about|if it is|if it's)\s+(.+)", re.IGNORECASE | re.DOTALL)
_PLACE = re.compile(
    r"(for|in|on|at|with|without|to|of|by|during|after|before|from|under|over|as)\s+(.+)",
    re.IGNORECASE | re.DOTALL,
)
_ASKS = re.compile(
    r"(?:what|which|who|whom|whose|when|where|why|how|is|are|was|were|do|does|did|can|could|may|"
    r"might|must|shall|should|will|would|has|have|had|tell me|give me|show me|list|"
    r"(?:\w+ )?(?:what|which|when|who|whom|whose|how))\b",
    re.IGNORECASE,
)
_PEOPLE = re.compile(r"\b(?:he|she|him|her|his|hers|they|them|their|theirs)\b", re.IGNORECASE)
_THING = re.compile(
    r"\b(?:it|its|they|them|their|theirs|he|she|him|her|his|the same)\b"
    r"|\b(?:this|that|these|those)\b(?=\s*(?:[?.!,;]|$|is\b|are\b|was\b|were\b|be\b|has\b|have\b"
    r"|take\b|happen|mean|apply|appl|case\b|too\b))",
    re.IGNORECASE,
)
_ASKS_WHOM = re.compile(r"\b(?:who|whom|whose)\b", re.IGNORECASE)
_LEAD = re.compile(
    r"(?:(?:in|at|by|to|for|from|until|within) )?(?:what|which|who|whom|whose|when|where|why|how"
    r"(?: (?:much|many|long|often|soon|fast|far|old|high|low|large|big))?)\b"
    r"(?:\s+(?:is|are|was|were|do|does|did|can|could|may|might|must|shall|should|will|would|has|"
    r"have|had)\b)?\s*",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"(?:the|a|an)\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier question and the text that answered it; empty if none did.

    Attributes:
        complete: the question was completed already.
    """

    question: str
    answer: str = ""
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Completed:
    """A question that stands alone.

    Attributes:
        question: as it is searched for and read.
        original: as asked.
        rule: how the one was made of the other.
        replaced: the piece of the question before that was replaced.
        added: what of the question as asked, or of the turn before, was put in.
    """

    question: str
    original: str
    rule: Rule
    replaced: str | None = None
    added: str | None = None


def completed(question: str, before: Turn | None, embedder: Embedder) -> Completed:
    """Complete a question from the turn before it; one that stands alone stays as it is.

    - "And for Tier 2?", "What about children?": the question before, in which what is most like
      the new piece is replaced by it; if nothing is like it, the piece is put beside it.
    - "How long is it?", "Why?": what the question before was about is added; to a question about
      "them" after one that asked who, what answered that.

    Args:
        question: as asked.
        before: the turn before; its question is complete.
        embedder: says how alike pieces are.
    """
    asked = " ".join(question.split())
    if before is None or not before.question.strip() or not asked:
        return Completed(question, question, "as asked")
    rest = _OPENING.sub("", asked, count=1) if _OPENING.match(asked) else asked
    piece = _piece(rest, opened=rest != asked)
    if piece is not None and content_words(piece):
        return _swapped(question, piece, _stem(before.question), embedder)
    words = len(content_words(rest))
    points = _THING.search(rest) is not None
    if not (points and words < _MANY) and words >= _FEW:
        return Completed(question, question, "as asked")
    answer = before.answer.strip()
    people = _PEOPLE.search(asked) and _ASKS_WHOM.search(before.question)
    if people and answer and len(answer.split()) <= _SHORT_ANSWER:
        return _with(question, asked, answer.rstrip("."), "answer")
    return _with(question, asked, _topic(before.question), "topic")


def _piece(rest: str, *, opened: bool) -> str | None:
    """What a question that has no verb of its own asks about instead; None if it has one."""
    about = _ABOUT.fullmatch(rest)
    if about:
        return _stem(about[1])
    if _ASKS.match(rest):
        return None
    if opened or (_PLACE.fullmatch(rest) and len(rest.split()) <= 2 * _MANY):
        return _stem(rest) or None
    return None


def _swapped(question: str, piece: str, before: str, embedder: Embedder) -> Completed:
    """The question before with a piece swapped, or put beside it where nothing is like it."""
    placed = _PLACE.fullmatch(piece)
    preposition, noun = (placed[1], placed[2]) if placed else (None, piece)
    noun = _ARTICLE.sub("", noun, count=1) if _ARTICLE.match(noun) else noun
    spans = _spans(before, len(_WORD.findall(noun)), preposition)
    if spans:
        vectors = embedder.embed([noun, *(before[start:end] for start, end in spans)])  # (1 + n, d)
        alike = (vectors[1:] @ vectors[0]).tolist()
        # Of equally like pieces the last: what a question is narrowed by stands at its end.
        best = max(range(len(spans)), key=lambda i: (round(alike[i], 6), i))
        if alike[best] >= LEAST_ALIKE:
            start, end = spans[best]
            whole = f"{before[:start]}{noun}{before[end:]}?"
            return Completed(whole, question, "swap", before[start:end], noun)
    return Completed(f"{before} ({piece})?", question, "aside", None, piece)


def _spans(before: str, words: int, preposition: str | None) -> list[tuple[int, int]]:
    """Pieces of a question that begin and end with a content word, about so many words long."""
    places = [(match.start(), match.end()) for match in _WORD.finditer(before)][-_SWAPPED_IN:]
    first = _LEAD.match(before)
    places = [place for place in places if first is None or place[0] >= first.end()]
    bears = [before[start:end].lower() not in STOP_WORDS for start, end in places]
    spans = [
        (places[i][0], places[j][1])
        for i in range(len(places))
        for j in range(i, min(len(places), i + words + 2))
        if bears[i] and bears[j]
    ]
    if preposition is not None:
        after = re.compile(rf"\b{preposition}\s+(?:the\s+|a\s+|an\s+)?$", re.IGNORECASE)
        spans = [span for span in spans if after.search(before[: span[0]])] or spans
    return spans


def _with(question: str, asked: str, added: str, rule: Rule) -> Completed:
    if not added:
        return Completed(question, question, "as asked")
    return Completed(f"{_stem(asked)} ({added})?", question, rule, None, added)


def _topic(question: str) -> str:
    """A question without its question word: of several sentences all, but for the last one's."""
    stem = _stem(question)
    lead = _LEAD.match(stem)
    return stem[lead.end() :] if lead else stem


def _stem(text: str) -> str:
    return text.strip().rstrip("?.! ").strip()


def through(turns: Sequence[Turn], embedder: Embedder) -> Turn | None:
    """The last of several turns, each completed from the one before it; None if there are none."""
    whole: list[Turn] = list(turns[:1])
    for own in turns[1:]:
        known = own.question
        if not own.complete:
            known = completed(own.question, whole[-1], embedder).question
        whole.append(Turn(known, own.answer))
    return whole[-1] if whole else None
