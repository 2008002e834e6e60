"""/keys: who may use the service. Nobody gives what they don't have, nor sees what they can't."""

import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BeforeValidator, Field
from starlette.exceptions import HTTPException

from api.auth import needs, refuse_unless_all
from api.errors import problems
from api.requests import Body
from api.routes.shared import HomeParam, JsonOnly
from api.wire import Wire
from knowledge_bases.access import SCOPES, Asker
from knowledge_bases.store.api_keys import EVERY, ApiKey
from knowledge_bases.store.knowledge_bases import no_such_knowledge_base
from knowledge_bases.store.shared import now

router = APIRouter(prefix="/keys", tags=["keys"])

_A_YEAR = datetime.timedelta(days=365)
_Admin = Annotated[Asker, needs("admin")]


def _iso_moment(value: object) -> object:
    # Left to itself, pydantic takes numbers for seconds since 1970.
    try:
        moment = datetime.datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("must be a time such as 2027-01-31T12:00:00Z") from None
    if isinstance(moment, datetime.datetime) and moment.tzinfo is None:
        return moment.replace(tzinfo=datetime.UTC)
    return moment


Moment = Annotated[datetime.datetime | None, BeforeValidator(_iso_moment)]


class NewKey(Body):
    """A key to make."""

    name: str = Field(description="What it is for, or who has it.", examples=["ward app"])
    scopes: list[str] = Field(
        max_length=20, description=f"Of {', '.join(SCOPES)}.", examples=[["ask"]]
    )
    knowledge_bases: list[str] | None = Field(
        max_length=1000,
        description="Granted by name; null for all, also those to come.",
        examples=[["thornmere"]],
    )
    expires_at: Moment = Field(
        default=None, description="From when on it is not valid; left out, a year from now."
    )


class Key(Wire):
    """A key without its secret."""

    id: str
    name: str
    state: str = Field(description="active, expired or revoked.")
    scopes: list[str]
    knowledge_bases: list[str] | None = Field(description="Granted by name; null for all.")
    created_at: datetime.datetime
    expires_at: datetime.datetime | None
    revoked_at: datetime.datetime | None
    last_used_at: datetime.datetime | None = Field(description="To the hour.")

    @classmethod
    def of(cls, key: ApiKey) -> "Key":
        """Make it of a stored one."""
        granted = key.knowledge_bases
        return cls(
            id=key.id,
            name=key.name,
            state=key.state(),
            scopes=list(key.scopes),
            knowledge_bases=None if EVERY in granted else list(granted),
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            last_used_at=key.last_used_at,
        )


class MadeKey(Key):
    """A key that was just made, with its text, which nobody can tell again."""

    key: str


class KeyList(Wire):
    """Keys, the oldest first."""

    keys: list[Key]


@router.get("")
def list_keys(home: HomeParam, asker: _Admin) -> KeyList:
    """List the keys that are granted nothing beyond what this one is."""
    keys = home.store.api_keys.all()
    return KeyList(keys=[Key.of(key) for key in keys if asker.may_manage(key)])


@router.post(
    "", status_code=201, dependencies=[JsonOnly], responses=problems(400, 404, 413, 415, 422)
)
def create_key(body: NewKey, home: HomeParam, asker: _Admin) -> MadeKey:
    """Make a key, of scopes and grants that one has oneself; its text is told this once."""
    beyond = [scope for scope in body.scopes if scope in SCOPES and scope not in asker.scopes]
    if beyond:
        raise HTTPException(403, f"this key can't give the scope {beyond[0]!r}: it has it not")
    granted = [EVERY] if body.knowledge_bases is None else body.knowledge_bases
    if body.knowledge_bases is None:
        refuse_unless_all(asker, "grants all")
    for name in body.knowledge_bases or ():
        if name == EVERY or not asker.sees(name):
            raise no_such_knowledge_base(name)
    key, text = home.access.create(
        body.name,
        scopes=body.scopes,
        knowledge_bases=granted,
        expires_at=body.expires_at or now() + _A_YEAR,
        actor=asker.label,
    )
    return MadeKey(**Key.of(key).model_dump(), key=text)


@router.delete("/{key_id}", status_code=204, responses=problems(404, 422))
def revoke_key(
    key_id: Annotated[str, Path(description="The key's id.")], home: HomeParam, asker: _Admin
) -> None:
    """Revoke a key from the next request on, with all sessions begun with it."""
    home.access.revoke(key_id, actor=asker.label)
