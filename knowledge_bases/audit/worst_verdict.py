"""What is noted of a record's verdicts, so that the log can be filtered by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LABELS = ("contradicted", "unsupported", "supported")
"""Verdicts on a claim, the worst first."""
_JUDGED = ("answer", "check")
"""Kinds of records whose payload has verdicts."""


@dataclass(frozen=True, slots=True)
class WorstVerdict:
    """The verdicts of a record in one.

    Attributes:
        label: the worst of its claims'; of an abstention, those of the draft that was withheld.
        disputed: whether a passage other than the cited ones says otherwise of any claim.
    """

    label: str
    disputed: bool


def worst_verdict(kind: str, payload: Mapping[str, Any]) -> WorstVerdict | None:
    """Return what is noted of a record; None where nothing in it was judged.

    >>> worst_verdict("answer", {"verdicts": [
    ...     {"label": "supported", "disagreement": {}}, {"label": "unsupported"}]})
    WorstVerdict(label='unsupported', disputed=True)
    """
    verdicts = payload.get("verdicts") if kind in _JUDGED else None
    if not verdicts:
        return None
    label = min((one["label"] for one in verdicts), key=LABELS.index)
    return WorstVerdict(label, any(one.get("disagreement") is not None for one in verdicts))
