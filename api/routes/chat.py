"""/chat/completions and /models: a knowledge base as a model, for clients of OpenAI's API."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request

from api.auth import needs
from api.chat import (
    ChatChunk,
    ChatCompletion,
    ChatMessage,
    ChatRequest,
    Choice,
    ChunkChoice,
    Delta,
    Grounding,
    Model,
    ModelList,
    Said,
    Usage,
)
from api.errors import problems
from api.routes import events
from api.routes.shared import HomeParam, JsonOnly, KbName
from api.routes.streaming import answered
from api.schemas import Answer
from knowledge_bases.access import Asker
from knowledge_bases.conversations import Earlier
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import RecordedAnswer
from knowledge_bases.store.knowledge_bases import no_such_knowledge_base
from knowledge_bases.tables import KnowledgeBaseRow
from rag.errors import UsageError
from rag.listening import Listener

router = APIRouter(tags=["chat"])

_STREAM = events.documented(
    "Server-sent events whose data is a ChatChunk, then [DONE]. Nothing is sent before the answer "
    "is verified and in the log, since such clients know no withdrawal. The last chunk has "
    "`grounding`.",
    'data: {"object": "chat.completion.chunk", "choices": [{"delta": {"content": "30"}, …}], …}'
    "\n\ndata: [DONE]\n\n",
)


@router.get("/models")
def list_models(home: HomeParam, asker: Annotated[Asker, needs()]) -> ModelList:
    """List the knowledge bases that are granted, as models."""
    return ModelList(data=[_model(row) for row in home.store.kbs.all() if asker.sees(row.name)])


@router.get("/models/{kb}", dependencies=[needs()], responses=problems(404, 422))
def show_model(kb: KbName, home: HomeParam) -> Model:
    """Show a knowledge base as a model."""
    return _model(home.open(kb).row)


@router.post(
    "/chat/completions",
    response_model=ChatCompletion,
    dependencies=[JsonOnly],
    responses={
        200: {"description": "The answer, or a message that says why not.", "content": _STREAM},
        **problems(400, 404, 413, 415, 422, 501, 503),
    },
)
async def complete_chat(
    body: ChatRequest,
    request: Request,
    home: HomeParam,
    asker: Annotated[Asker, needs("ask")],
) -> ChatCompletion | Response:
    """Answer the last message from the knowledge base that ``model`` names.

    A question that leans on earlier ones is completed from them. What the answer rests on is in
    ``grounding``, a field of its own. An abstention is a message that says so. Errors are problem
    documents that also have OpenAI's ``error``.
    """
    if not asker.sees(body.model):
        raise no_such_knowledge_base(body.model)
    question, earlier = _asked(body.messages, home.settings.conversation_turns)

    def ask(listener: Listener) -> RecordedAnswer:
        base = home.open(body.model)
        return base.ask(question, asker=asker.label, listener=listener, earlier=earlier)

    recorded = await answered(request, ask, home.settings.ask_timeout_seconds)
    completion = _completion(home, body.model, recorded)
    if not body.stream:
        return completion
    usage = body.stream_options is not None and body.stream_options.include_usage
    return EventSourceResponse(_chunks(completion, _pieces(recorded), usage=usage), sep="\n")


def _asked(messages: Sequence[ChatMessage], most_turns: int) -> tuple[str, list[Earlier]]:
    """Return the last message as the question, with the newest of the users' earlier ones.

    Clients send the whole chat each time, so of a long one the beginning is left out.

    Raises:
        UsageError: the last message is no user's, or holds more than text.
    """
    last = messages[-1]
    if last.role != "user":
        raise UsageError("the last message must be a user's: it is the question")
    if not last.only_text:
        raise UsageError("only text can be read: leave images and files out of the message")
    said = [one.text for one in messages[:-1] if one.role == "user" and one.text.strip()]
    return last.text, [Earlier(text) for text in said[-most_turns:]]


def _completion(home: Home, model: str, recorded: RecordedAnswer) -> ChatCompletion:
    answer = Answer.recorded(recorded)
    texts = [answer.question, *(passage.text for passage in recorded.answer.passages)]
    *read, written = home.embedder.count_tokens([*texts, answer.text])
    content = answer.text if answer.status == "answered" else _abstention(answer)
    return ChatCompletion(
        id=f"chatcmpl-{answer.answer_id}",
        created=int(recorded.record.created_at.timestamp()),
        model=model,
        choices=[Choice(message=Said(content=content))],
        usage=Usage(
            prompt_tokens=sum(read), completion_tokens=written, total_tokens=sum(read) + written
        ),
        grounding=Grounding(
            answer_id=answer.answer_id,
            question=answer.question,
            status=answer.status,
            reason=answer.reason,
            confidence=answer.confidence,
            citations=answer.citations,
            claims=answer.claims,
            passages=answer.passages,
            receipt=answer.receipt,
        ),
    )


def _abstention(answer: Answer) -> str:
    reason = f" ({answer.reason})" if answer.reason else ""
    return f"The documents don't answer this with enough certainty{reason}."


def _pieces(recorded: RecordedAnswer) -> list[str]:
    """The answer in segments, each with one origin; none of an abstention."""
    answer = recorded.answer
    return [segment.text for segment in answer.segments] if answer.status == "answered" else []


async def _chunks(
    completion: ChatCompletion, pieces: Sequence[str], *, usage: bool
) -> AsyncIterator[ServerSentEvent]:
    def chunk(delta: Delta, *, last: bool = False) -> ServerSentEvent:
        choice = ChunkChoice(delta=delta, finish_reason="stop" if last else None)
        grounding = completion.grounding if last else None
        return event([choice], grounding=grounding)

    def event(
        choices: list[ChunkChoice],
        *,
        grounding: Grounding | None = None,
        counted: Usage | None = None,
    ) -> ServerSentEvent:
        own = ChatChunk(
            id=completion.id,
            created=completion.created,
            model=completion.model,
            choices=choices,
            usage=counted,
            grounding=grounding,
        )
        return ServerSentEvent(own.line(), sep="\n")

    yield chunk(Delta(role="assistant", content=""))
    for piece in pieces or [completion.choices[0].message.content]:
        yield chunk(Delta(content=piece))
    yield chunk(Delta(), last=True)
    if usage:
        yield event([], counted=completion.usage)
    yield ServerSentEvent("[DONE]", sep="\n")


def _model(row: KnowledgeBaseRow) -> Model:
    return Model(id=row.name, created=int(row.created_at.timestamp()))
