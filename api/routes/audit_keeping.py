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
from api.auth import needs, refuse_unless_all
from api.errors import problems
from api.requests import NewErasure, NewLegalHold, NewRetention
from api.routes.audit import Auditor, Size
from api.routes.shared import JSON, HomeParam, JsonOnly, prefers
from knowledge_bases.access import Asker
from knowledge_bases.home import Home
from knowledge_bases.proving import newest_checkpoint, prove_consistency
from knowledge_bases.store.knowledge_bases import no_such_knowledge_base
from knowledge_bases.store.log_reading import no_such_record
from rag.errors import NotFound

router = APIRouter(prefix="/audit", tags=["log"])

PLAIN = "text/plain"

_Admin = Annotated[Asker, needs("admin")]


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
def show_checkpoint(
    request: Request, home: HomeParam, asker: Auditor
) -> SignedCheckpoint | Response:
    """Show the newest signed checkpoint."""
    row = newest_checkpoint(home)
    if prefers(request, PLAIN):
        return PlainTextResponse(row.note)
    return SignedCheckpoint.of(row, home.store.log.size())


@router.post("/checkpoint")
def sign_checkpoint(home: HomeParam, asker: _Admin) -> SignedCheckpoint:
    """Sign the log as it is now; the first time makes its key."""
    refuse_unless_all(asker, "signs the log")
    home.audit.keeping.checkpoint()
    return SignedCheckpoint.of(newest_checkpoint(home), home.store.log.size())


@router.get("/consistency", responses=problems(404, 422))
def prove_growth(
    home: HomeParam,
    asker: Auditor,
    first: Annotated[Size, Query(description="Size of the log at the earlier time.")],
    second: Annotated[
        Size | None, Query(description="At the later; by default that of the newest checkpoint.")
    ] = None,
) -> ConsistencyProof:
    """Prove that the log only grew between two sizes."""
    return ConsistencyProof.of(prove_consistency(home, first, second))


@router.get("/keys", response_model=PublishedKeys, responses=problems(404))
def list_log_keys(home: HomeParam, asker: Auditor) -> Response:
    """List the log's public keys, just as `rag verify-bundle --key` reads them."""
    keeping = home.audit.keeping
    if not keeping.verifier_keys():
        raise NotFound("the log has no key yet; the first checkpoint makes it")
    return Response(keeping.keys.published(), media_type=JSON)


@router.post("/erasures", dependencies=[JsonOnly], responses=problems(400, 404, 409, 413, 415, 422))
def erase(body: NewErasure, home: HomeParam, asker: _Admin) -> Erasure:
    """Erase what the log and the indexes hold of a subject, a record or a document.

    The log records that it was erased before it is; leaves stay, so that every proof still holds.
    Under a legal hold nothing is erased. What is of a subject may be of any knowledge base, so that
    a key needs a grant on all for it.
    """
    eraser, actor = home.audit.eraser, asker.label
    if body.subject is not None:
        refuse_unless_all(asker, "erases what is of a subject")
        erased = eraser.erase_subject(body.subject, actor=actor)
    elif body.record is not None:
        row = home.store.log.get(body.record)  # By its whole id: a beginning might be another's.
        if not asker.sees(row.kb_name):
            raise no_such_record(body.record)
        erased = eraser.erase_record(row.id, actor=actor)
    else:
        assert body.document is not None
        kb_name, uri = body.document.knowledge_base, body.document.uri
        if not asker.sees(kb_name):
            raise no_such_knowledge_base(kb_name)
        erased = eraser.erase_document(kb_name, uri, actor=actor)
    return Erasure.of(erased)


@router.get("/retention")
def show_retention(
    home: HomeParam, asker: Annotated[Asker, needs("audit", "admin")]
) -> RetentionState:
    """Show how long payloads are kept, and whether there is a legal hold."""
    refuse_unless_all(asker, "sees how all of the log is kept")
    return _state(home)


@router.put("/retention", dependencies=[JsonOnly], responses=problems(400, 413, 415, 422))
def set_retention(body: NewRetention, home: HomeParam, asker: _Admin) -> RetentionState:
    """Set for how many days payloads are kept; the change is recorded. Nothing is dropped yet."""
    refuse_unless_all(asker, "sets how long all of the log is kept")
    home.audit.retention.keep(body.retention_days, actor=asker.label)
    return _state(home)


@router.post("/retention/prune", responses=problems(409, 422))
def prune(home: HomeParam, asker: _Admin) -> Pruning:
    """Drop the payloads that are older than they are to be kept; that is recorded before."""
    refuse_unless_all(asker, "drops payloads of all of the log")
    return Pruning.of(home.audit.retention.prune(_now(), actor=asker.label))


@router.put("/legal-hold", dependencies=[JsonOnly], responses=problems(400, 413, 415, 422))
def set_legal_hold(body: NewLegalHold, home: HomeParam, asker: _Admin) -> RetentionState:
    """Begin or end a legal hold; while it is on, nothing is erased or dropped. It is recorded."""
    refuse_unless_all(asker, "holds all of the log")
    home.audit.retention.hold(body.on, body.reason, actor=asker.label)
    return _state(home)


def _state(home: Home) -> RetentionState:
    retention = home.audit.retention
    return RetentionState.of(retention.state, retention.due(_now()))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
