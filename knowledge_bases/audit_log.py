"""The log of a home as evidence: what goes into it, who opened it, how it is kept and cleared."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from knowledge_bases import recording
from knowledge_bases.answer_settings import answer_settings, settings_digest
from knowledge_bases.audit.checkpoint import LogKey
from knowledge_bases.audit.erase import Eraser
from knowledge_bases.audit.personal_data import protected
from knowledge_bases.audit.retention import Retention
from knowledge_bases.audit.verification import Problem, Verification
from knowledge_bases.audit.verify import verify
from knowledge_bases.audit.verify_walk import Progress
from knowledge_bases.database import Database
from knowledge_bases.log_keeping import LogKeeping
from knowledge_bases.recording import LOCAL
from knowledge_bases.store import Store
from knowledge_bases.store.log import NewRecord, Recorded
from knowledge_bases.store.records import Opened
from knowledge_bases.store.subject_notes import Renewed, renew_subjects
from knowledge_bases.tables import AuditRow
from rag.errors import DigestMismatch, RagError, RecordError, StorageError
from rag.settings import Settings

if TYPE_CHECKING:
    from knowledge_bases.knowledge_base import KnowledgeBase

_CLOSED = "records stay closed while it can't be logged who opens them"
_IDS_PER_RECORD = 10_000
_log = logging.getLogger(__name__)


class AuditLog:
    """The log of one home: nothing that must not happen unlogged happens around it.

    Args:
        database: the home's.
        store: on it.
        settings: say how the log is signed, and what becomes of personal data in what is asked.
        open_base: opens a knowledge base by name.
    """

    def __init__(
        self,
        database: Database,
        store: Store,
        settings: Settings,
        open_base: Callable[[str], KnowledgeBase],
    ) -> None:
        self._database = database
        self._log = store.log
        self._settings = settings
        self._settings_noted = False
        self.set_right: list[str] = []
        """What of hold and retention was not as logged when the log was started."""
        self.keeping = LogKeeping(store.log, settings)
        self.retention = Retention(database, store.log)
        self.eraser = Eraser(database, store, open_base)

    def start(self) -> None:
        """Go on with what an earlier process left undone, and sign the log from now on.

        That is hold and retention as logged, erasures, and checkpoints to publish.

        A failure is logged and told by `rag doctor`; questions are answered all the same.
        """
        try:
            self.set_right = self.retention.settle()
            if self.eraser.unfinished and not self.retention.state.legal_hold:
                self.eraser.finish(wait=False)
        except RagError as error:
            _log.error("what was left of an erasure can't be finished: %s", error)
        self.keeping.start()
        self._log.watch(self.keeping.appended)

    def close(self) -> None:
        """Sign what is due, and end the threads that sign and publish."""
        self.keeping.close()

    def append(self, new: NewRecord) -> Recorded:
        """Append to the log, personal data in what was asked treated as the settings say.

        Raises:
            StorageError: the log refused it.
            MissingDependency: the settings ask for what isn't installed.
        """
        if "question" in new.payload:
            new = replace(new, payload=protected(new.payload, self._settings.personal_data))
        return self._log.append(new)

    def record(self, new: NewRecord, otherwise: str) -> Recorded:
        """Append to the log what must not happen unlogged.

        Args:
            new: the record.
            otherwise: what it means that it could not be logged, in one clause.

        Raises:
            RecordError: the log refused it.
        """
        try:
            return self.append(new)
        except (StorageError, DigestMismatch) as error:
            raise RecordError(f"{otherwise}: {error}") from error

    def read(self, row: AuditRow, *, how: str, actor: str = LOCAL) -> Opened | None:
        """Open a record's payload; that somebody did is in the log before they see it.

        Returns:
            None once it is erased; then there was nothing to see, and nothing is logged.

        Raises:
            DigestMismatch: the payload is not what the record's leaf commits to.
            RecordError: the log refused the record of that, so it stays closed.
        """
        opened = self._log.opened(row)
        if opened is not None:
            new = recording.reading([row.id], how=how, actor=actor, kb_name=row.kb_name)
            self.record(new, _CLOSED)
        return opened

    def reading(
        self, records: Sequence[str], *, how: str, kb_name: str | None = None, actor: str = LOCAL
    ) -> None:
        """Log that somebody is about to read the payloads of these records.

        Args:
            records: their ids.
            how: e.g. "replay", "impact".
            kb_name: the knowledge base that they all speak of, if of one.
            actor: who.

        Raises:
            RecordError: the log refused the record of that, so they stay closed.
        """
        for start in range(0, len(records), _IDS_PER_RECORD):
            named = records[start : start + _IDS_PER_RECORD]
            new = recording.reading(named, how=how, actor=actor, kb_name=kb_name)
            self.record(new, _CLOSED)

    def read_all(
        self, size: int, *, how: str, kb_name: str | None = None, actor: str = LOCAL
    ) -> Recorded:
        """Log that somebody is about to read the payloads of the log's first records.

        Raises:
            RecordError: the log refused the record of that, so they stay closed.
        """
        new = recording.reading([], how=how, actor=actor, kb_name=kb_name, log_size=size)
        return self.record(new, _CLOSED)

    def verify(
        self,
        *,
        keys: Sequence[LogKey] | None = None,
        notes: Mapping[str, str] | None = None,
        start: int = 0,
        stop: int | None = None,
        progress: Progress = lambda done, total: None,
    ) -> Verification:
        """Verify the log, or records [start, stop) of it; see `audit.verify.verify`.

        Args:
            keys: whose signatures count; None for the home's own keys, which an attacker who
                rewrote the log may have replaced, so an auditor gives those that were published.
            notes: checkpoints that were kept outside, by where.
            start: first record.
            stop: the one after the last.
            progress: called now and then.

        Raises:
            UsageError: the log has no such records.
            StorageError: the database can't be read.
            IntegrityError: the list of keys is damaged.
        """
        unusable = None
        try:
            self._log.subject_hash("")
        except StorageError as error:
            unusable = Problem(None, str(error))
        found = verify(
            self._database,
            keys=self.keeping.verifier_keys() if keys is None else keys,
            notes=notes,
            start=start,
            stop=stop,
            subject_hash=None if unusable else self._log.subject_hash,
            progress=progress,
        )
        if unusable is None:
            return found
        return replace(
            found,
            problems=(*found.problems, unusable),
            problem_count=found.problem_count + 1,
        )

    def renew_subjects(self, *, actor: str = LOCAL) -> Renewed:
        """Note whom records are about under a new secret; see `store.subject_notes`."""
        return renew_subjects(self._database, self._log, actor=actor)

    def note_settings(self) -> None:
        """Log that the settings that shape answers are no longer those of the answers before.

        Raises:
            RecordError: the log refused the record of that.
        """
        if self._settings_noted:
            return
        own, before = settings_digest(self._settings), self._settings_before()
        if before not in (None, own):
            new = recording.settings_change(answer_settings(self._settings), own, before)
            self.record(new, "the settings changed, but that could not be logged")
        self._settings_noted = True

    def _settings_before(self) -> str | None:
        """Return the digest of the settings of the newest question whose record says."""
        for row in self._log.all(kinds=("answer", "refusal", "settings"), limit=20):
            try:
                payload = self._log.payload(row)
            except DigestMismatch:
                continue  # `rag doctor` says more.
            if payload:
                return str(payload["settings_sha256"])
        return None
