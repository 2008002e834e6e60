"""How much is served: requests per key, answers at a time, and how long a body may take."""

import math
import os
import time
from collections import deque
from collections.abc import Callable, Mapping

import anyio
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import asker_of
from api.errors import problem
from api.waiting_line import Full, Line
from knowledge_bases.access import LOCAL_ASKER
from rag.settings import Settings

_ANSWERING = ("/answers", "/chat/completions", "/check", "/replay")
_REJECTED = "rag.rejected"
_MOST_BUCKETS = 10_000
_SLOWEST_BYTES_A_SECOND = 16 * 2**10
"""A body that arrives faster than this is waited for, however large it may be."""


def add_limits(app: FastAPI, settings: Settings, line: Line) -> None:
    """Limit what is served to whom; added before what finds out who it is, so that it comes after.

    ``app.state.answering`` is the `AnswerGate`'s line.
    """
    app.state.answering = line
    app.add_middleware(AnswerGate, line=line)
    if settings.requests_per_minute:
        app.add_middleware(RateLimit, per_minute=settings.requests_per_minute)


def places(settings: Settings) -> tuple[int, int]:
    """Return how many answers are worked on at a time, and how many more may wait for that.

    An answer is the processor's work, and its matrix products use all cores already: two at once
    on two cores take each twice as long. By default half as many as there are cores are worked on,
    and as many wait, so that nobody waits much longer than an answer takes.
    """
    running = settings.concurrent_answers or max(1, cores() // 2)
    waiting = settings.waiting_answers
    return running, running if waiting is None else waiting


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # Not everywhere.
        return os.cpu_count() or 1


def is_answering(scope: Scope) -> bool:
    """Say whether a request makes models work."""
    path: str = scope["path"]
    return scope["method"] == "POST" and (path == "/" or path.endswith(_ANSWERING))


def rejected(scope: Scope) -> str | None:
    """Return by which limit a request was refused: "rate", "busy" or "slow"; None by none."""
    found: str | None = scope.get(_REJECTED)
    return found


class RateLimit:
    """Refuses requests of a key beyond so many a minute, with how long to wait; a token bucket.

    A minute's worth may come at once. Nobody's bucket is another's: whoever has no key got no
    further than the door, and this machine's own user is not limited.

    Args:
        app: what is behind it.
        per_minute: how many.
        clock: seconds that only grow.
    """

    def __init__(
        self, app: ASGIApp, per_minute: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._most = float(per_minute)
        self._a_second = per_minute / 60
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        """How many requests were left, and when, by key."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        asker = asker_of(scope)
        if asker is None or asker is LOCAL_ASKER:
            await self._app(scope, receive, send)
            return
        wait_seconds = self._take(asker.id)
        if wait_seconds:
            detail = f"a key may send {self._most:.0f} requests a minute; send it again in"
            response = _refusal(scope, "rate", 429, detail, wait_seconds)
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _take(self, key_id: str) -> float:
        """Take a request from a key's bucket and return 0, or the seconds until there is one."""
        now = self._clock()
        left, noted = self._buckets.get(key_id, (self._most, now))
        left = min(self._most, left + (now - noted) * self._a_second)
        enough = left >= 1
        self._buckets[key_id] = (left - 1 if enough else left, now)
        if len(self._buckets) > _MOST_BUCKETS:
            # Those of the last minute are kept: any other is full again, as one that isn't there.
            self._buckets = {
                key: bucket for key, bucket in self._buckets.items() if now - bucket[1] < 60
            }
        return 0.0 if enough else (1 - left) / self._a_second


class AnswerGate:
    """Lets so many requests make models work at a time, some wait, and refuses the rest at once.

    Those refused are told so before their bodies are read. The others' bodies are read before they
    take a place, so that who sends slowly keeps nobody out; who leaves while waiting is forgotten.

    Args:
        app: what is behind it.
        line: of those at work and those waiting.
    """

    def __init__(self, app: ASGIApp, line: Line) -> None:
        self._app = app
        self._line = line

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http" or not is_answering(scope):
            await self._app(scope, receive, send)
            return
        line = self._line
        try:
            if line.is_full:
                raise Full
            body = await _read(receive)
            if body is None or not await _turn(line, receive):
                return
        except Full:
            detail = "as many questions are being answered as this machine can; ask again in"
            refused = _refusal(scope, "busy", 503, detail, line.free_in_seconds)
            await refused(scope, receive, send)
            return
        except HTTPException as error:  # Too large, or too slow.
            refused = problem(scope, error.status_code, error.detail, headers=error.headers)
            await refused(scope, receive, send)
            return
        started = time.monotonic()
        try:
            await self._app(scope, _again(body, receive), send)
        finally:
            line.leave(time.monotonic() - started)


class TimelyBodies:
    """Gives up on bodies that arrive too slowly, with 408.

    Args:
        app: what is behind it.
        seconds: how long to wait for a body in all, beside a second for each 16 KiB that came.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        left, complete = self._seconds, False

        async def timely_receive() -> Message:
            nonlocal left, complete
            if complete:
                return await receive()
            started = time.monotonic()
            with anyio.move_on_after(max(0.0, left)):
                message = await receive()
                left -= time.monotonic() - started
                left += len(message.get("body", b"")) / _SLOWEST_BYTES_A_SECOND
                complete = not message.get("more_body", False)
                return message
            scope[_REJECTED] = "slow"
            raise HTTPException(
                408,
                f"the body did not arrive within {self._seconds:g} seconds; send it faster",
                {"Connection": "close"},
            )

        await self._app(scope, timely_receive, send)


async def _read(receive: Receive) -> list[Message] | None:
    """Return all of a body, which is bounded; None if the client left."""
    body: list[Message] = []
    while not body or body[-1].get("more_body", False):
        body.append(await receive())
        if body[-1]["type"] == "http.disconnect":
            return None
    return body


async def _turn(line: Line, receive: Receive) -> bool:
    """Wait for one's turn; False if the client left before it came.

    Raises:
        Full: nobody more may wait.
    """
    if line.is_full:  # Said here, as a task group would wrap it.
        raise Full
    entered = False

    async def leave_with_client() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        group.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(leave_with_client)
            await line.enter()
            entered = True
            group.cancel_scope.cancel()
    except BaseException:
        if entered:
            line.give_up()
        raise
    return entered


def _again(body: list[Message], receive: Receive) -> Receive:
    """Return what gives a body that was read once more, and then what else comes."""
    left = deque(body)

    async def received() -> Message:
        return left.popleft() if left else await receive()

    return received


def _refusal(scope: Scope, reason: str, status: int, detail: str, wait_seconds: float) -> Response:
    scope[_REJECTED] = reason
    seconds = max(1, math.ceil(wait_seconds))
    headers: Mapping[str, str] = {"Retry-After": str(seconds)}
    return problem(scope, status, f"{detail} {seconds} s", headers=headers)
