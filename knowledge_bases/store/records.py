"""What a record of the log is, before and after it is in it."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from knowledge_bases.audit.receipt import Cited


@dataclass(frozen=True, slots=True)
class NewRecord:
    """What a record of the log is made of, before it has its place in it.

    Attributes:
        kind: one of `knowledge_bases.audit.leaf.KINDS`.
        kb_name: the knowledge base it speaks of, if of one.
        status: what came of it; anyone may see it, as of the two above.
        payload: everything else; sealed, and erasable. Checked against its published schema.
        citations: the document versions it rests on.
        subject: whom it is about, to find it again; kept as an HMAC only.
    """

    kind: str
    kb_name: str | None
    status: str | None
    payload: Mapping[str, Any]
    citations: tuple[Cited, ...] = ()
    subject: str | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass(frozen=True, slots=True)
class Recorded:
    """A record that is in the log and on disk.

    Attributes:
        leaf: the exact bytes, as text, that its hash is of.
    """

    id: str
    sequence: int
    kind: str
    kb_name: str | None
    status: str | None
    created_at: datetime.datetime
    leaf_hash: str
    leaf: str

    @property
    def log_size(self) -> int:
        """Records in the log once this one was in it."""
        return self.sequence + 1


@dataclass(frozen=True, slots=True)
class Opened:
    """A record's payload, checked against its leaf.

    Attributes:
        payload: the exact canonical bytes that the leaf commits to.
        salt: of the commitment, 32 bytes.
    """

    payload: bytes
    salt: bytes


@dataclass(frozen=True, slots=True)
class LogState:
    """The log as a whole; see `knowledge_bases.tables.AuditStateRow`."""

    log_id: str
    legal_hold: bool
    retention_days: int | None
    last_pruned: datetime.datetime | None
