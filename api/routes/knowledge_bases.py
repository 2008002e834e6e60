"""/knowledge-bases: create, list, show, delete."""

from typing import Annotated

from fastapi import APIRouter, Response
from starlette.requests import Request

from api.auth import needs, refuse_unless_all
from api.conditional import conditional, with_headers
from api.errors import problems
from api.idempotency import OnceParam
from api.requests import NewKnowledgeBase
from api.routes.shared import HomeParam, JobsParam, JsonOnly, KbName, kb_path
from api.schemas import KnowledgeBaseInfo, KnowledgeBaseList
from knowledge_bases.access import Asker
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase
from knowledge_bases.store.knowledge_bases import no_such_knowledge_base

router = APIRouter(prefix="/knowledge-bases", tags=["knowledge bases"])


@router.post(
    "",
    status_code=201,
    dependencies=[JsonOnly],
    responses={
        201: {"headers": {"Location": {"schema": {"type": "string"}, "description": "Its path."}}},
        **problems(400, 409, 410, 413, 415, 422, 501, 503),
    },
)
def create_knowledge_base(
    body: NewKnowledgeBase,
    home: HomeParam,
    response: Response,
    asker: Annotated[Asker, needs("admin")],
    once: OnceParam,
) -> KnowledgeBaseInfo:
    """Create a knowledge base; a key needs a grant on all for that."""
    # Else a name that is taken would tell of a knowledge base that is not granted.
    refuse_unless_all(asker, "makes new ones")
    base = once.do(
        body.model_dump(),
        lambda: home.create(body.name),
        resource=lambda made: f"{made.name} {made.row.uid}",
        again=lambda named: _made(home, *named.split()),
    )
    info = KnowledgeBaseInfo.of(base)
    response.headers["Location"] = kb_path(info.name)
    return info


@router.get("")
def list_knowledge_bases(home: HomeParam, asker: Annotated[Asker, needs()]) -> KnowledgeBaseList:
    """List the knowledge bases that are granted."""
    rows = [row for row in home.store.kbs.all() if asker.sees(row.name)]
    return KnowledgeBaseList(
        knowledge_bases=[KnowledgeBaseInfo.of(home.open(row.name)) for row in rows]
    )


@router.get(
    "/{kb}",
    dependencies=[needs()],
    response_model=KnowledgeBaseInfo,
    responses={**with_headers(), **problems(404, 422)},
)
def show_knowledge_base(kb: KbName, request: Request, home: HomeParam) -> Response:
    """Show a knowledge base and its size."""
    return conditional(request, KnowledgeBaseInfo.of(home.open(kb)))


@router.delete("/{kb}", status_code=204, responses=problems(404, 422))
def delete_knowledge_base(
    kb: KbName, jobs: JobsParam, asker: Annotated[Asker, needs("admin")]
) -> None:
    """Delete a knowledge base with its documents and jobs; the log keeps its answers."""
    jobs.delete_knowledge_base(kb, actor=asker.label)


def _made(home: Home, name: str, uid: str) -> KnowledgeBase:
    """Open the very knowledge base that was made, not another that has its name by now.

    Raises:
        NotFound: it was deleted.
    """
    base = home.open(name)
    if base.row.uid != uid:
        raise no_such_knowledge_base(name)
    return base
