"""Examines the log: what it holds, how it is signed, what is due, what was left undone."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

from knowledge_bases.audit import personal_data
from knowledge_bases.audit.verification import Verification
from knowledge_bases.finding import Finding, State, findings
from knowledge_bases.home import Home
from rag.errors import RagError

_MOST_TOLD = 20


def examine_log(home: Home, *, quick: bool) -> Iterator[Finding]:
    """Yield what there is to say of the log; erasures that were cut short are finished on the way.

    Args:
        home: the open home folder.
        quick: leave out what reads every record.
    """
    for check, part in (
        ("erasures", _erasures(home, quick=quick)),
        ("retention", _retention(home)),
        ("personal data", _personal_data(home)),
        ("checkpoints", _checkpoints(home)),
    ):
        try:
            yield from part
        except RagError as error:
            yield Finding(check, "problem", str(error))
    if not quick:
        yield from _records(home)


def _records(home: Home) -> Iterator[Finding]:
    try:
        verified = home.audit.verify()
    except RagError as error:
        yield Finding("log", "problem", str(error))
        return
    yield from findings("log", _told(verified), _summary(verified))


def _told(verified: Verification) -> Sequence[str]:
    lines = [problem.line for problem in verified.problems[:_MOST_TOLD]]
    more = verified.problem_count - len(lines)
    if more:
        lines.append(f"and {more:,} more; `rag audit verify --json` tells up to a thousand")
    return lines


def _summary(verified: Verification) -> str:
    pending = f", {verified.pending:,} to be erased yet" if verified.pending else ""
    return (
        f"{verified.records:,} records, each in its place in the tree; {verified.payloads:,} "
        f"payloads are what was recorded, {verified.erased:,} erased{pending}"
    )


def _erasures(home: Home, *, quick: bool) -> Iterator[Finding]:
    """Finish what was cut short; without a marker it shows only in the records, e.g. restored."""
    eraser = home.audit.eraser
    if not eraser.unfinished and (quick or next(eraser.pending(), None) is None):
        yield Finding("erasures", "ok", "none is left unfinished")
    elif home.audit.retention.state.legal_hold:
        yield Finding(
            "erasures", "note", "one was cut short; it is finished once the legal hold ends"
        )
    else:
        left = eraser.finish()
        yield Finding(
            "erasures",
            "note",
            f"one was cut short and is finished now; {left:,} payloads were left",
        )


def _retention(home: Home) -> Iterator[Finding]:
    retention = home.audit.retention
    for line in [*home.audit.set_right, *retention.settle()]:
        told = f"{line}: a kill or an edit of the database; it is set right"
        yield Finding("retention", "note", told)
    state = retention.state
    due = retention.due(_now())
    kept = "for good" if state.retention_days is None else f"for {state.retention_days} days"
    if state.legal_hold:
        yield Finding(
            "retention", "note", f"legal hold: nothing is erased; else payloads are kept {kept}"
        )
    elif due:
        yield Finding(
            "retention",
            "note",
            f"payloads are kept {kept}; {due:,} are older: `rag audit prune` drops them",
        )
    else:
        yield Finding("retention", "ok", f"payloads are kept {kept}")


def _personal_data(home: Home) -> Iterator[Finding]:
    mode = home.settings.personal_data
    if mode != "off":
        personal_data.require()
        done = {"mark": "counted", "mask": "masked"}[mode]
        yield Finding("personal data", "ok", f"in what is asked is {done} before it is stored")


def _checkpoints(home: Home) -> Iterator[Finding]:
    yield from (
        Finding("checkpoints", "problem", problem) for problem in home.audit.keeping.problems()
    )
    size = home.store.log.size()
    newest = next(iter(home.store.log.checkpoints(limit=1, newest_first=True)), None)
    if newest is None:
        state: State = "note" if size else "ok"
        told = f"none was signed yet; {size:,} records are unsigned" if size else "the log is empty"
        yield Finding("checkpoints", state, told)
        return
    unsigned = size - newest.size
    age = f"the newest, of {newest.size:,} records, is {_age(_now() - newest.created_at)} old"
    if unsigned > 0:
        yield Finding("checkpoints", "note", f"{age}; {unsigned:,} records came after it")
    else:
        yield Finding("checkpoints", "ok", age)


def _age(elapsed: datetime.timedelta) -> str:
    """Return a time span in the largest unit that fits.

    >>> _age(datetime.timedelta(hours=50)), _age(datetime.timedelta(seconds=-3))
    ('2 days', '0 seconds')
    """
    seconds = max(0, int(elapsed.total_seconds()))
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:,} {unit}"
    return f"{seconds} seconds"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
