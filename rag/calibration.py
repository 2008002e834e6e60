"""The calibration file: every weight and threshold that was fitted on data, with its origin."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag.errors import DigestMismatch, ModelError
from rag.settings import Settings

WRITTEN = "written"
"""Where a calibration file keeps a generator's decision, in place of the generator's own."""
SECOND = "second"
"""Where it keeps the decision on what is quoted where that generator's answer is withheld."""
BUNDLED = Path(__file__).parent / "weights" / "calibration.json"


@dataclass(frozen=True, slots=True)
class LogisticModel:
    """A logistic regression: p = σ(weights · features + intercept).

    Attributes:
        weights: (features,) float64.
        extras: further fitted numbers that belong to it, by name.
    """

    weights: NDArray[np.float64]
    intercept: float
    extras: Mapping[str, float]

    def extra(self, name: str) -> float:
        """Return a further fitted number.

        Raises:
            ModelError: the file doesn't hold it.
        """
        if name not in self.extras:
            raise ModelError(f"the calibration lacks {name!r}; fit it again or use the bundled one")
        return self.extras[name]

    def probability(self, features: Sequence[float]) -> float:
        """Return p for one row of features."""
        return sigmoid(float(np.dot(self.weights, features)) + self.intercept)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A calibration file as read.

    Attributes:
        digest: sha256 of the file.
        fitted_for: digest of the embedder whose scores it was fitted on.
        verifier: digest of the verifier whose verdicts it was fitted on; None for guards alone.
        rerank_weight: log-odds of relevance that one unit of the fused score is worth.
        reranker: digest of the reranker on whose relevance that was fitted.
        written: the decision on a generator's answers, with that generator's digest; None leaves
            it to the generator's own.
        second: the decision on what is quoted where that generator's answer is withheld, with the
            generator's digest; None leaves it to that on what is quoted at first.
        bundled: it came with the program.
        dense_weight, rank_share: of the fusion, see `rag.fuse.weighted`.
    """

    digest: str
    fitted_for: str
    verifier: str | None
    dense_weight: float
    rank_share: float
    rerank_weight: float
    reranker: str | None
    _models: Mapping[str, Any]
    written: Mapping[str, Any] | None = None
    second: Mapping[str, Any] | None = None
    bundled: bool = False

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Read a calibration file.

        Raises:
            ModelError: it is missing or not a calibration file.
        """
        try:
            raw = path.read_bytes()
            content = json.loads(raw)
            return cls(
                hashlib.sha256(raw).hexdigest(),
                content["embedder_sha256"],
                content.get("verifier_sha256"),
                float(content["fusion"]["dense_weight"]),
                float(content["fusion"]["rank_share"]),
                float(content["fusion"].get("rerank_weight", 0.0)),
                content.get("reranker_sha256", content.get("verifier_sha256")),
                content["models"],
                written=_decision(content, WRITTEN),
                second=_decision(content, SECOND),
                bundled=path == BUNDLED,
            )
        except OSError as error:
            raise ModelError(f"calibration file {path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path} is not a calibration file ({error!r})") from error

    @classmethod
    def from_settings(cls, settings: Settings) -> "Calibration":
        """Read the settings' calibration file, by default the bundled one."""
        return cls.load(settings.calibration or BUNDLED)

    def check_fits(self, embedder_digest: str) -> None:
        """Refuse scores of an embedder that this was not fitted on.

        Raises:
            DigestMismatch: naming both digests.
        """
        if self.fitted_for != embedder_digest:
            raise DigestMismatch(
                f"the calibration was fitted on embedder {self.fitted_for[:12]}…, not on "
                f"{embedder_digest[:12]}…; fit one for it and name it in RAG_CALIBRATION"
            )

    def check_judged_by(self, verifier_sha256: str | None) -> None:
        """Refuse verdicts of a verifier that the decisions were not fitted on.

        Raises:
            DigestMismatch: naming both digests.
        """
        if self.verifier != verifier_sha256:
            fitted, used = (
                "the guards alone" if digest is None else f"verifier {digest[:12]}…"
                for digest in (self.verifier, verifier_sha256)
            )
            raise DigestMismatch(
                f"the calibration was fitted on {fitted}, not on {used}: "
                "set RAG_VERIFIER back, or fit one with rag calibrate and name it in "
                "RAG_CALIBRATION"
            )

    def model(self, name: str, features: Sequence[str]) -> LogisticModel:
        """Return a fitted model.

        Raises:
            ModelError: the file has none of that name, or one with other features.
        """
        try:
            fitted = self._models[name]
            if tuple(fitted["features"]) != tuple(features):
                raise ModelError(
                    f"the calibration's {name!r} was fitted on other features: unset "
                    "RAG_CALIBRATION, or fit one with rag calibrate"
                )
            return LogisticModel(
                np.array(fitted["weights"], dtype=np.float64),
                float(fitted["intercept"]),
                {key: float(value) for key, value in fitted.get("extras", {}).items()},
            )
        except (KeyError, ValueError, TypeError) as error:
            raise ModelError(
                f"the calibration lacks a usable {name!r} ({error!r}): unset RAG_CALIBRATION, or "
                "fit one with rag calibrate"
            ) from error


def _decision(content: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    return None if content.get(name) is None else dict(content[name])


def sigmoid(x: float) -> float:
    """Return 1 / (1 + e^-x) without overflow."""
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    return math.exp(x) / (1 + math.exp(x))
