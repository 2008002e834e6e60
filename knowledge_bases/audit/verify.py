"""Verifies the log, a range of it, or one record, against its tree and signed checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knowledge_bases.audit.checkpoint import LogKey
from knowledge_bases.audit.verification import Problem, Verification
from knowledge_bases.audit.verify_record import SubjectHash
from knowledge_bases.audit.verify_walk import Progress, Walk
from knowledge_bases.database import Database
from knowledge_bases.store.log_scan import LogScan
from rag.errors import UsageError

__all__ = ["Problem", "Verification", "verify"]


def verify(
    database: Database,
    *,
    keys: Sequence[LogKey] = (),
    notes: Mapping[str, str] | None = None,
    start: int = 0,
    stop: int | None = None,
    subject_hash: SubjectHash | None = None,
    progress: Progress = lambda done, total: None,
) -> Verification:
    """Verify records [start, stop), by default all; memory doesn't grow with the log.

    Leaves are hashed anew, so whatever was done to the database, a log that agrees with a
    checkpoint kept elsewhere is the one that was signed.

    Args:
        database: the log's.
        keys: whose signatures count; as published by the operator, or kept from then.
        notes: signed checkpoints kept outside, by where they are kept; the database's own are
            compared anyway.
        start: first record.
        stop: the one after the last; for one record ``start + 1``.
        subject_hash: as `Log.subject_hash`; None where the home's secret is not at hand.
        progress: called now and then.

    Raises:
        UsageError: the log has no such records.
        StorageError: the database can't be read, as where its file is damaged.
    """
    with LogScan.on(database) as scan:
        size = scan.size()
        end = size if stop is None else stop
        if not 0 <= start <= end <= size or (start == end and size and stop is not None):
            raise UsageError(
                f"the log has records 0 to {size - 1}; there is no range {start}:{end}"
            )
        walk = Walk(scan, size, start, end, subject_hash, progress)
        return walk.run(notes or {}, keys, whole=stop is None and start == 0)
