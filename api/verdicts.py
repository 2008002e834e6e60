"""Verdicts on the wire: of an answer's claims, and of a text that is checked."""

from __future__ import annotations

from typing import Literal

from api.wire import Wire
from rag.types import Disagreement as RagDisagreement
from rag.types import EvidenceSpan as RagEvidenceSpan
from rag.types import Passage, Verdict
from rag.verify.check import Checked

Label = Literal["supported", "contradicted", "unsupported"]


class GuardMiss(Wire):
    """What a guard did not find in the evidence."""

    name: str
    missing: list[str]

    @classmethod
    def all_of(cls, verdict: Verdict) -> list[GuardMiss]:
        """Those of a verdict."""
        return [cls(name=guard.name, missing=list(guard.missing)) for guard in verdict.guards]


class EvidenceSpan(Wire):
    """Characters of the evidence text with this index (from 0)."""

    evidence: int
    start: int
    end: int
    text: str

    @classmethod
    def of(cls, span: RagEvidenceSpan) -> EvidenceSpan:
        """Make one from the inside."""
        return cls(evidence=span.evidence, start=span.start, end=span.end, text=span.text)


class Disagreement(Wire):
    """A sentence of a passage that the answer does not cite, which says otherwise.

    ``passage`` is its index (from 0) among the answer's passages, ``start`` and ``end`` are
    characters of the document version's text.
    """

    passage: int
    document: str
    version: int
    start: int
    end: int
    text: str
    p_contradicted: float

    @classmethod
    def of(cls, found: RagDisagreement, passages: tuple[Passage, ...]) -> Disagreement:
        """Make one from the inside."""
        passage = passages[found.passage]
        return cls(
            passage=found.passage,
            document=passage.document.uri,
            version=passage.version,
            start=passage.start + found.start,
            end=passage.start + found.end,
            text=found.text,
            p_contradicted=round(found.p_contradicted, 6),
        )


class Claim(Wire):
    """A statement of the answer with its verdict; ``evidence`` are citation indexes."""

    text: str
    verdict: Label
    p_supported: float | None
    p_contradicted: float | None
    evidence: list[int]
    guards: list[GuardMiss]
    disagreement: Disagreement | None

    @classmethod
    def of(cls, verdict: Verdict, passages: tuple[Passage, ...]) -> Claim:
        """Make one from the inside."""
        found = verdict.disagreement
        return cls(
            text=verdict.claim.text,
            verdict=verdict.label,
            p_supported=verdict.p_supported,
            p_contradicted=verdict.p_contradicted,
            evidence=list(verdict.claim.citations),
            guards=GuardMiss.all_of(verdict),
            disagreement=None if found is None else Disagreement.of(found, passages),
        )


class CheckedClaim(Wire):
    """A sentence of a checked text with its verdict."""

    text: str
    verdict: Label
    p_supported: float | None
    p_contradicted: float | None
    evidence_span: EvidenceSpan | None
    guards: list[GuardMiss]

    @classmethod
    def of(cls, verdict: Verdict) -> CheckedClaim:
        """Make one from the inside."""
        span = verdict.evidence_span
        return cls(
            text=verdict.claim.text,
            verdict=verdict.label,
            p_supported=verdict.p_supported,
            p_contradicted=verdict.p_contradicted,
            evidence_span=None if span is None else EvidenceSpan.of(span),
            guards=GuardMiss.all_of(verdict),
        )


class Check(Wire):
    """The verdict on a text against given evidence: that on its worst claim."""

    verdict: Label
    p_supported: float | None
    p_contradicted: float | None
    evidence_span: EvidenceSpan | None
    guards: list[GuardMiss]
    claims: list[CheckedClaim]

    @classmethod
    def of(cls, checked: Checked) -> Check:
        """Make one from the inside."""
        span = checked.worst.evidence_span
        return cls(
            verdict=checked.worst.label,
            p_supported=checked.p_supported,
            p_contradicted=checked.p_contradicted,
            evidence_span=None if span is None else EvidenceSpan.of(span),
            guards=GuardMiss.all_of(checked.worst),
            claims=[CheckedClaim.of(verdict) for verdict in checked.verdicts],
        )
