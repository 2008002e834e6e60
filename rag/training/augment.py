"""Changes questions: typos and case that keep the meaning, swapped entities that change it."""

from __future__ import annotations

import re
import string
from random import Random

NUMBER = re.compile(r"\b\d[\d,.]*\d\b|\b\d+\b")
NAME = re.compile(r"\b[A-Z][\w'’-]+(?:\s+(?:of\s+|the\s+)?[A-Z][\w'’-]+)*")


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
