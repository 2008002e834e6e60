"""A leaf of the log: what anyone may see of a record, without personal data."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import re
from dataclasses import dataclass

from knowledge_bases.audit import merkle
from rag.errors import DigestMismatch

SCHEMA = "grounded-rag/leaf/1"
KINDS = (
    "answer",
    "refusal",
    "check",
    "deletion",
    "erasure",
    "review",
    "key",
    "read",
    "calibration",
    "settings",
    "retention",
    "access",
)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
_LEAF_BYTES = 4_096
"""No leaf is longer: names are at most 200 characters."""
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Leaf:
    """What is hashed into the log's tree of one record.

    Attributes:
        id: a UUID.
        sequence: the leaf's index in the log, gap-free from 0.
        created_at: when it was appended, in UTC.
        kind: one of `KINDS`.
        knowledge_base: the name of the one it speaks of, if of one.
        status: what came of it, e.g. "answered"; of a refusal the error's class.
        commitment: binds the payload without telling anything of it; see `commitment`.
        payload_bytes: length of the payload.
    """

    id: str
    sequence: int
    created_at: datetime.datetime
    kind: str
    knowledge_base: str | None
    status: str | None
    commitment: str
    payload_bytes: int

    def canonical(self) -> bytes:
        """Return the exact bytes that are hashed: canonical JSON (RFC 8785).

        Of an object of texts, counts and nulls under ASCII names, `json` makes the same bytes as
        a full implementation, in a tenth of the time; only floats and other names would differ.
        """
        return _ENCODER.encode(
            {
                "schema": SCHEMA,
                "id": self.id,
                "sequence": self.sequence,
                "created_at": self.created_at.isoformat(timespec="microseconds"),
                "kind": self.kind,
                "knowledge_base": self.knowledge_base,
                "status": self.status,
                "commitment": self.commitment,
                "payload_bytes": self.payload_bytes,
            }
        ).encode()

    def hash(self) -> str:
        """Return its leaf hash, hexadecimal."""
        return merkle.leaf_hash(self.canonical())


def parse(leaf: bytes) -> Leaf:
    """Return the leaf that these bytes are.

    Raises:
        DigestMismatch: they are no leaf, or not the canonical form of one.
    """
    try:
        if len(leaf) > _LEAF_BYTES:
            raise ValueError("too long")
        content = json.loads(leaf)
        if not isinstance(content, dict) or content.pop("schema", None) != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        parsed = Leaf(**{**content, "created_at": _moment(content.get("created_at"))})
        _check(parsed)
        if parsed.canonical() != leaf:
            raise ValueError("it is not in canonical form")
    except (ValueError, TypeError, RecursionError) as error:
        raise DigestMismatch(f"this is no leaf of a log: {error}") from error
    return parsed


def commitment(salt: bytes, payload: bytes) -> str:
    """Return what a leaf says of its payload, hexadecimal: HMAC-SHA256 under the record's salt.

    Whoever has the salt can check a payload against it; without the salt it can't be guessed from
    likely payloads, so that a leaf whose salt was erased says nothing of what its payload was.

    Args:
        salt: 32 random bytes of the record's own.
        payload: the payload's canonical bytes.
    """
    return hmac.new(salt, payload, hashlib.sha256).hexdigest()


def _moment(value: object) -> datetime.datetime:
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        raise ValueError("created_at is no time in UTC with microseconds")
    return datetime.datetime.fromisoformat(value)


def _check(leaf: Leaf) -> None:
    """Check what the dataclass doesn't.

    Raises:
        ValueError: naming the field that can't be.
    """
    texts = (leaf.id, leaf.kind, leaf.commitment)
    numbers = (leaf.sequence, leaf.payload_bytes)
    if not all(isinstance(text, str) for text in texts) or not _UUID.fullmatch(leaf.id):
        raise ValueError("its id is no UUID")
    if not all(type(number) is int and 0 <= number < 2**53 for number in numbers):
        raise ValueError("sequence and payload_bytes are no counts")
    if leaf.kind not in KINDS:
        raise ValueError(f"its kind is {leaf.kind[:40]!r}")
    if not _SHA256.fullmatch(leaf.commitment):
        raise ValueError("its commitment is no sha256")
    for text in (leaf.knowledge_base, leaf.status):
        if text is not None and not isinstance(text, str):
            raise ValueError("knowledge_base and status are text or null")
