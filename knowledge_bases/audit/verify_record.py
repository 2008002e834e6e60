"""Compares one record of the log with its leaf, its payload, and what is kept beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from knowledge_bases.audit import merkle
from knowledge_bases.audit.acts import PERMANENT
from knowledge_bases.audit.leaf import Leaf, parse
from knowledge_bases.audit.receipt import rests_on
from knowledge_bases.audit.seal import SALT_BYTES, Sealed, unseal
from knowledge_bases.audit.subjects import ABOUT
from knowledge_bases.audit.worst_verdict import worst_verdict
from knowledge_bases.store.log_scan import StoredRecord, as_text
from rag.errors import DigestMismatch

SubjectHash = Callable[[str], str]


@dataclass(slots=True)
class Examined:
    """What was found of a record.

    Attributes:
        leaf_hash: of the leaf's bytes as they are; None where there is no leaf.
        leaf: None where these bytes are none.
        changed: the leaf's bytes or place are not those that its stored hash is of.
        payload: None where it is erased, or can't be opened.
        erased: nothing is left of the payload.
        problems: what is wrong, one line each.
    """

    leaf_hash: bytes | None = None
    leaf: Leaf | None = None
    changed: bool = False
    payload: Mapping[str, Any] | None = None
    erased: bool = False
    problems: list[str] = field(default_factory=list)


def examine(stored: StoredRecord, subject_hash: SubjectHash | None = None) -> Examined:
    """Examine a record by itself; whether it is the one that was signed, only the tree says.

    Args:
        stored: all that the database has of it.
        subject_hash: what is kept of whom a record is about; None where the secret isn't at hand.
    """
    found = Examined()
    if stored.record is None:
        found.changed = True
        beside = ("payload", "secret", "citations", "subjects", "verdicts")
        names = ", ".join(name for name in beside if getattr(stored, name))
        found.problems.append(f"there is no record {stored.sequence}, but there is its {names}")
        return found
    if stored.mistyped:
        found.problems.append(f"record {stored.sequence} is not stored as text and bytes")
    _leaf(stored, stored.record, found)
    if found.leaf is None:
        return found
    try:
        _open(stored, found.leaf, found)
        if found.payload is not None:
            _compare(found.leaf, found.payload)
            _compare_beside(stored, found.leaf, found.payload, subject_hash)
    except DigestMismatch as error:
        found.problems.append(f"record {stored.sequence}: {error}")
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        found.problems.append(
            f"record {stored.sequence}: its payload has not the shape of its kind ({error!r:.80})"
        )
    return found


def _leaf(stored: StoredRecord, record: Mapping[str, Any], found: Examined) -> None:
    """Parse the leaf and compare it with the columns that repeat it."""
    content = record["leaf"]
    leaf = content.encode() if isinstance(content, str) else bytes(content or b"")
    computed = merkle.leaf_hash(leaf)
    found.leaf_hash = bytes.fromhex(computed)
    found.changed = as_text(record["leaf_hash"]) != computed
    number = stored.sequence
    try:
        parsed = parse(leaf)
    except DigestMismatch as error:
        found.changed = True
        found.problems.append(f"record {number} was changed: {error}")
        return
    found.leaf = parsed
    if parsed.sequence != number:
        found.changed = True
        found.problems.append(
            f"record {number} is not in its place: its leaf says {parsed.sequence}"
        )
    elif found.changed:
        found.problems.append(f"record {number} was changed: its leaf and leaf hash don't fit")
    expected: dict[str, Any] = {
        "id": parsed.id,
        "kind": parsed.kind,
        "status": parsed.status,
        "kb_name": parsed.knowledge_base,
    }
    wrong = [name for name, value in expected.items() if as_text(record[name]) != value]
    if not _same_moment(record["created_at"], parsed.created_at):
        wrong.append("created_at")
    if wrong:
        columns = ", ".join(wrong)
        found.problems.append(f"record {number} was changed: {columns} differ from its leaf")


def _same_moment(stored: Any, moment: datetime) -> bool:
    if isinstance(stored, datetime):
        return (stored if stored.tzinfo else stored.replace(tzinfo=moment.tzinfo)) == moment
    return as_text(stored) == moment.replace(tzinfo=None).isoformat(" ", "microseconds")


def _open(stored: StoredRecord, leaf: Leaf, found: Examined) -> None:
    """Open the payload.

    Raises:
        DigestMismatch: it is not the one that the leaf commits to, or only partly erased.
    """
    if not stored.payload and not stored.secret:
        if leaf.kind in PERMANENT:
            raise DigestMismatch(f"its payload is gone, though none of kind {leaf.kind} is erased")
        found.erased = True
        if stored.citations or stored.subjects or stored.verdicts:
            raise DigestMismatch(
                "its payload is erased, but its citations, subjects or verdict are not"
            )
        return
    if len(stored.payload) != 1 or len(stored.secret) != 1:
        raise DigestMismatch("half of it is missing: erasing takes payload and key together")
    (payload,), (secret,) = stored.payload, stored.secret
    salt = bytes(secret["salt"] or b"")
    if len(salt) != SALT_BYTES:
        raise DigestMismatch("its salt was changed")
    sealed = Sealed(
        bytes(payload["nonce"] or b""),
        bytes(payload["ciphertext"] or b""),
        bytes(secret["key"] or b""),
        salt,
        leaf.commitment,
    )
    opened = unseal(sealed, leaf.id)
    if len(opened) != leaf.payload_bytes:
        raise DigestMismatch("its payload is not as long as its leaf says")
    content = json.loads(opened)
    if not isinstance(content, dict):
        raise DigestMismatch("its payload is no object")
    found.payload = content


def _compare(leaf: Leaf, payload: Mapping[str, Any]) -> None:
    """Compare what leaf and payload both say.

    Raises:
        DigestMismatch: they differ.
    """
    both: dict[str, str | None] = {"kind": leaf.kind}
    if "knowledge_base" in payload:
        both["knowledge_base"] = leaf.knowledge_base
    said = dict(payload)
    if leaf.kind == "answer":
        both["status"] = leaf.status
    elif leaf.kind == "refusal":
        said["status"], both["status"] = payload["error"]["type"], leaf.status
    elif leaf.kind == "check":
        said["status"], both["status"] = payload["verdict"], leaf.status
    wrong = [name for name, value in both.items() if said.get(name) != value]
    if wrong:
        raise DigestMismatch(f"its leaf and its payload differ in {', '.join(wrong)}")


def _compare_beside(
    stored: StoredRecord,
    leaf: Leaf,
    payload: Mapping[str, Any],
    subject_hash: SubjectHash | None,
) -> None:
    """Compare the rows that find a record by document, subject or verdict with its payload.

    Raises:
        DigestMismatch: they differ.
    """
    rows = {
        (
            as_text(row["document_uri"]),
            row["version"],
            as_text(row["document_id"]),
            bool(row["cited"]),
            as_text(row["kb_name"]),
        )
        for row in stored.citations
    }
    name = leaf.knowledge_base or ""
    expected: set[tuple[Any, ...]] = set()
    if leaf.kind == "answer":
        expected = {
            (cited.document_uri, cited.version, cited.document_id, cited.cited, name)
            for cited in rests_on(payload)
        }
    elif leaf.kind == "deletion" and payload["what"] == "document":
        # The payload doesn't tell which version was the last.
        version = next(iter(rows), (None, None))[1]
        expected = {(payload["document"], version, payload["document_id"], False, name)}
    if rows != expected:
        raise DigestMismatch("the documents noted for it are not those that its payload names")
    verdict = worst_verdict(leaf.kind, payload)
    judged = [] if verdict is None else [(verdict.label, verdict.disputed)]
    if [(as_text(row["label"]), row["disputed"]) for row in stored.verdicts] != judged:
        raise DigestMismatch("the verdict noted for it is not the one that its payload names")
    about = payload[ABOUT[leaf.kind]] if leaf.kind in ABOUT else None
    hashes = {as_text(row["subject_hash"]) for row in stored.subjects}
    if len(hashes) > 1 or (about is None and leaf.kind != "review" and hashes):
        raise DigestMismatch("subjects are noted for it that its payload doesn't name")
    if about is not None and not hashes:
        raise DigestMismatch("its subject is not noted, so that erasing would not find it")
    if about is not None and subject_hash is not None and hashes != {subject_hash(about)}:
        raise DigestMismatch("the subject noted for it is not the one that its payload names")
