"""/audit: the log of answers."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from starlette.requests import Request

from api.auth import needs
from api.conditional import NEXT_PAGE, next_page
from api.errors import problems
from api.routes.shared import HomeParam
from api.schemas import AuditEntry, AuditPage, AuditRecord
from knowledge_bases.access import Asker

router = APIRouter(prefix="/audit", tags=["log"])


@router.get("", responses={200: {"headers": NEXT_PAGE}, **problems(422)})
def list_records(
    home: HomeParam,
    request: Request,
    response: Response,
    asker: Annotated[Asker, needs("audit")],
    knowledge_base: Annotated[str | None, Query(description="Only this one's.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="How many.")] = 50,
    before: Annotated[
        int | None, Query(ge=0, le=2**63 - 1, description="Only below this sequence number.")
    ] = None,
) -> AuditPage:
    """List records of the log, newest first.

    Records that are of no single knowledge base are for keys with a grant on all.
    """
    granted = asker.knowledge_bases
    page = list(
        home.store.log.all(kb_name=knowledge_base, kb_names=granted, limit=limit + 1, before=before)
    )
    following = page[limit - 1].sequence if len(page) > limit else None
    response.headers.update(next_page(request, before=following))
    return AuditPage(records=[AuditEntry.listed(row) for row in page[:limit]], next=following)


@router.get("/{record_id}", responses=problems(404, 422, 500, 507))
def show_record(
    record_id: Annotated[str, Path(description="The record's id: an answer's answer_id.")],
    home: HomeParam,
    asker: Annotated[Asker, needs("audit")],
) -> AuditRecord:
    """Show a record with its payload and the exact text its leaf hash is of.

    That somebody opened it is recorded, too.
    """
    row = home.store.log.get(record_id)
    return AuditRecord.of(row, home.audit.read(row, how="show", actor=asker.label))
