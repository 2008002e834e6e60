"""Every error as a problem document (RFC 9457), from one table."""

import logging
import traceback
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.request_ids import request_id
from indexer.load.compose import clean
from rag.asked import BROKEN
from rag.errors import (
    AlreadyExists,
    IntegrityError,
    LegalHold,
    LoadError,
    MissingDependency,
    ModelError,
    NotFound,
    QuestionError,
    RagError,
    RecordError,
    Stopped,
    StorageError,
    UsageError,
)

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_TYPE = "urn:grounded-rag:problem:"
_NAME_CHARS = 100
_OPENAI = ("/v1/chat/", "/v1/models")

PROBLEMS: tuple[tuple[type[RagError], int, str, str], ...] = (
    (QuestionError, 422, "question", "The question can't be asked"),
    (LegalHold, 409, "legal-hold", "Nothing of the log may be erased now"),
    (UsageError, 422, "usage", "This can't be done as asked"),
    (NotFound, 404, "not-found", "There is no such thing"),
    (AlreadyExists, 409, "already-exists", "The name is taken"),
    (IntegrityError, 500, "integrity", "Something stored is not what was recorded"),
    (LoadError, 422, "document", "The document can't be read"),
    (RecordError, 507, "not-recorded", "The answer could not be logged"),
    (StorageError, 507, "storage", "The disk or database refused"),
    (ModelError, 503, "model", "A model is missing or fails"),
    (Stopped, 503, "stopped", "The answer was called off"),
    (MissingDependency, 501, "missing-dependency", "An optional package is not installed"),
    (RagError, 500, "error", "It failed"),
)
"""Error class → status, type and title; the first class that fits counts."""


class WrongField(BaseModel):
    """One thing that is wrong with a request."""

    pointer: str | None = Field(
        default=None, description="JSON Pointer into the body.", examples=["#/k"]
    )
    parameter: str | None = Field(default=None, description="Name of a parameter of the URL.")
    detail: str = Field(examples=["Input should be less than or equal to 1000"])


class OpenAIError(BaseModel):
    """An error as clients of OpenAI's API know it."""

    message: str
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(examples=["messages"])
    code: str | None = Field(examples=["model_not_found"])


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": f"{_TYPE}not-found",
                    "title": "There is no such thing",
                    "status": 404,
                    "detail": "there is no knowledge base 'wards'",
                    "instance": "/v1/knowledge-bases/wards",
                }
            ]
        }
    )

    type: str = Field(description="A URN, or about:blank where the status says it all.")
    title: str
    status: int
    detail: str = Field(description="One line that says what to do.")
    instance: str = Field(description="Path of the request.")
    request_id: str | None = Field(
        default=None, description="Id of the request, as the server's log has it."
    )
    errors: list[WrongField] | None = Field(
        default=None, description="What is wrong with a request."
    )
    error: OpenAIError | None = Field(
        default=None, description="The same for clients of OpenAI's API, where it is served."
    )


def problem(
    scope: Scope,
    status: int,
    detail: str,
    *,
    kind: str | None = None,
    title: str | None = None,
    errors: Sequence[WrongField] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem document as a response.

    Args:
        scope: of the request.
        status: HTTP status.
        detail: one line that says what to do.
        kind: last part of the type; None where the status says it all.
        title: of the type; the status's phrase by default.
        errors: what is wrong with the request.
        headers: more headers.
    """
    content = Problem(
        type=f"{_TYPE}{kind}" if kind else "about:blank",
        title=title or HTTPStatus(status).phrase,
        status=status,
        # An error may repeat what the client sent, broken characters included.
        detail=" ".join(clean(detail).split()),
        instance=_path(scope),
        request_id=request_id(scope),
        errors=list(errors) if errors else None,
    ).model_dump(exclude_none=True)
    if scope["path"].startswith(_OPENAI):
        content["error"] = _openai_error(content, kind)
    return JSONResponse(content, status, headers=headers, media_type=MEDIA_TYPE)


def _openai_error(content: Mapping[str, Any], kind: str | None) -> dict[str, str | None]:
    status, wrong = content["status"], content.get("errors") or [{}]
    types = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    code = "model_not_found" if kind == "not-found" else kind
    return {
        "message": content["detail"],
        "type": types.get(status, "invalid_request_error" if status < 500 else "server_error"),
        "param": (wrong[0].get("pointer") or "#/")[2:] or None,
        "code": "invalid_api_key" if status == 401 else code,
    }


def rag_problem(scope: Scope, error: RagError) -> Response:
    """Return one of our errors as a problem document; the server's own are logged."""
    status, kind, title = next(
        (status, kind, title) for cls, status, kind, title in PROBLEMS if isinstance(error, cls)
    )
    if status >= 500:
        log.error("%s %s: %s", scope["method"], _path(scope), kind_and_place(error))
    return problem(scope, status, str(error), kind=kind, title=title)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of a route's problem responses for its ``responses``."""
    return {
        status: {"model": Problem, "description": HTTPStatus(status).phrase} for status in statuses
    }


def add_handlers(app: FastAPI) -> None:
    """Make an application answer every error with a problem document."""
    app.add_exception_handler(RagError, _on_rag_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)


class Unexpected:
    """Answers with a problem what no handler knows; only its kind and place are logged.

    The framework would log a traceback, whose last line may hold a question or a document's text.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = False

        async def noted_send(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noted_send)
        except ClientDisconnect:
            log.info("%s %s: the client left", scope["method"], _path(scope))
        except Exception as error:
            if scope["type"] != "http":
                raise
            log.error("%s %s: %s", scope["method"], _path(scope), kind_and_place(error))
            if not started:
                response = problem(scope, 500, "an unexpected error; the server's log names it")
                await response(scope, receive, send)


def kind_and_place(error: BaseException) -> str:
    """Return an error's class and where it was raised, without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def _path(scope: Scope) -> str:
    return quote(scope["path"], errors="replace")


async def _on_rag_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RagError)
    return rag_problem(request.scope, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if error.status_code == 404:
        detail = "nothing is served at this path; /openapi.json lists what is"
    elif error.status_code == 405:
        detail = f"{request.method} is not served here; see the header Allow"
    return problem(request.scope, error.status_code, detail, headers=error.headers)


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    broken = next((e for e in found if e["type"] == "json_invalid"), None)
    if broken:
        reason = str(broken.get("ctx", {}).get("error", "")).partition(" (char")[0]
        return problem(request.scope, 400, f"the body is not valid JSON: {reason}")
    errors = [_wrong_field(e["loc"], _told(e)) for e in found]
    first = errors[0]
    name = first.parameter or (first.pointer or "")[2:] or "the body"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return problem(
        request.scope,
        422,
        f"{name}: {first.detail}{more}",
        kind="request",
        title="The request is not as it must be",
        errors=errors,
    )


def _told(found: Mapping[str, Any]) -> str:
    if found["type"] == "string_unicode":
        return BROKEN
    return str(found["msg"]).removeprefix("Value error, ")


def _wrong_field(location: Sequence[str | int], message: str) -> WrongField:
    where, *path = location
    names = [clean(str(name))[:_NAME_CHARS] for name in path]
    if where != "body":
        return WrongField(parameter=".".join(names), detail=message)
    escaped = (name.replace("~", "~0").replace("/", "~1") for name in names)
    return WrongField(pointer="#" + "".join(f"/{name}" for name in escaped), detail=message)
