"""/check: claims against evidence, whoever wrote them."""

from fastapi import APIRouter

from api.errors import problems
from api.requests import CheckRequest
from api.routes.shared import HomeParam, JsonOnly
from api.verdicts import Check
from rag.verify.check import check_text

router = APIRouter(tags=["questions"])


@router.post("/check", dependencies=[JsonOnly], responses=problems(400, 413, 415, 422, 503))
def check(body: CheckRequest, home: HomeParam) -> Check:
    """Judge each sentence of a claim by the evidence given with it; nothing is stored."""
    most = home.settings.max_evidence_chars
    return Check.of(
        check_text(home.verifier, body.claim, body.evidence, body.question, max_evidence_chars=most)
    )
