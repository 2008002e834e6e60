"""What verifying a log comes to: counts, and what is wrong where."""

from __future__ import annotations

from dataclasses import dataclass

MOST_PROBLEMS = 1_000
"""So many are described; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong.

    Attributes:
        sequence: of the first record concerned; the log's size where records are cut off; None
            where it concerns none, as a checkpoint whose signature is wrong.
        line: what is wrong, in one line.
        last: of the last record that it may be, where it can't be told which.
    """

    sequence: int | None
    line: str
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """What verifying came to.

    Attributes:
        size: records in the log.
        root: its root, hexadecimal, computed from the leaves; None where records are missing, or
            where not all were read.
        start, stop: the records verified.
        records: leaves found and examined.
        payloads: opened and compared with their leaves.
        erased: payloads that are gone, as a record of erasure or retention says.
        pending: payloads that should be gone by such a record and are not yet; `rag doctor`
            finishes that.
        nodes: of the tree compared with those computed.
        checkpoints: compared with the tree.
        signed_size: of the largest checkpoint that agrees; what came later nobody vouches for yet.
        problems: by sequence number; the first `MOST_PROBLEMS`.
        problem_count: how many there are.
    """

    size: int
    root: str | None
    start: int
    stop: int
    records: int
    payloads: int
    erased: int
    pending: int
    nodes: int
    checkpoints: int
    signed_size: int
    problems: tuple[Problem, ...]
    problem_count: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem_count

    @property
    def first_bad(self) -> Problem | None:
        """The problem with the lowest sequence number; of a range, the first exact one in it."""
        placed = [one for one in self.problems if one.sequence is not None]
        if not placed:
            return None
        last = placed[0].last or -1
        inside = [one for one in placed if one.last is None and (one.sequence or 0) <= last]
        return inside[0] if inside else placed[0]
