"""Who sent a request: a key in a header, or a session that was begun with one."""

import logging
import re
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from fastapi import Security
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import problem, rag_problem
from knowledge_bases.access import LOCAL_ASKER, SECRET, Access, Asker, Session
from knowledge_bases.home import Home
from knowledge_bases.store.api_keys import no_such_key
from knowledge_bases.store.knowledge_bases import no_such_knowledge_base
from knowledge_bases.store.log_reading import no_such_record
from knowledge_bases.store.operations import no_such_job
from rag.errors import RagError

READING = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
OPEN = frozenset({("GET", "/healthz"), ("POST", "/v1/session")})
"""Method and path of what is served without a key: nothing of it tells or does anything."""
_STATIC = "/static/"
"""What the page's browser loads is the same for everybody, and public as this program is."""
SESSION_SCHEME = {"type": "apiKey", "in": "cookie", "name": "rag-session"}
"""How OpenAPI names a session; over TLS the cookie's name begins with __Host-."""
_ASKER = "rag.asker"
_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)
_WHO_ARE_YOU = {"WWW-Authenticate": 'Bearer realm="grounded-rag"'}


class Credentials(NamedTuple):
    """What a request shows of who sent it."""

    key: str | None
    session: str | None


class KeysOnly:
    """Lets in who shows a valid key or session; refuses everybody else before a body is read.

    Keys come in a header that no page of another site can set, so nobody can be made to send one
    unknowingly. A browser sends a session's cookie by itself: SameSite=Strict keeps it from
    requests that other sites cause, and what changes something must come from a page of this very
    origin, as a site counts all ports and subdomains of a name as its own.

    Args:
        app: what is behind it.
        access: knows the keys.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            refused = await self._refused(scope)
        except RagError as error:
            refused = rag_problem(scope, error)
        await (refused or self._app)(scope, receive, send)

    async def _refused(self, scope: Scope) -> Response | None:
        """Note who sent a request, or return the response that refuses it."""
        if SECRET.search(scope["path"]) or SECRET.search(_query(scope)):
            return problem(
                scope,
                400,
                "a key in a URL ends up in logs and histories: revoke it, and send another as "
                "Authorization: Bearer",
            )
        shown = credentials(scope)
        reads = scope["method"] in READING
        if is_open(scope["method"], scope["path"]):
            # Nobody is to be signed in by another site as somebody else.
            foreign = not reads and Headers(scope=scope).get("origin") and not is_own_origin(scope)
            return _foreign(scope) if foreign else None
        asker = await run_in_threadpool(_asker, self._access, shown)
        if asker is None:
            return unauthorized(scope)
        if shown.key is None and not reads and not is_own_origin(scope):
            return _foreign(scope)
        let_in(scope, asker)
        return None


class Needs(SecurityBase):
    """Gives a route its asker, if one of these scopes and what the path names are granted.

    What is of a knowledge base that is not granted is as if it weren't there: the error is the one
    that the store raises for what is not there.

    Args:
        scopes: of which the key must have one; none where any key will do.
    """

    def __init__(self, *scopes: str) -> None:
        self.scopes = scopes
        self.scheme_name = "key"
        self.model = HTTPBearer(description="`rag key create` makes one.")

    async def __call__(self, request: Request) -> Asker:
        """Return who asks.

        Raises:
            HTTPException: 403, the key has none of the scopes.
            NotFound: what the path names is not there, or not for them.
        """
        asker: Asker = request.scope[_ASKER]
        if self.scopes and asker.scopes.isdisjoint(self.scopes):
            scopes = " or ".join(repr(scope) for scope in self.scopes)
            raise HTTPException(403, f"this key may not do that: it needs the scope {scopes}")
        if asker.knowledge_bases is not None:
            await self._check_path(asker, request)
        return asker

    async def _check_path(self, asker: Asker, request: Request) -> None:
        named, home = request.path_params, _home(request)
        if "kb" in named and not asker.sees(named["kb"]):
            raise no_such_knowledge_base(named["kb"])
        if "job_id" in named:
            job = await run_in_threadpool(home.store.jobs.get, named["job_id"])
            if not asker.sees(job.kb_name):
                raise no_such_job(named["job_id"])
        if "record_id" in named:
            row = await run_in_threadpool(home.store.log.get, named["record_id"])
            if not asker.sees(row.kb_name):
                raise no_such_record(named["record_id"])
        if "key_id" in named:
            key = await run_in_threadpool(home.store.api_keys.get, named["key_id"])
            if not asker.may_manage(key):
                raise no_such_key(named["key_id"])


def needs(*scopes: str) -> Any:
    """Return the dependency of a route on an `Asker` with one of these scopes."""
    return Security(Needs(*scopes), scopes=scopes)


def refuse_unless_all(asker: Asker, does: str) -> None:
    """Refuse who is not granted all knowledge bases.

    Args:
        asker: who asks.
        does: what only those do who are, e.g. "makes new ones".

    Raises:
        HTTPException: 403.
    """
    if asker.knowledge_bases is not None:
        raise HTTPException(403, f"only a key with a grant on all knowledge bases {does}")


def is_open(method: str, path: str) -> bool:
    """Say whether something is served without a key."""
    return (method, path) in OPEN or (method in READING and path.startswith(_STATIC))


def let_in(scope: Scope, asker: Asker) -> None:
    """Note who sent a request, for the routes."""
    scope[_ASKER] = asker


def asker_of(scope: Scope) -> Asker | None:
    """Return who sent a request; None where nobody was asked."""
    found: Asker | None = scope.get(_ASKER)
    return found


def credentials(scope: Scope) -> Credentials:
    """Return the key that a request shows, or else the session; both None if neither.

    A header Authorization that holds no key is not made up for by a session.
    """
    headers = Headers(scope=scope).getlist("authorization")
    if headers:
        bearer = _BEARER.fullmatch(headers[0]) if len(headers) == 1 else None
        return Credentials(bearer[1] if bearer else "", None)
    return Credentials(None, Request(scope).cookies.get(_cookie(scope)))


async def is_still_let_in(request: Request) -> bool:
    """Say whether a request would be let in now, too; for streams that go on for long."""
    if request.scope[_ASKER] is LOCAL_ASKER:
        return True
    shown = credentials(request.scope)
    return await run_in_threadpool(_asker, _home(request).access, shown) is not None


def unauthorized(scope: Scope) -> Response:
    """Return the response to who shows no valid key, whatever is wrong with it."""
    detail = "send a valid key as Authorization: Bearer; `rag key create` makes one"
    return problem(scope, 401, detail, headers=_WHO_ARE_YOU)


def is_own_origin(scope: Scope) -> bool:
    """Say whether a browser says that a page of this very server sent a request."""
    headers = Headers(scope=scope)
    origin, host = headers.get("origin", ""), headers.get("host", "")
    return bool(host) and origin.partition("://")[2].lower() == host.lower()


def keep_session(response: Response, scope: Scope, session: Session) -> None:
    """Have a browser keep a session, out of reach of scripts and of other sites."""
    response.set_cookie(
        _cookie(scope),
        session.token,
        expires=session.expires_at,
        httponly=True,
        samesite="strict",
        secure=scope["scheme"] == "https",
    )


def forget_session(response: Response, scope: Scope) -> None:
    """Have a browser forget its session."""
    response.delete_cookie(
        _cookie(scope), httponly=True, samesite="strict", secure=scope["scheme"] == "https"
    )


class WithoutKeys(logging.Filter):
    """Takes keys out of what is logged, as a server's access log repeats URLs."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the keys in a record; it is always let through."""
        record.msg = _masked(record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(_masked(one) for one in record.args)
        return True


def _masked(value: object) -> Any:
    return SECRET.sub(r"rag_\1_…", value) if isinstance(value, str) else value


def _asker(access: Access, shown: Credentials) -> Asker | None:
    if shown.key is not None:
        return access.asker_of_key(shown.key)
    return None if shown.session is None else access.asker_of_session(shown.session)


def _home(request: Request) -> Home:
    home: Home = request.app.state.home
    return home


def _cookie(scope: Scope) -> str:
    # A browser takes a name of this prefix only over TLS and from this very host.
    return "__Host-rag-session" if scope["scheme"] == "https" else "rag-session"


def _query(scope: Scope) -> str:
    return unquote_plus(scope["query_string"].decode("latin-1"))


def _foreign(scope: Scope) -> Response:
    return problem(scope, 403, "requests from pages of other sites are refused")
