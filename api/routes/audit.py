"""/audit: the records of the log, and what proves and repeats them."""

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, WithJsonSchema
from starlette.requests import Request

from api.audit_schemas import AuditCitations, AuditProof, AuditReplay
from api.auth import needs
from api.conditional import NEXT_PAGE, next_page
from api.errors import problems
from api.log_filters import filters
from api.routes.shared import HomeParam
from api.schemas import AuditEntry, AuditPage, AuditRecord
from knowledge_bases.access import Asker
from knowledge_bases.audit.bundle import bundle
from knowledge_bases.audit.leaf import KINDS
from knowledge_bases.bundling import bundle_parts
from knowledge_bases.home import Home
from knowledge_bases.proving import prove_inclusion
from knowledge_bases.replaying import replay
from knowledge_bases.resolving import resolve
from knowledge_bases.tables import AuditRow
from rag.errors import NotFound, UsageError

router = APIRouter(prefix="/audit", tags=["log"])

ZIP = "application/zip"


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"must be one of {', '.join(KINDS)}")
    return kind


Kind = Annotated[
    str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(KINDS)})
]
Moment = Annotated[
    str,
    Query(max_length=40),
    WithJsonSchema({"anyOf": [{"type": "string", "format": f} for f in ("date", "date-time")]}),
]
Auditor = Annotated[Asker, needs("audit")]
RecordId = Annotated[str, Path(description="The record's id: an answer's answer_id.")]
Size = Annotated[int, Query(ge=0, le=2**63 - 1)]


@router.get("", responses={200: {"headers": NEXT_PAGE}, **problems(422)})
def list_records(
    home: HomeParam,
    request: Request,
    response: Response,
    asker: Auditor,
    knowledge_base: Annotated[str | None, Query(description="Only this one's.")] = None,
    kind: Annotated[
        list[Kind] | None, Query(max_length=len(KINDS), description="Only these kinds.")
    ] = None,
    status: Annotated[
        str | None, Query(max_length=200, description="Only this one, e.g. abstained.")
    ] = None,
    verdict: Annotated[
        Literal["supported", "unsupported", "contradicted"] | None,
        Query(description="Only where this is the worst verdict on a claim."),
    ] = None,
    disputed: Annotated[
        bool | None, Query(description="Only where another passage says otherwise, or where none.")
    ] = None,
    document: Annotated[
        str | None, Query(max_length=2_000, description="Only what cites this document, by URI.")
    ] = None,
    asked_by: Annotated[
        str | None, Query(alias="asker", max_length=200, description="Only what is about them.")
    ] = None,
    since: Annotated[
        Moment | None, Query(description="Only from this day or moment (ISO 8601, UTC) on.")
    ] = None,
    until: Annotated[
        Moment | None, Query(description="Only to the end of this day, or before this moment.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="How many.")] = 50,
    before: Annotated[
        int | None, Query(ge=0, le=2**63 - 1, description="Only below this sequence number.")
    ] = None,
) -> AuditPage:
    """List records of the log, newest first.

    Records that are of no single knowledge base are for keys with a grant on all.
    """
    found = home.store.log.all(
        kb_name=knowledge_base,
        kb_names=asker.knowledge_bases,
        limit=limit + 1,
        before=before,
        **filters(
            kinds=kind or (),
            status=status,
            verdict=verdict,
            disputed=disputed,
            document=document,
            asker=asked_by,
            since=since,
            until=until,
        ),
    )
    page = list(found)
    verdicts = home.store.log.verdicts(page[:limit])
    following = page[limit - 1].sequence if len(page) > limit else None
    response.headers.update(next_page(request, before=following))
    listed = [AuditEntry.listed(row, verdicts.get(row.sequence)) for row in page[:limit]]
    return AuditPage(records=listed, next=following)


@router.get("/{record_id}", responses=problems(404, 422, 500, 507))
def show_record(record_id: RecordId, home: HomeParam, asker: Auditor) -> AuditRecord:
    """Show a record with its payload and the exact text its leaf hash is of.

    That somebody opened it is recorded, too.
    """
    row = home.store.log.get(record_id)
    return AuditRecord.of(row, home.audit.read(row, how="show", actor=asker.label))


@router.get("/{record_id}/proof", responses=problems(404, 422))
def prove_record(
    record_id: RecordId,
    home: HomeParam,
    asker: Auditor,
    size: Annotated[
        Size | None,
        Query(description="Records in the tree; by default those of the newest checkpoint."),
    ] = None,
) -> AuditProof:
    """Prove that a record is in the log, up to a signed checkpoint.

    Where none has the record yet, the log is signed now. Nothing personal is in a leaf, so that
    this is not recorded.
    """
    row = home.store.log.get(record_id)
    return AuditProof.of(row, prove_inclusion(home, row, size))


@router.get(
    "/{record_id}/bundle",
    response_class=Response,
    responses={
        200: {
            "description": "All that an outsider needs to verify the record: a zip.",
            "content": {ZIP: {"schema": {"type": "string", "format": "binary"}}},
            "headers": {
                "Content-Disposition": {"schema": {"type": "string"}, "description": "Its name."}
            },
        },
        **problems(404, 422),
    },
)
def bundle_record(record_id: RecordId, home: HomeParam, asker: Auditor) -> Response:
    """Make a record's bundle, for `rag verify-bundle`; that somebody did is recorded, too."""
    row = home.store.log.get(record_id)
    content = bundle(bundle_parts(home, row, actor=asker.label))
    name = f'attachment; filename="{row.kind}-{row.id}.zip"'
    return Response(content, media_type=ZIP, headers={"Content-Disposition": name})


@router.post("/{record_id}/replay", responses=problems(404, 422, 501, 503))
def replay_answer(record_id: RecordId, home: HomeParam, asker: Auditor) -> AuditReplay:
    """Answer a recorded question again and compare; that somebody did is recorded, too.

    It takes as long as an answer does. Nothing of what it writes is kept.
    """
    row, receipt = _opened_answer(home, record_id, how="replay", asker=asker)
    return AuditReplay.of(replay(home.open(receipt["knowledge_base"]), row.id, receipt))


@router.get("/{record_id}/citations", responses=problems(404, 422))
def resolve_citations(record_id: RecordId, home: HomeParam, asker: Auditor) -> AuditCitations:
    """Find an answer's citations in its documents as they are now; that is recorded, too."""
    row, receipt = _opened_answer(home, record_id, how="resolve", asker=asker)
    return AuditCitations.of(row.id, resolve(home, row.id, receipt))


def _opened_answer(
    home: Home, record_id: str, *, how: str, asker: Asker
) -> tuple[AuditRow, dict[str, Any]]:
    """Open the receipt of an answer.

    Raises:
        NotFound: there is no such record, or its payload was erased.
        UsageError: it is of no answer; then it stays closed.
        DigestMismatch: the payload is not what the record's leaf commits to.
        RecordError: the log refused the record of the reading.
    """
    row = home.store.log.get(record_id)
    if row.kind != "answer":
        raise UsageError(f"record {row.id} is of kind {row.kind!r}; this is for answers only")
    opened = home.audit.read(row, how=how, actor=asker.label)
    if opened is None:
        raise NotFound(f"the payload of record {row.id} was erased")
    receipt: dict[str, Any] = json.loads(opened.payload)
    return row, receipt
