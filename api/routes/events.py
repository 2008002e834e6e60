"""Server-sent events: a stream of named JSON objects."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import anyio
from pydantic import BaseModel
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request

from api.routes.shared import prefers

MEDIA_TYPE = "text/event-stream"
_GRACE_SECONDS = 3.0

# Its debug lines repeat what is sent.
logging.getLogger("sse_starlette").setLevel(logging.INFO)


def event(name: str, content: BaseModel, event_id: str) -> ServerSentEvent:
    """Return one event."""
    return ServerSentEvent(content.model_dump_json(), event=name, id=event_id, sep="\n")


def stream(
    events: AsyncIterator[ServerSentEvent], stopping: anyio.Event | None = None
) -> EventSourceResponse:
    """Return a response that sends events until they end or the client leaves.

    Args:
        events: what to send.
        stopping: is set when the server stops; the events must end soon after.
    """
    return EventSourceResponse(
        events,
        sep="\n",
        shutdown_event=stopping,
        shutdown_grace_period=_GRACE_SECONDS if stopping else 0,
    )


def wants_events(request: Request) -> bool:
    """Say whether a client accepts an event stream and doesn't name JSON before it."""
    return prefers(request, MEDIA_TYPE)


def documented(description: str, example: str) -> dict[str, Any]:
    """Return the documentation of a stream as a response's content."""
    return {
        MEDIA_TYPE: {"schema": {"type": "string", "description": description}, "example": example}
    }
