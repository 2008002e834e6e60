"""Erases payloads and documents; the log says what was erased before it is, and never what it was.

The order: a marker file, the erasure's record, then the deletions. Whoever is killed in between
leaves a marker and a record that names what is still to go; `Eraser.finish` goes on from there. A
marker whose record is not in the log erases nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from knowledge_bases.audit import acts
from knowledge_bases.audit.unfinished import Markers
from knowledge_bases.database import Database
from knowledge_bases.index_clearing import build_from_nothing, clear_orphans
from knowledge_bases.store import Store
from knowledge_bases.store.erasing import Erasable, Erasing
from knowledge_bases.upload_clearing import clear_uploads, waiting_uploads
from rag.errors import (
    DigestMismatch,
    LegalHold,
    NotFound,
    RecordError,
    StorageError,
    UsageError,
)

if TYPE_CHECKING:
    from knowledge_bases.knowledge_base import KnowledgeBase

_IDS_PER_RECORD = 10_000
_LOCK_SECONDS = 60.0
_BUSY = "another process is erasing; try again when it has finished"
_LATE_ROUNDS = 3
_OpenBase = Callable[[str], "KnowledgeBase"]


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure did.

    Attributes:
        records: payloads that are gone.
        kinds: how many of each kind of record.
        recorded_as: ids of the log's records of it; none where there was nothing to erase.
        versions: of a document, that are gone.
        chunks: the same.
    """

    records: int
    kinds: dict[str, int]
    recorded_as: tuple[str, ...]
    versions: int = 0
    chunks: int = 0


class Eraser:
    """Erases in one home folder.

    Args:
        database: the home's.
        store: on it.
        open_base: opens a knowledge base by name.
    """

    def __init__(self, database: Database, store: Store, open_base: _OpenBase) -> None:
        self._database = database
        self._store = store
        self._erasing = Erasing(database)
        self._open_base = open_base
        self._markers = Markers(database.home)
        self._alone = FileLock(database.home / "erasing.lock")

    def erase_subject(self, subject: str, *, actor: str) -> Erased:
        """Erase the payloads of all records about somebody.

        Raises:
            LegalHold: there is a legal hold.
            RecordError: the log refused the record of it; nothing is erased.
            StorageError: it is erased, but something of it is still in the database's files.
        """
        log = self._store.log
        found = self._erasing.at(log.by_subject(subject))
        return self._erase(
            found, {}, what="subject", actor=actor, subject_hmac=log.subject_hash(subject)
        )

    def erase_record(self, record_id: str, *, actor: str) -> Erased:
        """Erase the payload of one record, e.g. an answer.

        Args:
            record_id: its id, or enough of the beginning.
            actor: who erases.

        Raises:
            NotFound: there is no such record.
            UsageError: payloads of its kind are never erased.
            LegalHold: there is a legal hold.
            RecordError: the log refused the record of it; nothing is erased.
            StorageError: it is erased, but something of it is still in the database's files.
        """
        row = self._store.log.find(record_id)
        if row.kind in acts.PERMANENT:
            raise UsageError(
                f"record {row.id} is of kind {row.kind}, which is never erased: it says what "
                "became of others"
            )
        return self._erase(self._erasing.at([row.sequence]), {}, what="record", actor=actor)

    def erase_document(self, kb_name: str, uri: str, *, actor: str) -> Erased:
        """Erase a document, all that came from it, and all records that cite it or read it.

        Raises:
            NotFound: nothing is stored of it, and no record rests on it.
            UsageError: an upload that may hold it is still to be worked off.
            LegalHold: there is a legal hold.
            RecordError: the log refused the record of it; nothing is erased.
            StorageError: it is erased, but something of it is still in files.
        """
        self.refuse_under_hold()
        self._refuse_while_uploading(kb_name)
        log = self._store.log
        found = self._erasing.at(log.citing(kb_name, uri, read=True))
        traces, jobs = None, list[str]()
        try:
            base = self._open_base(kb_name)
        except NotFound:
            base = None  # It is deleted; records may still rest on its documents.
        if base is not None:
            traces = self._erasing.document(base.row.id, uri)
            jobs = self._erasing.jobs_naming(base.row.id, uri)
        if traces is None and not found and not jobs:
            if base is not None or not self._was_deleted(kb_name):
                raise NotFound(
                    f"there is nothing of {uri!r} in {kb_name!r}; `rag doc list` shows all"
                )
            self._clear_files([])  # Deleting it left no rows, but maybe traces of them.
            return Erased(0, {}, ())
        document: dict[str, Any] = {"knowledge_base": kb_name}
        if traces is not None:
            document["document_id"] = traces.document_id
        versions, chunks = (traces.versions, traces.chunks) if traces else (0, 0)
        about = {
            "document_hmac": log.subject_hash(f"{kb_name}\n{uri}"),
            **{name: str(value) for name, value in document.items()},
        }
        done = [
            self._erase(
                found,
                document,
                what="document",
                actor=actor,
                jobs=jobs,
                versions=versions,
                chunks=chunks,
                **about,
            )
        ]
        for _ in range(_LATE_ROUNDS):  # Answers that were being written meanwhile.
            late = self._erasing.at(log.citing(kb_name, uri, read=True))
            if not late:
                break
            done.append(
                self._erase(late, {}, what="document", actor=actor, versions=0, chunks=0, **about)
            )
        return Erased(
            sum(one.records for one in done),
            dict(sum((Counter(one.kinds) for one in done), Counter[str]())),
            tuple(record for one in done for record in one.recorded_as),
            versions,
            chunks,
        )

    @property
    def unfinished(self) -> bool:
        """Whether an erasure was cut short, so that `finish` has something to do."""
        return bool(self._markers.all())

    def finish(self, *, wait: bool = True) -> int:
        """Erase what records of erasure and retention name and is still there; clear the files.

        Args:
            wait: for an erasure of another process; else it is left to that one.

        Returns:
            how many payloads were still there.

        Raises:
            LegalHold: there is a legal hold.
            StorageError: the database is in use or refused it.
        """
        self.refuse_under_hold()
        try:
            with self._alone.acquire(timeout=_LOCK_SECONDS if wait else 0):
                left = list(self.pending())
                if left:
                    self._store.log.erase([one.sequence for one in left])
                markers = self._markers.all()
                for marked in markers.values():
                    self._clear_document(marked)
                self._clear_files(list(markers))
                return len(left)
        except Timeout as error:
            if not wait:
                return 0
            raise StorageError(_BUSY) from error

    def pending(self) -> Iterator[Erasable]:
        """Yield the records whose payload the log says is erased, but isn't yet.

        Reads every record of erasure and retention; a record that can't be opened is passed over,
        as `rag audit verify` says more.
        """
        for row in self._store.log.all(kinds=("erasure", "retention"), oldest_first=True):
            try:
                payload = self._store.log.payload(row) or {}
            except DigestMismatch:
                continue
            if row.kind == "erasure":
                yield from self._erasing.of(payload.get("records", []))
            elif payload.get("what") == "pruned":
                before = acts.moment(payload["before"])
                yield from self._erasing.older_than(before, below=row.sequence)

    def _erase(
        self,
        found: Sequence[Erasable],
        document: dict[str, Any],
        *,
        what: str,
        actor: str,
        jobs: Sequence[str] = (),
        **more: Any,
    ) -> Erased:
        self.refuse_under_hold()
        if not found and not document:
            return Erased(0, {}, ())
        try:
            # A marker that has no record yet is none of `finish`'s business in another process.
            with self._alone.acquire(timeout=_LOCK_SECONDS):
                return self._erase_alone(found, document, what, actor, jobs, more)
        except Timeout as error:
            raise StorageError(_BUSY) from error

    def _erase_alone(
        self,
        found: Sequence[Erasable],
        document: dict[str, Any],
        what: str,
        actor: str,
        jobs: Sequence[str],
        more: Mapping[str, Any],
    ) -> Erased:
        saying = []
        for start in range(0, max(1, len(found)), _IDS_PER_RECORD):
            part = found[start : start + _IDS_PER_RECORD]
            kinds = Counter(one.kind for one in part)
            ids = [one.id for one in part]
            saying.append(acts.erasure(ids, what=what, kinds=kinds, actor=actor, **more))
        marked = {**document, "jobs": list(jobs), "recorded_as": [new.id for new in saying]}
        marker = self._markers.add(marked)
        try:
            recorded = [one.id for one in self._store.log.append_all(saying)]
        except (StorageError, DigestMismatch) as error:
            marker.unlink(missing_ok=True)
            raise RecordError(f"nothing is erased, as that could not be logged: {error}") from error
        self._store.log.erase([one.sequence for one in found])
        self._clear_document(marked)
        self._clear_files([marker])
        kinds = Counter(one.kind for one in found)
        return Erased(len(found), dict(kinds), tuple(recorded))

    def refuse_under_hold(self) -> None:
        """Raise `LegalHold` if there is one, as every erasure does."""
        if self._store.log.state().legal_hold:
            raise LegalHold(
                "there is a legal hold on the log, so nothing may be erased; "
                "`rag audit hold off --reason R` ends it"
            )

    def _refuse_while_uploading(self, kb_name: str) -> None:
        """Raise `UsageError` where what is to be erased may be about to come in (again)."""
        theirs = [job.id for job in self._store.jobs.unfinished() if job.kb_name == kb_name]
        waiting = waiting_uploads(self._database.home, theirs)
        if waiting:
            raise UsageError(
                f"{len(waiting)} uploads into {kb_name!r} are not worked off yet and may hold it "
                f"(the first is job {waiting[0]}): erase it when `rag serve` has finished them"
            )

    def _was_deleted(self, kb_name: str) -> bool:
        """Whether the log knows of deletions in a knowledge base of that name."""
        return any(self._store.log.all(kinds=("deletion",), kb_name=kb_name, limit=1))

    def _clear_document(self, marked: Mapping[str, Any]) -> None:
        """Erase what a marker names, unless the log doesn't say so."""
        recorded_as = marked.get("recorded_as")
        if recorded_as is not None and not self._erasing.any_recorded(recorded_as):
            return
        self._erasing.forget_jobs(marked.get("jobs", []))
        if "document_id" not in marked:
            return
        try:
            base = self._open_base(marked["knowledge_base"])
        except NotFound:
            return  # It was deleted with all of its documents.
        self._erasing.forget_document(base.row.id, marked["document_id"])
        folder = base.home.folder(base.row)
        build_from_nothing(self._store, base.row, base.lifecycle, folder)
        base.lifecycle.remove_old()

    def _clear_files(self, markers: Sequence[Path]) -> None:
        """Clear the home folder of what is no longer in any row; then the markers may go."""
        home = self._database.home
        clear_orphans(self._store, home / "indexes")
        clear_uploads(home, {job.id for job in self._store.jobs.unfinished()})
        try:
            self._database.compact()
        except StorageError as error:
            raise StorageError(
                f"it is erased, but the database's files may still hold traces: {error}; "
                "`rag doctor` tries again"
            ) from error
        for marker in markers:
            marker.unlink(missing_ok=True)
