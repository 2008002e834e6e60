"""The cross-encoders that the settings name: what judges claims, and what reranks."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from rag.calibration import Calibration
from rag.errors import MissingDependency, UsageError
from rag.protocols import Reranker, Verifier
from rag.settings import Settings
from rag.verify.guarded import GuardVerifier

if TYPE_CHECKING:
    from rag.verify.scorer import CrossEncoderScorer, TrainedScorer

GUARDS, NONE = "guards", "none"


class Judges:
    """Verifier and reranker, each loaded when it is asked for; one model if both name the same.

    Args:
        settings: name them.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened: dict[str, TrainedScorer | CrossEncoderScorer] = {}

    @cached_property
    def verifier(self) -> Verifier:
        """What judges claims.

        Raises:
            ModelError: it is not there or not usable.
            DigestMismatch: a file of it is not the one that its manifest names.
            UsageError: it reranks only.
        """
        scorer = self.scorer
        if scorer is None:
            return GuardVerifier()
        from rag.verify.nli import NliVerifier

        if scorer.verdicts is None:
            raise UsageError(
                f"{self._settings.verifier} gives no verdicts: name a verifier in RAG_VERIFIER "
                f"whose thresholds were fitted, or {GUARDS}"
            )
        return NliVerifier(scorer, scorer.verdicts)

    @property
    def scorer(self) -> TrainedScorer | CrossEncoderScorer | None:
        """The cross-encoder that judges claims; None where guards alone do."""
        reference = self._settings.verifier
        return None if reference == GUARDS else self._open(reference)

    def reranker(self, calibration: Calibration) -> Reranker | None:
        """What orders the passages found; None where the settings want none.

        Args:
            calibration: says how much the search's own score counts beside the relevance; nothing
                beside that of a model on which it was not fitted.

        Raises:
            ModelError: it is not there or not usable.
            DigestMismatch: a file of it is not the one that its manifest names.
            UsageError: it judges entailment only.
        """
        reference = self._settings.reranker
        if reference == NONE:
            return None
        scorer = self._open(reference)
        from rag.rerank import CrossReranker

        if not scorer.ranks:
            raise UsageError(
                f"{reference} tells entailment, not relevance: name a reranker in RAG_RERANKER, or "
                f"{NONE}"
            )
        weight = calibration.rerank_weight if calibration.reranker == scorer.sha256 else 0.0
        return CrossReranker(scorer, fused_weight=weight, depth=self._settings.rerank_depth)

    def _open(self, reference: str) -> TrainedScorer | CrossEncoderScorer:
        if reference not in self._opened:
            try:  # Slow to import, and not needed for guards alone.
                import torch

                from rag.verify.scorer import open_scorer
            except ImportError as error:
                raise MissingDependency(
                    f"{error.name}: pip install grounded-rag, or set RAG_VERIFIER={GUARDS} and "
                    f"RAG_RERANKER={NONE}"
                ) from error
            device = self._settings.device
            if device == "auto":
                device = "cuda" if torch.cuda.is_available() else "cpu"
            self._opened[reference] = open_scorer(reference, device=device)
        return self._opened[reference]
