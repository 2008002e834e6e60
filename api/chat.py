"""The wire of chat completions, in the shapes that clients of OpenAI's API know."""

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas import Citation, Hit, Receipt
from api.verdicts import Claim
from api.wire import Wire

_MOST_MESSAGES = 10_000


class TextPart(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str
    text: str = ""


class ChatMessage(BaseModel):
    """A message; what isn't text can't be read."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None

    @property
    def text(self) -> str:
        """Its text."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content or () if part.type == "text")

    @property
    def only_text(self) -> bool:
        """Say whether there is nothing else."""
        return isinstance(self.content, str) or all(
            part.type == "text" for part in self.content or ()
        )


class StreamOptions(BaseModel):
    """How a stream is sent."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    include_usage: bool = False


class ChatRequest(BaseModel):
    """A chat; ``model`` names the knowledge base.

    What sets how freely a model writes (temperature and the like) is taken and ignored: answers
    are decoded without chance. System messages are ignored, too; only documents are believed.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "model": "thornmere",
                    "messages": [{"role": "user", "content": "When does the fridge alarm sound?"}],
                }
            ]
        },
    )

    model: str = Field(max_length=200)
    messages: list[ChatMessage] = Field(min_length=1, max_length=_MOST_MESSAGES)
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = Field(default=None, description="There is one answer.")


class Grounding(Wire):
    """What an answer rests on; nothing that clients of chat completions know."""

    answer_id: str
    question: str = Field(description="As it was completed from the messages before.")
    status: Literal["answered", "abstained"]
    reason: str | None
    confidence: float
    citations: list[Citation]
    claims: list[Claim]
    passages: list[Hit] = Field(description="The nearest ones, best first.")
    receipt: Receipt


class Said(Wire):
    """What the assistant says."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(Wire):
    """The one answer."""

    index: Literal[0] = 0
    message: Said
    logprobs: None = None
    finish_reason: Literal["stop"] = "stop"


class Usage(Wire):
    """Tokens as the embedder counts them: of question and passages read, and of the answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(Wire):
    """An answer, verified and in the log."""

    id: str = Field(examples=["chatcmpl-5f0c1a52-6c3e-4a57-9e0f-7c1b1f0c9d2e"])
    object: Literal["chat.completion"] = "chat.completion"
    created: int = Field(description="Seconds since 1970.")
    model: str
    choices: list[Choice]
    usage: Usage
    grounding: Grounding


class Delta(Wire):
    """What is new of what the assistant says."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(Wire):
    """A piece of the one answer."""

    index: Literal[0] = 0
    delta: Delta
    logprobs: None = None
    finish_reason: Literal["stop"] | None = None


class ChatChunk(Wire):
    """An event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    grounding: Grounding | None = None

    def line(self) -> str:
        """Return it as JSON without what it lacks, as such clients expect it."""
        own: dict[str, Any] = self.model_dump(mode="json")
        optional = ("usage", "grounding")
        kept = {name: value for name, value in own.items() if value or name not in optional}
        kept["choices"] = [
            {**choice, "delta": {k: v for k, v in choice["delta"].items() if v is not None}}
            for choice in own["choices"]
        ]
        return json.dumps(kept, ensure_ascii=False)


class Model(Wire):
    """A knowledge base as a model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "grounded-rag"


class ModelList(Wire):
    """The knowledge bases that are granted."""

    object: Literal["list"] = "list"
    data: list[Model]
