"""What goes into the log of how the log itself is kept: keys, erasures, retention, holds."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

import rag
from knowledge_bases.store.records import NewRecord

PERMANENT = frozenset({"erasure", "retention", "key"})
"""Kinds whose payloads are never erased: without them nobody could say why others are gone."""


def key_change(
    change: str, key: str, *, since: int, replaces: str | None = None, actor: str
) -> NewRecord:
    """Return the record of a signing key.

    Args:
        change: "created", "rotated", or "lost" where the key before it must not count any more.
        key: the public key as text.
        since: log size that it signs from.
        replaces: the public key before it.
        actor: who made it.
    """
    content = {
        **_head("key", actor),
        "change": change,
        "key": key,
        "from": since,
        "replaces": replaces,
    }
    return NewRecord("key", None, change, content)


def erasure(
    records: Sequence[str],
    *,
    what: str,
    kinds: Mapping[str, int],
    actor: str,
    knowledge_base: str | None = None,
    subject_hmac: str | None = None,
    document_hmac: str | None = None,
    document_id: str | None = None,
    versions: int = 0,
    chunks: int = 0,
) -> NewRecord:
    """Return the record that payloads are erased; it holds nothing of what they held.

    Args:
        records: their ids.
        what: "subject", "record" or "document".
        kinds: how many of each kind of record.
        actor: who erases.
        knowledge_base: the name of the one that a document was in.
        subject_hmac: whom they are about, keyed.
        document_hmac: the document's knowledge base and URI, keyed.
        document_id: the document's.
        versions: of the document, that are erased.
        chunks: the same.
    """
    content = {
        **_head("erasure", actor),
        "what": what,
        "records": list(records),
        "kinds": dict(kinds),
        "knowledge_base": knowledge_base,
        "subject_hmac": subject_hmac,
        "document_hmac": document_hmac,
        "document_id": document_id,
        "versions": versions,
        "chunks": chunks,
    }
    return NewRecord("erasure", knowledge_base, what, content)


def pruning(
    before: datetime.datetime, *, days: int, kinds: Mapping[str, int], actor: str
) -> NewRecord:
    """Return the record that the payloads of all records before it in the log are dropped for age.

    Args:
        before: those are that were recorded earlier than this.
        days: how long payloads are kept.
        kinds: how many of each kind of record.
        actor: who prunes.
    """
    content = {
        **_head("retention", actor),
        "what": "pruned",
        "before": before.astimezone(datetime.UTC).isoformat(timespec="microseconds"),
        "retention_days": days,
        "kinds": dict(kinds),
    }
    return NewRecord("retention", None, "pruned", content)


def retention(days: int | None, *, actor: str) -> NewRecord:
    """Return the record of how long payloads are kept from now on; None is for good."""
    content = {**_head("retention", actor), "what": "set", "retention_days": days}
    return NewRecord("retention", None, "set", content)


def legal_hold(on: bool, reason: str, *, actor: str) -> NewRecord:
    """Return the record that nothing may be erased from now on, or that it may again."""
    content = {**_head("retention", actor), "what": "legal hold", "on": on, "reason": reason}
    return NewRecord("retention", None, "hold on" if on else "hold off", content)


def subjects_renewed(*, actor: str) -> NewRecord:
    """Return the record that whom records are about is noted under a new secret."""
    content = {**_head("retention", actor), "what": "subjects renewed"}
    return NewRecord("retention", None, "subjects renewed", content)


def moment(text: str) -> datetime.datetime:
    """Return the moment that a pruning's record names.

    Raises:
        ValueError: it is none.
    """
    found = datetime.datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} has no zone")
    return found


def _head(kind: str, actor: str) -> dict[str, str]:
    return {
        "schema": f"grounded-rag/{kind}/1",
        "kind": kind,
        "software": f"grounded-rag {rag.__version__}",
        "actor": actor,
    }
