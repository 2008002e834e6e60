"""What clients send over HTTP: the bodies of its requests."""

import datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from indexer.load.compose import clean, label
from rag.asked import BROKEN, UNSTORABLE, WORDLESS, has_words
from rag.errors import UsageError
from rag.types import Filters

_MOST_NAMES = 1_000
_MOST_QUESTION_CHARS = 4_000


def _one_line(value: str) -> str:
    if label(value) != value:
        raise ValueError("must be one line of words, without control characters or double spaces")
    return value


def _storable(value: str) -> str:
    if UNSTORABLE.search(value):
        raise ValueError(BROKEN)
    return value


def _iso_day(value: object) -> object:
    # Left to itself, pydantic takes numbers for seconds since 1970.
    try:
        return datetime.date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("must be a day such as 2025-02-03") from None


def _with_text(value: str) -> str:
    if not clean(value).strip():
        raise ValueError("must hold some text")
    return value


def _with_words(value: str) -> str:
    if not has_words(value):
        raise ValueError(WORDLESS)
    return value


Words = Annotated[str, AfterValidator(_storable)]
Uri = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_one_line)]
Tag = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_one_line)]
Tags = Annotated[list[Tag], Field(max_length=100)]
Name = Annotated[Words, Field(min_length=1, max_length=2_000)]
Day = Annotated[datetime.date | None, BeforeValidator(_iso_day)]


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [fields]})


class Body(BaseModel):
    """Base of all bodies: nothing unknown is accepted, and no value is guessed from another."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NewKnowledgeBase(Body):
    """A knowledge base to create."""

    model_config = _example(name="thornmere")

    name: str = Field(
        description="At most 100 letters, digits, '.', '-' and '_', a letter or digit first."
    )


class NewDocument(Body):
    """A document given as text rather than as a file."""

    model_config = _example(
        uri="https://intranet.example/fridge-alarms",
        title="Fridge alarms",
        text="The fridge alarm sounds at 8 °C. Move the stock within 30 minutes.",
        date="2025-02-03",
        tags=["storage"],
    )

    uri: Uri = Field(description="Its name; a document of the same name becomes its new version.")
    title: Annotated[str, Field(max_length=300)] | None = None
    text: Annotated[str, AfterValidator(_with_text)]
    date: Day = None
    tags: Tags = []


class SearchFilters(Body):
    """What a search is limited to; what is left out limits nothing."""

    documents: list[Words] = Field(default=[], max_length=_MOST_NAMES, description="Document URIs.")
    tags: list[Words] = Field(
        default=[], max_length=_MOST_NAMES, description="One of these must be there."
    )
    since: Day = Field(default=None, description="Earliest date of a document.")
    until: Day = Field(default=None, description="Latest date of a document.")

    def inside(self) -> Filters:
        """Return it as the inside knows it."""
        return Filters(tuple(self.documents), tuple(self.tags), self.since, self.until)


class SearchRequest(Body):
    """A search."""

    model_config = _example(query="alarm of the vaccine fridge", k=3)

    query: str = Field(description="Words to look for.")
    k: int = Field(default=10, ge=1, le=1_000, description="How many hits.")
    filters: SearchFilters = SearchFilters()


class EarlierTurn(Body):
    """An earlier question, and its answer's id where it is known."""

    question: Words = Field(max_length=_MOST_QUESTION_CHARS)
    answer_id: Words | None = Field(default=None, max_length=100)


class GivenConversation(Body):
    """What was asked before: the turns, oldest first, or the id of a conversation kept here."""

    turns: list[EarlierTurn] | None = Field(default=None, max_length=_MOST_NAMES)
    id: Words | None = Field(default=None, max_length=100)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.turns is None) == (self.id is None):
            raise ValueError("give either turns or id")
        return self


class AskRequest(Body):
    """A question."""

    model_config = _example(
        question="Within what time must stock be moved after a fridge alarm?",
        filters={"tags": ["storage"]},
    )

    question: str
    filters: SearchFilters = SearchFilters()
    conversation: GivenConversation | None = Field(
        default=None, description="From which a question that leans on others is completed."
    )
    verified_only: bool = Field(
        default=False, description="Of a stream: nothing before it is verified and in the log."
    )
    timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="After which the work is called off; the server's limit by default.",
    )

    def seconds(self, most: float) -> float:
        """Return how long the answer may take.

        Raises:
            UsageError: that is more than the server allows.
        """
        if self.timeout_seconds is not None and self.timeout_seconds > most:
            raise UsageError(f"timeout_seconds is {self.timeout_seconds:g}; give at most {most:g}")
        return self.timeout_seconds or most


class CheckRequest(Body):
    """A claim with the evidence to judge it by."""

    model_config = _example(
        claim="Stock is moved within 30 minutes.",
        evidence=["The fridge alarm sounds at 8 °C. Move the stock within 30 minutes."],
    )

    claim: Annotated[Words, Field(max_length=10_000), AfterValidator(_with_words)]
    evidence: list[Words] = Field(max_length=_MOST_NAMES)
    question: Annotated[Words, AfterValidator(_with_words)] | None = Field(
        default=None, description="Where a short answer is the claim."
    )


class NamedDocument(Body):
    """A document of a knowledge base, live or deleted."""

    knowledge_base: Name
    uri: Name


class NewErasure(Body):
    """What to erase: all about a subject, or one record, or a document with what rests on it."""

    model_config = _example(document={"knowledge_base": "thornmere", "uri": "memo-2021.txt"})

    subject: Name | None = Field(default=None, description="Whoever asked, as recorded.")
    record: Name | None = Field(default=None, description="A record's id, e.g. an answer_id.")
    document: NamedDocument | None = None

    @model_validator(mode="after")
    def _names_one_thing(self) -> Self:
        if sum(one is not None for one in (self.subject, self.record, self.document)) != 1:
            raise ValueError("name one of subject, record and document")
        return self


class NewRetention(Body):
    """How long payloads are to be kept."""

    model_config = _example(retention_days=365)

    retention_days: int | None = Field(description="183 at least; null keeps them for good.")


class NewLegalHold(Body):
    """A legal hold to begin or to end; while it is on, nothing is erased or dropped."""

    model_config = _example(on=True, reason="Proceedings 14 O 233/25")

    on: bool
    reason: Annotated[Words, Field(max_length=1_000)] = Field(
        default="", description="Recorded in the log."
    )
