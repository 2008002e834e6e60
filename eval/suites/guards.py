"""The guards' figures: what is true and wrongly lowered, what is changed and caught."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np

from eval.metrics import bootstrap_interval
from eval.qa_data import Question
from rag.training.claims import sentences, window
from rag.verify.guards import check
from rag.words import STOP_WORDS

Lowered = Callable[[str, Sequence[str]], bool]
"""Whether a claim is lowered by its evidence."""

FEWEST_WORDS = 6  # of a sentence that is taken as a claim
FRESH_SHARE = 0.7  # of swapped names that the evidence must not have, where there is one
_MONTHS = (
    "January February March April May June July August September October November December"
).split()
_WORDS = (
    "one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty "
    "sixty seventy eighty ninety hundred thousand million billion first second third "
    "fourth fifth sixth "
    "seventh eighth ninth tenth half quarter"
).split()
_KINDS = (_WORDS[:20], _WORDS[20:24], _WORDS[24:34], _WORDS[34:])
_DIGITS = re.compile(r"(?<![\w.,])\d(?:[\d,]*\d)?(?:\.\d+)?(?:st|nd|rd|th|s)?\b")
_NUMBER = re.compile(rf"{_DIGITS.pattern}|\b(?:{'|'.join([*_MONTHS, *_WORDS])})\b")
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,}\b|(?<=[A-Z][a-z] )[A-Z][a-z]{2,}\b")
_CAPITAL = re.compile(r"\b[A-Z][a-z]{2,}\b")
_AUXILIARY = re.compile(
    r"\b(?:is|are|was|were|can|could|will|would|has|have|had|may|must|should)\b"
)
_DENIAL = re.compile(
    r"\b(?:not|no|never|without|nor|neither|none|cannot|\w+n['’]t)\b", re.IGNORECASE
)
_REMOVABLE = re.compile(r"\b(?<=(?:is|re|as|an|ld|ve|ad|ay|st|id|es|do) )not ")


@dataclass(frozen=True, slots=True)
class Case:
    """A claim with its evidence.

    Attributes:
        known: whether what was put into it stands elsewhere in the evidence.
    """

    claim: str
    evidence: str
    known: bool = False


def guard_figures(
    rows: Sequence[Question], lowered: Lowered | None = None
) -> dict[str, tuple[float, float, float]]:
    """Measure the guards on rows with answers from their contexts.

    Shares, each as mean and 95 % bootstrap interval: ``answer_*`` of gold answers, ``sentence_*``
    of whole sentences of the contexts; ``*_lowered`` of true claims, ``*_caught`` of changed ones
    whose new value isn't in the evidence, ``*_caught_all`` of all changed ones.

    Args:
        rows: with questions that their contexts answer or not.
        lowered: what is measured; the guards.
    """
    judge = lowered or guarded
    return {name: share(cases, judge) for name, cases in guard_cases(rows).items()}


def guard_cases(rows: Sequence[Question]) -> dict[str, list[Case]]:
    """Make the claims that are measured, the same ones each time."""
    answers = list(_answers(rows))
    stated = list(_sentences(rows))
    cases = {"answer_lowered": answers, "sentence_lowered": stated}
    for form, originals in (("answer", answers), ("sentence", stated)):
        for kind, change in (("number", _other_number), ("name", _other_name)):
            swapped = list(_swapped(originals, change, rows))
            cases[f"{form}_{kind}_caught"] = [case for case in swapped if not case.known]
            cases[f"{form}_{kind}_caught_all"] = swapped
    cases["sentence_negation_caught"] = list(_negated(stated))
    return cases


def share(cases: Sequence[Case], lowered: Lowered) -> tuple[float, float, float]:
    """Return the share of cases that are lowered: mean, low, high."""
    values = [float(lowered(case.claim, [case.evidence])) for case in cases]
    mean = float(np.mean(values)) if values else 0.0
    return (mean, *bootstrap_interval(values))


def guarded(claim: str, evidence: Sequence[str]) -> bool:
    """Whether a guard misses something."""
    return bool(check(claim, evidence))


def _answers(rows: Iterable[Question]) -> Iterator[Case]:
    for row in rows:
        for answer in dict.fromkeys(row.answers):
            at = re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", row.context)
            start = at.start() if at else row.context.find(answer)
            if start >= 0:
                yield Case(answer, window(row.context, start, start + len(answer)))


def _sentences(rows: Iterable[Question]) -> Iterator[Case]:
    for context in dict.fromkeys(row.context for row in rows):
        for start, end in sentences(context):
            if len(context[start:end].split()) >= FEWEST_WORDS:
                yield Case(context[start:end], window(context, start, end))


def _swapped(
    cases: Iterable[Case],
    change: Callable[[Case, tuple[str, ...], Random], tuple[str, str] | None],
    rows: Sequence[Question],
) -> Iterator[Case]:
    contexts = tuple(dict.fromkeys(row.context for row in rows))
    for case in cases:
        rng = Random(case.claim)  # the same change whatever rows stand before it
        changed = change(case, contexts, rng)
        if changed is not None and changed[0] != case.claim:
            claim, new = changed
            yield Case(claim, case.evidence, _stands(new, case.evidence))


def _other_number(case: Case, contexts: tuple[str, ...], rng: Random) -> tuple[str, str] | None:
    """Change a digit, or take another number of its kind, a month or a number word."""
    found = list(_NUMBER.finditer(case.claim))
    found = [m for m in found if m.group() != "second" and m.group() != "May"]
    if not found:
        return None
    chosen = rng.choice(found)
    old = chosen.group()
    if old in _MONTHS:
        new = rng.choice([month for month in _MONTHS if month != old])
    elif old in _WORDS:
        kind = next(kind for kind in _KINDS if old in kind)
        new = rng.choice([word for word in kind if word not in (old, "second")])
    else:
        source = next((c for c in contexts if case.evidence in c), case.evidence)
        others = sorted({n for n in _DIGITS.findall(source) if len(n) == len(old)} - {old})
        new = rng.choice(others) if others and rng.random() < 0.5 else _other_digit(old, rng)
    return case.claim[: chosen.start()] + new + case.claim[chosen.end() :], new


def _other_digit(number: str, rng: Random) -> str:
    places = [i for i, char in enumerate(number) if char.isdigit()]
    at = rng.choice(places)
    digits = [d for d in "0123456789" if d != number[at] and not (at == 0 and d == "0")]
    return number[:at] + rng.choice(digits) + number[at + 1 :]


def _other_name(case: Case, contexts: tuple[str, ...], rng: Random) -> tuple[str, str] | None:
    """Take a name of the same context, or where it has no other, of any."""
    found = [m for m in _CAPITAL.finditer(case.claim) if _named(m.group(), case.evidence, contexts)]
    if not found:
        return None
    chosen = rng.choice(found)
    source = next((c for c in contexts if case.evidence in c), case.evidence)
    for text in (source, rng.choice(contexts), rng.choice(contexts)):
        others = sorted(
            {n for n in _NAME.findall(text) if _named(n, text, contexts)} - {chosen.group()}
        )
        fresh = [name for name in others if not _stands(name, case.evidence)]
        if others:
            new = rng.choice(fresh if fresh and rng.random() < FRESH_SHARE else others)
            return case.claim[: chosen.start()] + new + case.claim[chosen.end() :], new
    return None


def _named(word: str, text: str, contexts: tuple[str, ...]) -> bool:
    """Whether a word has a capital inside a sentence, and no context writes it small."""
    inside = re.search(rf"(?:[a-z,;]|[A-Z][a-z]) {word}\b", text)
    return bool(inside) and word not in _MONTHS and word.lower() not in _small(contexts)


@lru_cache(maxsize=4)
def _small(contexts: tuple[str, ...]) -> frozenset[str]:
    words = {word for text in contexts for word in re.findall(r"\b[a-z]+\b", text)}
    return frozenset(words | {f"{word}s" for word in words} | {*STOP_WORDS})


def _negated(cases: Iterable[Case]) -> Iterator[Case]:
    """Put a "not" behind the first auxiliary, or take one away."""
    for case in cases:
        removable = _REMOVABLE.search(case.claim)
        if removable and len(_DENIAL.findall(case.claim)) == 1 and "not only" not in case.claim:
            claim = case.claim[: removable.start()] + case.claim[removable.end() :]
            yield Case(claim, case.evidence)
        elif not _DENIAL.search(case.claim):
            auxiliary = _AUXILIARY.search(case.claim)
            if auxiliary:
                at = auxiliary.end()
                yield Case(f"{case.claim[:at]} not{case.claim[at:]}", case.evidence)


def _stands(new: str, evidence: str) -> bool:
    """Whether a value stands in a text as a word of its own, thousands' commas aside."""
    text = re.sub(r"(?<=\d),(?=\d{3})", "", evidence)
    value = re.sub(r"(?<=\d),(?=\d{3})", "", new)
    return bool(re.search(rf"(?<!\w){re.escape(value)}(?:['’]?s)?(?!\w)", text, re.IGNORECASE))
