"""The shapes of the log's payloads, one per kind: checked on write, published as JSON Schemas."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError

from knowledge_bases.audit import leaf
from knowledge_bases.audit.receipt import canonical
from rag.errors import RecordError

Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
Day = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d$")]
Moment = Annotated[
    str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$")
]
Token = tuple[str, float, float, int | None, int | None, int | None]
"""Text, probability, copy share, passage, start, end; null where it is generated."""


class Shape(BaseModel):
    """Base of all shapes: nothing may be there that isn't named, no type is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SearchedIndex(Shape):
    """The index generation searched."""

    generation: Count
    manifest_sha256: Sha256


class Limits(Shape):
    """What a search was limited to."""

    documents: list[str]
    tags: list[str]
    since: Day | None
    until: Day | None


class Runtime(Shape):
    """What an answer was computed with."""

    torch: str
    threads: Count
    cpu: str = Field(description="The best instructions of the CPU that torch uses.")
    device: str


class ReadPassage(Shape):
    """A passage that was before the writer, best first."""

    chunk_id: int
    document: str
    document_id: str
    title: str
    version: int
    start: Count
    end: Count
    score: float
    scores: dict[str, float]
    context: str
    version_text_sha256: Sha256
    text_sha256: Sha256


class DraftText(Shape):
    """What was written, token by token."""

    confidence: float
    features: dict[str, float]
    read_as: str | None
    tokens: list[Token]


class CitedText(Shape):
    """Exact characters of a document version."""

    index: int
    document: str
    document_id: str
    version: int
    text_sha256: Sha256
    start: Count
    end: Count
    quote: str


class FailedGuard(Shape):
    """What a rule looked for in the evidence and did not find."""

    name: str
    missing: list[str]


class OtherPassage(Shape):
    """A sentence of a passage not cited that contradicts a claim."""

    passage: int
    start: Count
    end: Count
    text: str
    p_contradicted: Probability


class JudgedClaim(Shape):
    """What the verifier said of one claim."""

    claim: str
    as_answer: bool = Field(description="Judged as an answer to a question, not on its own.")
    question: str | None = Field(description="That one where it is not the question asked.")
    citations: list[int]
    label: Literal["supported", "contradicted", "unsupported"]
    p_supported: Probability | None
    p_contradicted: Probability | None
    guards: list[FailedGuard]
    evidence_span: str | None
    relevance: float | None
    disagreement: OtherPassage | None


class Weighed(Shape):
    """How sure the answer was, and how sure it had to be."""

    probability: float
    threshold: float


class WeighedAttempt(Weighed):
    """The same of a draft that was not served, and why not."""

    reason: str | None


class TriedDraft(Shape):
    """A draft of another generator that was tried."""

    models: dict[str, str]
    draft: DraftText
    verdicts: list[JudgedClaim]
    decision: WeighedAttempt


class PersonalData(Shape):
    """What a question held of personal data, of a check its claim and evidence too, by kind.

    Masked, it is also gone from what repeats it: drafts, reasons, a check's verdicts, errors.
    """

    mode: Literal["mark", "mask"]
    found: dict[str, Count]


class SaidBefore(Shape):
    """An earlier turn of a conversation; its question as it was completed then."""

    question: str
    answer_id: str | None


class Conversation(Shape):
    """How a question was completed from earlier turns, whose last one counts."""

    original: str = Field(description="The question as asked.")
    rule: Literal["as asked", "swap", "aside", "topic", "answer"]
    replaced: str | None = Field(description="The piece of the question before that was replaced.")
    added: str | None = Field(description="What was put in.")
    turns: list[SaidBefore]


class Payload(Shape):
    """What every payload but a receipt begins with; `kind` and `schema` name its shape."""

    software: str
    actor: str
    """Who did it."""


class Receipt(Shape):
    """Everything an answer or abstention came from."""

    schema_: Literal["grounded-rag/receipt/1"] = Field(alias="schema")
    kind: Literal["answer"]
    software: str
    knowledge_base: str
    asker: str
    question: str
    filters: Limits
    status: Literal["answered", "abstained"]
    text: str
    reason: str | None
    settings: dict[str, JsonValue] = Field(description="Those that shape answers.")
    settings_sha256: Sha256
    runtime: Runtime
    models: dict[str, str]
    index: SearchedIndex
    passages: list[ReadPassage]
    draft: DraftText
    citations: list[CitedText]
    verdicts: list[JudgedClaim]
    decision: Weighed
    attempts: list[TriedDraft]
    timings_ms: dict[str, float]
    conversation: Conversation | None = None
    personal_data: PersonalData | None = None


class RaisedError(Shape):
    """The error that a question ended in."""

    type: str
    message: str


class Refusal(Payload):
    """A question that ended in an error."""

    schema_: Literal["grounded-rag/refusal/1"] = Field(alias="schema")
    kind: Literal["refusal"]
    knowledge_base: str
    question: str
    question_chars: Count = Field(description="Of the whole question, whose beginning is kept.")
    filters: Limits
    settings_sha256: Sha256
    error: RaisedError
    personal_data: PersonalData | None = None


class Check(Payload):
    """A claim that was judged by the evidence given with it."""

    schema_: Literal["grounded-rag/check/1"] = Field(alias="schema")
    kind: Literal["check"]
    claim: str
    evidence: list[str]
    question: str | None
    verdict: Literal["supported", "contradicted", "unsupported"]
    personal_data: PersonalData | None = None
    verdicts: list[JudgedClaim]
    models: dict[str, str]


class SearchedFor(Shape):
    """Where a document was looked for, and what was found of it: nothing.

    Hits are looked up in the database before anyone sees them, so that what is not live there is
    found by no process, whichever generation it still has open.
    """

    revision: Count = Field(description="Of the knowledge base, with the deletion in it.")
    generation: Count = Field(description="The index generation that is searched from now on.")
    manifest_sha256: Sha256
    chunks: Count = Field(description="Of the document, each of which was looked for.")
    live_chunks: Literal[0] = Field(description="Of these, live in the database.")
    found: Literal[0] = Field(description="Of these, returned where hits become passages.")
    texts: Literal[0] = Field(description="Of these, held by the lexical index.")
    vectors: Count = Field(
        description="Of these, held by the dense index: none, or all where it is a graph, which "
        "drops them when it is next built. No search returns them."
    )


class DeletedDocument(Payload):
    """A document that no search finds any more."""

    schema_: Literal["grounded-rag/deletion/1"] = Field(alias="schema")
    kind: Literal["deletion"]
    what: Literal["document"]
    knowledge_base: str
    document: str
    document_id: str
    versions_kept: Count = Field(description="Old citations resolve in them; erase them apart.")
    older_generations: Count = Field(description="On disk, not searched, until newer ones come.")
    checked: SearchedFor


class LookedFor(Shape):
    """Where a deleted knowledge base was looked for, and what was found of it: nothing."""

    documents: Literal[0]
    chunks: Literal[0]
    index_folder: Literal[0]
    open_here: Literal[0]


class DeletedKnowledgeBase(Payload):
    """A knowledge base that is gone with its documents, versions and indexes."""

    schema_: Literal["grounded-rag/deletion/1"] = Field(alias="schema")
    kind: Literal["deletion"]
    what: Literal["knowledge base"]
    knowledge_base: str
    documents: Count
    versions: Count
    chunks: Count
    versions_kept: Literal[0]
    checked: LookedFor


class Review(Payload):
    """What a reviewer said of a record; the one shape that may hold more than what is named."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]
    schema_: Literal["grounded-rag/review/1"] = Field(alias="schema")
    kind: Literal["review"]


class Read(Payload):
    """Records that somebody opened."""

    schema_: Literal["grounded-rag/read/1"] = Field(alias="schema")
    kind: Literal["read"]
    records: list[str] = Field(description="Ids; empty where all of a log was read.")
    how: str = Field(description="E.g. show, export, bundle, replay.")
    log_size: Count | None = Field(description="Of the log where all of it was read.")


class Erasure(Payload):
    """Payloads that were erased; nothing of what they held."""

    schema_: Literal["grounded-rag/erasure/1"] = Field(alias="schema")
    kind: Literal["erasure"]
    what: Literal["subject", "record", "document"]
    records: list[str] = Field(description="Their ids.")
    kinds: dict[str, Count] = Field(description="How many of each kind of record.")
    knowledge_base: str | None = Field(description="Of a document.")
    subject_hmac: Sha256 | None = Field(description="Of whoever they were about, keyed.")
    document_hmac: Sha256 | None = Field(description="Of knowledge base and URI, keyed.")
    document_id: str | None = Field(description="None where only records were left of it.")
    versions: Count = Field(description="Of a document, whose texts are gone.")
    chunks: Count


class KeyChange(Payload):
    """A signing key that was made, or put in the place of another."""

    schema_: Literal["grounded-rag/key/1"] = Field(alias="schema")
    kind: Literal["key"]
    change: Literal["created", "rotated", "lost"]
    key: str = Field(description="The public key, as signed notes name it.")
    from_: Count = Field(alias="from", description="Log size that it signs from.")
    replaces: str | None = Field(description="The public key before it.")


class AskedQuestions(Shape):
    """The file of questions that a calibration was fitted on."""

    file: str
    sha256: Sha256
    questions: Count
    command: str


class Calibration(Payload):
    """A calibration file that was written."""

    schema_: Literal["grounded-rag/calibration/1"] = Field(alias="schema")
    kind: Literal["calibration"]
    knowledge_base: str
    file: str
    sha256: Sha256
    questions: AskedQuestions
    report: dict[str, JsonValue] = Field(description="What it was found to do.")


class SettingsChange(Payload):
    """Settings that shape answers and are no longer what they were."""

    schema_: Literal["grounded-rag/settings/1"] = Field(alias="schema")
    kind: Literal["settings"]
    settings: dict[str, JsonValue]
    settings_sha256: Sha256
    before_sha256: Sha256


class RetentionSet(Payload):
    """How long payloads are kept from now on."""

    schema_: Literal["grounded-rag/retention/1"] = Field(alias="schema")
    kind: Literal["retention"]
    what: Literal["set"]
    retention_days: Count | None = Field(description="None keeps them for good.")


class LegalHold(Payload):
    """That nothing may be erased from now on, or that it may again."""

    schema_: Literal["grounded-rag/retention/1"] = Field(alias="schema")
    kind: Literal["retention"]
    what: Literal["legal hold"]
    on: bool
    reason: str


class SubjectsRenewed(Payload):
    """That whom records are about is noted under a new secret, as the one before it was lost."""

    schema_: Literal["grounded-rag/retention/1"] = Field(alias="schema")
    kind: Literal["retention"]
    what: Literal["subjects renewed"]


class Pruning(Payload):
    """What was dropped for its age: the payloads of all records before it that are older."""

    schema_: Literal["grounded-rag/retention/1"] = Field(alias="schema")
    kind: Literal["retention"]
    what: Literal["pruned"]
    before: Moment
    retention_days: Count
    kinds: dict[str, Count] = Field(description="How many of each kind of record.")


class AccessChange(Payload):
    """A key of the service that was made or revoked; nothing of its secret."""

    schema_: Literal["grounded-rag/access/1"] = Field(alias="schema")
    kind: Literal["access"]
    change: Literal["created", "revoked"]
    key: str = Field(description="The key's public id.")
    name: str
    scopes: list[str]
    knowledge_bases: list[str] = Field(description="Granted by name; * is all.")
    expires_at: str | None


SHAPES: dict[str, tuple[type[Shape], ...]] = {
    "answer": (Receipt,),
    "refusal": (Refusal,),
    "check": (Check,),
    "deletion": (DeletedDocument, DeletedKnowledgeBase),
    "erasure": (Erasure,),
    "review": (Review,),
    "key": (KeyChange,),
    "read": (Read,),
    "calibration": (Calibration,),
    "settings": (SettingsChange,),
    "retention": (RetentionSet, LegalHold, SubjectsRenewed, Pruning),
    "access": (AccessChange,),
}
"""Kind → the shapes that its payloads may have; where there are several, `what` says which."""


def checked(kind: str, payload: Mapping[str, Any]) -> bytes:
    """Return a payload's canonical bytes (RFC 8785).

    Raises:
        RecordError: it has not the shape of its kind, or can't be written as JSON.
    """
    try:
        content = canonical(payload)
        shape = _shape(SHAPES[kind], payload.get("what"))
        # Of the bytes, so that exactly what is stored was checked.
        shape.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        raise RecordError(f"a payload of kind {kind}: {place}: {first['msg']}") from None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RecordError(f"a payload of kind {kind} can't be recorded: {error}") from error
    return content


def _shape(shapes: Sequence[type[Shape]], what: object) -> type[Shape]:
    """Return the shape whose `what` a payload has; the first where none has it."""
    for shape in shapes[1:]:
        if what in get_args(shape.model_fields["what"].annotation):
            return shape
    return shapes[0]


def schemas() -> dict[str, dict[str, Any]]:
    """Return the published JSON Schemas by file name: the leaf's and one per kind of payload."""
    found = {"leaf-1.json": _leaf_schema()}
    for shapes in SHAPES.values():
        each = [shape.model_json_schema(by_alias=True) for shape in shapes]
        name = each[0]["properties"]["schema"]["const"]
        schema = each[0]
        if len(each) > 1:
            shared = {key: value for one in each for key, value in one.pop("$defs", {}).items()}
            schema = {"$defs": shared, "oneOf": each}
        file = "-".join(name.split("/")[1:]) + ".json"
        found[file] = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"urn:{name.replace('/', ':')}",
            **schema,
        }
    return found


def _leaf_schema() -> dict[str, Any]:
    text_or_null = {"type": ["string", "null"], "maxLength": 200}
    count = {"type": "integer", "minimum": 0, "exclusiveMaximum": 2**53}
    properties = {
        "schema": {"const": leaf.SCHEMA},
        "id": {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
        "sequence": count,
        "created_at": {
            "type": "string",
            "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$",
        },
        "kind": {"enum": list(leaf.KINDS)},
        "knowledge_base": text_or_null,
        "status": text_or_null,
        "commitment": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "payload_bytes": count,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{leaf.SCHEMA.replace('/', ':')}",
        "title": "Leaf",
        "description": "What is hashed into the log's tree of one record.",
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


if __name__ == "__main__":  # python -m knowledge_bases.audit.payloads docs/schemas
    for file, schema in schemas().items():
        Path(sys.argv[1], file).write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")
