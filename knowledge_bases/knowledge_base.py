"""A knowledge base as its users know it: open, ingest, search, ask, and the log of answers."""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from indexer.embed import SentenceEmbedder
from indexer.generation import Generation
from knowledge_bases.audit.receipt import answer_receipt, canonical
from knowledge_bases.database import Database
from knowledge_bases.ingest import Ingest
from knowledge_bases.lifecycle import Lifecycle
from knowledge_bases.store import Store
from knowledge_bases.store.documents import DocumentState
from knowledge_bases.store.log import NewRecord
from knowledge_bases.summary import IngestOptions, IngestSummary, Progress
from knowledge_bases.tables import AuditRow, KnowledgeBaseRow
from rag.asked import checked_question
from rag.calibration import Calibration
from rag.cite import SourceText
from rag.errors import DigestMismatch, RecordError, StorageError, UsageError
from rag.generate.choose import Writers, chosen_writers
from rag.pipeline import Pipeline
from rag.protocols import Embedder, Ids, Reranker, Retriever, Verifier
from rag.retrieve import HybridRetriever
from rag.settings import Settings
from rag.types import Answer, Filters, Passage
from rag.verify.choose import Judges

_NAME = re.compile(r"[^\W_][\w.-]{0,99}")
_ANSWER_SETTINGS = (
    "candidates",
    "fusion",
    "passages",
    "generator",
    "fallback",
    "verifier",
    "reranker",
    "rerank_depth",
    "beams",
    "answer_tokens",
    "answer_threshold",
    "max_question_chars",
)
NO_FILTERS = Filters()


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """An answer with its place in the log; there is no answer without one."""

    answer: Answer
    record: AuditRow

    @property
    def log_size(self) -> int:
        """Records in the log once this one was in it."""
        return self.record.sequence + 1


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

    def delete(self, name: str) -> None:
        """Delete a knowledge base and its indexes; the log keeps its records.

        Raises:
            NotFound: there is none of that name.
        """
        row = self.store.kbs.get(name)
        self._open.pop(row.id, None)
        self.store.kbs.delete(row.id)
        shutil.rmtree(self.folder(row), ignore_errors=True)

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
        """
        run = Ingest(
            self.store, self.row, self.lifecycle, self._checked_embedder(), self.home.settings
        )
        options = IngestOptions(tuple(tags), replace, prune, uploaded)
        return run.run(paths, options=options, progress=progress)

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

    def delete_document(self, uri: str) -> int:
        """Take a document out of every search at once and return how many chunks went.

        Its versions stay, so that citations in the log still resolve.

        Raises:
            NotFound: there is none of that URI.
        """
        retired = self.store.changes.delete_document(self.row.id, uri)
        # Search leaves it out from here on; this only clears the index files of it.
        self.lifecycle.catch_up()
        return retired

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
        self, question: str, *, filters: Filters = NO_FILTERS, asker: str = "local"
    ) -> RecordedAnswer:
        """Answer a question; the answer is in the log before anyone sees it.

        Raises:
            QuestionError: the question holds no words or is too long.
            NotFound: the filters name a document that is not there.
            GenerationTimeout: writing took too long, and no answer that is served was written.
            RecordError: the log refused the record, so there is no answer.
        """
        self.require_documents(filters.documents)
        generation = self.lifecycle.current()
        answer = self._pipeline(generation).ask(question, filters)
        receipt = answer_receipt(
            answer,
            kb_name=self.name,
            settings_digest=self._settings_digest(),
            embedder=f"{self.row.embedder} {self.row.embedder_digest}",
            generation=generation.manifest.number,
            generation_digest=generation.digest,
            asker=asker,
            filters=filters,
        )
        new = NewRecord("answer", self.name, answer.status, receipt)
        try:
            return RecordedAnswer(answer, self.store.log.append(new, canonical))
        except StorageError as error:
            raise RecordError(f"the answer could not be logged, so it is withheld: {error}") from (
                error
            )

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
            source=_Sources(self),
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
            _Sources(self),
            candidates=settings.candidates,
            method=settings.fusion,
            dense_weight=self.home.calibration.dense_weight,
            rank_share=self.home.calibration.rank_share,
        )

    def _settings_digest(self) -> str:
        shaping = {name: getattr(self.home.settings, name) for name in _ANSWER_SETTINGS}
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()


class _Sources:
    """A knowledge base's chunks and texts as retrieval and citing need them."""

    def __init__(self, kb: KnowledgeBase) -> None:
        self._store = kb.store
        self._kb_id = kb.row.id

    def passages(self, chunk_ids: Sequence[int]) -> Mapping[int, Passage]:
        return self._store.chunks.passages(self._kb_id, chunk_ids)

    def allowed(self, filters: Filters) -> tuple[Sequence[int], Ids]:
        return self._store.chunks.allowed(self._kb_id, filters)

    def slice(self, passage: Passage, start: int, end: int) -> str:
        return self._store.documents.slice(passage.version_id, start, end)

    def place(self, passage: Passage, offset: int) -> tuple[int | None, str | None]:
        page = passage.page
        for mark in self._store.documents.marks(passage.version_id):
            if mark.start > offset:
                break
            if mark.kind in ("page", "slide") and mark.label.isdecimal():
                page = int(mark.label)
        return page, passage.section
