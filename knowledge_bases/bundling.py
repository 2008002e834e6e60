"""Makes the bundle of a record: all that an outsider needs to verify it, from one home."""

from __future__ import annotations

import json

from knowledge_bases.audit import checkpoint as checkpoints
from knowledge_bases.audit.bundle import BundleParts, CitedText, cited_texts
from knowledge_bases.audit.note_keys import VerifierKey
from knowledge_bases.home import Home
from knowledge_bases.recording import LOCAL
from knowledge_bases.store.records import Opened
from knowledge_bases.tables import AuditRow
from rag.errors import IntegrityError, NotFound


def bundle_parts(home: Home, row: AuditRow, *, actor: str = LOCAL) -> BundleParts:
    """Collect the parts of a record's bundle; that somebody reads it is in the log before.

    The checkpoint is the newest that has the record; where there is none, the log is signed now.

    Args:
        home: whose log it is.
        row: the record.
        actor: who reads it.

    Raises:
        NotFound: its payload was erased, or a cited text was.
        DigestMismatch: the payload is not what its leaf commits to, or the log contradicts its
            last checkpoint.
        RecordError: the log refused the record of the reading.
        IntegrityError: no key of the home signed that checkpoint.
        StorageError: keys or database can't be used.
    """
    opened = home.audit.read(row, how="bundle", actor=actor)
    if opened is None:
        raise NotFound(f"the payload of record {row.id} was erased, so it makes no bundle")
    log = home.store.log
    note = newest_note(home, row.sequence)
    signed = checkpoints.read(note)
    return BundleParts(
        leaf=row.leaf.encode(),
        payload=opened.payload,
        salt=opened.salt,
        proof=log.inclusion_proof(row.sequence, signed.size),
        checkpoint=note,
        key=signer(home, note),
        texts=_texts(home, row, opened),
    )


def newest_note(home: Home, sequence: int) -> str:
    """Return the newest signed checkpoint that has a record, made now if there is none.

    Args:
        home: whose log it is.
        sequence: of the record.
    """
    newest = next(iter(home.store.log.checkpoints(limit=1, newest_first=True)), None)
    if newest is not None and newest.size > sequence:
        return newest.note
    return home.audit.keeping.checkpoint()


def signer(home: Home, note: str) -> VerifierKey:
    """Return the newest key whose signature on a checkpoint counts.

    Raises:
        IntegrityError: there is none.
    """
    for listed in reversed(home.audit.keeping.verifier_keys()):
        try:
            checkpoints.verify(note, [listed])
        except IntegrityError:
            continue
        return listed.key
    raise IntegrityError("no key of this home has signed its checkpoint; run `rag doctor`")


def _texts(home: Home, row: AuditRow, opened: Opened) -> list[CitedText]:
    """Return the texts that an answer cites; other records cite nothing."""
    if row.kind != "answer" or row.kb_name is None:
        return []
    payload = json.loads(opened.payload)
    cited = {(one["document"], one["version"]) for one in payload["citations"]}
    if not cited:
        return []
    base = home.open(row.kb_name)
    stored = base.store.documents.stored(base.row.id, sorted(cited))
    lacking = sorted(cited - stored.keys())
    if lacking:
        uri, version = lacking[0]
        raise NotFound(
            f"record {row.id} cites version {version} of {uri!r}, whose text is no longer stored, "
            "so it makes no bundle"
        )
    return cited_texts(
        payload, lambda uri, version, start, end: stored[uri, version].text[start:end]
    )
