"""A knowledge base as its users know it: open, ingest, search, ask, and the log of answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.generation import Generation
from knowledge_bases import recording
from knowledge_bases.answer_settings import answer_settings, settings_digest
from knowledge_bases.audit.receipt import answer_receipt, rests_on
from knowledge_bases.conversations import Earlier, Spoken, spoken
from knowledge_bases.ingest import Ingest
from knowledge_bases.lifecycle import Lifecycle
from knowledge_bases.recording import LOCAL
from knowledge_bases.runtime import runtime
from knowledge_bases.sources import Sources
from knowledge_bases.store.changes import Withdrawn
from knowledge_bases.store.documents import DocumentState
from knowledge_bases.store.log import NewRecord, Recorded
from knowledge_bases.summary import GiveWay, IngestOptions, IngestSummary, Progress, alone
from knowledge_bases.tables import KnowledgeBaseRow
from rag.asked import checked_question
from rag.errors import (
    DigestMismatch,
    NotFound,
    RagError,
    RecordError,
    UsageError,
)
from rag.listening import NOBODY, Listener
from rag.pipeline import Pipeline
from rag.protocols import Embedder
from rag.retrieve import HybridRetriever
from rag.types import Answer, Filters, Passage

if TYPE_CHECKING:
    from knowledge_bases.home import Home

log = logging.getLogger(__name__)

NO_FILTERS = Filters()


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """An answer with its place in the log; there is no answer without one."""

    answer: Answer
    record: Recorded

    @property
    def log_size(self) -> int:
        """Records in the log once this one was in it."""
        return self.record.log_size


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
        give_way: GiveWay = alone,
    ) -> IngestSummary:
        """Take in files, folders and archives; see `Ingest` and `IngestOptions`.

        Raises:
            UsageError: documents are to be pruned, but no folder is given.
            DigestMismatch: the knowledge base was made with another embedder.
            StorageError: the disk or the database refused a write.
            RecordError: what was to be pruned is withdrawn, but the log refused the record of it.
        """
        run = Ingest(
            self.store,
            self.row,
            self.lifecycle,
            self._checked_embedder(),
            self.home.settings,
            give_way,
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
        self.home.audit.record(
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
            QuestionError: the query holds no words or is too long.
            UsageError: k is not between 1 and 1,000.
            NotFound: the filters name a document that is not there.
        """
        if not 1 <= k <= 1_000:
            raise UsageError(f"k is {k}; ask for 1 to 1000 passages")
        most = self.home.settings.max_question_chars
        query = checked_question(query, most, name="the query")
        self.require_documents(filters.documents)
        return self._retriever(self.lifecycle.current()).retrieve(query, k, filters)

    def passages(self, chunk_ids: Sequence[int]) -> dict[int, Passage]:
        """Return chunks that search may return as passages, by id."""
        return self.store.chunks.passages(self.row.id, chunk_ids)

    def ask(
        self,
        question: str,
        *,
        filters: Filters = NO_FILTERS,
        asker: str = LOCAL,
        listener: Listener = NOBODY,
        earlier: Sequence[Earlier] | None = None,
    ) -> RecordedAnswer:
        """Answer a question; the answer is in the log before anyone sees it.

        A question that ends in an error is logged, too, as far as the log takes it.

        Args:
            question: what is asked.
            filters: what the search is limited to.
            asker: who asks.
            listener: hears of the answer while it is made, when none of it counts yet.
            earlier: the turns of a conversation before this one, from which the question is
                completed; None where it stands alone.

        Raises:
            UsageError: there are too many turns.
            Stopped: the listener doesn't want it any more.
            QuestionError: the question holds no words or is too long.
            NotFound: the filters name a document that is not there.
            GenerationTimeout: writing took too long, and no answer that is served was written.
            RecordError: the log refused the record, so there is no answer.
        """
        try:
            return self._asked(question, filters, asker, listener, earlier)
        except RecordError:
            raise  # The log takes nothing at the moment.
        except RagError as error:
            self._record_refusal(error, question, filters, asker)
            self.home.observer.refused()
            raise

    def _asked(
        self,
        question: str,
        filters: Filters,
        asker: str,
        listener: Listener,
        earlier: Sequence[Earlier] | None,
    ) -> RecordedAnswer:
        self.require_documents(filters.documents)
        self.home.audit.note_settings()
        generation = self.lifecycle.current()
        said = None if earlier is None else self.spoken(question, earlier, asker)
        question = question if said is None else said.question
        answer = self._pipeline(generation).ask(question, filters, listener)
        receipt = answer_receipt(
            answer,
            kb_name=self.name,
            settings=answer_settings(self.home.settings),
            settings_digest=settings_digest(self.home.settings),
            runtime=runtime(self.home.settings),
            embedder=f"{self.row.embedder} {self.row.embedder_digest}",
            generation=generation.manifest.number,
            generation_digest=generation.digest,
            asker=asker,
            filters=filters,
            conversation=None if said is None else said.as_json(),
        )
        new = NewRecord("answer", self.name, answer.status, receipt, rests_on(receipt), asker)
        started = time.perf_counter()
        record = self.home.audit.record(new, "the answer could not be logged, so it is withheld")
        recorded = RecordedAnswer(answer, record)
        self.home.observer.answered(recorded, 1000 * (time.perf_counter() - started))
        return recorded

    def spoken(self, question: str, earlier: Sequence[Earlier], asker: str) -> Spoken:
        """Complete a question from the earlier turns of its conversation; see `spoken`.

        Raises:
            QuestionError: the question is empty or too long.
            UsageError: there are too many turns.
            NotFound: an answer named is not there, of another knowledge base, or was another's.
        """
        settings = self.home.settings
        return spoken(
            checked_question(question, settings.max_question_chars),
            earlier,
            store=self.store,
            embedder=self.home.embedder,
            kb_name=self.name,
            asker=asker,
            most_turns=settings.conversation_turns,
        )

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
            self.home.audit.append(new)
        except RagError as refused:  # Whoever asked gets the error that the question ended in.
            log.error("a refusal could not be logged: %s", refused)

    def trials(self, question: str, filters: Filters = NO_FILTERS) -> list[Answer]:
        """Return each writer's answer, served or not; for calibration, so nothing is recorded.

        "abstained" are those that no probability could let pass.

        Raises:
            QuestionError: the question holds no words or is too long.
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
