"""What pages share: what somebody may see, how pages are rendered, how errors become pages."""

import logging
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request

from api.auth import asker_of
from api.errors import PROBLEMS, kind_and_place
from api.web.templates_env import TEMPLATES
from indexer.load.compose import clean
from knowledge_bases.access import Asker
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase
from knowledge_bases.store.knowledge_bases import no_such_knowledge_base
from rag.errors import NotFound, RagError

log = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # Without a referrer a browser sends forms with "Origin: null", which is refused.
    "Referrer-Policy": "same-origin",
    "Vary": "HX-Request",
}

OPERATORS = ("metrics", "admin")
"""Scopes of whoever sees how the service does."""


def visible_names(home: Home, who: Asker) -> list[str]:
    """Return the names of the knowledge bases that somebody may see, sorted."""
    return [row.name for row in home.store.kbs.all() if who.sees(row.name)]


def opened(home: Home, who: Asker, name: str) -> KnowledgeBase:
    """Open a knowledge base for somebody.

    Raises:
        NotFound: there is none of that name that they may see.
    """
    if not who.sees(name):
        raise no_such_knowledge_base(name)
    return home.open(name)


def opened_if_there(home: Home, who: Asker, name: str | None) -> KnowledgeBase | None:
    """Open a knowledge base that a record speaks of; None if it was deleted since."""
    try:
        return None if name is None else opened(home, who, name)
    except NotFound:
        return None


def is_partial(request: Request) -> bool:
    """Say whether a part of a page is asked for, to be put into the one that is open."""
    return request.headers.get("hx-request") == "true"


def page(
    request: Request,
    template: str,
    *,
    part: str | None = None,
    status: int = 200,
    headers: dict[str, str] | None = None,
    **content: Any,
) -> HTMLResponse:
    """Render a page.

    Args:
        request: that asks for it.
        template: of the whole page.
        part: template of what replaces a part of an open page, where that is asked for.
        status: HTTP status.
        headers: more headers.
        content: what the template shows; everything is escaped.
    """
    name = part if part is not None and is_partial(request) else template
    who = asker_of(request.scope)
    html = TEMPLATES.get_template(name).render(
        path=request.url.path,
        status=status,
        operates=who is not None and not who.scopes.isdisjoint(OPERATORS),
        **content,
    )
    return HTMLResponse(html, status, headers={**HEADERS, **(headers or {})})


class PageRoute(APIRoute):
    """A route whose errors are pages that say what to do, with the status of the API's problems."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, wrapped."""
        handler = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handler(request)
            except RagError as error:
                status, title = next(
                    (status, title) for cls, status, _, title in PROBLEMS if isinstance(error, cls)
                )
                if status >= 500:
                    log.error("%s: %s", request.method, kind_and_place(error))
                return _error_page(request, status, title, str(error))
            except RequestValidationError as error:
                first = error.errors()[0]
                name = clean(".".join(str(part) for part in first["loc"][1:]))
                detail = f"{name}: {first['msg']}"
                return _error_page(request, 422, "The request is not as it must be", detail)
            except HTTPException as error:
                title = HTTPStatus(error.status_code).phrase
                return _error_page(request, error.status_code, title, str(error.detail))

        return handled


def _error_page(request: Request, status: int, title: str, detail: str) -> Response:
    line = " ".join(clean(detail).split())
    return page(request, "error.html", part="_error.html", status=status, title=title, detail=line)
