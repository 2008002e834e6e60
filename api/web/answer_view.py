"""An answer as its page shows it, from its receipt and the texts that are still stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from api.web.links import source_link
from knowledge_bases.knowledge_base import KnowledgeBase
from knowledge_bases.sources import Sources
from knowledge_bases.tables import AuditRow
from rag.types import CONTEXT_CHARS, Passage

COLOURS = 6
"""Sources beyond so many share colours; numbers tell them apart."""
_LOOKED_FOR = {
    "number": "Not in the cited text: the number",
    "date": "Not in the cited text: the date",
    "name": "Not in the cited text: the name",
    "negation": "The cited text negates, or does not, where the answer differs:",
    "quotation": "Not in the cited text as quoted:",
}


@dataclass(frozen=True, slots=True)
class SourceView:
    """A citation.

    Attributes:
        colour: 1 to `COLOURS`; citations of one document version share it.
        before, after: characters around the quote; empty where the text is no longer stored.
        href: where to read it; None where it is no longer stored.
    """

    index: int
    colour: int
    title: str
    uri: str
    version: int
    start: int
    end: int
    before: str
    quote: str
    after: str
    page: int | None
    section: str | None
    href: str | None


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of the answer with one origin; ``source`` is None where it was written.

    Attributes:
        probability: of its least likely word.
    """

    text: str
    probability: float
    copy_share: float
    source: SourceView | None
    label: str | None


@dataclass(frozen=True, slots=True)
class Otherwise:
    """A sentence of another passage that contradicts a claim."""

    title: str
    text: str
    start: int
    end: int
    version: int
    p_contradicted: float
    href: str | None


@dataclass(frozen=True, slots=True)
class ClaimView:
    """A claim with its verdict; ``guards`` are lines, ``sources`` citation numbers."""

    text: str
    label: str
    p_supported: float | None
    p_contradicted: float | None
    sources: tuple[int, ...]
    guards: tuple[str, ...]
    otherwise: Otherwise | None


@dataclass(frozen=True, slots=True)
class PassageView:
    """A passage that was read; ``text`` is None where it is no longer stored as it was."""

    title: str
    uri: str
    version: int
    start: int
    end: int
    page: int | None
    section: str | None
    text: str | None
    score: float
    scores: Mapping[str, float]
    href: str | None


@dataclass(frozen=True, slots=True)
class AnswerView:
    """An answer or abstention; of an abstention nothing that the draft said."""

    row: AuditRow
    receipt: Mapping[str, Any]
    runs: tuple[Run, ...]
    sources: tuple[SourceView, ...]
    claims: tuple[ClaimView, ...]
    passages: tuple[PassageView, ...]

    @property
    def id(self) -> str:
        """The record's."""
        return self.row.id

    @property
    def answered(self) -> bool:
        """Whether there is an answer."""
        status: str = self.receipt["status"]
        return status == "answered"

    @property
    def probability(self) -> float:
        """That the answer is right and supported."""
        return float(self.receipt["decision"]["probability"])

    @property
    def threshold(self) -> float:
        """The probability that was asked for."""
        return float(self.receipt["decision"]["threshold"])


def answer_view(row: AuditRow, receipt: Mapping[str, Any], kb: KnowledgeBase | None) -> AnswerView:
    """Return what the page shows.

    Args:
        row: the answer's record.
        receipt: its payload.
        kb: the knowledge base; None if it was deleted.
    """
    stored = _stored(kb, receipt["passages"])
    passages = tuple(
        _passage(kb, recorded, passage)
        for recorded, passage in zip(receipt["passages"], stored, strict=True)
    )
    if receipt["status"] != "answered":
        return AnswerView(row, receipt, (), (), (), passages)
    sources = tuple(_sources(kb, receipt, stored))
    claims = tuple(_claim(kb, verdict, passages) for verdict in receipt["verdicts"])
    runs = tuple(_runs(receipt, sources, claims))
    return AnswerView(row, receipt, runs, sources, claims, passages)


def _stored(
    kb: KnowledgeBase | None, recorded: Sequence[Mapping[str, Any]]
) -> list[Passage | None]:
    """Return the passages that are stored as they were read; None for the others."""
    if kb is None:
        return [None] * len(recorded)
    found = kb.store.chunks.passages_ever(kb.row.id, [one["chunk_id"] for one in recorded])
    passages = (found.get(one["chunk_id"]) for one in recorded)
    return [
        passage if passage is not None and _is_as_recorded(passage, one) else None
        for passage, one in zip(passages, recorded, strict=True)
    ]


def _is_as_recorded(passage: Passage, recorded: Mapping[str, Any]) -> bool:
    digest = hashlib.sha256(passage.text.encode()).hexdigest()
    stored = (passage.document.uri, passage.version, passage.start, digest)
    return stored == tuple(
        recorded[name] for name in ("document", "version", "start", "text_sha256")
    )


def _passage(
    kb: KnowledgeBase | None, recorded: Mapping[str, Any], passage: Passage | None
) -> PassageView:
    place = (recorded["document"], recorded["version"], recorded["start"], recorded["end"])
    there = kb is not None and passage is not None
    return PassageView(
        passage.document.title if passage else recorded["document"],
        *place,
        page=passage.page if passage else None,
        section=passage.section if passage else None,
        text=passage.text if passage else None,
        score=recorded["score"],
        scores=recorded["scores"],
        href=source_link(kb.name, *place) if there and kb else None,
    )


def _sources(
    kb: KnowledgeBase | None, receipt: Mapping[str, Any], stored: Sequence[Passage | None]
) -> Iterator[SourceView]:
    colours: dict[tuple[str, int], int] = {}
    for cited in receipt["citations"]:
        key = (cited["document"], cited["version"])
        colour = colours.setdefault(key, len(colours) % COLOURS + 1)
        start, end = cited["start"], cited["end"]
        passage = next(
            (
                one
                for one in stored
                if one is not None
                and (one.document.uri, one.version) == key
                and one.start <= start <= end <= one.end
            ),
            None,
        )
        before, after, page, href = "", "", None, None
        if kb is not None and passage is not None:
            texts = Sources(kb.store, kb.row.id)
            before = texts.slice(passage, max(0, start - CONTEXT_CHARS), start)
            after = texts.slice(passage, end, end + CONTEXT_CHARS)
            page, _ = texts.place(passage, start)
            href = source_link(kb.name, *key, start, end)
        yield SourceView(
            index=cited["index"],
            colour=colour,
            title=passage.document.title if passage else cited["document"],
            uri=cited["document"],
            version=cited["version"],
            start=start,
            end=end,
            before=before,
            quote=cited["quote"],
            after=after,
            page=page,
            section=passage.section if passage else None,
            href=href,
        )


def _claim(
    kb: KnowledgeBase | None, verdict: Mapping[str, Any], passages: Sequence[PassageView]
) -> ClaimView:
    found = verdict["disagreement"]
    otherwise = None
    if found is not None:
        passage = passages[found["passage"]]
        start, end = passage.start + found["start"], passage.start + found["end"]
        href = None
        if kb is not None and passage.href is not None:
            href = source_link(kb.name, passage.uri, passage.version, start, end)
        otherwise = Otherwise(
            passage.title, found["text"], start, end, passage.version, found["p_contradicted"], href
        )
    return ClaimView(
        text=verdict["claim"],
        label=verdict["label"],
        p_supported=verdict["p_supported"],
        p_contradicted=verdict["p_contradicted"],
        sources=tuple(verdict["citations"]),
        guards=tuple(
            f"{_LOOKED_FOR.get(guard['name'], guard['name'])} {', '.join(guard['missing'])}".strip()
            for guard in verdict["guards"]
        ),
        otherwise=otherwise,
    )


def _runs(
    receipt: Mapping[str, Any], sources: Sequence[SourceView], claims: Sequence[ClaimView]
) -> Iterator[Run]:
    """Group the draft's tokens as `rag.cite` does: written ones, and copied ones in a row."""
    places = {(one.uri, one.version, one.start, one.end): one for one in sources}
    numbered, number, previous = [], 0, None
    for token in receipt["draft"]["tokens"]:
        if previous is not None and not _continues(previous, token):
            number += 1
        numbered.append((number, token))
        previous = token
    for _, group in groupby(numbered, key=lambda item: item[0]):
        tokens = [token for _, token in group]
        text = "".join(token[0] for token in tokens)
        source = None
        if tokens[0][3] is not None:
            passage = receipt["passages"][tokens[0][3]]
            start, end = passage["start"] + tokens[0][4], passage["start"] + tokens[-1][5]
            source = places.get((passage["document"], passage["version"], start, end))
        yield Run(
            text,
            probability=min(token[1] for token in tokens),
            copy_share=min(token[2] for token in tokens),
            source=source,
            label=_label(text, source, claims),
        )


def _continues(previous: Sequence[Any], token: Sequence[Any]) -> bool:
    if previous[3] is None or token[3] is None:
        return previous[3] is token[3]
    return bool(previous[3] == token[3] and previous[5] == token[4])


def _label(text: str, source: SourceView | None, claims: Sequence[ClaimView]) -> str | None:
    """Return the worst verdict among the claims that a run is part of."""
    labels = {
        claim.label
        for claim in claims
        if (source is not None and source.index in claim.sources) or text.strip() in claim.text
    }
    order = ("contradicted", "unsupported", "supported")
    return next((label for label in order if label in labels), None)
