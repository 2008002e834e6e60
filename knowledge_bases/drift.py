"""Whether questions and answers of late are like those before: two-sample Kolmogorov–Smirnov."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from knowledge_bases.store.shared import now
from rag.errors import DigestMismatch

if TYPE_CHECKING:
    from knowledge_bases.knowledge_base import KnowledgeBase

State = Literal["unknown", "ok", "watch", "alert"]
SIGNALS = ("question_chars", "confidence", "top_score", "unknown_words")
"""Length of the question; probability that the answer is right; score of the best passage; share of
the question's words that are in no passage of the collection."""
MOST = 500
"""Answers of a window that are read, the newest; with as many, two samples that differ by a tenth
of their answers are told apart."""
LEAST = 30
"""With fewer on either side nothing is said."""
_WATCH = (0.05, 0.1)
_ALERT = (0.01, 0.2)
"""Largest p, corrected for the number of signals, and least distance: one in so many alarms would
be false, and a difference that nobody would notice is none, however many answers show it."""


@dataclass(frozen=True, slots=True)
class Windows:
    """What is compared: the last days with those before them."""

    recent_days: float = 7.0
    reference_days: float = 28.0


@dataclass(frozen=True, slots=True)
class Signal:
    """One of `SIGNALS` in both windows.

    Attributes:
        recent, reference: how many answers have it.
        distance: largest difference of the two distribution functions, in [0, 1].
        p: of so large a one where both are alike, times the number of signals (Bonferroni).
    """

    name: str
    state: State
    recent: int
    reference: int
    recent_median: float | None
    reference_median: float | None
    distance: float | None
    p: float | None


def drift(
    kb: KnowledgeBase, windows: Windows = Windows(), *, at: datetime.datetime | None = None
) -> list[Signal]:
    """Compare the answers of two windows, from what the log holds of them.

    Erased records are left out. Nothing of a record is told but numbers over all.

    Args:
        kb: whose answers.
        windows: how long.
        at: the end of the later one; now by default.

    Raises:
        StorageError: the log can't be read.
    """
    end = at or now()
    between = end - datetime.timedelta(days=windows.recent_days)
    start = between - datetime.timedelta(days=windows.reference_days)
    recent = list(_measured(kb, between, end))
    reference = list(_measured(kb, start, between))
    return [compared(name, _values(recent, name), _values(reference, name)) for name in SIGNALS]


def compared(name: str, recent: Sequence[float], reference: Sequence[float]) -> Signal:
    """Compare two samples of a signal."""
    import numpy as np
    from scipy.stats import ks_2samp  # Slow to import.

    counts = len(recent), len(reference)
    medians = [round(float(np.median(one)), 6) if one else None for one in (recent, reference)]
    state: State = "unknown"
    distance = p = None
    if min(counts) >= LEAST:
        found = ks_2samp(recent, reference)
        distance, p = float(found.statistic), min(1.0, float(found.pvalue) * len(SIGNALS))
        state = _state(p, distance)
    return Signal(name, state, counts[0], counts[1], medians[0], medians[1], distance, p)


def worst(signals: Sequence[Signal]) -> State:
    """Return the worst state of all."""
    order: tuple[State, ...] = ("unknown", "ok", "watch", "alert")
    return max((one.state for one in signals), key=order.index)


def _state(p: float, distance: float) -> State:
    for state, (most_p, least) in (("alert", _ALERT), ("watch", _WATCH)):
        if p <= most_p and distance >= least:
            return "alert" if state == "alert" else "watch"
    return "ok"


def _measured(
    kb: KnowledgeBase, since: datetime.datetime, until: datetime.datetime
) -> Iterator[Mapping[str, float | None]]:
    log, lexical = kb.store.log, kb.lifecycle.current().lexical
    rows = log.all(kb_name=kb.name, kinds=("answer",), since=since, until=until, limit=MOST)
    for row in list(rows):
        try:
            receipt = log.payload(row)
        except DigestMismatch:
            continue  # `rag doctor` says more.
        if receipt is not None:
            yield _signals(receipt, lexical.unknown_share(receipt["question"]))


def _signals(receipt: Mapping[str, Any], unknown: float | None) -> dict[str, float | None]:
    passages = receipt["passages"]
    return {
        "question_chars": len(receipt["question"]),
        "confidence": receipt["decision"]["probability"],
        "top_score": passages[0]["score"] if passages else None,
        "unknown_words": unknown,
    }


def _values(measured: Sequence[Mapping[str, float | None]], name: str) -> list[float]:
    return [value for one in measured if (value := one[name]) is not None]
