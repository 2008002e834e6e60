"""From which probability on something is served, for a stated precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAST = 20  # cases that a precision is believed of


def threshold_for(
    probabilities: NDArray[np.float64],
    right: NDArray[np.bool_],
    precision: float,
    *,
    weights: NDArray[np.float64] | None = None,
) -> float:
    """The lowest probability from which on at least a share of the cases is right.

    Where no threshold reaches that, the one that comes nearest; in both cases one that at least
    `LEAST` cases pass, if there are so many.

    Args:
        probabilities: (n,), n at least 1.
        right: (n,).
        precision: the wanted share.
        weights: (n,) of the cases; all the same if None.
    """
    weights = np.ones(len(right)) if weights is None else weights
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    shares = (right * weights)[order].cumsum() / weights[order].cumsum()
    # Cases of one probability pass together or not at all.
    usable = np.append(ranked[1:] < ranked[:-1], True)
    usable[: min(LEAST, len(ranked)) - 1] = False
    reached = np.flatnonzero(usable & (shares >= precision))
    if len(reached):
        return float(ranked[reached[-1]])
    return float(ranked[np.flatnonzero(usable)[np.argmax(shares[usable])]])
