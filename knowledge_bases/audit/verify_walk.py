"""Walks through a log's records in order and compares them with its tree and its checkpoints."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from knowledge_bases.audit.checkpoint import LogKey
from knowledge_bases.audit.erased import Named
from knowledge_bases.audit.frontier import Frontier, Hash
from knowledge_bases.audit.verification import MOST_PROBLEMS, Problem, Verification
from knowledge_bases.audit.verify_record import Examined, SubjectHash, examine
from knowledge_bases.audit.verify_signed import Signed, signed
from knowledge_bases.store.log_scan import LogScan, StoredRecord

_NODES_AT_ONCE = 4_096
Progress = Callable[[int, int], None]
"""(records done, records to do)."""


@dataclass(slots=True)
class Walk:
    """One verification under way."""

    scan: LogScan
    size: int
    start: int
    stop: int
    subject_hash: SubjectHash | None
    progress: Progress
    frontier: Frontier = field(default_factory=Frontier)
    by_size: dict[int, list[Signed]] = field(default_factory=dict)
    named: Named = field(default_factory=Named)
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    suspects: list[tuple[int, int]] = field(default_factory=list)
    """Sorted; first and last of records of which at least one is known not to be what it was."""
    waiting: list[tuple[int, int, bytes]] = field(default_factory=list)
    """Nodes computed and not yet compared."""
    unnamed: list[int] = field(default_factory=list)
    """Records whose payload is gone though no record says so; the first few."""
    unnamed_count: int = 0
    agreed: int = 0
    differing: int = 0
    records: int = 0
    payloads: int = 0
    erased: int = 0
    pending: int = 0
    nodes: int = 0
    compared: int = 0

    def run(self, notes: Mapping[str, str], keys: Sequence[LogKey], *, whole: bool) -> Verification:
        """Do it; once.

        Args:
            notes: checkpoints kept outside, by where they are kept.
            keys: whose signatures count.
            whole: the walk is through all of the log.
        """
        found, wrong = signed(self.scan, notes, keys)
        for line in wrong:
            self._note(None, line)
        for one in found:
            self.by_size.setdefault(one.checkpoint.size, []).append(one)
        for stored in self.scan.records(kinds=("erasure", "retention")):
            self.named.add(examine(stored))
        self._append_stored(self.start)
        if whole:
            self._compare_root()  # That of the empty log, if it was signed.
        for stored in self.scan.records(self.start, None if whole else self.stop):
            self._take(stored)
        self._fill(self.stop)
        self._compare_nodes()
        root = self.frontier.root() if whole else None
        if whole:
            self._foreign_nodes()
        else:
            later = [size for size in self.by_size if self.stop < size <= self.size]
            if later and self.agreed < self.stop:
                self._append_stored(min(later))
                self._compare_root()
                self._compare_nodes()
        self._look_for_truncation(keys, self.agreed if whole else self.size)
        self._report_unnamed()
        self.problems.sort(key=lambda one: (one.sequence is None, one.sequence or 0))
        return Verification(
            size=self.size,
            root=root.hex() if root is not None else None,
            start=self.start,
            stop=self.stop,
            records=self.records,
            payloads=self.payloads,
            erased=self.erased,
            pending=self.pending,
            nodes=self.nodes,
            checkpoints=self.compared,
            signed_size=self.agreed,
            problems=tuple(self.problems),
            problem_count=self.problem_count,
        )

    def _look_for_truncation(self, keys: Sequence[LogKey], agreed: int) -> None:
        """Look for checkpoints of more records than there are.

        Records may have been taken out anywhere after the last size at which all agrees.
        """
        beyond = max((size for size in self.by_size if size > self.size), default=0)
        begun = max((key.since for key in keys), default=0)
        if beyond:
            source = self.by_size[beyond][0].source
            reason = f"{beyond} were signed ({source})"
        elif begun > self.size:
            beyond, reason = begun, f"it had {begun} when its key was made"
        else:
            return
        self._note(
            agreed,
            f"the log is cut off: it has {self.size} records, but {reason}; as far as {agreed} "
            "all agrees",
            last=beyond - 1,
        )

    def _take(self, stored: StoredRecord) -> None:
        sequence = stored.sequence
        if not isinstance(sequence, int) or not 0 <= sequence < self.size:
            problems = examine(stored).problems or [f"the log has no place {sequence!r:.40}"]
            self._note(max(0, sequence) if isinstance(sequence, int) else None, problems[0])
            return
        if stored.record is None:  # The gap is noted when the next record comes, or at the end.
            return
        self._fill(sequence)
        found = examine(stored, self.subject_hash)
        self.records += 1
        for line in found.problems:
            self._note(sequence, line)
        if found.changed:
            self._suspect(sequence, sequence)
        self._count(sequence, found)
        self._append(found.leaf_hash)
        if self.records % 1_000 == 0:
            self.progress(self.records, self.stop - self.start)

    def _count(self, sequence: int, found: Examined) -> None:
        if found.payload is not None:
            self.payloads += 1
            self.pending += found.leaf is not None and self.named.names(found.leaf)
        elif found.erased and found.leaf is not None:
            self.erased += 1
            if not self.named.names(found.leaf):
                self.unnamed_count += 1
                if len(self.unnamed) < MOST_PROBLEMS:
                    self.unnamed.append(sequence)

    def _fill(self, stop: int) -> None:
        """Put what can't be known in the place of missing records."""
        missing = self.frontier.size
        if missing >= stop:
            return
        last = stop - 1
        which = f"record {missing} is" if missing == last else f"records {missing} to {last} are"
        self._note(missing, f"{which} missing", last=last if last > missing else None)
        self._suspect(missing, last)
        self._compare_nodes()  # So that no batch of them spans the gap.
        while self.frontier.size < stop:
            self._append(None, self.frontier.next_level(stop))

    def _append(self, found: Hash, level: int = 0) -> None:
        self.waiting += [
            (above, position, node)
            for above, position, node in self.frontier.append(found, level)
            if node is not None
        ]
        if len(self.waiting) >= _NODES_AT_ONCE:
            self._compare_nodes()
        self._compare_root()

    def _append_stored(self, stop: int) -> None:
        """Add subtrees as they are stored, for records that are not to be read."""
        while self.frontier.size < stop:
            level = self.frontier.next_level(stop)
            position = self.frontier.size >> level
            if level:
                node = self.scan.nodes(level, position, position).get(position)
                if not isinstance(node, bytes):
                    self._note(
                        position << level, f"node {position} of level {level} is missing or damaged"
                    )
                    node = None
            else:
                stored = next(self.scan.records(position, position + 1), None)
                node = examine(stored).leaf_hash if stored else None
                if node is None:
                    self._note(position, f"record {position} is missing or damaged")
            self.waiting += [
                (above, at, completed)
                for above, at, completed in self.frontier.append(node, level)
                if completed is not None
            ]

    def _compare_root(self) -> None:
        size = self.frontier.size
        if size not in self.by_size or size > self.size:
            return
        root = self.frontier.root()
        if root is None:
            return
        different = [one for one in self.by_size[size] if one.checkpoint.root != root]
        self.compared += len(self.by_size[size])
        if not different:
            self.agreed = size
            return
        self.differing += 1
        if self.differing > 1:
            return
        self._compare_nodes()  # They may tell more closely which record it is.
        before = f"as far as {self.agreed} all agrees; " if self.agreed else ""
        first, last = self._suspected(self.agreed, size) or (self.agreed, size - 1)
        which = f"record {first}" if first == last else f"one of the records {first} to {last}"
        self._note(
            first,
            f"the log's first {size} records are not those that were signed "
            f"({different[0].source}): {before}{which} is not as it was",
            last=last if last > first else None,
        )

    def _compare_nodes(self) -> None:
        """Compare the nodes that wait with those that are stored, the lowest level first."""
        levels: dict[int, list[tuple[int, bytes]]] = {}
        for level, position, node in self.waiting:
            levels.setdefault(level, []).append((position, node))
        self.nodes += len(self.waiting)
        self.waiting = []
        for level, nodes in sorted(levels.items()):
            kept = self.scan.nodes(level, nodes[0][0], nodes[-1][0])
            for position, node in nodes:
                if kept.get(position) != node:
                    self._bad_node(level, position, missing=position not in kept)

    def _bad_node(self, level: int, position: int, *, missing: bool) -> None:
        first, stop = position << level, position + 1 << level
        if self._suspected(first, stop):
            return  # It can't be right where one of its leaves is wrong.
        what = "is missing" if missing else "is not that of its leaves"
        self._note(
            first,
            f"node {position} of level {level}, over records {first} to {stop - 1}, {what}",
            last=stop - 1,
        )
        self._suspect(first, stop - 1)

    def _foreign_nodes(self) -> None:
        for level, position in self.scan.foreign_nodes(self.size):
            self._note(
                self.size, f"node {position} of level {level} is of no tree of {self.size} records"
            )

    def _report_unnamed(self) -> None:
        if self.unnamed and self.named.unreadable:
            self._note(
                self.named.unreadable[0],
                f"nothing says why the payloads of {self.unnamed_count} records are gone (the "
                f"first is {self.unnamed[0]}): the records that might can't be opened",
            )
            return
        for sequence in self.unnamed:
            self._note(
                sequence,
                f"the payload of record {sequence} is gone, and no record says that it was erased",
            )
        self.problem_count += self.unnamed_count - len(self.unnamed)

    def _suspect(self, first: int, last: int) -> None:
        bisect.insort(self.suspects, (first, last))

    def _suspected(self, start: int, stop: int) -> tuple[int, int] | None:
        """The first suspects that begin among the records from `start` up to `stop`."""
        at = bisect.bisect_left(self.suspects, (start, start))
        if at == len(self.suspects) or self.suspects[at][0] >= stop:
            return None
        first, last = self.suspects[at]
        return first, min(last, stop - 1)

    def _note(self, sequence: int | None, line: str, *, last: int | None = None) -> None:
        self.problem_count += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(sequence, line, last))
