"""Metrics of retrieval and answers, and bootstrap intervals around them."""

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> str:
    """Lower-case, drop punctuation and articles, fold white space (SQuAD's official rule)."""
    text = "".join(char for char in text.lower() if char not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", text).split())


def exact_match(prediction: str, golds: Sequence[str]) -> float:
    """Return 1.0 if the normalised prediction equals a normalised gold answer."""
    return float(any(normalise(prediction) == normalise(gold) for gold in golds))


def token_f1(prediction: str, golds: Sequence[str]) -> float:
    """Return the best token F1 against any gold answer (SQuAD's official metric).

    >>> round(token_f1("the red house", ["a red car"]), 2)
    0.5
    """
    return max((_f1(normalise(prediction).split(), normalise(g).split()) for g in golds), default=0)


def contains(text: str, golds: Sequence[str]) -> float:
    """Return 1.0 if a normalised gold answer's words stand in the text in order."""
    padded = f" {normalise(text)} "
    return float(any(f" {normalise(gold)} " in padded for gold in golds if normalise(gold)))


def bootstrap_interval(
    values: Sequence[float] | NDArray[np.float64], *, resamples: int = 2_000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean (Efron, 1979).

    Args:
        values: one per question.
        resamples: drawn with replacement.
        seed: makes it repeatable.
    """
    array = np.asarray(values, dtype=np.float64)
    if not len(array):
        return 0.0, 0.0
    generator = np.random.default_rng(seed)
    means = [array[generator.integers(0, len(array), len(array))].mean() for _ in range(resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _f1(predicted: list[str], gold: list[str]) -> float:
    if not predicted or not gold:
        return float(predicted == gold)
    common = sum((Counter(predicted) & Counter(gold)).values())
    if not common:
        return 0.0
    precision, recall = common / len(predicted), common / len(gold)
    return 2 * precision * recall / (precision + recall)
