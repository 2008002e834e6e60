"""/knowledge-bases/{kb}/answers: questions, answered as JSON or as a stream."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Response
from sse_starlette import ServerSentEvent
from starlette.requests import Request

from api.auth import needs
from api.errors import problems
from api.requests import AskRequest
from api.routes import events
from api.routes.shared import HomeParam, JsonOnly, KbName
from api.schemas import Answer
from knowledge_bases.access import Asker

router = APIRouter(tags=["questions"])


@router.post(
    "/knowledge-bases/{kb}/answers",
    response_model=Answer,
    dependencies=[JsonOnly],
    responses={
        200: {
            "description": "The answer, or an abstention with the nearest passages.",
            "content": events.documented(
                "Server-sent events: a Segment each, then the Answer.",
                'id: 0\nevent: segment\ndata: {"text": "within 30 minutes", "origin": "copied", …}'
                '\n\nid: 1\nevent: answer\ndata: {"answer_id": "5f0c…", "status": "answered", …}'
                "\n\n",
            ),
        },
        **problems(400, 404, 413, 415, 422, 501, 503),
    },
)
def ask(
    kb: KbName,
    body: AskRequest,
    request: Request,
    home: HomeParam,
    asker: Annotated[Asker, needs("ask")],
) -> Answer | Response:
    """Answer a question from the documents, with citations and a receipt.

    With ``Accept: text/event-stream`` the segments come as events, then the whole answer. Either
    way nothing is sent before the answer is in the log.
    """
    answer = Answer.recorded(
        home.open(kb).ask(body.question, filters=body.filters.inside(), asker=asker.label)
    )
    return events.stream(_events(answer)) if events.wants_events(request) else answer


async def _events(answer: Answer) -> AsyncIterator[ServerSentEvent]:
    for number, segment in enumerate(answer.segments):
        yield events.event("segment", segment, str(number))
    yield events.event("answer", answer, str(len(answer.segments)))
