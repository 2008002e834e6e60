"""Fits which answers are served on a user's own questions, and writes a calibration file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from knowledge_bases import recording
from knowledge_bases.knowledge_base import KnowledgeBase
from rag.calibration import BUNDLED, WRITTEN
from rag.decide import FEATURES, WRITTEN_FEATURES, evidence
from rag.errors import NotFound, QuestionError, TrainingDataError, UsageError
from rag.generate.choose import EXTRACTIVE
from rag.generate.manifest import complaint
from rag.publish import write_file
from rag.training.data import lines_of, parse_object, problem_list
from rag.training.decision import ANSWERABLE, RIGHT_FROM, fitted, weighed
from rag.training.scores import best, holds, token_f1
from rag.types import Answer

UNANSWERED = "not in the documents"
LEAST = 20
"""Right and wrong answers that a fit needs, of each."""


class CalibrationRow(BaseModel):
    """A question with its right answers; none where the documents do not answer it."""

    model_config = ConfigDict(extra="ignore")

    question: str = Field(min_length=1)
    answers: list[str]


@dataclass(frozen=True, slots=True)
class Trial:
    """One writer's answers to all questions.

    Attributes:
        features: (n, features), in the order of `names`.
        right: (n,).
        kinds: (n,), whether the documents answer the question.
        questions: (n,).
    """

    names: tuple[str, ...]
    features: NDArray[np.float64]
    right: NDArray[np.bool_]
    kinds: list[str]
    questions: list[str]


def read_rows(path: Path) -> list[CalibrationRow]:
    """Read questions with their answers.

    Args:
        path: JSON lines `{question, answers}`; an answer is text, or `{text}` as in training files.

    Raises:
        NotFound: there is no such file.
        TrainingDataError: naming the rows that are not usable and why, or there are none.
    """
    if not path.is_file():
        raise NotFound(f"there is no file {path}: give a JSON lines file")
    rows, problems = [], []
    for number, line in lines_of(path):
        try:
            value = parse_object(line)
            answers = value.get("answers")
            if isinstance(answers, list):
                value["answers"] = [a.get("text") if isinstance(a, dict) else a for a in answers]
            rows.append(CalibrationRow.model_validate(value))
        except ValidationError as error:
            problems.append(f"row {number}: {complaint(error)}")
        except ValueError as error:
            problems.append(f"row {number}: {error}")
    if problems:
        raise TrainingDataError(problem_list(path, problems))
    if not rows:
        raise TrainingDataError(f"{path}: no rows")
    return rows


def calibrate(
    base: KnowledgeBase,
    path: Path,
    out: Path,
    *,
    precision: float,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> dict[str, Any]:
    """Answer the questions, fit which answers are served, and write a calibration file.

    The answers are not recorded, being trials that nobody is given; the calibration is.

    Args:
        base: the knowledge base that the questions are about.
        path: questions; see `read_rows`.
        out: the calibration file, for `RAG_CALIBRATION`.
        precision: wanted share of right answers among those served.
        progress: called with the numbers of questions asked so far and in all.

    Returns:
        for each writer: questions, right answers, threshold, and what would be served.

    Raises:
        NotFound: there is no question file.
        TrainingDataError: it has unusable rows.
        UsageError: there are too few right or too few wrong answers to learn from, or an adapter
            writes, whose decision is its own.
        RecordError: the log refused the record of the calibration.
    """
    rows = read_rows(path)
    home = base.home
    if base.name in home.settings.adapters:
        raise UsageError(
            f"an adapter writes the answers of {base.name!r}, and its decision is its own: "
            "train it with --dev, or unset RAG_ADAPTERS"
        )
    trials: dict[str, list[tuple[CalibrationRow, Answer]]] = {}
    for number, row in enumerate(rows, start=1):
        try:
            answers = base.trials(row.question)
        except QuestionError as error:
            raise TrainingDataError(f"{path}: {row.question[:60]!r}: {error}") from error
        for answer in answers:
            trials.setdefault(answer.models["generator"], []).append((row, answer))
        progress(number, len(rows))
    content = json.loads((home.settings.calibration or BUNDLED).read_bytes())
    verifier = home.verifier.model_sha256
    report: dict[str, Any] = {"questions": len(rows), "precision": precision, "writers": {}}
    for digest, own in trials.items():
        quoting = digest.startswith(EXTRACTIVE)
        names = weighed(FEATURES if quoting else WRITTEN_FEATURES, home.embedder, home.verifier)
        trial = _trial(own, names, quoting=quoting)
        if min(trial.right.sum(), (~trial.right).sum()) < LEAST:
            raise UsageError(
                f"{digest.partition(':')[0]}: {trial.right.sum()} right and {(~trial.right).sum()} "
                f"wrong answers; give questions until there are {LEAST} of each, some of them that "
                "the documents do not answer"
            )
        decision = fitted(
            trial.features,
            trial.right,
            trial.names,
            kinds=trial.kinds,
            groups=trial.questions,
            precision=precision,
            embedder_sha256=home.embedder.digest if "similarity" in names else None,
            verifier_sha256=verifier,
        )
        logits = trial.features @ np.array(decision.weights) + decision.intercept  # (n, f) @ (f,)
        served = 1 / (1 + np.exp(-logits)) >= decision.threshold
        report["writers"][digest] = {
            "right": int(trial.right.sum()),
            "threshold": decision.threshold,
            "served": int(served.sum()),
            "served_wrong": int((served & ~trial.right).sum()),
        }
        if quoting:
            weights = dict(zip(decision.features, decision.weights, strict=True))
            # The weight of the search's score stays that of the reranker it was fitted on.
            content.setdefault("reranker_sha256", content["verifier_sha256"])
            content["verifier_sha256"] = verifier
            content["models"]["decide"] = {
                "features": list(FEATURES),
                "weights": [weights.get(name, 0.0) for name in FEATURES],
                "intercept": decision.intercept,
                "extras": {"threshold": decision.threshold},
            }
        else:
            content[WRITTEN] = {
                "generator": digest,
                **decision.model_dump(mode="json"),
            }
    content["data"] = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "questions": len(rows),
        "command": "rag calibrate",
    }
    written = (json.dumps(content, indent=1) + "\n").encode()
    home.record(
        recording.calibration(
            base.name,
            file=out.name,
            sha256=hashlib.sha256(written).hexdigest(),
            report=report,
            questions=content["data"],
        ),
        "the calibration could not be logged, so it is not written",
    )
    write_file(out, written)
    return {**report, "out": str(out)}


def _trial(
    own: Sequence[tuple[CalibrationRow, Answer]], names: tuple[str, ...], *, quoting: bool
) -> Trial:
    def right(row: CalibrationRow, answer: Answer) -> bool:
        text = answer.draft.text
        if not row.answers or not text:
            return False
        return (
            holds(text, row.answers) if quoting else best(token_f1, text, row.answers) >= RIGHT_FROM
        )

    return Trial(
        names,
        np.array([evidence(answer.draft, answer.passages, names) for _, answer in own]),
        np.array([right(row, answer) for row, answer in own]),
        [ANSWERABLE if row.answers else UNANSWERED for row, _ in own],
        [row.question for row, _ in own],
    )
