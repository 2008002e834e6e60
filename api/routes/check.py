"""/check: claims against evidence, whoever wrote them."""

from fastapi import APIRouter

from api.errors import problems
from api.requests import CheckRequest
from api.routes.shared import HomeParam, JsonOnly
from api.schemas import Check
from rag.types import Claim

router = APIRouter(tags=["questions"])


@router.post("/check", dependencies=[JsonOnly], responses=problems(400, 413, 415, 422, 503))
def check(body: CheckRequest, home: HomeParam) -> Check:
    """Judge a claim by the evidence given with it; nothing is stored."""
    return Check.of(home.verifier.verify(Claim(body.claim, (), body.question), body.evidence))
