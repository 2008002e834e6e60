"""A knowledge base as its users know it: open, ingest, search, ask, and the log of answers."""

import logging
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from indexer.embed import SentenceEmbedder
from indexer.generation import Generation
from knowledge_bases import recording
from knowledge_bases.answer_settings import answer_settings, settings_digest
from knowledge_bases.audit.personal_data import protected
from knowledge_bases.audit.receipt import answer_receipt, rests_on
from knowledge_bases.database import Database
from knowledge_bases.ingest import Ingest
from knowledge_bases.lifecycle import Lifecycle
from knowledge_bases.recording import LOCAL
from knowledge_bases.sources import Sources
from knowledge_bases.store import Store
from knowledge_bases.store.changes import Withdrawn
from knowledge_bases.store.documents import DocumentState
from knowledge_bases.store.log import NewRecord, Recorded
from knowledge_bases.store.records import Opened
from knowledge_bases.summary import IngestOptions, IngestSummary, Progress
from knowledge_bases.tables import AuditRow, KnowledgeBaseRow
from rag.calibration import Calibration
from rag.cite import SourceText
from rag.errors import (
    DigestMismatch,
    NotFound,
    RagError,
    RecordError,
    StorageError,
    UsageError,
)
from rag.generate.choose import Writers, chosen_writers
from rag.pipeline import Pipeline, checked_question
from rag.protocols import Embedder, Reranker, Retriever, Verifier
from rag.retrieve import HybridRetriever
from rag.settings import Settings
from rag.types import Answer, Filters, Passage
from rag.verify.check import Checked, check_text
from rag.verify.choose import Judges

log = logging.getLogger(__name__)

_NAME = re.compile(r"[^\W_][\w.-]{0,99}")
NO_FILTERS = Filters()
_CLOSED = "records stay closed while it can't be logged who opens them"


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """An answer with its place in the log; there is no answer without one."""

    answer: Answer
    record: Recorded

    @property
    def log_size(self) -> int:
        """Records in the log once this one was in it."""
        return self.record.log_size


class Home:
    """Everything under one home folder: the database, the indexes, and the models in memory.

    Args:
        settings: names the folder.
        embedder: replaces the settings' one.

    Raises:
        StorageError: the folder or database can't be used.
    """

    def __init__(self, settings: Settings, *, embedder: Embedder | None = None) -> None:
        self.settings = settings
        self._database = Database(settings)
        self.store = Store.on(self._database)
        self._given_embedder = embedder
        self._open: dict[int, KnowledgeBase] = {}
        self._settings_noted = False

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
        )

    def create(self, name: str) -> "KnowledgeBase":
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

    def open(self, name: str) -> "KnowledgeBase":
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
            RecordError: it is deleted, but the log refused the record of that.
            StorageError: something of it could not be removed.
        """
        row = self.store.kbs.get(name)
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
        return self.record(gone, f"knowledge base {name!r} is deleted, but that was not logged")

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
        checked = check_text(self.verifier, claim, evidence, question)
        new = recording.check(
            claim, evidence, question, checked, verifier=self.verifier.digest, actor=actor
        )
        return checked, self.record(new, "the verdict could not be logged, so it is withheld")

    def read_record(self, row: AuditRow, *, how: str, actor: str = LOCAL) -> Opened | None:
        """Open a record's payload; that somebody did is in the log before they see it.

        Returns:
            None once it is erased; then there was nothing to see, and nothing is logged.

        Raises:
            DigestMismatch: the payload is not what the record's leaf commits to.
            RecordError: the log refused the record of that, so it stays closed.
        """
        opened = self.store.log.opened(row)
        if opened is not None:
            new = recording.reading([row.id], how=how, actor=actor, kb_name=row.kb_name)
            self.record(new, _CLOSED)
        return opened

    def read_all(
        self, size: int, *, how: str, kb_name: str | None = None, actor: str = LOCAL
    ) -> Recorded:
        """Log that somebody is about to read the payloads of the log's first records.

        Raises:
            RecordError: the log refused the record of that, so they stay closed.
        """
        new = recording.reading([], how=how, actor=actor, kb_name=kb_name, log_size=size)
        return self.record(new, _CLOSED)

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

    def append(self, new: NewRecord) -> Recorded:
        """Append to the log, personal data in questions treated as the settings say.

        Raises:
            StorageError: the log refused it.
            MissingDependency: the settings ask for what isn't installed.
        """
        if "question" in new.payload:
            new = replace(new, payload=protected(new.payload, self.settings.personal_data))
        return self.store.log.append(new)

    def note_settings(self) -> None:
        """Log that the settings that shape answers are no longer those of the answers before.

        Raises:
            RecordError: the log refused the record of that.
        """
        if self._settings_noted:
            return
        own, before = settings_digest(self.settings), self._settings_before()
        if before not in (None, own):
            new = recording.settings_change(answer_settings(self.settings), own, before)
            self.record(new, "the settings changed, but that could not be logged")
        self._settings_noted = True

    def _settings_before(self) -> str | None:
        """Return the digest of the settings of the newest question whose record says."""
        for row in self.store.log.all(kinds=("answer", "refusal", "settings"), limit=20):
            try:
                payload = self.store.log.payload(row)
            except DigestMismatch:
                continue  # `rag doctor` says more.
            if payload:
                return str(payload["settings_sha256"])
        return None

    def folder(self, row: KnowledgeBaseRow) -> Path:
        """Return where a knowledge base's index generations lie."""
        return self.settings.home / "indexes" / row.uid

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def __enter__(self) -> "Home":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self, row: KnowledgeBaseRow) -> "KnowledgeBase":
        kb = self._open.setdefault(row.id, KnowledgeBase(self, row))
        if kb.row.uid != row.uid:
            # Another process deleted that one, and SQLite gave its id to a new one.
            kb = self._open[row.id] = KnowledgeBase(self, row)
        return kb


class KnowledgeBase:
    """One knowledge base; get it from `Home`."""

    def __init__(self, home: Home, row: KnowledgeBaseRow) -> None:
        self.home = home
        self.store = home.store
        self.row = row
        self.lifecycle = Lifecycle(home.store, row, home.folder(row), home.settings)

    @property
    def name(self) -> str:
        """Its name."""
        return self.row.name

    def revision(self) -> int:
        """Return the revision of its searchable chunks; it grows with every change of them."""
        return self.store.kbs.get(self.name).revision

    def counts(self) -> dict[str, int]:
        """Count its documents, their versions, and the chunks that search may return."""
        return self.store.kbs.counts(self.row.id)

    def ingest(
        self,
        paths: Sequence[Path],
        *,
        tags: Sequence[str] = (),
        replace: bool = False,
        prune: bool = False,
        uploaded: bool = False,
        progress: Progress = lambda result: None,
    ) -> IngestSummary:
        """Take in files, folders and archives; see `Ingest.run` and `IngestOptions`.

        Raises:
            UsageError: documents are to be pruned, but no folder is given.
            DigestMismatch: the knowledge base was made with another embedder.
            StorageError: the disk or the database refused a write.
            RecordError: what was to be pruned is withdrawn, but the log refused the record of it.
        """
        run = Ingest(
            self.store, self.row, self.lifecycle, self._checked_embedder(), self.home.settings
        )
        options = IngestOptions(tuple(tags), replace, prune, uploaded)
        summary = run.run(paths, options=options, progress=progress)
        for gone in summary.withdrawals:
            self._record_deletion(gone, LOCAL)
        return summary

    def documents(
        self, *, limit: int | None = None, after: str | None = None
    ) -> list[DocumentState]:
        """Return documents by URI: all, or at most so many after a URI."""
        return self.store.documents.all(self.row.id, limit=limit, after=after)

    def document(self, uri: str) -> DocumentState:
        """Return one document.

        Raises:
            NotFound: there is none of that URI.
        """
        return self.store.documents.get(self.row.id, uri)

    def document_at(self, uri: str, version: int | None = None) -> tuple[DocumentState, str]:
        """Return a version of a document, by default the newest, with its text.

        Raises:
            NotFound: there is no such document or version.
        """
        state = self.store.documents.get(self.row.id, uri, version)
        return state, self.store.documents.text(self.row.id, uri, state.version)

    def require_documents(self, uris: Sequence[str]) -> None:
        """Check that there are documents of these URIs.

        Raises:
            NotFound: naming the first that has none.
        """
        self.store.documents.require(self.row.id, uris)

    def delete_document(self, uri: str, *, actor: str = LOCAL) -> int:
        """Take a document out of every search at once and return how many chunks went.

        Its versions stay, so that citations in the log still resolve. The record of the deletion
        says where it was looked for and not found; where an earlier try ended before that was
        logged, it is logged now.

        Raises:
            NotFound: there is none of that URI.
            RecordError: no search finds it any more, but the log refused the record of that.
            StorageError: something of it is still found.
        """
        try:
            gone = self.store.changes.delete_document(self.row.id, uri)
        except NotFound:
            earlier = self.store.changes.withdrawn(self.row.id, uri)
            if earlier is None or self._deletion_is_logged(earlier):
                raise
            gone = earlier
        self._record_deletion(gone, actor)
        return gone.retired

    def _record_deletion(self, gone: Withdrawn, actor: str) -> None:
        # Search leaves it out already; the lifecycle clears the index files of it.
        new = recording.document_deletion(self.store, self.row, self.lifecycle, gone, actor=actor)
        self.home.record(
            new, f"no search finds {gone.uri!r} any more, but that was not logged; delete it again"
        )

    def _deletion_is_logged(self, gone: Withdrawn) -> bool:
        sequences = self.store.log.citing(self.name, gone.uri, read=True)
        records = (self.store.log.at(sequence) for sequence in reversed(sequences))
        return any(
            record.kind == "deletion" and record.created_at >= gone.deleted_at for record in records
        )

    def search(self, query: str, *, k: int = 10, filters: Filters = NO_FILTERS) -> list[Passage]:
        """Return the best passages for a query.

        Raises:
            QuestionError: the query is empty or too long.
            UsageError: k is not between 1 and 1,000.
            NotFound: the filters name a document that is not there.
        """
        if not 1 <= k <= 1_000:
            raise UsageError(f"k is {k}; ask for 1 to 1000 passages")
        query = checked_question(query, self.home.settings.max_question_chars)
        self.require_documents(filters.documents)
        return self._retriever(self.lifecycle.current()).retrieve(query, k, filters)

    def passages(self, chunk_ids: Sequence[int]) -> dict[int, Passage]:
        """Return chunks that search may return as passages, by id."""
        return self.store.chunks.passages(self.row.id, chunk_ids)

    def ask(
        self, question: str, *, filters: Filters = NO_FILTERS, asker: str = LOCAL
    ) -> RecordedAnswer:
        """Answer a question; the answer is in the log before anyone sees it.

        A question that ends in an error is logged, too, as far as the log takes it.

        Raises:
            QuestionError: the question is empty or too long.
            NotFound: the filters name a document that is not there.
            GenerationTimeout: writing took too long, and no answer that is served was written.
            RecordError: the log refused the record, so there is no answer.
        """
        try:
            return self._asked(question, filters, asker)
        except RecordError:
            raise  # The log takes nothing at the moment.
        except RagError as error:
            self._record_refusal(error, question, filters, asker)
            raise

    def _asked(self, question: str, filters: Filters, asker: str) -> RecordedAnswer:
        self.require_documents(filters.documents)
        self.home.note_settings()
        generation = self.lifecycle.current()
        answer = self._pipeline(generation).ask(question, filters)
        receipt = answer_receipt(
            answer,
            kb_name=self.name,
            settings_digest=settings_digest(self.home.settings),
            embedder=f"{self.row.embedder} {self.row.embedder_digest}",
            generation=generation.manifest.number,
            generation_digest=generation.digest,
            asker=asker,
            filters=filters,
        )
        new = NewRecord("answer", self.name, answer.status, receipt, rests_on(receipt), asker)
        record = self.home.record(new, "the answer could not be logged, so it is withheld")
        return RecordedAnswer(answer, record)

    def _record_refusal(self, error: RagError, question: str, filters: Filters, asker: str) -> None:
        new = recording.refusal(
            error,
            kb_name=self.name,
            question=question,
            filters=filters,
            asker=asker,
            settings_digest=settings_digest(self.home.settings),
            most_chars=self.home.settings.max_question_chars,
        )
        try:
            self.home.append(new)
        except RagError as refused:  # Whoever asked gets the error that the question ended in.
            log.error("a refusal could not be logged: %s", refused)

    def trials(self, question: str, filters: Filters = NO_FILTERS) -> list[Answer]:
        """Return each writer's answer, served or not; for calibration, so nothing is recorded.

        "abstained" are those that no probability could let pass.

        Raises:
            QuestionError: the question is empty or too long.
            GenerationTimeout: a writer took too long.
        """
        generation = self.lifecycle.current()
        return self._pipeline(generation, on_trial=True).trials(question, filters)

    def _pipeline(self, generation: Generation, *, on_trial: bool = False) -> Pipeline:
        """The line from question to answer over what a receipt names as searched."""
        return self.home.pipeline(
            source=Sources(self.store, self.row.id),
            retriever=self._retriever(generation),
            knowledge_base=self.name,
            on_trial=on_trial,
        )

    def _checked_embedder(self) -> Embedder:
        embedder = self.home.embedder
        if embedder.digest != self.row.embedder_digest:
            raise DigestMismatch(
                f"knowledge base {self.name!r} was made with {self.row.embedder} "
                f"({self.row.embedder_digest[:12]}…), not with the current embedder "
                f"({embedder.digest[:12]}…); set RAG_EMBEDDER back or ingest into a new one"
            )
        return embedder

    def _retriever(self, generation: Generation) -> HybridRetriever:
        settings = self.home.settings
        return HybridRetriever(
            self._checked_embedder(),
            generation.vectors,
            generation.lexical,
            Sources(self.store, self.row.id),
            candidates=settings.candidates,
            method=settings.fusion,
            dense_weight=self.home.calibration.dense_weight,
            rank_share=self.home.calibration.rank_share,
        )
