"""Exports the log of a home, or one knowledge base's part of it; that somebody did is logged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TextIO

from knowledge_bases.audit.export import Exported, Format, Manifest, export
from knowledge_bases.home import Home
from knowledge_bases.recording import LOCAL
from knowledge_bases.store.log import Log
from knowledge_bases.tables import AuditRow


def export_log(
    home: Home, out: TextIO, format: Format, *, kb_name: str | None = None, actor: str = LOCAL
) -> Manifest:
    """Write the records that the log has now, oldest first; as PROV its answers only.

    Args:
        home: whose log it is.
        out: opened with ``newline=""`` and as UTF-8.
        format: see `knowledge_bases.audit.export.export`.
        kb_name: only this knowledge base's.
        actor: who reads them.

    Raises:
        DigestMismatch: a payload is not what its leaf commits to, or the tree is damaged.
        RecordError: the log refused the record of the reading, so nothing is written.
    """
    log = home.store.log
    size = log.size()
    root = log.root(size).hex()
    home.audit.read_all(size, how="export", kb_name=kb_name, actor=actor)
    kinds = ("answer",) if format == "prov" else ()
    rows = log.all(kb_name=kb_name, kinds=kinds, before=size, oldest_first=True)
    return export(_exported(log, rows), out, format, log_size=size, root=root)


def _exported(log: Log, rows: Iterator[AuditRow]) -> Iterator[Exported]:
    for row in rows:
        opened = log.opened(row)
        yield Exported(
            json.loads(row.leaf),
            row.leaf_hash,
            json.loads(opened.payload) if opened else None,
            opened.salt.hex() if opened else None,
        )
