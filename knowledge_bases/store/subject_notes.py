"""Notes anew whom the log's records are about, after the secret of it was lost."""

from __future__ import annotations

import json
from dataclasses import dataclass

from filelock import FileLock, Timeout
from sqlalchemy import delete, insert, select

from knowledge_bases.audit import acts
from knowledge_bases.audit.subjects import ABOUT, replaced_secret, subject_hash
from knowledge_bases.database import Database
from knowledge_bases.store.log import Log
from knowledge_bases.store.log_reading import opened
from knowledge_bases.tables import AuditRow, AuditSubjectRow
from knowledge_bases.upload_clearing import SERVER_LOCK
from rag.errors import DigestMismatch, RecordError, StorageError, UsageError

_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Renewed:
    """What is noted anew.

    Attributes:
        noted: records.
        unreadable: records whose payload can't be opened, so that nobody knows whom they are about;
            `rag audit verify` names them.
    """

    noted: int
    unreadable: int


def renew_subjects(database: Database, log: Log, *, actor: str) -> Renewed:
    """Note under a new secret whom each record is about, as far as its payload is there.

    The log says so first. A kill on the way leaves the old notes, or the new ones with a secret
    that doesn't fit them, which the next use of it tells; then it is to be done again.

    Args:
        database: the log's.
        log: the log.
        actor: who does it.

    Raises:
        UsageError: a server is running here, which would go on with the old secret.
        RecordError: the log refused the record of it; nothing is changed.
        StorageError: the secret or the database can't be written.
    """
    try:
        with FileLock(database.home / SERVER_LOCK, thread_local=False).acquire(timeout=0):
            try:
                log.append(acts.subjects_renewed(actor=actor))
            except (StorageError, DigestMismatch) as error:
                raise RecordError(
                    f"nothing is noted anew, as that could not be logged: {error}"
                ) from error
            with replaced_secret(database.home) as secret:
                done = _noted(database, secret)
            log.forget_secret()
            return done
    except Timeout as error:
        raise UsageError(
            "`rag serve` is running here and would go on with the old secret: stop it first"
        ) from error


def _noted(database: Database, secret: bytes) -> Renewed:
    noted = unreadable = 0
    query = select(AuditRow).where(AuditRow.kind.in_(ABOUT)).order_by(AuditRow.sequence)
    with database.write() as session:
        session.execute(delete(AuditSubjectRow))
        after: int | None = -1
        while after is not None:
            rows = session.scalars(query.where(AuditRow.sequence > after).limit(_AT_ONCE)).all()
            found = []
            for row in rows:
                try:
                    sealed = opened(session, row)
                except (DigestMismatch, RecordError):
                    unreadable += 1
                    continue
                if sealed is not None:
                    about = json.loads(sealed.payload)[ABOUT[row.kind]]
                    found.append(
                        {"sequence": row.sequence, "subject_hash": subject_hash(secret, about)}
                    )
            after = rows[-1].sequence if rows else None
            session.expunge_all()
            if found:
                session.execute(insert(AuditSubjectRow), found)
            noted += len(found)
    return Renewed(noted, unreadable)
