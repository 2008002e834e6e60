"""Metrics of retrieval and answers, and bootstrap intervals around them."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from rag.training import scores


def exact_match(prediction: str, golds: Sequence[str]) -> float:
    """Return 1.0 if the prediction equals a gold answer in SQuAD's normal form."""
    return scores.best(scores.exact_match, prediction, golds) if golds else 0.0


def token_f1(prediction: str, golds: Sequence[str]) -> float:
    """Return the best token F1 against any gold answer (SQuAD's official metric).

    >>> round(token_f1("the red house", ["a red car"]), 2)
    0.5
    """
    return scores.best(scores.token_f1, prediction, golds) if golds else 0.0


def rouge_l(prediction: str, golds: Sequence[str]) -> float:
    """Return the best F1 of the longest common subsequence of words (Lin, 2004)."""
    return scores.best(scores.rouge_l, prediction, golds) if golds else 0.0


def contains(text: str, golds: Sequence[str]) -> float:
    """Return 1.0 if a normalised gold answer's words stand in the text in order."""
    return float(scores.holds(text, golds))


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


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    count: int,
    *,
    resamples: int = 1_000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return a statistic of rows with its 95 % percentile bootstrap interval.

    Args:
        statistic: of the rows with these indices, which may repeat.
        count: of rows.
        resamples: drawn with replacement; those for which it is not a number are left out.
        seed: makes it repeatable.
    """
    generator = np.random.default_rng(seed)
    drawn = [statistic(generator.integers(0, count, count)) for _ in range(resamples)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return statistic(np.arange(count)), float(low), float(high)


def auc(values: NDArray[np.float64], wanted: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve: how often a wanted row scores above another."""
    return scores.auc(values.tolist(), wanted.tolist())
