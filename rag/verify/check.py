"""Checks a text by evidence, whoever wrote it: each of its sentences is a claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rag.asked import check_claim, check_given, has_words, spaced
from rag.protocols import Verifier
from rag.sentences import sentence_spans
from rag.types import Claim, Verdict, VerdictLabel
from rag.verify.claims import SHORT_ANSWER_WORDS

_WORST_FIRST: tuple[VerdictLabel, ...] = ("contradicted", "unsupported", "supported")


@dataclass(frozen=True, slots=True)
class Checked:
    """The verdicts on a text's claims, and the worst of them as the text's own.

    Attributes:
        verdicts: one a claim, in order.
        worst: the one that decides on the whole text.
    """

    verdicts: tuple[Verdict, ...]
    worst: Verdict

    @property
    def p_supported(self) -> float | None:
        """A text is as well supported as its weakest claim; None where no model judged."""
        found = [v.p_supported for v in self.verdicts if v.p_supported is not None]
        return min(found) if found else None

    @property
    def p_contradicted(self) -> float | None:
        """A text is contradicted if any claim is; None where no model judged."""
        found = [v.p_contradicted for v in self.verdicts if v.p_contradicted is not None]
        return max(found) if found else None


def check_text(
    verifier: Verifier,
    text: str,
    evidence: Sequence[str],
    question: str | None = None,
    *,
    max_evidence_chars: int | None = None,
) -> Checked:
    """Judge every sentence of a text by the evidence; control characters count as spaces.

    Args:
        verifier: judges.
        text: what someone says.
        evidence: texts that it must follow from; none support nothing.
        question: what a short answer answers; it is judged together with it.
        max_evidence_chars: most characters of the evidence, all together; None for any number.

    Raises:
        TextError: the text holds no words, there is more evidence than that, or one of them holds
            characters that can't be stored.
        QuestionError: the question holds no words.
    """
    check_claim(text, question)
    check_given(evidence, "evidence", max_evidence_chars)
    text, question = spaced(text), spaced(question) if question else question
    readable = [spaced(one) for one in evidence]
    short = question is not None and len(text.split()) < SHORT_ANSWER_WORDS
    spans = [(0, len(text))] if short else _sentences(text)
    claims = [Claim(text[start:end], (), question if short else None) for start, end in spans]
    verdicts = tuple(
        _quoting(verdict, evidence) for verdict in verifier.verify(claims, [readable] * len(claims))
    )
    worst = min(
        verdicts, key=lambda verdict: (_WORST_FIRST.index(verdict.label), verdict.p_supported or 0)
    )
    return Checked(verdicts, worst)


def _sentences(text: str) -> list[tuple[int, int]]:
    """The sentences that say something: a row of dots or stars is no claim."""
    return [(start, end) for start, end in sentence_spans(text) if has_words(text[start:end])]


def _quoting(verdict: Verdict, evidence: Sequence[str]) -> Verdict:
    """A verdict that quotes the evidence as it was given."""
    span = verdict.evidence_span
    if span is None:
        return verdict
    given = evidence[span.evidence][span.start : span.end]
    return replace(verdict, evidence_span=replace(span, text=given))
