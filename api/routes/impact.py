"""/knowledge-bases/{kb}/impact: which answers rest on a document, judged by what it says now."""

from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query

from api.audit_schemas import ImpactReport
from api.auth import needs
from api.errors import problems
from api.routes.shared import HomeParam, KbName
from knowledge_bases.access import Asker
from knowledge_bases.impacting import impact_of

router = APIRouter(tags=["log"])


@router.get("/knowledge-bases/{kb}/impact", responses=problems(404, 422, 501, 503))
def show_impact(
    kb: KbName,
    home: HomeParam,
    asker: Annotated[Asker, needs("audit")],
    uri: Annotated[str, Query(max_length=2_000, description="The document's.")],
    version: Annotated[
        int | None, Query(ge=1, le=2**31 - 1, description="Only answers that cite this version.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="How many.")] = 50,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="As many are left out.")] = 0,
) -> ImpactReport:
    """Judge the answers that cite a document by its current version, oldest first.

    That they were read is recorded. The verifier judges each claim anew, which takes its time.
    """
    impact = impact_of(
        home, uri, kb_name=kb, version=version, skip=after, most=limit, actor=asker.label
    )
    return ImpactReport.of(impact, list(islice(impact.answers, limit)), after)
