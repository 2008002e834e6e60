"""/knowledge-bases/{kb}/answers: questions, answered as JSON or as a stream."""

import logging
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Response
from starlette.requests import Request

from api.auth import needs
from api.errors import problems
from api.following import Telling, TellingVerified
from api.idempotency import OnceParam
from api.requests import AskRequest
from api.routes import events
from api.routes.shared import HomeParam, JsonOnly, KbName
from api.routes.streaming import Ask, answered, streamed
from api.schemas import Answer
from knowledge_bases.access import Asker
from knowledge_bases.conversations import Earlier
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase, RecordedAnswer
from knowledge_bases.retelling import retold
from rag.errors import StorageError
from rag.listening import Listener

router = APIRouter(tags=["questions"])
_log = logging.getLogger(__name__)

STREAM = events.documented(
    "Server-sent events: stage, segment, citation, verdict, withdrawn; last answer, abstained or "
    "error. Only `answer` counts, whose data is the Answer; `abstained` has one without text, and "
    "`error` a problem document. Until then everything is provisional, and `withdrawn` takes back "
    "all of a draft. Segments of the same draft and index replace each other.",
    'id: 0\nevent: segment\ndata: {"draft": 1, "index": 0, "provisional": true, '
    '"text": "within 30 minutes", "origin": "copied", …}\n\n'
    'id: 1\nevent: answer\ndata: {"answer_id": "5f0c…", "status": "answered", …}\n\n',
)

ANSWER_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer, or an abstention with the nearest passages.",
        "content": STREAM,
    },
    **problems(400, 404, 409, 410, 413, 415, 422, 501, 503),
}
"""Documentation of the responses of a route that answers."""


@router.post(
    "/knowledge-bases/{kb}/answers",
    response_model=Answer,
    dependencies=[JsonOnly],
    responses=ANSWER_RESPONSES,
)
async def ask(
    kb: KbName,
    body: AskRequest,
    request: Request,
    home: HomeParam,
    asker: Annotated[Asker, needs("ask")],
    once: OnceParam,
) -> Answer | Response:
    """Answer a question from the documents, with citations and a receipt.

    With ``Accept: text/event-stream`` the answer is told while it is written. What comes before
    the event ``answer`` is provisional: it is neither verified nor in the log, and may be
    withdrawn; with ``verified_only`` nothing is sent before. When the client leaves, the work is
    called off, which the log tells. With ``conversation`` a question that leans on the ones before
    it ("And for children?") is completed by rule; the answer and its receipt say how.
    """

    def asked(listener: Listener) -> RecordedAnswer:
        base = home.open(kb)
        recorded = base.ask(
            body.question,
            filters=body.filters.inside(),
            asker=asker.label,
            listener=listener,
            earlier=earlier_turns(base, body, asker),
        )
        if body.conversation is not None and body.conversation.id is not None:
            try:
                home.store.conversations.add(body.conversation.id, recorded.record.id)
            except StorageError as error:  # The answer is in the log, so it is given.
                _log.error("an answer is missing from its conversation: %s", error)
        return recorded

    def asked_once(listener: Listener) -> RecordedAnswer:
        return once.do(
            body.model_dump(mode="json"),
            lambda: asked(listener),
            resource=lambda answer: answer.record.id,
            again=lambda record_id: retold(home.open(kb), record_id, actor=asker.label),
        )

    return await respond(request, home, body, asked_once)


def earlier_turns(base: KnowledgeBase, body: AskRequest, asker: Asker) -> list[Earlier] | None:
    """Return the earlier turns of a question; None where it stands alone.

    Raises:
        NotFound: the conversation is not there, or is another's.
    """
    said = body.conversation
    if said is None:
        return None
    if said.id is not None:
        found = base.store.conversations.answers(base.row.id, said.id, asker.id)
        return [Earlier(None, record_id) for record_id in found]
    return [Earlier(turn.question, turn.answer_id) for turn in said.turns or ()]


async def respond(request: Request, home: Home, body: AskRequest, ask: Ask) -> Answer | Response:
    """Return an answer in the way that its request wants.

    Raises:
        UsageError: the request wants more time than the settings allow.
        RagError: the question ended in it.
    """
    seconds = body.seconds(home.settings.ask_timeout_seconds)
    if events.wants_events(request):
        teller = TellingVerified if body.verified_only else Telling
        return await streamed(request, ask, partial(teller, seconds))
    return Answer.recorded(await answered(request, ask, seconds))
