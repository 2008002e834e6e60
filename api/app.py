"""The HTTP service: one user, on this machine only."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import rag
from api.errors import MEDIA_TYPE, Unexpected, add_handlers, problem, problems
from api.jobs import Jobs
from api.routes import (
    answers,
    audit,
    audit_keeping,
    check,
    documents,
    examples,
    health,
    impact,
    jobs,
    knowledge_bases,
    search,
)
from api.routes.shared import JSON
from knowledge_bases.home import Home
from rag.errors import RagError, UsageError
from rag.protocols import Embedder
from rag.settings import Settings

_BODY_BYTES = 2**20
"""Largest body, but for documents, whose route has limits of its own."""
_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\s:/@?#\[\]]+))(?::\d{1,5})?", re.IGNORECASE)
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def create_app(settings: Settings, *, embedder: Embedder | None = None) -> FastAPI:
    """Make the service; its jobs are worked off while it is served.

    Args:
        settings: name the home folder and the limits.
        embedder: replaces the settings' one.

    Raises:
        StorageError: the home folder or the database can't be used.
        UsageError: another server works on the home folder.
    """
    home = Home(settings, embedder=embedder)
    try:
        ingests = Jobs(home)
    except RagError:
        home.close()
        raise

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Made before there are threads that could each make their own. What is missing is told
        # by /readyz, and to those who need it.
        with suppress(RagError):
            await run_in_threadpool(getattr, home, "writers")
        await run_in_threadpool(home.audit.start)
        await run_in_threadpool(ingests.start)
        yield
        await run_in_threadpool(ingests.stop)
        home.close()

    app = _Service(
        title="grounded-rag",
        version=rag.__version__,
        summary="Answers from your documents, every word traced, checked and logged.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
        # Their pages load scripts from elsewhere, which could then read everything here.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.home = home
    app.state.jobs = ingests
    add_handlers(app)
    app.add_middleware(Unexpected)
    app.add_middleware(LocalOnly)
    versioned = APIRouter(prefix="/v1")
    # Fixed paths of the log come before those that begin with a record's id.
    log = (audit_keeping, audit, impact)
    for resource in (knowledge_bases, documents, search, answers, check, jobs, *log):
        versioned.include_router(resource.router)
    app.include_router(versioned, responses=problems(421, 500, 507))
    app.include_router(health.router, responses=problems(421, 500))
    return app


def checked_host(host: str) -> str:
    """Return the host to serve on if only this machine can reach it.

    Raises:
        UsageError: others could.
    """
    if not _is_loopback(host):
        raise UsageError(
            f"serving on {host!r} would let others in, and there are no keys yet; "
            "serve on 127.0.0.1 and reach it through a tunnel"
        )
    return host


class LocalOnly:
    """Lets in what this machine asks itself, with bodies of a bearable size.

    A page of another site can make a browser send requests here: its own name may resolve to
    127.0.0.1 (DNS rebinding), which the Host header gives away, or it may post blindly, which the
    Origin header does.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def protected_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = _refusal(scope)
        if refusal:
            await problem(scope, *refusal)(scope, receive, protected_send)
        else:
            await self._app(scope, _bounded(scope, receive), protected_send)


class _Service(FastAPI):
    """FastAPI whose OpenAPI document has the media type of problems, and examples with nulls."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema:
            return self.openapi_schema
        paths: dict[str, Any] = super().openapi()["paths"]
        for path in paths.values():
            for method, operation in path.items():
                responses = operation["responses"]
                if method.upper() not in _READING:
                    responses["403"] = {**responses["421"], "description": "Forbidden"}
                for status, response in responses.items():
                    if status >= "400":
                        content = response.pop("content")[JSON]
                        response["content"] = {MEDIA_TYPE: content}
        for name, example in examples.RESPONSES.items():
            # Given to a route, an example would lose its nulls.
            paths[name]["post"]["responses"]["200"]["content"][JSON]["example"] = example
        return super().openapi()


def _refusal(scope: Scope) -> tuple[int, str] | None:
    """Return status and reason for what is refused unseen."""
    headers = Headers(scope=scope)
    hosts = headers.getlist("host")
    named = _AUTHORITY.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if not named or not _is_loopback(named[1] or named[2]):
        return 421, "this server answers only to localhost, 127.0.0.1 and [::1]"
    origin = headers.get("origin")
    own = not origin or origin.partition("://")[2].lower() == hosts[0].lower()
    if not own and scope["method"] not in _READING:
        return 403, "requests from pages of other sites are refused"
    length = headers.get("content-length", "0")
    if _is_bounded(scope) and length.isdecimal() and int(length[:20]) > _BODY_BYTES:
        return _too_large()
    return None


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_bounded(scope: Scope) -> bool:
    return not scope["path"].endswith("/documents")


def _too_large() -> tuple[int, str]:
    return 413, f"the body is larger than {_BODY_BYTES:,} bytes; send less at once"


def _bounded(scope: Scope, receive: Receive) -> Receive:
    if not _is_bounded(scope):
        return receive
    received = 0

    async def bounded_receive() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > _BODY_BYTES:
            raise HTTPException(*_too_large())
        return message

    return bounded_receive
