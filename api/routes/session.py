"""/session: sign in with a key where a header can't be set, as in a browser; say who one is."""

import datetime
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request

from api.auth import credentials, forget_session, keep_session, needs, unauthorized
from api.errors import problems
from api.requests import Body
from api.routes.shared import HomeParam, JsonOnly
from api.wire import Wire
from knowledge_bases.access import Asker

router = APIRouter(prefix="/session", tags=["session"])


class SignIn(Body):
    """A key to sign in with."""

    key: str = Field(description="As `rag key create` printed it.", max_length=200)


class SignedIn(Wire):
    """Who somebody is, and what they may do."""

    key_id: str
    scopes: list[str]
    knowledge_bases: list[str] | None = Field(description="Granted by name; null for all.")
    expires_at: datetime.datetime | None = Field(
        default=None, description="When the session ends; null where the key itself was sent."
    )

    @classmethod
    def of(cls, asker: Asker, expires_at: datetime.datetime | None = None) -> "SignedIn":
        """Make it of an asker."""
        granted = asker.knowledge_bases
        return cls(
            key_id=asker.id,
            scopes=sorted(asker.scopes),
            knowledge_bases=None if granted is None else sorted(granted),
            expires_at=expires_at,
        )


@router.post(
    "",
    status_code=201,
    response_model=SignedIn,
    dependencies=[JsonOnly],
    responses=problems(400, 413, 415, 422),
)
def sign_in(body: SignIn, request: Request, response: Response, home: HomeParam) -> object:
    """Begin a session with a key; it comes as a cookie, and ends after 12 hours.

    It may do what the key may, and ends at once when the key is revoked.
    """
    session = home.access.begin_session(body.key)
    if session is None:
        return unauthorized(request.scope)
    keep_session(response, request.scope, session)
    return SignedIn.of(session.asker, session.expires_at)


@router.get("")
def who_am_i(asker: Annotated[Asker, needs()]) -> SignedIn:
    """Say who sends this, and what they may do."""
    return SignedIn.of(asker)


@router.delete("", status_code=204, responses=problems(422))
def sign_out(
    asker: Annotated[Asker, needs()], request: Request, response: Response, home: HomeParam
) -> None:
    """End the session of the cookie that is sent."""
    session = credentials(request.scope).session
    if session is None:
        raise HTTPException(422, "there is no session to end; a key ends with `rag key revoke`")
    home.access.end_session(session)
    forget_session(response, request.scope)
