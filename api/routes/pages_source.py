"""/sources: a document version's text with a span of it marked."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from starlette.requests import Request

from api.auth import needs
from api.routes.shared import HomeParam
from api.web.shared import PageRoute, opened, page
from api.web.source_view import source_text
from knowledge_bases.access import Asker
from rag.errors import UsageError

router = APIRouter(route_class=PageRoute)
_Reader = Annotated[Asker, needs("ask", "ingest", "audit", "review")]
_Offset = Annotated[int | None, Query(ge=0, le=2**31 - 1)]
_Version = Annotated[int | None, Query(ge=1, le=2**31 - 1)]


@router.get("/sources/{kb}")
def source_by_query(
    request: Request,
    kb: str,
    home: HomeParam,
    who: _Reader,
    uri: str = "",
    version: _Version = None,
    start: _Offset = None,
    end: _Offset = None,
    first: _Offset = None,
) -> Response:
    """Show a document whose URI can't be a path."""
    return source(request, kb, uri, home, who, version, start, end, first)


@router.get("/sources/{kb}/{uri:path}")
def source(
    request: Request,
    kb: str,
    uri: str,
    home: HomeParam,
    who: _Reader,
    version: _Version = None,
    start: _Offset = None,
    end: _Offset = None,
    first: _Offset = None,
) -> Response:
    """Show a document."""
    if (start is None) != (end is None):
        raise UsageError("give start and end together, or neither")
    base = opened(home, who, kb)
    span = None if start is None or end is None else (start, end)
    found = source_text(base, uri, version=version, span=span, first=first)
    return page(request, "source.html", kb=kb, source=found)
