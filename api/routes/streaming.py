"""Runs a question in a thread of its own, for as long as somebody waits for the answer."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import anyio
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope
from starlette.types import Send as ASGISend

from api.errors import kind_and_place, problem, rag_problem
from api.following import Send, Waiting
from knowledge_bases.knowledge_base import RecordedAnswer
from rag.errors import RagError
from rag.listening import Listener

_LOOK_SECONDS = 0.25
_log = logging.getLogger(__name__)

Ask = Callable[[Listener], RecordedAnswer]
"""Answers one question while the listener wants it, and returns it with its place in the log."""


class Teller(Listener, Protocol):
    """A listener that makes events of what it hears."""

    def call_off(self) -> None:
        """Have the work end."""

    def failed(self) -> None:
        """Withdraw what was told, as an error follows."""

    def recorded(self, recorded: RecordedAnswer) -> None:
        """Tell the answer, or that there is none."""


async def answered(request: Request, ask: Ask, seconds: float) -> RecordedAnswer:
    """Return an answer; the work is called off if the client leaves or the time is over.

    Raises:
        ClientDisconnect: the client left.
        RagError: the question ended in it.
    """
    waiting = Waiting(seconds)
    work = asyncio.ensure_future(run_in_threadpool(ask, waiting))
    await _wait(request, waiting, work, work)
    return work.result()


async def streamed(
    request: Request, ask: Ask, teller: Callable[[Send], Teller]
) -> EventSourceResponse:
    """Return an answer as a stream of events.

    An error before the first event is raised, so that the response has its status; one after it
    is the last event. When the client leaves, the work is called off at its next token or stage,
    and the log tells that.

    Args:
        request: whose client is waited for.
        ask: answers the question.
        teller: makes a listener that tells what it hears.

    Raises:
        ClientDisconnect: the client left before there was anything to send.
        RagError: the question ended in it before there was anything to send.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[ServerSentEvent | None] = asyncio.Queue()
    sent = 0

    def send(name: str, content: BaseModel | str) -> None:
        nonlocal sent
        text = content if isinstance(content, str) else content.model_dump_json()
        put(ServerSentEvent(text, event=name, id=str(sent), sep="\n"))
        sent += 1

    def put(event: ServerSentEvent | None) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, event)

    listener = teller(send)

    def run() -> None:
        try:
            listener.recorded(ask(listener))
        except Exception as error:
            if not sent:
                raise
            listener.failed()
            send("error", _problem(request.scope, error))
        finally:
            put(None)

    work = asyncio.ensure_future(run_in_threadpool(run))
    first = asyncio.ensure_future(queue.get())
    await _wait(request, listener, work, first)
    begun = await first
    if begun is None:
        await work

    async def all_of_them() -> AsyncIterator[ServerSentEvent]:
        event = begun
        while event is not None:
            yield event
            event = await queue.get()

    return _Followed(all_of_them(), listener, work)


class _Followed(EventSourceResponse):
    """A stream that ends its work when it ends, however it ends."""

    def __init__(
        self, content: AsyncIterator[ServerSentEvent], teller: Teller, work: "asyncio.Future[Any]"
    ) -> None:
        super().__init__(content, sep="\n")
        self._teller = teller
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: ASGISend) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await _end(self._teller, self._work)


async def _wait(
    request: Request,
    teller: Teller | Waiting,
    work: "asyncio.Future[Any]",
    awaited: "asyncio.Future[Any]",
) -> None:
    """Wait until something is there; if the client leaves before, so does the work."""
    try:
        while not awaited.done():
            await asyncio.wait([awaited], timeout=_LOOK_SECONDS)
            if not awaited.done() and await request.is_disconnected():
                raise ClientDisconnect
    except BaseException:
        await _end(teller, work)
        raise


async def _end(teller: Teller | Waiting, work: "asyncio.Future[Any]") -> None:
    teller.call_off()
    with anyio.CancelScope(shield=True):
        await asyncio.wait([work])
    if not work.cancelled():
        work.exception()  # It was told already, or nobody is there to be told.


def _problem(scope: Scope, error: Exception) -> str:
    if isinstance(error, RagError):
        return bytes(rag_problem(scope, error).body).decode()
    _log.error("a stream: %s", kind_and_place(error))
    return bytes(
        problem(scope, 500, "an unexpected error; the server's log names it").body
    ).decode()
