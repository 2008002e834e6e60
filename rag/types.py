"""The values that travel from a question to its answer, all frozen.

Offsets are Unicode code points, half-open ``[start, end)``. A ``Passage``'s offsets point into the
text of its document version; a ``Pointer``'s offsets point into ``Passage.text``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

CONTEXT_CHARS = 32
"""Characters of text kept on either side of a quote (TextQuoteSelector's prefix and suffix)."""

Origin = Literal["copied", "generated"]
Status = Literal["answered", "abstained"]
VerdictLabel = Literal["supported", "contradicted", "unsupported"]


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it is named to people."""

    id: str
    uri: str
    title: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a document version's text, the unit of retrieval.

    Attributes:
        start, end: offsets into the version's text; ``version_text[start:end] == text``.
        section: headings above it, outermost first, joined by " > "; sheet or slide name.
        page: page or slide number, from 1, where the format has them.
        context: the heading line given to the embedder and the lexical index beside the text.
    """

    start: int
    end: int
    text: str
    section: str | None
    page: int | None
    context: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A retrieved chunk with its score.

    Attributes:
        before, after: up to 32 characters of the version's text on either side.
        version_id: key of the document version, for whoever reads its text.
        text_sha256: digest of the whole version's text.
        score: by which it is ranked, higher is better: of the fused search, or of the reranker.
        scores: each retriever's own score, by name, before fusion; of what was reranked also the
            fused one and the relevance.
        context: the headings above it, which are read with the text but never quoted.
    """

    chunk_id: int
    document: Document
    version: int
    version_id: int
    start: int
    end: int
    text: str
    before: str
    after: str
    section: str | None
    page: int | None
    text_sha256: str
    score: float
    scores: Mapping[str, float] = field(default_factory=dict)
    context: str = ""


@dataclass(frozen=True, slots=True)
class Filters:
    """What a search is limited to; an empty field limits nothing.

    Attributes:
        documents: document URIs.
        tags: a document must carry at least one of them.
        since, until: document dates, both inclusive; a document without a date matches neither.
    """

    documents: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    since: date | None = None
    until: date | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is filtered."""
        return not (self.documents or self.tags or self.since or self.until)


@dataclass(frozen=True, slots=True)
class Pointer:
    """Characters of one passage: ``passages[passage].text[start:end]``."""

    passage: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a draft and where it came from.

    Attributes:
        text: as rendered; for a copied token exactly the source's characters.
        probability: of this token, given those before it.
        copy_share: the share of that probability that was copied, in [0, 1].
        pointer: its source where it was copied, else None.
    """

    text: str
    probability: float
    copy_share: float
    pointer: Pointer | None


@dataclass(frozen=True, slots=True)
class Draft:
    """What a generator wrote: tokens in order, before anything is checked.

    Attributes:
        confidence: the generator's own confidence in [0, 1], uncalibrated.
        features: named evidence about the draft that `decide` may weigh.
        generator: name and digest of what wrote it.
        read_as: the question as the generator read it, where that put slips right.
    """

    tokens: tuple[Token, ...]
    confidence: float
    generator: str
    features: Mapping[str, float] = field(default_factory=dict)
    read_as: str | None = None

    @property
    def text(self) -> str:
        """The answer as a reader sees it."""
        return "".join(token.text for token in self.tokens)


@dataclass(frozen=True, slots=True)
class Citation:
    """Exact characters of a document version.

    Attributes:
        index: its number in the answer, from 1.
        before, after: up to 32 characters around the quote.
        passage: index of the passage it lies in.
    """

    index: int
    document: Document
    version: int
    version_id: int
    text_sha256: str
    start: int
    end: int
    quote: str
    before: str
    after: str
    page: int | None
    section: str | None
    passage: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of the answer with one origin; ``citation`` is a Citation's index, for copied runs."""

    text: str
    origin: Origin
    probability: float
    citation: int | None


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement of an answer and the citations that must support it."""

    text: str
    citations: tuple[int, ...]
    question: str | None = None


@dataclass(frozen=True, slots=True)
class Guard:
    """What one guard looked for in the evidence and did not find."""

    name: Literal["number", "date", "name", "negation", "quotation"]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EvidenceSpan:
    """Characters ``[start, end)`` of the evidence text with this index."""

    evidence: int
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A sentence of a passage not cited that contradicts a claim.

    Attributes:
        passage: index of the passage.
        start, end: characters in its text.
        p_contradicted: probability.
    """

    passage: int
    start: int
    end: int
    text: str
    p_contradicted: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verifier says of one claim.

    Attributes:
        p_supported, p_contradicted: None where no model judged (guards alone).
        guards: the guards that found something missing; empty when all passed.
        relevance: log-odds that the evidence answers the claim's question; None without a question
            or a model.
        disagreement: what another passage says otherwise; asked of served answers only.
    """

    claim: Claim
    label: VerdictLabel
    p_supported: float | None
    p_contradicted: float | None
    guards: tuple[Guard, ...]
    evidence_span: EvidenceSpan | None
    relevance: float | None = None
    disagreement: Disagreement | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the answer is released.

    Attributes:
        probability: that the answer is right and supported.
        threshold: the probability asked for.
        reason: one line for the reader when it is withheld.
        barred: whether it would be withheld at any threshold.
    """

    status: Status
    probability: float
    threshold: float
    reason: str | None
    barred: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """A draft that was not served, of a generator that was tried beside the answer's own.

    Attributes:
        models: generator, verifier and decider, with digests.
    """

    draft: Draft
    verdicts: tuple[Verdict, ...]
    decision: Decision
    models: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything the pipeline found out about one question.

    Attributes:
        attempts: of the other generators that were tried, in their order.
    """

    question: str
    status: Status
    text: str
    segments: tuple[Segment, ...]
    citations: tuple[Citation, ...]
    verdicts: tuple[Verdict, ...]
    decision: Decision
    passages: tuple[Passage, ...]
    draft: Draft
    models: Mapping[str, str]
    timings_ms: Mapping[str, float]
    attempts: tuple[Attempt, ...] = ()

    @property
    def confidence(self) -> float:
        """The probability that the answer is right and supported."""
        return self.decision.probability


JsonObject = dict[str, Any]
"""A JSON object on its way out; the wire's own models are in `api.schemas`."""
