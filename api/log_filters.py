"""What the log's records are filtered by, the same on the page, over HTTP and in the terminal."""

import datetime
from collections.abc import Sequence
from typing import TypedDict

from knowledge_bases.audit.leaf import KINDS
from knowledge_bases.audit.worst_verdict import LABELS
from rag.errors import UsageError

_REMEDY = "write a day (2026-01-31) or a moment (2026-01-31T14:00:00Z; without a zone it is UTC)"
_MOST_SHOWN = 40


class LogFilters(TypedDict, total=False):
    """Arguments of `LogReading.all`."""

    kinds: Sequence[str]
    status: str | None
    verdict: str | None
    disputed: bool | None
    document: str | None
    subject: str | None
    since: datetime.datetime | None
    until: datetime.datetime | None


def filters(
    *,
    kinds: Sequence[str] = (),
    status: str | None = None,
    verdict: str | None = None,
    disputed: bool | None = None,
    document: str | None = None,
    asker: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> LogFilters:
    """Return what limits a listing of the log; what is empty limits nothing.

    Args:
        kinds: of records, any of them.
        status: e.g. "abstained".
        verdict: the worst of a record's claims.
        disputed: whether a passage other than the cited ones says otherwise.
        document: the URI of one that is cited.
        asker: whom a record is about.
        since: a day, or a moment.
        until: a day, which is included, or a moment, which is not.

    Raises:
        UsageError: there is no such kind or verdict, or a time is none.
    """
    for kind in kinds:
        _check("kind", kind, KINDS)
    if verdict:
        _check("verdict", verdict, LABELS)
    return {
        "kinds": kinds,
        "status": status or None,
        "verdict": verdict or None,
        "disputed": disputed,
        "document": (document or "").strip() or None,
        "subject": (asker or "").strip() or None,
        "since": moment(since, "since") if since else None,
        "until": moment(until, "until", end=True) if until else None,
    }


def moment(text: str, name: str, *, end: bool = False) -> datetime.datetime:
    """Return when a day begins, or ends, or the moment that was given.

    Args:
        text: ISO 8601.
        name: of what was given, for the error.
        end: of a day its end, not its beginning.

    Raises:
        UsageError: it is neither.

    >>> moment("2026-01-31", "until", end=True).isoformat()
    '2026-02-01T00:00:00+00:00'
    """
    try:
        if len(text) == len("2026-01-31"):
            day = datetime.date.fromisoformat(text) + datetime.timedelta(days=1 if end else 0)
            return datetime.datetime.combine(day, datetime.time(), datetime.UTC)
        found = datetime.datetime.fromisoformat(text)
        found = found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
        return found.astimezone(datetime.UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{name} is {text[:_MOST_SHOWN]!r}; {_REMEDY}") from error


def _check(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        shown = name[:_MOST_SHOWN]
        raise UsageError(f"there is no {what} {shown!r}; there are: {', '.join(known)}")
