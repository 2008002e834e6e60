"""Counts, traces and logs each request: which route, what came of it, how long it took."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import asker_of
from api.limits import rejected
from api.metrics import Metrics

log = logging.getLogger("rag.access")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
Trace = Callable[[Scope], AbstractContextManager[Callable[[str, int], None]]]
"""Opens a span; what it gives is told route and status."""


class RequestLog:
    """Notes each request when its response has ended.

    A line of the log has the template of the route, not the path, which may name a document.

    Args:
        app: what is behind it.
        metrics: count it.
        trace: traces it.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, trace: Trace | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._trace: Trace = trace or (lambda scope: nullcontext(lambda route, status: None))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 499  # Nobody was told anything: the client left.
        started = time.perf_counter()

        async def noted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._trace(scope) as traced:
            try:
                await self._app(scope, receive, noted_send)
            finally:
                seconds = time.perf_counter() - started
                method = scope["method"] if scope["method"] in _METHODS else "other"
                route = template(scope)
                traced(route, status)
                self._metrics.requested(method, route, status, seconds, rejected(scope))
                asker = asker_of(scope)
                fields: dict[str, Any] = {
                    "method": method,
                    "route": route,
                    "status": status,
                    "ms": round(1000 * seconds, 3),
                    "key_id": None if asker is None else asker.id,
                }
                log.info("request", extra={"fields": fields})


def template(scope: Scope) -> str:
    """Return the template of the route that served a request; "unmatched" if none did."""
    path: str = scope["path"]
    if path.startswith("/static/"):
        return "/static"
    route = getattr(scope.get("route"), "path", None)
    if route is None:
        return "unmatched"
    return f"/v1{route}" if path.startswith("/v1/") and not route.startswith("/v1/") else str(route)
