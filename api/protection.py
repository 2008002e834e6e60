"""What stands before every route: headers, body sizes, and who a local service answers."""

import re
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import READING, is_own_origin, let_in
from api.errors import problem
from knowledge_bases.access import LOCAL_ASKER

_LEAST_BODY_BYTES = 2**20
_CHAR_BYTES = 12
"""Of a character beyond the BMP as JSON may write it."""
_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\s:/@?#\[\]]+))(?::\d{1,5})?", re.IGNORECASE)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Protected:
    """Gives every response its protecting headers, and refuses bodies of an unbearable size.

    Args:
        app: what is behind it.
        question_chars: of the longest question that may be asked; it fits into a body.
    """

    def __init__(self, app: ASGIApp, question_chars: int = 0) -> None:
        self._app = app
        self._most_bytes = body_bytes(question_chars)

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

        length = Headers(scope=scope).get("content-length", "0")
        most = self._most_bytes
        if _is_bounded(scope) and length.isdecimal() and int(length[:20]) > most:
            await problem(scope, *_too_large(most))(scope, receive, protected_send)
        else:
            await self._app(scope, _bounded(scope, receive, most), protected_send)


class LocalOnly:
    """Lets in what this machine asks itself, all of it as one and the same user.

    A page of another site can make a browser send requests here: its own name may resolve to
    127.0.0.1 (DNS rebinding), which the Host header gives away, or it may post blindly, which the
    Origin header does.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] == "http":
            refusal = _refusal(scope)
            if refusal:
                await problem(scope, *refusal)(scope, receive, send)
                return
            let_in(scope, LOCAL_ASKER)
        await self._app(scope, receive, send)


def body_bytes(question_chars: int) -> int:
    """Return how large a body may be, but for documents, whose route has limits of its own."""
    return max(_LEAST_BODY_BYTES, _LEAST_BODY_BYTES // 16 + _CHAR_BYTES * question_chars)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a host."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _refusal(scope: Scope) -> tuple[int, str] | None:
    """Return status and reason for what is refused unseen."""
    headers = Headers(scope=scope)
    hosts = headers.getlist("host")
    named = _AUTHORITY.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if not named or not is_loopback(named[1] or named[2]):
        return 421, "this server answers only to localhost, 127.0.0.1 and [::1]"
    if headers.get("origin") and not is_own_origin(scope) and scope["method"] not in READING:
        return 403, "requests from pages of other sites are refused"
    return None


def _is_bounded(scope: Scope) -> bool:
    return not scope["path"].endswith("/documents")


def _too_large(most_bytes: int) -> tuple[int, str]:
    return 413, f"the body is larger than {most_bytes:,} bytes; send less at once"


def _bounded(scope: Scope, receive: Receive, most_bytes: int) -> Receive:
    if not _is_bounded(scope):
        return receive
    received = 0

    async def bounded_receive() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most_bytes:
            raise HTTPException(*_too_large(most_bytes))
        return message

    return bounded_receive
