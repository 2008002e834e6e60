"""Which payloads the log's own records say are erased."""

from __future__ import annotations

import bisect
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from knowledge_bases.audit.acts import PERMANENT, moment
from knowledge_bases.audit.leaf import Leaf

if TYPE_CHECKING:
    from knowledge_bases.audit.verify_record import Examined


@dataclass(slots=True)
class Named:
    """What records of erasure and retention name.

    Records dropped for their age are named by one moment, not one by one, so that memory doesn't
    grow with them.

    Attributes:
        unreadable: sequence numbers of such records whose payload can't be opened.
    """

    unreadable: list[int] = field(default_factory=list)
    _ids: set[bytes] = field(default_factory=set)
    _dropped: list[tuple[int, datetime]] = field(default_factory=list)
    """(records of the log so far, moment), the first rising, the second falling."""

    def add(self, found: Examined) -> None:
        """Note what one such record names."""
        if found.leaf is None:
            return
        try:
            self.note(found.leaf, found.payload)
        except (KeyError, ValueError, TypeError, AttributeError):
            self.unreadable.append(found.leaf.sequence)

    def note(self, leaf: Leaf, payload: Mapping[str, Any] | None) -> None:
        """Note what the payload of one such record names.

        Raises:
            ValueError: it can't be read.
        """
        if payload is None:
            raise ValueError(f"record {leaf.sequence} has no payload")
        if leaf.kind == "erasure":
            self._ids.update(uuid.UUID(record).bytes for record in payload["records"])
        elif payload.get("what") == "pruned":
            self._drop(leaf.sequence, moment(payload["before"]))

    def names(self, leaf: Leaf) -> bool:
        """Say whether a record's payload was to be erased."""
        if leaf.kind in PERMANENT:
            return False
        if uuid.UUID(leaf.id).bytes in self._ids:
            return True
        at = bisect.bisect_right(self._dropped, leaf.sequence, key=lambda one: one[0])
        return at < len(self._dropped) and leaf.created_at < self._dropped[at][1]

    def _drop(self, below: int, before: datetime) -> None:
        while self._dropped and self._dropped[-1][1] <= before:
            self._dropped.pop()  # The new one names all that this one did.
        self._dropped.append((below, before))
