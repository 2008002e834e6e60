"""Responses that a client may keep and ask about again, and pages that name the next one."""

import hashlib
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Response
from pydantic import BaseModel
from starlette.requests import Request

from api.routes.shared import JSON

_KEPT = {"Cache-Control": "private, no-cache"}
"""By whoever asked alone, and never used again without asking."""
_ETAG: dict[str, Any] = {
    "ETag": {"schema": {"type": "string"}, "description": "For If-None-Match."}
}
NEXT_PAGE: dict[str, Any] = {
    "Link": {"schema": {"type": "string"}, "description": 'The next page (rel="next"), if any.'}
}


def conditional(
    request: Request, content: BaseModel, headers: dict[str, str] | None = None
) -> Response:
    """Return an object with an entity tag; only that it hasn't changed to who has it already."""
    body = content.model_dump_json().encode()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {**_KEPT, "ETag": tag, **(headers or {})}
    if _has(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=JSON, headers=headers)


def with_headers(*more: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """Return what a route's ``responses`` say of it."""
    headers = {name: header for one in (_ETAG, *more) for name, header in one.items()}
    unchanged = "It is as the client has it (If-None-Match)."
    return {200: {"headers": headers}, 304: {"description": unchanged, "headers": _ETAG}}


def next_page(request: Request, **changed: object) -> dict[str, str]:
    """Return the header that names the next page: this one's URL with other parameters (RFC 8288).

    Args:
        request: for this page.
        changed: the parameters that differ; none of them set where there is no next page.
    """
    if any(value is None for value in changed.values()):
        return {}
    query = urlencode({**request.query_params, **changed})
    return {"Link": f'<{quote(request.scope["path"])}?{query}>; rel="next"'}


def _has(request: Request, tag: str) -> bool:
    """Say whether a client names a tag, compared weakly as RFC 9110 asks."""
    sent = ",".join(request.headers.getlist("if-none-match"))
    return any(one.strip().removeprefix("W/") in (tag, "*") for one in sent.split(","))
