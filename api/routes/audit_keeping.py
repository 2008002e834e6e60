"""/audit: how the log is kept: checkpoints, keys, erasures, retention, legal holds."""

import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse
from starlette.requests import Request

from api.audit_schemas import (
    ConsistencyProof,
    Erasure,
    Pruning,
    PublishedKeys,
    RetentionState,
    SignedCheckpoint,
)
from api.errors import problems
from api.requests import NewErasure, NewLegalHold, NewRetention
from api.routes.audit import Size
from api.routes.shared import JSON, HomeParam, JsonOnly, prefers
from knowledge_bases.home import Home
from knowledge_bases.proving import newest_checkpoint, prove_consistency
from knowledge_bases.recording import LOCAL
from rag.errors import NotFound

router = APIRouter(prefix="/audit", tags=["log"])

PLAIN = "text/plain"


@router.get(
    "/checkpoint",
    response_model=SignedCheckpoint,
    responses={
        200: {
            "description": "The newest checkpoint; with `Accept: text/plain` the note alone.",
            "content": {PLAIN: {"schema": {"type": "string"}}},
        },
        **problems(404),
    },
)
def show_checkpoint(request: Request, home: HomeParam) -> SignedCheckpoint | Response:
    """Show the newest signed checkpoint."""
    row = newest_checkpoint(home)
    if prefers(request, PLAIN):
        return PlainTextResponse(row.note)
    return SignedCheckpoint.of(row, home.store.log.size())


@router.post("/checkpoint")
def sign_checkpoint(home: HomeParam) -> SignedCheckpoint:
    """Sign the log as it is now; the first time makes its key."""
    home.audit.keeping.checkpoint()
    return SignedCheckpoint.of(newest_checkpoint(home), home.store.log.size())


@router.get("/consistency", responses=problems(404, 422))
def prove_growth(
    home: HomeParam,
    first: Annotated[Size, Query(description="Size of the log at the earlier time.")],
    second: Annotated[
        Size | None, Query(description="At the later; by default that of the newest checkpoint.")
    ] = None,
) -> ConsistencyProof:
    """Prove that the log only grew between two sizes."""
    return ConsistencyProof.of(prove_consistency(home, first, second))


@router.get("/keys", response_model=PublishedKeys, responses=problems(404))
def list_keys(home: HomeParam) -> Response:
    """List the log's public keys, just as `rag verify-bundle --key` reads them."""
    keeping = home.audit.keeping
    if not keeping.verifier_keys():
        raise NotFound("the log has no key yet; the first checkpoint makes it")
    return Response(keeping.keys.published(), media_type=JSON)


@router.post("/erasures", dependencies=[JsonOnly], responses=problems(400, 404, 409, 413, 415, 422))
def erase(body: NewErasure, home: HomeParam) -> Erasure:
    """Erase what the log and the indexes hold of a subject, a record or a document.

    The log records that it was erased before it is; leaves stay, so that every proof still holds.
    Under a legal hold nothing is erased.
    """
    eraser = home.audit.eraser
    if body.subject is not None:
        erased = eraser.erase_subject(body.subject, actor=LOCAL)
    elif body.record is not None:
        row = home.store.log.get(body.record)  # By its whole id: a beginning might be another's.
        erased = eraser.erase_record(row.id, actor=LOCAL)
    else:
        assert body.document is not None
        kb_name, uri = body.document.knowledge_base, body.document.uri
        erased = eraser.erase_document(kb_name, uri, actor=LOCAL)
    return Erasure.of(erased)


@router.get("/retention")
def show_retention(home: HomeParam) -> RetentionState:
    """Show how long payloads are kept, and whether there is a legal hold."""
    return _state(home)


@router.put("/retention", dependencies=[JsonOnly], responses=problems(400, 413, 415, 422))
def set_retention(body: NewRetention, home: HomeParam) -> RetentionState:
    """Set for how many days payloads are kept; the change is recorded. Nothing is dropped yet."""
    home.audit.retention.keep(body.retention_days, actor=LOCAL)
    return _state(home)


@router.post("/retention/prune", responses=problems(409, 422))
def prune(home: HomeParam) -> Pruning:
    """Drop the payloads that are older than they are to be kept; that is recorded before."""
    return Pruning.of(home.audit.retention.prune(_now(), actor=LOCAL))


@router.put("/legal-hold", dependencies=[JsonOnly], responses=problems(400, 413, 415, 422))
def set_legal_hold(body: NewLegalHold, home: HomeParam) -> RetentionState:
    """Begin or end a legal hold; while it is on, nothing is erased or dropped. It is recorded."""
    home.audit.retention.hold(body.on, body.reason, actor=LOCAL)
    return _state(home)


def _state(home: Home) -> RetentionState:
    retention = home.audit.retention
    return RetentionState.of(retention.state, retention.due(_now()))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
