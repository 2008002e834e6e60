"""One line of an examination."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination."""

    check: str
    state: State
    detail: str


def findings(check: str, problems: Iterable[str], sound: str) -> Iterator[Finding]:
    """Yield a finding for each problem, or that all is sound."""
    found = list(problems)
    for problem in found:
        yield Finding(check, "problem", problem)
    if not found:
        yield Finding(check, "ok", sound)
