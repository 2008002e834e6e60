"""How long payloads are kept, and legal holds; every change of it is in the log."""

from __future__ import annotations

import datetime
import logging
from collections import Counter
from dataclasses import dataclass
from typing import Any

from knowledge_bases.audit import acts
from knowledge_bases.audit.unfinished import Markers
from knowledge_bases.database import Database
from knowledge_bases.store.erasing import Erasing
from knowledge_bases.store.log import Log, NewRecord, Recorded
from knowledge_bases.store.records import LogState
from rag.errors import DigestMismatch, LegalHold, RecordError, StorageError, UsageError

FLOOR_DAYS = 183
"""Six months: EU AI Act, articles 19 and 26."""
MOST_DAYS = 36_525
"""A hundred years; who wants longer keeps payloads for good."""
_AT_ONCE = 10_000
_OF_NEITHER = ("pruned", "subjects renewed")
"""Records of the kind that say nothing of how long or of a hold."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a pruning dropped.

    Attributes:
        before: all that was recorded earlier.
        records: payloads that are gone.
        kinds: how many of each kind of record.
        recorded_as: id of the log's record of it; None where there was nothing to drop.
    """

    before: datetime.datetime
    records: int
    kinds: dict[str, int]
    recorded_as: str | None


class Retention:
    """Keeps the log's retention and legal hold.

    Args:
        database: the log's.
        log: the log.
    """

    def __init__(self, database: Database, log: Log) -> None:
        self._database = database
        self._log = log
        self._erasing = Erasing(database)
        self._markers = Markers(database.home)

    @property
    def state(self) -> LogState:
        """Retention and hold as they are."""
        return self._log.state()

    def keep(self, days: int | None, *, actor: str) -> Recorded:
        """Set for how many days payloads are kept; None keeps them for good.

        Raises:
            UsageError: that is less than six months, or more than a hundred years.
            RecordError: the log refused the record of it; nothing is changed.
        """
        if days is not None and days < FLOOR_DAYS:
            raise UsageError(
                f"payloads can't be dropped after {days} days: the law asks for six months "
                f"({FLOOR_DAYS} days) at least"
            )
        if days is not None and days > MOST_DAYS:
            raise UsageError(
                f"payloads can't be kept for {days:.3g} days: give at most {MOST_DAYS}, or none to "
                "keep them for good"
            )
        recorded = self._recorded(acts.retention(days, actor=actor))
        self._log.set_state(retention_days=days)
        return recorded

    def hold(self, on: bool, reason: str = "", *, actor: str) -> Recorded:
        """Start or end a legal hold: while it is on, nothing is erased or dropped.

        Raises:
            UsageError: it is so already.
            RecordError: the log refused the record of it; nothing is changed.
        """
        if self.state.legal_hold == on:
            raise UsageError(f"the legal hold is {'on' if on else 'off'} already")
        recorded = self._recorded(acts.legal_hold(on, reason, actor=actor))
        self._log.set_state(legal_hold=on)
        return recorded

    def prune(self, now: datetime.datetime, *, actor: str) -> Pruned:
        """Erase the payloads that are older than they are to be kept.

        Records of erasure, retention and keys stay, as all others' absence rests on them.

        Args:
            now: the present.
            actor: who prunes.

        Raises:
            UsageError: nothing says how long payloads are kept.
            LegalHold: there is a legal hold.
            RecordError: the log refused the record of it; nothing is dropped.
            StorageError: they are dropped, but traces are still in the database's files.
        """
        state = self.state
        before = self._limit(state, now)
        if state.legal_hold:
            raise LegalHold("there is a legal hold on the log: nothing may be dropped")
        if before is None:
            raise UsageError("payloads are kept for good; set how many days they are kept first")
        days = (now - before).days
        found = self._erasing.older_than(before)
        kinds = dict(Counter(one.kind for one in found))
        if not found:
            self._log.set_state(last_pruned=now)
            return Pruned(before, 0, {}, None)
        marker = self._markers.add({})
        try:
            recorded = self._recorded(acts.pruning(before, days=days, kinds=kinds, actor=actor))
        except RecordError:
            marker.unlink(missing_ok=True)
            raise
        for start in range(0, len(found), _AT_ONCE):
            self._log.erase([one.sequence for one in found[start : start + _AT_ONCE]])
        self._log.set_state(last_pruned=now)
        self._database.compact()
        marker.unlink(missing_ok=True)
        return Pruned(before, len(found), kinds, recorded.id)

    def due(self, now: datetime.datetime) -> int:
        """Count the payloads that `prune` would erase."""
        before = self._limit(self.state, now)
        return 0 if before is None else self._erasing.count_older_than(before)

    def settle(self) -> list[str]:
        """Make retention and hold what the log says they are, as after a kill or an edit.

        Returns:
            what was not as the log says, one line each.
        """
        state = self.state
        said = self._said()
        wrong = {name: value for name, value in said.items() if getattr(state, name) != value}
        if wrong:
            self._log.set_state(**wrong)
        lines = [
            f"{name} was {getattr(state, name)}, not {wrong[name]} as logged" for name in wrong
        ]
        for line in lines:
            _log.warning("the log's state is set right: %s", line)
        return lines

    def _limit(self, state: LogState, now: datetime.datetime) -> datetime.datetime | None:
        """Return the moment before which payloads are not kept; None where they are for good."""
        if state.retention_days is None:
            return None
        days = max(state.retention_days, FLOOR_DAYS)  # Whoever edited the database.
        return now.astimezone(datetime.UTC) - datetime.timedelta(days=days)

    def _said(self) -> dict[str, Any]:
        """Return what the newest records say of retention and hold.

        One that can't be opened counts as what lets less be dropped; `rag audit verify` says more.
        """
        said: dict[str, Any] = {}
        for row in self._log.all(kinds=("retention",)):
            name = "retention_days" if row.status == "set" else "legal_hold"
            if row.status in _OF_NEITHER or name in said:
                continue
            try:
                payload = self._log.payload(row)
            except DigestMismatch:
                payload = None
            if payload:
                said[name] = payload["retention_days" if row.status == "set" else "on"]
            else:
                said[name] = self.state.retention_days if row.status == "set" else True
            if len(said) == 2:
                break
        return {"retention_days": None, "legal_hold": False} | said

    def _recorded(self, new: NewRecord) -> Recorded:
        try:
            return self._log.append(new)
        except (StorageError, DigestMismatch) as error:
            raise RecordError(f"nothing is changed, as it could not be logged: {error}") from error
