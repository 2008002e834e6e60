"""/check: claims against evidence, whoever wrote them."""

from typing import Annotated

from fastapi import APIRouter

from api.auth import needs
from api.errors import problems
from api.requests import CheckRequest
from api.routes.shared import HomeParam, JsonOnly
from api.verdicts import Check
from knowledge_bases.access import Asker

router = APIRouter(tags=["questions"])


@router.post(
    "/check", dependencies=[JsonOnly], responses=problems(400, 413, 415, 422, 501, 503, 507)
)
def check(body: CheckRequest, home: HomeParam, asker: Annotated[Asker, needs("ask")]) -> Check:
    """Judge each sentence of a claim by the evidence given with it.

    The verdict is in the log before it is sent, as an answer is.
    """
    checked, _ = home.check(body.claim, body.evidence, body.question, actor=asker.label)
    return Check.of(checked)
