"""/collections: knowledge bases and their documents; upload, history, deletion."""

from typing import Annotated

from fastapi import APIRouter, Form, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request

from api.auth import needs
from api.idempotency import OnceParam
from api.routes.documents import add_documents
from api.routes.shared import HomeParam, JobsParam
from api.schemas import Job, KnowledgeBaseInfo
from api.web.links import collection_link
from api.web.shared import PageRoute, opened, page, visible_names
from knowledge_bases.access import Asker
from rag.errors import NotFound, UsageError

router = APIRouter(route_class=PageRoute)

_Anyone = Annotated[Asker, needs()]
_Admin = Annotated[Asker, needs("admin")]
_Reader = Annotated[Asker, needs("ask", "ingest", "audit", "review")]
_Curator = Annotated[Asker, needs("ingest")]
_Owner = Annotated[Asker, needs("ingest", "admin")]
_PAGE = 200


@router.get("/collections")
def collections_page(request: Request, home: HomeParam, who: _Anyone) -> Response:
    """List knowledge bases."""
    found = [KnowledgeBaseInfo.of(home.open(name)) for name in visible_names(home, who)]
    return page(request, "collections.html", collections=found)


@router.post("/collections")
def create_collection(home: HomeParam, who: _Admin, name: Annotated[str, Form()] = "") -> Response:
    """Create a knowledge base; a key needs a grant on all for that."""
    if who.knowledge_bases is not None:
        raise HTTPException(403, "this key may not do that: it is for some collections only")
    created = home.create(name.strip())
    return RedirectResponse(collection_link(created.name), 303)


@router.get("/collections/{kb}")
def collection_page(
    request: Request,
    kb: str,
    home: HomeParam,
    who: _Reader,
    after: str = "",
    job: str = "",
) -> Response:
    """List a knowledge base's documents, with what is being taken in."""
    base = opened(home, who, kb)
    rows = base.documents(limit=_PAGE + 1, after=after or None)
    shown = [home.store.jobs.get(job)] if job else []
    if shown and shown[0].kb_name != base.name:
        raise NotFound(f"there is no job {job!r} of {kb!r}")
    running = [one for one in home.store.jobs.unfinished() if one.kb_name == base.name]
    return page(
        request,
        "collection.html",
        part="_documents.html",
        info=KnowledgeBaseInfo.of(base),
        documents=rows[:_PAGE],
        next=rows[_PAGE - 1].document.uri if len(rows) > _PAGE else None,
        after=after,
        jobs=[Job.of(one) for one in shown + [one for one in running if one.id != job]],
    )


@router.post("/collections/{kb}/documents")
async def upload(
    request: Request, kb: str, home: HomeParam, jobs: JobsParam, who: _Curator, once: OnceParam
) -> Response:
    """Take in files that a form sends, where there is no script to do it."""
    await run_in_threadpool(opened, home, who, kb)
    job = await add_documents(kb, request, Response(), home, jobs, once)
    return RedirectResponse(f"{collection_link(kb)}?job={job.id}", 303)


@router.get("/collections/{kb}/delete")
def confirm_deletion(
    request: Request, kb: str, home: HomeParam, who: _Owner, uri: str = ""
) -> Response:
    """Ask whether a document is to be deleted, or without a URI the knowledge base."""
    base = opened(home, who, kb)
    state = base.document(uri) if uri else None
    return page(request, "delete.html", info=KnowledgeBaseInfo.of(base), state=state)


@router.post("/collections/{kb}/delete")
def delete(
    kb: str,
    home: HomeParam,
    jobs: JobsParam,
    who: _Owner,
    uri: Annotated[str, Form()] = "",
    name: Annotated[str, Form()] = "",
) -> Response:
    """Delete a document, or the knowledge base whose name was typed."""
    base = opened(home, who, kb)
    needed = "ingest" if uri else "admin"
    if needed not in who.scopes:
        raise HTTPException(403, f"this key may not do that: it needs the scope {needed!r}")
    if uri:
        base.delete_document(uri, actor=who.label)
        return RedirectResponse(collection_link(kb), 303)
    if name.strip() != base.name:
        raise UsageError(f"type the name {base.name!r} to delete the collection, or go back")
    jobs.delete_knowledge_base(base.name, actor=who.label)
    return RedirectResponse("/collections", 303)
