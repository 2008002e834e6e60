"""Changes questions: typos and case keep the meaning; swapped names and opposites change it."""

from __future__ import annotations

import re
import string
from random import Random

NUMBER = re.compile(r"\b\d[\d,.]*\d\b|\b\d+\b")
NAME = re.compile(r"\b[A-Z][\w'’-]+(?:\s+(?:of\s+|the\s+)?[A-Z][\w'’-]+)*")


AUXILIARY = re.compile(r"\b(is|are|was|were|did|does|do|can|could|has|have|had|will|would)\b", re.I)
OPPOSITES: dict[str, str] = {
    word: opposite
    for line in """
    first last, most least, largest smallest, biggest smallest, highest lowest, higher lower,
    before after, more fewer, increase decrease, increased decreased, increasing decreasing,
    early late, earlier later, earliest latest, north south, northern southern, east west,
    eastern western, old new, older younger, oldest youngest, begin end, began ended, start stop,
    started stopped, win lose, won lost, high low, public private, over under, allow forbid,
    allowed forbidden, with without, male female, men women, above below, best worst, good bad,
    always never, import export, imports exports, buy sell, bought sold, support oppose,
    supported opposed, accept reject, accepted rejected, include exclude, included excluded,
    ancient modern, friends enemies, same different, success failure, positive negative,
    internal external, rich poor, inside outside, long short, longer shorter, large small,
    larger smaller, common rare, strong weak, stronger weaker, cause prevent, caused prevented,
    gain lose, gained lost, join leave, joined left, arrive depart, arrived departed,
    create destroy, created destroyed, built demolished, open close, opened closed, easy hard,
    easier harder, simple complex, agree disagree, agreed disagreed,
    majority minority, maximum minimum, happy sad, love hate, loved hated,
    help harm, helped harmed, up down, rise fall, rose fell,
    true false, can cannot, should shouldn't, likely unlikely, possible impossible, legal illegal,
    regular irregular, direct indirect, known unknown, required optional, share withhold,
    collect discard, collects discards, attack defend, attacked defended, local foreign
    """.replace("\n", " ").split(",")
    for word, opposite in (line.split(), line.split()[::-1])
}


def add_typos(text: str, rng: Random, *, edits: int) -> str:
    """Make random single-character edits: drop, double, swap or replace a letter.

    >>> add_typos("question", Random(0), edits=0)
    'question'
    """
    letters = list(text)
    for _ in range(edits):
        places = [i for i, letter in enumerate(letters) if letter.isalpha()]
        if not places:
            break
        place = rng.choice(places)
        kind = rng.randrange(4)
        if kind == 0:
            del letters[place]
        elif kind == 1:
            letters.insert(place, letters[place])
        elif kind == 2 and place + 1 < len(letters):
            letters[place], letters[place + 1] = letters[place + 1], letters[place]
        else:
            letters[place] = rng.choice(string.ascii_lowercase)
    return "".join(letters)


def rephrase_surface(question: str, rng: Random, *, typo_share: float) -> str:
    """A question as another person might type it: typos, other case, no question mark."""
    if rng.random() < typo_share:
        question = add_typos(question, rng, edits=rng.choice((1, 1, 2)))
    if rng.random() < typo_share / 2:
        question = rng.choice((question.lower(), question.upper(), question.title()))
    if rng.random() < typo_share:
        question = question.rstrip("?. ")
    return question


def swap_entity(question: str, donor: str, rng: Random) -> str | None:
    """Replace a number or name in a question by another, so that it asks about something else.

    Many of SQuAD 2.0's unanswerable questions are made so (Rajpurkar et al., 2018).

    Args:
        question: the question.
        donor: text that other numbers and names are taken from.
        rng: randomness.

    Returns:
        the changed question; None if there is nothing to swap.
    """
    swaps = []
    for pattern in (NUMBER, NAME):
        # A capital on the first word says nothing.
        own = [m for m in pattern.finditer(question) if m.start() > 0]
        others = {m.group() for m in pattern.finditer(donor) if m.start() > 0}
        others = {o for o in others if o.lower() not in question.lower()}
        if own and others:
            swaps.append((rng.choice(own), rng.choice(sorted(others))))
    if not swaps:
        return None
    found, other = rng.choice(swaps)
    if found.group().lower() in other.lower():
        return None
    return question[: found.start()] + other + question[found.end() :]


def turn_round(question: str, rng: Random) -> str | None:
    """Ask for the opposite: an antonym in place of a word, else a "not" after the auxiliary.

    >>> turn_round("Who was the first king?", Random(0))
    'Who was the last king?'
    >>> turn_round("Why weep?", Random(0)) is None
    True
    """
    words = [m for m in re.finditer(r"[a-z]+", question) if m.group() in OPPOSITES]
    if words:
        chosen = rng.choice(words)
        return question[: chosen.start()] + OPPOSITES[chosen.group()] + question[chosen.end() :]
    auxiliary = AUXILIARY.search(question)
    if auxiliary is None or "n't" in question or " not " in question:
        return None
    negation = rng.choice((" not", " never"))
    return question[: auxiliary.end()] + negation + question[auxiliary.end() :]
