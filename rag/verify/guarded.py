"""Judging by the guards alone, where no model of entailment is wanted."""

from __future__ import annotations

from collections.abc import Sequence

from rag.types import Claim, Disagreement, Verdict
from rag.verify import guards
from rag.words import content_words


class GuardVerifier:
    """Judges by the guards alone: unsupported if one misses something, else supported.

    Without a model there is no probability, and a claim with no evidence is unsupported.
    """

    model_sha256 = None

    @property
    def digest(self) -> str:
        """Sha256 of the rules' source files."""
        return f"guards:{guards.rules_digest()}"

    def for_question(self) -> GuardVerifier:
        """Itself: nothing here is worth keeping."""
        return self

    def verify(self, claims: Sequence[Claim], evidence: Sequence[Sequence[str]]) -> list[Verdict]:
        """Judge claims by the evidence texts alone."""
        return [self._judged(*asked) for asked in zip(claims, evidence, strict=True)]

    def disagreements(
        self, claims: Sequence[Claim], texts: Sequence[str]
    ) -> list[Disagreement | None]:
        """Nothing: that a text lacks a number or a name does not make it say otherwise."""
        return [None] * len(claims)

    def _judged(self, claim: Claim, evidence: Sequence[str]) -> Verdict:
        span = guards.closest_sentence(claim.text, evidence)
        missed = guards.check(claim.text, evidence)
        shares_words = span is not None and bool(
            set(content_words(claim.text)) & set(content_words(span.text))
        )
        label = "supported" if shares_words and not missed else "unsupported"
        return Verdict(claim, label, None, None, missed, span)  # type: ignore[arg-type]
