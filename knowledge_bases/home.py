"""Everything under one home folder: the database, the indexes, the log, the models in memory."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from indexer.embed import SentenceEmbedder
from knowledge_bases import recording
from knowledge_bases.access import Access
from knowledge_bases.audit_log import AuditLog
from knowledge_bases.database import Database
from knowledge_bases.knowledge_base import KnowledgeBase
from knowledge_bases.observing import Nobody, Observer
from knowledge_bases.recording import LOCAL
from knowledge_bases.store import Store
from knowledge_bases.store.log import Recorded
from knowledge_bases.tables import KnowledgeBaseRow
from rag.calibration import Calibration
from rag.cite import SourceText
from rag.errors import UsageError
from rag.generate.choose import Writers, chosen_writers
from rag.pipeline import Pipeline
from rag.protocols import Embedder, Reranker, Retriever, Verifier
from rag.settings import Settings
from rag.verify.check import Checked, check_text
from rag.verify.choose import Judges

_NAME = re.compile(r"[^\W_][\w.-]{0,99}")


class Home:
    """Everything under one home folder: the database, the indexes, and the models in memory.

    Args:
        settings: names the folder.
        embedder: replaces the settings' one.

    Attributes:
        observer: counts answers.

    Raises:
        StorageError: the folder or database can't be used.
    """

    def __init__(self, settings: Settings, *, embedder: Embedder | None = None) -> None:
        self.settings = settings
        self._database = Database(settings)
        self.store = Store.on(self._database)
        self.observer: Observer = Nobody()
        self._given_embedder = embedder
        self._open: dict[int, KnowledgeBase] = {}
        self.audit = AuditLog(self._database, self.store, settings, self.open)
        self.access = Access(self.store, self.audit)

    @cached_property
    def embedder(self) -> Embedder:
        """The bi-encoder, one for all knowledge bases."""
        return self._given_embedder or SentenceEmbedder(
            self.settings.embedder,
            device=self.settings.device,
            batch_size=self.settings.embed_batch_size,
        )

    @cached_property
    def calibration(self) -> Calibration:
        """The fitted weights and thresholds, checked against the embedder.

        Raises:
            DigestMismatch: they were fitted on another embedder.
        """
        calibration = Calibration.from_settings(self.settings)
        calibration.check_fits(self.embedder.digest)
        return calibration

    @cached_property
    def writers(self) -> Writers:
        """What writes answers.

        Raises:
            ModelError: a generator or an adapter is not there or not usable.
            DigestMismatch: weights are not those that their manifest names, or a decision or an
                adapter belongs to other weights.
            UsageError: adapters are named for a generator that takes none.
        """
        return chosen_writers(self.settings, self)

    @cached_property
    def writers_on_trial(self) -> Writers:
        """The same where none of their answers will be served; see `chosen_writers`."""
        return chosen_writers(self.settings, self, on_trial=True)

    @cached_property
    def verifier(self) -> Verifier:
        """What judges claims.

        Raises:
            ModelError: the verifier is not there or not usable.
            DigestMismatch: its weights are not those that its manifest names.
        """
        return self.judges.verifier

    @cached_property
    def reranker(self) -> Reranker | None:
        """What orders the passages found; None where the settings want none.

        Raises:
            ModelError: it is not there or not usable.
            DigestMismatch: its weights are not those that its manifest names.
        """
        return self.judges.reranker(self.calibration)

    @cached_property
    def judges(self) -> Judges:
        """The cross-encoders that the settings name."""
        return Judges(self.settings)

    def pipeline(
        self,
        *,
        source: SourceText,
        retriever: Retriever | None = None,
        knowledge_base: str | None = None,
        on_trial: bool = False,
    ) -> Pipeline:
        """Return the line from question to answer.

        Args:
            source: where citations come from.
            retriever: finds the passages; None where they are given.
            knowledge_base: whose adapter writes, if it has one.
            on_trial: no answer of it will be served; see `chosen_writers`.
        """
        writers = self.writers_on_trial if on_trial else self.writers
        return Pipeline(
            writers=writers.of(knowledge_base),
            verifier=self.verifier,
            source=source,
            retriever=retriever,
            reranker=self.reranker if retriever is not None else None,
            candidates=self.settings.candidates,
            passages=self.settings.passages,
            max_question_chars=self.settings.max_question_chars,
            max_passage_chars=self.settings.max_passage_chars,
        )

    def create(self, name: str) -> KnowledgeBase:
        """Create a knowledge base.

        Raises:
            UsageError: the name can't be used.
            AlreadyExists: it is taken.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name[:120]!r} can't be a name: use at most 100 letters, digits, '.', '-' and "
                "'_', a letter or digit first"
            )
        row = self.store.kbs.create(
            name,
            embedder=self.settings.embedder,
            embedder_digest=self.embedder.digest,
            dimension=self.embedder.dimension,
            chunk_tokens=self.settings.chunk_tokens,
            chunk_overlap_tokens=self.settings.chunk_overlap_tokens,
        )
        return self._opened(row)

    def open(self, name: str) -> KnowledgeBase:
        """Open a knowledge base.

        Raises:
            NotFound: there is none of that name.
        """
        return self._opened(self.store.kbs.get(name))

    def delete(self, name: str, *, actor: str = LOCAL) -> Recorded:
        """Delete a knowledge base and its indexes; the log keeps its records.

        The record of the deletion says where it was looked for and not found.

        Raises:
            NotFound: there is none of that name.
            LegalHold: there is a legal hold on the log, whose answers cite its documents.
            RecordError: it is deleted, but the log refused the record of that.
            StorageError: something of it could not be removed.
        """
        row = self.store.kbs.get(name)
        self.audit.eraser.refuse_under_hold()
        counts = self.store.kbs.counts(row.id)
        self._open.pop(row.id, None)
        self.store.kbs.delete(row.id)
        folder = self.folder(row)
        shutil.rmtree(folder, ignore_errors=True)
        gone = recording.knowledge_base_deletion(
            self.store,
            row,
            counts,
            folder_left=folder.exists(),
            open_here=row.id in self._open,
            actor=actor,
        )
        return self.audit.record(
            gone, f"knowledge base {name!r} is deleted, but that was not logged"
        )

    def check(
        self,
        claim: str,
        evidence: Sequence[str],
        question: str | None = None,
        *,
        actor: str = LOCAL,
    ) -> tuple[Checked, Recorded]:
        """Judge a claim by evidence; the verdict is in the log before anyone sees it.

        Raises:
            ModelError: the verifier is not there or not usable.
            DigestMismatch: its weights are not those that its manifest names.
            RecordError: the log refused the record, so there is no verdict.
        """
        most = self.settings.max_evidence_chars
        checked = check_text(self.verifier, claim, evidence, question, max_evidence_chars=most)
        new = recording.check(
            claim, evidence, question, checked, verifier=self.verifier.digest, actor=actor
        )
        return checked, self.audit.record(new, "the verdict could not be logged, so it is withheld")

    def folder(self, row: KnowledgeBaseRow) -> Path:
        """Return where a knowledge base's index generations lie."""
        return self.settings.home / "indexes" / row.uid

    def close(self) -> None:
        """Sign what is due of the log, and close the database."""
        self.audit.close()
        self._database.close()

    def __enter__(self) -> Home:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self, row: KnowledgeBaseRow) -> KnowledgeBase:
        kb = self._open.setdefault(row.id, KnowledgeBase(self, row))
        if kb.row.uid != row.uid:
            # Another process deleted that one, and SQLite gave its id to a new one.
            kb = self._open[row.id] = KnowledgeBase(self, row)
        return kb
