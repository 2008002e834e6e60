"""The HTTP service: for one user of this machine, or for whoever has a key."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.concurrency import run_in_threadpool

import rag
from api.auth import READING, SESSION_SCHEME, KeysOnly
from api.errors import MEDIA_TYPE, Unexpected, add_handlers, problems
from api.jobs import Jobs
from api.limits import TimelyBodies, add_limits, places
from api.openapi_limits import document_limits
from api.operating import Operated
from api.protection import LocalOnly, Protected
from api.request_ids import RequestIds
from api.request_log import RequestLog
from api.routes import (
    answers,
    audit,
    audit_keeping,
    chat,
    check,
    conversations,
    documents,
    drift,
    examples,
    health,
    impact,
    jobs,
    knowledge_bases,
    metrics,
    search,
    session,
)
from api.routes import (
    keys as managed_keys,
)
from api.routes.pages import add_pages
from api.routes.shared import JSON
from api.waiting_line import Line
from knowledge_bases.home import Home
from rag.errors import RagError, UsageError
from rag.protocols import Embedder
from rag.settings import Settings


def create_app(
    settings: Settings, *, keys: bool = False, embedder: Embedder | None = None
) -> FastAPI:
    """Make the service; its jobs are worked off while it is served.

    Args:
        settings: name the home folder and the limits.
        keys: whether every request needs a key; without, all of them are this machine's user's.
        embedder: replaces the settings' one.

    Raises:
        StorageError: the home folder or the database can't be used.
        UsageError: another server works on the home folder, or no key is active.
    """
    home = Home(settings, embedder=embedder)
    try:
        if keys and not home.store.api_keys.any_active():
            raise UsageError(
                "whoever is not this machine's own user needs a key, and none is active; make one: "
                "rag key create NAME --scope ask --kb NAME"
            )
        line = Line(*places(settings))
        ingests = Jobs(home, busy=lambda: line.running > 0)
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
        await run_in_threadpool(operated.close)
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
    app.state.keys = keys
    add_handlers(app)
    add_limits(app, settings, line)
    operated = Operated(app, home, settings)
    if keys:
        app.add_middleware(KeysOnly, access=home.access)
    else:
        app.add_middleware(LocalOnly)
    app.add_middleware(Unexpected)
    app.add_middleware(TimelyBodies, seconds=settings.body_timeout_seconds)
    app.add_middleware(Protected, question_chars=settings.max_question_chars)
    app.add_middleware(RequestLog, metrics=operated.metrics, trace=operated.trace)
    app.add_middleware(RequestIds)
    versioned = APIRouter(prefix="/v1")
    asking = (search, answers, conversations, chat, check)
    # Fixed paths of the log come before those that begin with a record's id.
    log = (audit_keeping, audit, impact)
    for resource in (knowledge_bases, documents, *asking, jobs, *log, managed_keys, drift):
        versioned.include_router(resource.router)
    if keys:
        versioned.include_router(session.router)
    refusals = problems(400, 401, 403) if keys else problems(421)
    app.include_router(versioned, responses={**refusals, **problems(500, 507)})
    app.include_router(metrics.router, responses={**refusals, **problems(500, 507)})
    app.include_router(health.router, responses={**refusals, **problems(500, 507)})
    add_pages(app)
    return app


class _Service(FastAPI):
    """FastAPI whose OpenAPI document has the media type of problems, and examples with nulls."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema:
            return self.openapi_schema
        document = super().openapi()
        paths: dict[str, Any] = document["paths"]
        with_keys: bool = self.state.keys
        document_limits(document, with_keys=with_keys)
        if with_keys:
            document["components"]["securitySchemes"]["session"] = SESSION_SCHEME
        else:
            del document["components"]["securitySchemes"]
        for path in paths.values():
            for method, operation in path.items():
                needed = operation.pop("security", None)
                if with_keys and needed:
                    operation["security"] = _alternatives(needed[0]["key"])
                responses = operation["responses"]
                if not with_keys and method.upper() not in READING:
                    responses["403"] = {**responses["421"], "description": "Forbidden"}
                for status, response in responses.items():
                    if status >= "400":
                        content = response.pop("content")[JSON]
                        response["content"] = {MEDIA_TYPE: content}
        for name, example in examples.RESPONSES.items():
            # Given to a route, an example would lose its nulls.
            paths[name]["post"]["responses"]["200"]["content"][JSON]["example"] = example
        return super().openapi()


def _alternatives(scopes: list[str]) -> list[dict[str, list[str]]]:
    """Return what any one of will do: a key or a session, with any one of the scopes."""
    each = [[scope] for scope in scopes] or [[]]
    return [{scheme: list(own)} for scheme in ("key", "session") for own in each]
