"""A name for every request, by which a client's report and the server's log find each other."""

import logging
import re
import uuid
from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from knowledge_bases.access import SECRET

HEADER = "X-Request-Id"
_KEY = "rag.request_id"
_USABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Nothing that could end a header or a line of a log, or be markup in whatever shows it."""
_current: ContextVar[str] = ContextVar("request_id", default="-")


class RequestIds:
    """Gives each request the id that the client sent, if it is usable, or else a new one.

    The response has it as a header, problem documents and the log's lines as a field.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        named = scope[_KEY] = _sent(scope) or str(uuid.uuid4())
        _current.set(named)

        async def named_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = named
            await send(message)

        await self._app(scope, receive, named_send)


class WithRequestId(logging.Filter):
    """Gives each record of the log the id of the request that it is about, or "-"."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Note it on the record, which is always let through."""
        record.request_id = _current.get()
        return True


def request_id(scope: Scope) -> str | None:
    """Return a request's id; None before it has one."""
    found: str | None = scope.get(_KEY)
    return found


def _sent(scope: Scope) -> str | None:
    sent = Headers(scope=scope).getlist(HEADER)
    usable = len(sent) == 1 and _USABLE.fullmatch(sent[0]) and not SECRET.search(sent[0])
    return sent[0] if usable else None
