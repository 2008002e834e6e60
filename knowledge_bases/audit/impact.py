"""Which answers rest on a document, and whether its current version still bears them out."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from typing import Any, Literal

from knowledge_bases.audit.anchors import Nearest, Quoted, State, reanchor
from rag.protocols import Verifier
from rag.sentences import sentence_spans
from rag.types import Claim, Verdict, VerdictLabel
from rag.verify.claims import SHORT_ANSWER_WORDS

_CLAIMS_TOGETHER = 32
"""Claims that are judged in one call; the verifier sorts their sentences into batches."""
_AROUND_CHARS = 1_000
"""Text on either side of a citation in which its sentence and the neighbours are looked for."""

Found = State | Literal["withdrawn", "elsewhere", "erased"]
"""What became of a citation: as `State`; its document was withdrawn; it cites another document;
or its text is no longer stored."""


@dataclass(frozen=True, slots=True)
class Cited:
    """A record of the log that cites the document; ``receipt`` is None once it was erased."""

    answer_id: str
    created_at: str
    receipt: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Current:
    """The document as it is now.

    Attributes:
        version, text: None where it was withdrawn.
        nearest: finds passages of this text that are about something, for citations that are lost.
    """

    uri: str
    version: int | None
    text: str | None
    nearest: Callable[[str], Sequence[str]] = lambda sought: ()


@dataclass(frozen=True, slots=True)
class FoundCitation:
    """A citation and what became of it.

    Attributes:
        start, end: in the current version; None unless it is resolved or moved.
        nearest: the passage most like a lost one.
    """

    index: int
    document: str
    version: int
    quote: str
    state: Found
    start: int | None
    end: int | None
    nearest: Nearest | None


@dataclass(frozen=True, slots=True)
class JudgedAgain:
    """A claim with its verdict then and now.

    Attributes:
        found: what became of its citations of the document, the worst first named.
    """

    text: str
    citations: tuple[int, ...]
    found: Found
    label_then: VerdictLabel
    label_now: VerdictLabel
    p_supported_then: float | None
    p_supported_now: float | None
    p_contradicted_now: float | None
    guards_now: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Affected:
    """An answer that cites the document.

    Attributes:
        claims: those that cite the document; none where the record was erased.
    """

    answer_id: str
    created_at: str
    status: str | None
    question: str | None
    text: str | None
    version: int | None
    citations: tuple[FoundCitation, ...]
    claims: tuple[JudgedAgain, ...]

    @property
    def stands(self) -> bool:
        """Whether no citation is lost and every claim is still judged as it was."""
        return bool(self.claims) and all(
            claim.label_now == claim.label_then and claim.found in ("resolved", "moved")
            for claim in self.claims
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {**asdict(self), "stands": self.stands}

    def rows(self) -> "Iterator[Row]":
        """Yield a table row for each claim, or one for a record that was erased."""
        for claim in self.claims or (None,):
            yield Row(
                self.answer_id,
                self.created_at,
                self.status or "",
                self.version,
                self.question or "",
                claim.text if claim else "",
                claim.found if claim else "erased",
                claim.label_then if claim else "",
                claim.label_now if claim else "",
                claim.p_supported_then if claim else None,
                claim.p_supported_now if claim else None,
                "yes" if self.stands else "no",
            )


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the report as table or CSV."""

    answer_id: str
    created_at: str
    status: str
    version: int | None
    question: str
    claim: str
    citation: str
    verdict_then: str
    verdict_now: str
    p_supported_then: float | None
    p_supported_now: float | None
    stands: str

    @classmethod
    def header(cls) -> tuple[str, ...]:
        """Return the names of the columns."""
        return tuple(field.name for field in fields(cls))

    def cells(self) -> tuple[object, ...]:
        """Return the values in the order of the header."""
        return tuple(getattr(self, name) for name in self.header())


def impact(
    records: Iterable[Cited],
    current: Current,
    verifier: Verifier,
    *,
    texts: Callable[[str, int], str | None],
) -> Iterator[Affected]:
    """Judge the claims that rest on a document by its current version, many at a time.

    Args:
        records: that cite it.
        current: the document as it is now.
        verifier: judges.
        texts: a version's stored text by URI and number; None where it is no longer stored.
    """
    waiting = iter(records)
    known: dict[tuple[str, int], str | None] = {}

    def text_of(uri: str, version: int) -> str | None:
        if (uri, version) not in known:
            if len(known) > 8:  # Texts are large, and records that follow each other cite alike.
                known.clear()
            known[uri, version] = texts(uri, version)
        return known[uri, version]

    while batch := list(islice(waiting, _CLAIMS_TOGETHER)):
        opened = [_opened(record, current, text_of) for record in batch]
        asked = [claim for claims, _ in opened for claim in claims]
        verdicts = iter(
            verifier.verify([one.claim for one in asked], [one.evidence for one in asked])
        )
        for record, (claims, citations) in zip(batch, opened, strict=True):
            receipt = record.receipt or {}
            yield Affected(
                record.answer_id,
                record.created_at,
                receipt.get("status"),
                receipt.get("question"),
                receipt.get("text"),
                max((c.version for c in citations if c.document == current.uri), default=None),
                tuple(citations),
                tuple(_judged(one, next(verdicts)) for one in claims),
            )


@dataclass(frozen=True, slots=True)
class _Asked:
    claim: Claim
    evidence: list[str]
    found: Found
    then: Mapping[str, Any]


def _opened(
    record: Cited, current: Current, text_of: Callable[[str, int], str | None]
) -> tuple[list[_Asked], list[FoundCitation]]:
    """The claims of a record that rest on the document, with today's evidence."""
    receipt = record.receipt
    if receipt is None:
        return [], []
    places = [_found(cited, current, text_of) for cited in receipt["citations"]]
    own = {place.index: place for place, _ in places if place.document == current.uri}
    evidence = dict(zip((place.index for place, _ in places), (e for _, e in places), strict=True))
    answer = "".join(token[0] for token in receipt["draft"]["tokens"])
    # As `claims_of` decides it: older receipts don't say what a claim was judged with.
    short = len(answer.split()) < SHORT_ANSWER_WORDS
    asked = []
    for verdict in receipt["verdicts"]:
        cited = [own[index] for index in verdict["citations"] if index in own]
        if not cited:
            continue
        claim = Claim(verdict["claim"], tuple(verdict["citations"]), None)
        if verdict.get("as_answer", short):
            asked_with = verdict.get("question") or receipt["question"]
            claim = Claim(claim.text, claim.citations, asked_with)
        texts = [text for index in claim.citations for text in evidence.get(index, ())]
        worst = min((place.state for place in cited), key=_WORST_FIRST.index)
        if worst == "lost":
            texts += current.nearest(f"{receipt['question']} {claim.text}")
        asked.append(_Asked(claim, texts, worst, verdict))
    return asked, [place for place, _ in places]


_WORST_FIRST: tuple[Found, ...] = (
    "withdrawn",
    "lost",
    "erased",
    "moved",
    "resolved",
    "elsewhere",
)


def _found(
    cited: Mapping[str, Any], current: Current, text_of: Callable[[str, int], str | None]
) -> tuple[FoundCitation, list[str]]:
    """What became of a citation, with the evidence that it still gives."""
    uri, version, start, end = (cited[name] for name in ("document", "version", "start", "end"))
    old = text_of(uri, version)

    def outcome(state: Found, at: tuple[int, int] | None = None, near: Nearest | None = None) -> (
        FoundCitation
    ):  # fmt: skip
        first, last = at or (None, None)
        return FoundCitation(cited["index"], uri, version, cited["quote"], state, first, last, near)

    if uri != current.uri:
        intact = old is not None and old[start:end] == cited["quote"]
        return outcome("elsewhere" if intact else "erased"), (
            [_around(old, start, end)] if intact and old is not None else []
        )
    if current.text is None:
        return outcome("withdrawn"), []
    quoted = Quoted(start, end, cited["quote"], "", "")
    if old is not None and old[start:end] == cited["quote"]:
        quoted = Quoted.of(old, start, end)
    anchor = reanchor(quoted, current.text, old_text=old)
    if anchor.start is None or anchor.end is None:
        return outcome("lost", near=anchor.nearest), []
    place = (anchor.start, anchor.end)
    return outcome(anchor.state, place), [_around(current.text, *place)]


def _around(text: str, start: int, end: int) -> str:
    """Return the cited sentences with one neighbour on either side, as answers are judged by."""
    first = max(0, start - _AROUND_CHARS)
    near = text[first : end + _AROUND_CHARS]
    spans = sentence_spans(near)
    cited = [i for i, (a, b) in enumerate(spans) if a < end - first and b > start - first]
    if not cited:
        return text[start:end]
    return near[spans[max(0, cited[0] - 1)][0] : spans[min(len(spans) - 1, cited[-1] + 1)][1]]


def _judged(asked: _Asked, verdict: Verdict) -> JudgedAgain:
    return JudgedAgain(
        asked.claim.text,
        asked.claim.citations,
        asked.found,
        asked.then["label"],
        verdict.label,
        asked.then["p_supported"],
        verdict.p_supported,
        verdict.p_contradicted,
        tuple(f"{guard.name} {item}" for guard in verdict.guards for item in guard.missing),
    )
