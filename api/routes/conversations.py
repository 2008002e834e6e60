"""/knowledge-bases/{kb}/conversations: questions that lean on the ones before them."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from starlette.requests import Request

from api.auth import needs
from api.errors import problems
from api.idempotency import OnceParam
from api.requests import AskRequest, GivenConversation
from api.routes.answers import ANSWER_RESPONSES, ask
from api.routes.shared import HomeParam, JsonOnly, KbName, kb_path
from api.schemas import Answer, Conversation, ConversationTurn
from knowledge_bases.access import Asker
from rag.errors import UsageError

router = APIRouter(prefix="/knowledge-bases/{kb}/conversations", tags=["questions"])

ConversationId = Annotated[str, Path(description="The conversation's id.")]


@router.post(
    "",
    status_code=201,
    responses={
        201: {"headers": {"Location": {"schema": {"type": "string"}, "description": "Its path."}}},
        **problems(404, 422, 503),
    },
)
def begin_conversation(
    kb: KbName, home: HomeParam, response: Response, asker: Annotated[Asker, needs("ask")]
) -> Conversation:
    """Begin a conversation; it is for the key that began it alone."""
    conversation_id = home.store.conversations.create(home.open(kb).row.id, asker.id)
    response.headers["Location"] = f"{kb_path(kb)}/conversations/{conversation_id}"
    return Conversation(id=conversation_id, turns=[])


@router.get("/{conversation_id}", responses=problems(404, 422))
def show_conversation(
    kb: KbName,
    conversation_id: ConversationId,
    home: HomeParam,
    asker: Annotated[Asker, needs("ask")],
) -> Conversation:
    """List a conversation's answers, oldest first.

    Their texts are in the log alone: what was erased there is gone here.
    """
    found = home.store.conversations.answers(home.open(kb).row.id, conversation_id, asker.id)
    return Conversation(
        id=conversation_id, turns=[ConversationTurn(answer_id=record_id) for record_id in found]
    )


@router.post(
    "/{conversation_id}/answers",
    response_model=Answer,
    dependencies=[JsonOnly],
    responses=ANSWER_RESPONSES,
)
async def ask_in_conversation(
    kb: KbName,
    conversation_id: ConversationId,
    body: AskRequest,
    request: Request,
    home: HomeParam,
    asker: Annotated[Asker, needs("ask")],
    once: OnceParam,
) -> Answer | Response:
    """Answer the next question of a conversation, completed from those before it.

    As a plain question with this conversation's id in its body.
    """
    if body.conversation is not None:
        raise UsageError("the path names the conversation already; leave `conversation` out")
    named = body.model_copy(update={"conversation": GivenConversation(id=conversation_id)})
    return await ask(kb, named, request, home, asker, once)
