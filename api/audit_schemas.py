"""The wire of the log as evidence: proofs, checkpoints, replays, erasures, impact."""

import base64
import datetime
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Literal

from pydantic import ConfigDict, Field

from api.wire import Wire
from knowledge_bases.audit import checkpoint as checkpoints
from knowledge_bases.audit.erase import Erased
from knowledge_bases.audit.impact import Affected
from knowledge_bases.audit.replay import Replay
from knowledge_bases.audit.retention import FLOOR_DAYS, Pruned
from knowledge_bases.impacting import Impact
from knowledge_bases.proving import Consistency, Inclusion
from knowledge_bases.resolving import Resolved
from knowledge_bases.store.records import LogState
from knowledge_bases.tables import AuditCheckpointRow, AuditRow
from rag.types import VerdictLabel

Hash = Field(examples=["6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"])
State = Literal["resolved", "moved", "lost", "withdrawn"]
Found = Literal["resolved", "moved", "lost", "withdrawn", "elsewhere", "erased"]


class AuditProof(Wire):
    """That a record is in the log's Merkle tree of ``size`` records (RFC 6962).

    ``hashes`` lead from the leaf's hash to the root, base64 each; ``checkpoint`` is the signed note
    of that size, null where none was signed of it.
    """

    id: str
    leaf: str = Field(description="The exact text that is hashed, after a byte 00.")
    leaf_hash: str = Hash
    index: int
    size: int
    root: str = Hash
    hashes: list[str]
    checkpoint: str | None

    @classmethod
    def of(cls, row: AuditRow, proof: Inclusion) -> "AuditProof":
        """Make one from the inside."""
        return cls(
            id=row.id,
            leaf=row.leaf,
            leaf_hash=row.leaf_hash,
            index=row.sequence,
            size=proof.size,
            root=proof.root.hex(),
            hashes=_encoded(proof.hashes),
            checkpoint=proof.note,
        )


class ConsistencyProof(Wire):
    """That the log's first ``first`` records are the beginning of its first ``second``.

    The two notes are the signed checkpoints of these sizes, null where none was signed.
    """

    first: int
    second: int
    first_root: str = Hash
    second_root: str = Hash
    hashes: list[str]
    first_checkpoint: str | None
    second_checkpoint: str | None

    @classmethod
    def of(cls, proof: Consistency) -> "ConsistencyProof":
        """Make one from the inside."""
        return cls(
            first=proof.first,
            second=proof.second,
            first_root=proof.first_root.hex(),
            second_root=proof.second_root.hex(),
            hashes=_encoded(proof.hashes),
            first_checkpoint=proof.first_note,
            second_checkpoint=proof.second_note,
        )


class SignedCheckpoint(Wire):
    """The log's size and root, signed; ``note`` is the whole C2SP signed note.

    ``log_size`` is how many records there are by now: those after ``size`` nobody vouches for yet.
    """

    origin: str = Field(examples=["grounded-rag/2f1c8f6e-4b8e-4d53-9d2f-0c8b5a8b6f10"])
    size: int
    root: str = Hash
    note: str
    created_at: datetime.datetime
    log_size: int

    @classmethod
    def of(cls, row: AuditCheckpointRow, log_size: int) -> "SignedCheckpoint":
        """Make one from the inside."""
        read = checkpoints.read(row.note)
        return cls(
            origin=read.origin,
            size=read.size,
            root=read.root.hex(),
            note=row.note,
            created_at=row.created_at,
            log_size=log_size,
        )


class PublishedKey(Wire):
    """A public key with the sizes of the log that it signs; ``until`` is null while in use."""

    model_config = ConfigDict(populate_by_name=True)

    key: str
    created_at: str
    since: int = Field(alias="from")
    until: int | None


class PublishedKeys(Wire):
    """The public keys of the log, oldest first."""

    schema_: Literal["grounded-rag/keys/1"] = Field(alias="schema")
    log: str
    keys: list[PublishedKey]


class ReplayDifference(Wire):
    """A means of answering that is not what it was; null where there was or is none."""

    what: str
    then: str | None
    now: str | None


class AuditReplay(Wire):
    """What came of answering a recorded question again from the same passages.

    ``outcome`` is "identical" where every byte compared is the same, "same verdict" where only
    figures differ. ``retrieved_again``: the search was repeated on the index of then.
    """

    answer_id: str
    outcome: Literal["identical", "same verdict", "changed"]
    retrieved_again: bool
    differences: list[ReplayDifference]
    diff: list[str] = Field(description='Lines that begin with "-" as recorded, "+" as now.')

    @classmethod
    def of(cls, replay: Replay) -> "AuditReplay":
        """Make one from the inside."""
        return cls.model_validate(asdict(replay) | {"diff": list(replay.diff)})


class NearestText(Wire):
    """The passage most like a quote that is lost; a hint, not the same text."""

    start: int
    end: int
    text: str
    similarity: float


class CitationNow(Wire):
    """A citation of a record, and where its quote stands in the document's current version.

    ``state`` is "resolved" where nothing around it changed or it stands where it stood, "moved"
    where it stands elsewhere, "lost" where it is not found, "withdrawn" where the document is gone.
    """

    index: int
    document: str
    version: int
    start: int
    end: int
    quote: str
    state: State
    current_version: int | None
    current_start: int | None
    current_end: int | None
    occurrences: int
    nearest: NearestText | None

    @classmethod
    def of(cls, resolved: Resolved) -> "CitationNow":
        """Make one from the inside."""
        return cls.model_validate(asdict(resolved))


class AuditCitations(Wire):
    """The citations of an answer, in their order."""

    id: str
    citations: list[CitationNow]

    @classmethod
    def of(cls, record_id: str, resolved: Iterable[Resolved]) -> "AuditCitations":
        """Make one from the inside."""
        return cls(id=record_id, citations=[CitationNow.of(one) for one in resolved])


class Erasure(Wire):
    """What was erased; ``recorded_as`` are the ids of the log's records of that."""

    records: int
    kinds: dict[str, int]
    recorded_as: list[str]
    versions: int
    chunks: int

    @classmethod
    def of(cls, erased: Erased) -> "Erasure":
        """Make one from the inside."""
        return cls.model_validate(asdict(erased) | {"recorded_as": list(erased.recorded_as)})


class Pruning(Wire):
    """What was dropped for its age; ``recorded_as`` is null where there was nothing to drop."""

    before: datetime.datetime
    records: int
    kinds: dict[str, int]
    recorded_as: str | None

    @classmethod
    def of(cls, pruned: Pruned) -> "Pruning":
        """Make one from the inside."""
        return cls.model_validate(asdict(pruned))


class RetentionState(Wire):
    """How long payloads are kept, null for good, and whether a legal hold keeps all of them.

    ``due`` are those that are older and not dropped yet.
    """

    retention_days: int | None
    floor_days: int = FLOOR_DAYS
    legal_hold: bool
    last_pruned: datetime.datetime | None
    due: int

    @classmethod
    def of(cls, state: LogState, due: int) -> "RetentionState":
        """Make one from the inside."""
        return cls(
            retention_days=state.retention_days,
            legal_hold=state.legal_hold,
            last_pruned=state.last_pruned,
            due=due,
        )


class CitationFound(Wire):
    """A citation of an answer and what became of it; see CitationNow.

    Of another document it is "elsewhere", or "erased" where its text is no longer stored.
    """

    index: int
    document: str
    version: int
    quote: str
    state: Found
    start: int | None
    end: int | None
    nearest: NearestText | None


class ClaimAgain(Wire):
    """A claim with its verdict then and by the current version."""

    text: str
    citations: list[int]
    found: Found
    label_then: VerdictLabel
    label_now: VerdictLabel
    p_supported_then: float | None
    p_supported_now: float | None
    p_contradicted_now: float | None
    guards_now: list[str]


class AffectedAnswer(Wire):
    """An answer that cites the document; after erasure only its id and time are left."""

    answer_id: str
    created_at: str
    status: str | None
    question: str | None
    text: str | None
    version: int | None
    citations: list[CitationFound]
    claims: list[ClaimAgain]
    stands: bool = Field(description="No citation is lost and every verdict is what it was.")

    @classmethod
    def of(cls, affected: Affected) -> "AffectedAnswer":
        """Make one from the inside."""
        content = affected.as_json()
        claims = [
            {**claim, "citations": [*claim["citations"]], "guards_now": [*claim["guards_now"]]}
            for claim in content["claims"]
        ]
        return cls.model_validate(
            {**content, "citations": [*content["citations"]], "claims": claims}
        )


class ImpactReport(Wire):
    """The answers that cite a document, oldest first, judged by its current version.

    ``current_version`` is null where the document was withdrawn; ``total`` counts all answers,
    ``next`` is the next page's ``after``, null at the end.
    """

    knowledge_base: str
    document: str
    version: int | None
    current_version: int | None
    total: int
    answers: list[AffectedAnswer]
    next: int | None

    @classmethod
    def of(cls, impact: Impact, answers: Sequence[Affected], after: int) -> "ImpactReport":
        """Make one from the inside."""
        end = after + len(answers)
        return cls(
            knowledge_base=impact.knowledge_base,
            document=impact.document,
            version=impact.version,
            current_version=impact.current_version,
            total=impact.total,
            answers=[AffectedAnswer.of(one) for one in answers],
            next=end if end < impact.total else None,
        )


def _encoded(hashes: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(one).decode() for one in hashes]
