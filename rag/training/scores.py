"""Scores of predicted answers: SQuAD's exact match and token F1, and ROUGE-L F1."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np


def normalize(text: str) -> str:
    """SQuAD's normal form: lower case, no punctuation, no articles, single spaces.

    >>> normalize("The  Norman's, land.")
    'normans land'
    """
    text = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(prediction: str, gold: str) -> float:
    """1.0 if the normal forms are equal."""
    return float(normalize(prediction) == normalize(gold))


def token_f1(prediction: str, gold: str) -> float:
    """Harmonic mean of token precision and recall (Rajpurkar et al., 2016).

    >>> token_f1("in the 10th century", "10th century")
    0.8
    """
    ours, theirs = normalize(prediction).split(), normalize(gold).split()
    if not ours or not theirs:
        return float(ours == theirs)
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs))


def rouge_l(prediction: str, gold: str) -> float:
    """F1 of the longest common subsequence of words (Lin, 2004)."""
    ours, theirs = re.findall(r"\w+", prediction.lower()), re.findall(r"\w+", gold.lower())
    if not ours or not theirs:
        return float(ours == theirs)
    row = [0] * (len(theirs) + 1)
    for word in ours:
        diagonal = 0
        for j, other in enumerate(theirs, start=1):
            above = row[j]
            row[j] = diagonal + 1 if word == other else max(above, row[j - 1])
            diagonal = above
    return 2 * row[-1] / (len(ours) + len(theirs))


def best(score: Callable[[str, str], float], prediction: str, golds: Sequence[str]) -> float:
    """The score against the gold answer that fits best."""
    return max(score(prediction, gold) for gold in golds)


def holds(text: str, golds: Sequence[str]) -> bool:
    """Whether a gold answer's words stand in a text, in order."""
    padded = f" {normalize(text)} "
    return any(f" {normalize(gold)} " in padded for gold in golds if normalize(gold))


def auc(scores: Sequence[float], wanted: Sequence[bool]) -> float:
    """Probability that a wanted one scores higher than another (ties count half).

    >>> auc([0.1, 0.9, 0.9], [False, True, False])
    0.75
    """
    values, chosen = np.array(scores, dtype=float), np.array(wanted, dtype=bool)
    others = np.sort(values[~chosen])
    below = np.searchsorted(others, values[chosen], side="left")
    not_above = np.searchsorted(others, values[chosen], side="right")
    return float((below + not_above).mean() / 2 / len(others))
