"""Checks a text by evidence, whoever wrote it: each of its sentences is a claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    verifier: Verifier, text: str, evidence: Sequence[str], question: str | None = None
) -> Checked:
    """Judge every sentence of a text by the evidence.

    Args:
        verifier: judges.
        text: what someone says.
        evidence: texts that it must follow from; none support nothing.
        question: what a short answer answers; it is judged together with it.
    """
    short = question is not None and len(text.split()) < SHORT_ANSWER_WORDS
    spans = [(0, len(text))] if short else sentence_spans(text) or [(0, len(text))]
    claims = [Claim(text[start:end], (), question if short else None) for start, end in spans]
    verdicts = tuple(verifier.verify(claims, [evidence] * len(claims)))
    worst = min(
        verdicts, key=lambda verdict: (_WORST_FIRST.index(verdict.label), verdict.p_supported or 0)
    )
    return Checked(verdicts, worst)
