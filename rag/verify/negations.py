"""Negation of a claim against its closest sentence of the evidence."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rag.verify.plain_text import plain
from rag.words import content_words

_CUE = re.compile(
    r"\b(?:not|never|no|none|nobody|nothing|nowhere|neither|nor|without|cannot|hardly|scarcely|"
    r"barely|unable|(?:fail|refus|declin|ceas)(?:s|e|es|ed|ing)?\s(?:to|of)|lack(?:s|ed|ing)?|"
    r"absence\sof|"
    r"free\sof|[a-z]+n't)\b|\bnon-(?=[a-z])",
    re.IGNORECASE,
)
# Words with which a sentence may deny something as well: they excuse a negation in the claim.
_SOFT = re.compile(
    r"\b(?:only|few|fewer|little|rarely|seldom|unless|except|instead|rather|avoid\w*|prevent\w*|"
    r"prohibit\w*|forbid\w*|forbade|ban|banned|stop\w*|exclud\w*|den(?:y|ied|ies)|reject\w*|"
    r"oppos\w*|contraindicated|missing|absent|impossible|zero|although|however|despite|but|"
    r"(?:un|im|in|ir|dis)[a-z]{4,}|[a-z]{3,}less)\b",
    re.IGNORECASE,
)
_NEUTRAL = re.compile(
    r"\bnot\s(?:only|just|merely|simply|solely)\b|\bno\sdoubt\b|\bwhether\sor\snot\b|\bor\snot\b|"
    r"\bif\snot\b|\bnot\sto\smention\b|\bno\.\s?(?=\d)|\bnone\sother\sthan\b|\bnothing\sbut\b|"
    r"\bno\s(?:less|more|fewer|later|earlier)\sthan\b|\bnot\s(?:least|surprisingly)\b|"
    r"^\s*no\s*(?:[,.;:!\u2013-]|$)|\bnumber\sno\b",
    re.IGNORECASE,
)
_QUESTION = re.compile(r"[^.?!]*\?")
_CLAUSE_END = re.compile(r"[.;:!?()\u2013]|,|\b(?:but|because|although|though|while|which|who)\b")
_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
_UN = re.compile(r"\b(?:un|im|in|ir|il|dis|non)([a-z]{4,})\b")
_ADVERB = re.compile(r"\w{3,}ly")
_SCOPE_CHARS = 120
_ENOUGH_SHARED = 0.5
_FRAGMENT_WORDS = 6  # a shorter claim that stands in the evidence as it is, is part of a statement


@dataclass(frozen=True, slots=True)
class _Negation:
    cue: str
    word: str | None
    """Stem of the first content word that it denies."""


def missing_negations(claim: str, sentence: str | None) -> list[str]:
    """Return the cues of a negation that only one of a claim and its closest sentence has.

    Args:
        claim: its text; questions in it don't count.
        sentence: of the evidence, the one that shares most words with the claim.
    """
    if not sentence:
        return []
    source, other = _QUESTION.sub(" ", plain(claim)), plain(sentence)
    ours, theirs = list(_negations(source)), list(_negations(other))
    if not ours and not theirs and not _UN.search(source.lower() + " " + other.lower()):
        return []
    found = {negation.cue for negation in ours if _opposed(negation, source, other, theirs)}
    if not ours and not _is_fragment(source, other):
        found |= {n.cue for n in theirs if _denied(n, source, other)}
    return sorted(found | set(_prefixed(source, other, ours, theirs)))


def _negations(text: str) -> Iterator[_Negation]:
    neutral = [match.span() for match in _NEUTRAL.finditer(text)]
    for match in _CUE.finditer(text):
        if any(start <= match.start() < end for start, end in neutral):
            continue
        rest = text[match.end() : match.end() + _SCOPE_CHARS]
        end = _CLAUSE_END.search(rest)
        words = content_words(_ADVERB.sub(" ", rest[: end.start()] if end else rest))
        yield _Negation(" ".join(match.group().lower().split()), words[0] if words else None)


def _opposed(negation: _Negation, claim: str, sentence: str, theirs: list[_Negation]) -> bool:
    """Whether a claim denies what its sentence says: a word of it, or with no denial at all."""
    if theirs:
        denied = {other.word for other in theirs}
        stems = set(content_words(sentence))
        return (
            negation.word is not None
            and negation.word in stems
            and negation.word not in denied
            and len(content_words(claim)) > 2
            and _covers(claim, sentence)
        )
    said = negation.word is not None and negation.word in content_words(sentence)
    return said or not _SOFT.search(sentence)


def _denied(negation: _Negation, claim: str, sentence: str) -> bool:
    """Whether a claim says without a denial what its sentence denies."""
    if negation.word is None or _SOFT.search(claim):
        return False
    return negation.word in content_words(claim) and _covers(sentence, claim, _ENOUGH_SHARED)


def _covers(one: str, other: str, share: float = 0.6) -> bool:
    words = set(content_words(one))
    return len(words & set(content_words(other))) >= share * len(words)


def _is_fragment(claim: str, sentence: str) -> bool:
    if claim.rstrip()[-1:] in {".", "!"}:
        return False
    words = claim.split()
    flat = " ".join(words).strip(" .").lower()
    return len(words) < _FRAGMENT_WORDS and flat in " ".join(sentence.split()).lower()


def _prefixed(
    claim: str, sentence: str, ours: list[_Negation], theirs: list[_Negation]
) -> Iterator[str]:
    """Words like "unsafe" on one side whose rest ("safe") stands on the other, undenied."""
    for one, other, denied in ((claim, sentence, theirs), (sentence, claim, ours)):
        words = {word.lower() for word in _WORD.findall(other)}
        own = {word.lower() for word in _WORD.findall(one)}
        for match in _UN.finditer(one.lower()):
            rest, whole = match[1], match.group()
            if rest in words and whole not in words and rest not in own and not denied:
                if one is sentence and (ours or theirs or _is_fragment(claim, sentence)):
                    continue
                if _covers(claim, sentence, _ENOUGH_SHARED):
                    yield whole
