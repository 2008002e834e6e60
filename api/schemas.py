"""The wire: JSON objects of the command line and HTTP, the same for both."""

import datetime
import json
from typing import Any, Literal

from pydantic import Field

from api.verdicts import Claim
from api.wire import Wire
from knowledge_bases.audit.worst_verdict import WorstVerdict, worst_verdict
from knowledge_bases.knowledge_base import KnowledgeBase, RecordedAnswer
from knowledge_bases.store.documents import DocumentState
from knowledge_bases.store.operations import JobState
from knowledge_bases.store.records import Opened
from knowledge_bases.summary import IngestSummary
from knowledge_bases.tables import AuditRow
from rag.types import Answer as RagAnswer
from rag.types import Citation as RagCitation
from rag.types import Document as RagDocument
from rag.types import Passage


class Document(Wire):
    """A document as it is named everywhere."""

    id: str = Field(examples=["7"])
    uri: str = Field(examples=["controlled-drugs-procedure.docx"])
    title: str = Field(examples=["Controlled drugs procedure"])

    @classmethod
    def of(cls, document: RagDocument) -> "Document":
        """Make one from the inside."""
        return cls(id=document.id, uri=document.uri, title=document.title)


class DocumentInfo(Wire):
    """A document in a listing."""

    document: Document
    version: int
    format: str
    date: datetime.date | None
    tags: list[str]
    chunks: int
    content_sha256: str
    text_sha256: str
    ingested_at: datetime.datetime

    @classmethod
    def of(cls, state: DocumentState) -> "DocumentInfo":
        """Make one from the inside."""
        return cls(
            document=Document.of(state.document),
            version=state.version,
            format=state.format,
            date=state.date,
            tags=list(state.tags),
            chunks=state.chunks,
            content_sha256=state.content_sha256,
            text_sha256=state.text_sha256,
            ingested_at=state.created_at,
        )


class DocumentText(DocumentInfo):
    """A document with the text of one of its versions, whose number is ``version``."""

    text: str

    @classmethod
    def at(cls, kb: KnowledgeBase, uri: str, version: int | None = None) -> "DocumentText":
        """Read a version's text, by default the newest's.

        Raises:
            NotFound: there is no such document or version.
        """
        state, text = kb.document_at(uri, version)
        return cls(**DocumentInfo.of(state).model_dump(), text=text)


class KnowledgeBaseInfo(Wire):
    """A knowledge base and its size."""

    name: str = Field(examples=["thornmere"])
    created_at: datetime.datetime
    embedder: str
    embedder_sha256: str
    chunk_tokens: int
    chunk_overlap_tokens: int
    documents: int
    versions: int
    chunks: int

    @classmethod
    def of(cls, kb: KnowledgeBase) -> "KnowledgeBaseInfo":
        """Make one from the inside."""
        return cls(
            name=kb.name,
            created_at=kb.row.created_at,
            embedder=kb.row.embedder,
            embedder_sha256=kb.row.embedder_digest,
            chunk_tokens=kb.row.chunk_tokens,
            chunk_overlap_tokens=kb.row.chunk_overlap_tokens,
            **kb.counts(),
        )


class KnowledgeBaseList(Wire):
    """All knowledge bases, by name."""

    knowledge_bases: list[KnowledgeBaseInfo]


class DocumentList(Wire):
    """Documents of a knowledge base, by URI; ``next`` is the next page's ``after``, else null."""

    documents: list[DocumentInfo]
    next: str | None


class Failure(Wire):
    """A file that was not taken in, and why."""

    path: str
    reason: str


class IngestReport(Wire):
    """What an ingest did; every document found is in exactly one of the four.

    ``missing`` lists those that came from the folders given and are no longer there, of which
    ``withdrawn`` were taken out of the knowledge base.
    """

    added: int
    updated: int
    unchanged: int
    failed: list[Failure]
    missing: list[str]
    withdrawn: int
    chunks: int
    embedded: int
    seconds: float

    @classmethod
    def of(cls, summary: IngestSummary) -> "IngestReport":
        """Make one from the inside."""
        return cls(
            added=summary.added,
            updated=summary.updated,
            unchanged=summary.unchanged,
            failed=[Failure(path=uri, reason=reason) for uri, reason in summary.failed],
            missing=summary.missing,
            withdrawn=summary.withdrawn,
            chunks=summary.chunks,
            embedded=summary.embedded,
            seconds=round(summary.seconds, 3),
        )


class JobProgress(Wire):
    """How far a job is; an archive counts as one document until it is opened."""

    total: int = Field(examples=[13])
    done: int = Field(examples=[13])
    added: int = Field(examples=[12])
    updated: int = Field(examples=[0])
    unchanged: int = Field(examples=[0])
    failed: list[Failure]


class Job(Wire):
    """An ingest asked for over HTTP; ``error`` says why a failed one failed."""

    id: str = Field(examples=["0b7f8c8e-3f5e-4b0e-9a0c-0d2f5a1c7e11"])
    knowledge_base: str = Field(examples=["thornmere"])
    state: Literal["queued", "running", "done", "failed"]
    created_at: datetime.datetime
    finished_at: datetime.datetime | None
    progress: JobProgress
    error: str | None

    @classmethod
    def of(cls, job: JobState) -> "Job":
        """Make one from the inside."""
        return cls(
            id=job.id,
            knowledge_base=job.kb_name,
            state=job.state,
            created_at=job.created_at,
            finished_at=job.finished_at,
            progress=JobProgress(**job.progress),
            error=job.error,
        )


class Hit(Wire):
    """A passage found by a search."""

    chunk_id: int
    document: Document
    version: int
    start: int
    end: int
    score: float
    text: str
    page: int | None
    section: str | None

    @classmethod
    def of(cls, passage: Passage) -> "Hit":
        """Make one from the inside."""
        return cls(
            chunk_id=passage.chunk_id,
            document=Document.of(passage.document),
            version=passage.version,
            start=passage.start,
            end=passage.end,
            score=round(passage.score, 6),
            text=passage.text,
            page=passage.page,
            section=passage.section,
        )


class SearchResult(Wire):
    """Passages, best first."""

    hits: list[Hit]


class TextPositionSelector(Wire):
    """Offsets in code points (W3C Web Annotation)."""

    type: Literal["TextPositionSelector"] = "TextPositionSelector"
    start: int
    end: int


class TextQuoteSelector(Wire):
    """The quote with 32 characters on either side (W3C Web Annotation)."""

    type: Literal["TextQuoteSelector"] = "TextQuoteSelector"
    exact: str
    prefix: str
    suffix: str


class Citation(Wire):
    """Exact characters of a document version: ``text[start:end] == quote``."""

    index: int
    document: Document
    version: int
    text_sha256: str
    start: int
    end: int
    quote: str
    page: int | None
    section: str | None
    selectors: list[TextPositionSelector | TextQuoteSelector]

    @classmethod
    def of(cls, citation: RagCitation) -> "Citation":
        """Make one from the inside."""
        return cls(
            index=citation.index,
            document=Document.of(citation.document),
            version=citation.version,
            text_sha256=citation.text_sha256,
            start=citation.start,
            end=citation.end,
            quote=citation.quote,
            page=citation.page,
            section=citation.section,
            selectors=[
                TextPositionSelector(start=citation.start, end=citation.end),
                TextQuoteSelector(
                    exact=citation.quote, prefix=citation.before, suffix=citation.after
                ),
            ],
        )


class Segment(Wire):
    """A run of the answer; ``citation`` is the index of the citation it was copied from."""

    text: str
    origin: Literal["copied", "generated"]
    probability: float
    citation: int | None


class Receipt(Wire):
    """The answer's place in the log."""

    leaf_hash: str
    log_size: int


class ReadAnswer(Wire):
    """An answer to a question on given passages; nothing of it is stored.

    ``read_as`` is the question as the generator read it, where that put slips right.
    """

    read_as: str | None
    status: Literal["answered", "abstained"]
    text: str
    reason: str | None
    segments: list[Segment]
    citations: list[Citation]
    claims: list[Claim]
    confidence: float
    passages: list[Hit]
    models: dict[str, str]
    timings_ms: dict[str, float]

    @classmethod
    def fields_of(cls, answer: RagAnswer) -> dict[str, Any]:
        """Return the fields; of an abstention, nothing that the draft said."""
        answered = answer.status == "answered"
        return {
            "read_as": answer.draft.read_as,
            "status": answer.status,
            "text": answer.text,
            "reason": answer.decision.reason,
            "segments": [
                Segment(
                    text=segment.text,
                    origin=segment.origin,
                    probability=round(segment.probability, 6),
                    citation=segment.citation,
                )
                for segment in answer.segments
                if answered
            ],
            "citations": [Citation.of(c) for c in answer.citations if answered],
            "claims": [
                Claim.of(verdict, answer.passages) for verdict in answer.verdicts if answered
            ],
            "confidence": round(answer.confidence, 6),
            "passages": [Hit.of(passage) for passage in answer.passages],
            "models": dict(answer.models),
            "timings_ms": dict(answer.timings_ms),
        }

    @classmethod
    def of(cls, answer: RagAnswer) -> "ReadAnswer":
        """Make one from the inside."""
        return cls(**cls.fields_of(answer))


class Answer(ReadAnswer):
    """An answer that is in the log; ``answer_id`` is its record's id.

    ``question`` is what was answered: where it followed others, as it was completed from them.
    """

    answer_id: str
    question: str
    receipt: Receipt

    @classmethod
    def recorded(cls, recorded: RecordedAnswer) -> "Answer":
        """Make one from the inside."""
        return cls(
            answer_id=recorded.record.id,
            question=recorded.answer.question,
            receipt=Receipt(leaf_hash=recorded.record.leaf_hash, log_size=recorded.log_size),
            **cls.fields_of(recorded.answer),
        )


class ConversationTurn(Wire):
    """An answer of a conversation."""

    answer_id: str


class Conversation(Wire):
    """A conversation and its answers, oldest first."""

    id: str = Field(examples=["3d5f7c52-0b0e-4a0e-8c37-4b4f0c1f2f1d"])
    turns: list[ConversationTurn]


class AuditEntry(Wire):
    """A record of the log in a listing."""

    id: str
    sequence: int
    kind: str
    knowledge_base: str | None
    status: str | None
    created_at: datetime.datetime
    leaf_hash: str
    verdict: Literal["supported", "unsupported", "contradicted"] | None = Field(
        description="The worst of its claims'; null where none was judged, or it was erased."
    )
    disputed: bool | None = Field(description="Whether another passage says otherwise.")

    @classmethod
    def listed(cls, row: AuditRow, verdict: WorstVerdict | None) -> "AuditEntry":
        """Make one from the inside."""
        return cls(
            id=row.id,
            sequence=row.sequence,
            kind=row.kind,
            knowledge_base=row.kb_name,
            status=row.status,
            created_at=row.created_at,
            leaf_hash=row.leaf_hash,
            verdict=verdict and verdict.label,  # type: ignore[arg-type]
            disputed=None if verdict is None else verdict.disputed,
        )


class AuditPage(Wire):
    """A page of the log, newest first; ``next`` is the next page's ``before``, null at the end."""

    records: list[AuditEntry]
    next: int | None


class AuditRecord(AuditEntry):
    """A record with its payload, and the exact bytes (as text) that the leaf hash is of.

    ``receipt`` is the payload; once it is erased, it and ``salt`` are null. The leaf's
    ``commitment`` is the HMAC-SHA256 of the payload's canonical JSON (RFC 8785) under the salt.
    """

    receipt: dict[str, Any] | None
    salt: str | None
    canonical: str

    @classmethod
    def of(cls, row: AuditRow, opened: Opened | None) -> "AuditRecord":
        """Make one from the inside."""
        receipt = json.loads(opened.payload) if opened else None
        verdict = None if receipt is None else worst_verdict(row.kind, receipt)
        return cls(
            **AuditEntry.listed(row, verdict).model_dump(),
            receipt=receipt,
            salt=opened.salt.hex() if opened else None,
            canonical=row.leaf,
        )
