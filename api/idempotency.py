"""Requests with an Idempotency-Key: done once, however often they are sent."""

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Header
from starlette.exceptions import HTTPException
from starlette.requests import Request

from api.auth import asker_of
from knowledge_bases.home import Home
from knowledge_bases.store.idempotency import Earlier
from rag.errors import NotFound, RagError

T = TypeVar("T")


class Once:
    """Does what a request asks for, unless an earlier one with the same key did.

    A key is its sender's own: nobody else's, though they chose the same. What is noted for 24 hours
    is a digest of the request and the name of what it made. The response is made anew from that, so
    it ends where what it tells was erased. What failed is not noted, and may be sent again.

    Args:
        home: whose store notes it.
        who: sent the request.
        key: as sent; None where there is none, and then nothing is noted.
        operation: method and path.
    """

    def __init__(self, home: Home, who: str, key: str | None, operation: str) -> None:
        self._home = home
        self._keys = home.store.idempotency
        self._operation = operation
        self._hash = "" if key is None else self._digest("key", who, key)

    @property
    def is_asked(self) -> bool:
        """Whether the client sent a key."""
        return bool(self._hash)

    def do(
        self,
        content: object,
        make: Callable[[], T],
        *,
        resource: Callable[[T], str],
        again: Callable[[str], T],
    ) -> T:
        """Return what a request makes, or made.

        Args:
            content: what it asks for, as JSON.
            make: makes it.
            resource: names what was made.
            again: returns what was made by its name, or raises `NotFound`.

        Raises:
            HTTPException: 409, the earlier request goes on; 410, what it made is gone; 422, it
                asked for something else.
        """
        if not self._hash:
            return make()
        earlier = self.begin()
        if earlier is not None:
            return self.repeated(earlier, content, again)
        try:
            made = make()
            self.finish(content, resource(made))
        except BaseException:
            self.release()
            raise
        return made

    def begin(self) -> Earlier | None:
        """Take the key for this request; return the earlier one that had it, if any.

        Raises:
            HTTPException: 409, that one goes on.
        """
        if not self._hash:
            return None
        earlier = self._keys.begin(self._hash)
        if earlier is not None and earlier.resource is None:
            raise HTTPException(
                409, "the first request with this Idempotency-Key goes on; send it again later"
            )
        return earlier

    def repeated(self, earlier: Earlier, content: object, again: Callable[[str], T]) -> T:
        """Return what an earlier request made.

        Raises:
            HTTPException: 410, it is gone; 422, that one asked for something else.
        """
        if earlier.resource is None or earlier.fingerprint != self._fingerprint(content):
            raise HTTPException(
                422, "this Idempotency-Key was used for another request; use a new one for each"
            )
        try:
            return again(earlier.resource)
        except NotFound:
            raise HTTPException(
                410, "what the first request with this Idempotency-Key made was erased or deleted"
            ) from None

    def finish(self, content: object, resource: str) -> None:
        """Note what this request asked for, and made."""
        if self._hash:
            self._keys.finish(self._hash, self._fingerprint(content), resource)

    def release(self) -> None:
        """Give the key back, as nothing was made."""
        if self._hash:
            try:
                self._keys.release(self._hash)
            except RagError:  # Whatever is wrong with the database was told already.
                return

    def _fingerprint(self, content: object) -> str:
        return self._digest("content", self._operation, json.dumps(content, sort_keys=True))

    def _digest(self, *parts: str) -> str:
        # Keyed, as a plain digest of a short question could be guessed back from a stolen disk.
        text = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return self._home.store.log.subject_hash(f"idempotency {text}")


def _once(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=200,
            pattern="^[!-~]+$",
            description=(
                "Chosen by the client, a new one for each request that is not a repetition. The "
                "same request with the same key within 24 hours is not done again: it gets what "
                "the first made. 409 while the first goes on, 410 once what it made is erased, 422 "
                "with another request."
            ),
        ),
    ] = None,
) -> Once:
    asker = asker_of(request.scope)
    home: Home = request.app.state.home
    who = "" if asker is None else asker.id
    return Once(home, who, key, f"{request.method} {request.scope['path']}")


OnceParam = Annotated[Once, Depends(_once)]
