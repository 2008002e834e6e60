"""A record of the log as its page shows it, with all that a browser needs to check it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from knowledge_bases.audit import checkpoint as checkpoints
from knowledge_bases.bundling import newest_note
from knowledge_bases.home import Home
from knowledge_bases.store.records import Opened
from knowledge_bases.tables import AuditRow


@dataclass(frozen=True, slots=True)
class Proof:
    """That a record is in the log.

    Attributes:
        hashes: the audit path from the leaf upwards, hexadecimal.
        note: the signed checkpoint.
        keys: texts of the keys whose signatures count, ``name+id+base64``.
    """

    index: int
    size: int
    root: str
    origin: str
    hashes: tuple[str, ...]
    note: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RecordView:
    """A record.

    Attributes:
        payload: the exact bytes that the leaf commits to, as text; None once it is erased.
        readable: the same, laid out for reading.
        salt: of the commitment, hexadecimal.
    """

    row: AuditRow
    payload: str | None
    readable: str | None
    salt: str | None
    proof: Proof


def record_view(home: Home, row: AuditRow, opened: Opened | None) -> RecordView:
    """Return what the page shows; where no checkpoint has the record yet, the log is signed.

    Raises:
        DigestMismatch: the log is damaged or contradicts its checkpoint.
        IntegrityError: a key is damaged or missing.
        StorageError: keys or database can't be used.
    """
    note = newest_note(home, row.sequence)
    signed = checkpoints.read(note)
    proof = Proof(
        index=row.sequence,
        size=signed.size,
        root=signed.root.hex(),
        origin=signed.origin,
        hashes=tuple(
            one.hex() for one in home.store.log.inclusion_proof(row.sequence, signed.size)
        ),
        note=note,
        keys=tuple(
            str(listed.key)
            for listed in home.audit.keeping.verifier_keys()
            if listed.covers(signed.size)
        ),
    )
    payload = None if opened is None else opened.payload.decode()
    readable = (
        None if payload is None else json.dumps(json.loads(payload), indent=2, ensure_ascii=False)
    )
    return RecordView(row, payload, readable, opened.salt.hex() if opened else None, proof)
