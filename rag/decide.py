"""Whether a checked draft may leave the house: calibrated, with a threshold from data."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag.calibration import Calibration, LogisticModel
from rag.generate import overlap
from rag.types import Decision, Draft, Passage, Verdict
from rag.verify.mentions import from_table, unmentioned

_WORD = re.compile(r"\w+")
VERIFIED = ("entailed", "refuted", "relevant")
"""Evidence of the verifier; see `rag.pipeline.verified`."""
FEATURES = (
    "similarity",
    "coverage",
    "coverage_around",
    "lead",
    "number_wanted_and_there",
    "number_wanted_not_there",
    "name_wanted_and_there",
    "passage_similarity",
    "passage_lead",
    "brevity",
    *VERIFIED,
)
"""Evidence that an extractive answer is right, in the order of the calibration's weights."""
WRITTEN_FEATURES = (
    "absent",
    "absent_token",
    "log_prob",
    "weakest",
    "copied",
    "words",
    *overlap.NAMES,
    "subjects_missing",
    "similarity",
    *VERIFIED,
)
"""Evidence that a generator's answer is right, in the order of its own calibration's weights."""
SECOND_FEATURES = (*FEATURES, "agrees", *(f"written_{name}" for name in WRITTEN_FEATURES))
"""Evidence that a sentence is right which is quoted where a generator's answer was withheld."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted decision.

    Attributes:
        model: over `features`, with "threshold" beside it.
        features: names of the evidence, in order.
        digest: sha256 of where it stands.
    """

    model: LogisticModel
    features: tuple[str, ...]
    digest: str

    @classmethod
    def bundled(cls, calibration: Calibration) -> "Fitted":
        """Return the decision on extractive answers, which the calibration file holds.

        Raises:
            ModelError: it holds none.
        """
        return cls(calibration.model("decide", FEATURES), FEATURES, calibration.digest)


class CalibratedDecider:
    """A logistic regression over the evidence; guards can only lower its verdict.

    Args:
        fitted: on answers of the generator whose drafts are decided.
        threshold: overrides the fitted one.
        names: what a question names must be in the passage cited, not only its codes.
        tables: answers may come from a table's row; false where none were fitted on.
    """

    def __init__(
        self,
        fitted: Fitted,
        *,
        threshold: float | None = None,
        names: bool = True,
        tables: bool = True,
    ) -> None:
        self._fitted = fitted
        self._names = names
        self._tables = tables
        self._threshold = fitted.model.extra("threshold") if threshold is None else threshold
        self.digest = f"calibration:{fitted.digest}"

    def decide(
        self, question: str, draft: Draft, verdicts: Sequence[Verdict], passages: Sequence[Passage]
    ) -> Decision:
        """Weigh all evidence and decide."""
        if not passages:
            return self._withheld(0.0, "nothing in the knowledge base matches the question")
        if not draft.tokens:
            return self._withheld(0.0, "the passages found hold no answer")
        probability = self._fitted.model.probability(
            evidence(draft, passages, self._fitted.features)
        )
        if draft.features.get("finished") == 0.0:
            return self._withheld(probability, "the best answer found breaks off in the middle")
        for verdict in verdicts:
            if verdict.label != "supported":
                missed = ", ".join(
                    f"{guard.name} {item}" for guard in verdict.guards for item in guard.missing
                )
                return self._withheld(
                    probability,
                    f"the best answer found is {_unsaid(verdict)}{_why(verdict, missed)}",
                )
        missing = unmentioned(question, draft.tokens, passages, names=self._names)
        if missing:
            return self._withheld(
                probability, f"what it would cite does not mention {', '.join(missing)}"
            )
        if not self._tables and from_table(draft.tokens, passages):
            return self._withheld(
                probability, "it would be a cell of a table, and which one is not sure"
            )
        if probability < self._threshold:
            return self._withheld(
                probability,
                # Rounded away from each other: 83.6 is not 84 % where answers need 83.9.
                f"the best answer found is {math.floor(100 * probability)} % likely to be right; "
                f"answers are given from {math.ceil(100 * self._threshold - 1e-9)} %",
                barred=False,
            )
        return Decision("answered", probability, self._threshold, None)

    def _withheld(self, probability: float, reason: str, *, barred: bool = True) -> Decision:
        return Decision("abstained", probability, self._threshold, reason, barred)


def _unsaid(verdict: Verdict) -> str:
    """What an answer is that its text does not bear out; the documents are not accused of it."""
    if verdict.label == "contradicted":
        return "denied by the text it would cite"
    return "not borne out by the text it would cite"


def _why(verdict: Verdict, missed: str) -> str:
    if missed:
        return f": not found: {missed}"
    denied = verdict.label == "contradicted"
    told = verdict.p_contradicted if denied else verdict.p_supported
    if told is None:
        return ""
    return f" ({100 * told:.0f} % likely{'' if denied else ' that it is'})"


def second_evidence(first: Draft, draft: Draft) -> dict[str, float]:
    """What an earlier writer's draft says of a later one's: see `SECOND_FEATURES`.

    "agrees" is 1 where the later text holds the earlier one's words in a row.
    """
    said, words = (f" {' '.join(_WORD.findall(one.text.casefold()))} " for one in (first, draft))
    agrees = float(bool(said.strip()) and said in words)
    return {"agrees": agrees, **{f"written_{name}": own for name, own in first.features.items()}}


def evidence(draft: Draft, passages: Sequence[Passage], features: Sequence[str]) -> list[float]:
    """Return a draft's evidence in the order of the features; what it lacks counts as 0."""
    dense = sorted((passage.scores.get("dense", 0.0) for passage in passages), reverse=True)
    lead = dense[0] - dense[1] if len(dense) > 1 else 0.0
    named = {**draft.features, "passage_lead": lead}
    return [named.get(name, 0.0) for name in features]
