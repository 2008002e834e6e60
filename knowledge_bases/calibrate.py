"""Fits which answers are served on a user's own questions, and writes a calibration file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from knowledge_bases import recording
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase
from rag.calibration import BUNDLED, SECOND, WRITTEN
from rag.decide import FEATURES, SECOND_FEATURES, WRITTEN_FEATURES, evidence
from rag.errors import GenerationTimeout, NotFound, QuestionError, TrainingDataError, UsageError
from rag.generate.choose import EXTRACTIVE
from rag.generate.manifest import Decision, complaint
from rag.publish import write_file
from rag.training.cascade import Cases, fitted_cascade
from rag.training.data import lines_of, parse_object, problem_list
from rag.training.decision import ANSWERABLE, RIGHT_FROM, weighed
from rag.training.scores import best, holds, token_f1
from rag.types import Answer

UNANSWERED = "not in the documents"
LEAST = 20
"""Right and wrong answers that a fit needs, of each."""


class CalibrationRow(BaseModel):
    """A question with its right answers; none where the documents do not answer it.

    Attributes:
        document: what the question was made from, if that is known; any name of it.
        context: the same in a row of a training file.
    """

    model_config = ConfigDict(extra="ignore")

    question: str = Field(min_length=1)
    answers: list[str]
    document: str | None = None
    context: str | None = None

    @property
    def group(self) -> str:
        """What must not be learned from and measured on at once."""
        return self.document or self.context or self.question


@dataclass(frozen=True, slots=True)
class Tried:
    """A question with each writer's answer to it.

    Attributes:
        answers: in the order in which the writers are tried.
        golds: right answers; none where the documents hold none.
        kind: `ANSWERABLE`, or why there is no answer.
        group: what must not be learned from and measured on at once, as a context.
    """

    answers: Sequence[Answer]
    golds: Sequence[str]
    kind: str
    group: str


def read_rows(path: Path) -> list[CalibrationRow]:
    """Read questions with their answers.

    Args:
        path: JSON lines `{question, answers, document?}`; an answer is text, or `{text}` as in
            training files.

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
        the report of `with_decisions`, with the number of questions and where the file is.

    Raises:
        NotFound: there is no question file.
        TrainingDataError: it has unusable rows.
        UsageError: there are too few right or too few wrong answers to learn from, or an adapter
            writes, whose decision is its own.
        GenerationTimeout: a writer took too long; the question is named.
        RecordError: the log refused the record of the calibration.
    """
    rows = read_rows(path)
    home = base.home
    if base.name in home.settings.adapters:
        raise UsageError(
            f"an adapter writes the answers of {base.name!r}, and its decision is its own: "
            "train it with --dev, or unset RAG_ADAPTERS"
        )
    tried = []
    for number, row in enumerate(rows, start=1):
        try:
            answers = base.trials(row.question)
        except QuestionError as error:
            raise TrainingDataError(f"{path}: {row.question[:60]!r}: {error}") from error
        except GenerationTimeout as error:
            raise GenerationTimeout(
                f"{path}: {row.question[:60]!r}: {error}: raise RAG_GENERATE_TIMEOUT_SECONDS"
            ) from error
        kind = ANSWERABLE if row.answers else UNANSWERED
        tried.append(Tried(answers, row.answers, kind, row.group))
        progress(number, len(rows))
    content = json.loads((home.settings.calibration or BUNDLED).read_bytes())
    content["data"] = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "questions": len(rows),
        "command": "rag calibrate",
    }
    content, report = with_decisions(content, tried, home, precision=precision)
    report = {"questions": len(rows), "precision": precision, **report}
    written = (json.dumps(content, indent=1) + "\n").encode()
    home.audit.record(
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


def with_decisions(
    content: Mapping[str, Any], tried: Sequence[Tried], home: Home, *, precision: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fit which answers are served, and put that into a calibration file's content.

    Args:
        content: of the calibration file; decisions of other writers stay.
        tried: the writers' answers.
        home: with the embedder and the verifier that they were found and judged with.
        precision: wanted share of right answers among all that are served.

    Returns:
        the new content; and a report: the threshold, what would be served, and how many answers of
        each writer are right.

    Raises:
        UsageError: there are too few right or too few wrong answers of a writer to learn from.
    """
    writers = [answer.models["generator"] for answer in tried[0].answers]
    kinds, groups = [one.kind for one in tried], [one.group for one in tried]
    fit = partial(
        fitted_cascade,
        kinds=kinds,
        groups=groups,
        precision=precision,
        embedder_sha256=home.embedder.digest,
        verifier_sha256=home.verifier.model_sha256,
    )
    cases = []
    for place, digest in enumerate(writers):
        names = SECOND_FEATURES if place else FEATURES if _quotes(digest) else WRITTEN_FEATURES
        names = weighed(names, home.embedder, home.verifier)
        cases.append(_cases([(one, one.answers[place]) for one in tried], names))
        right = int(cases[-1].right.sum())
        if min(right, len(tried) - right) < LEAST:
            raise UsageError(
                f"{digest.partition(':')[0]}: {right} right, {len(tried) - right} wrong answers; "
                f"give questions until there are {LEAST} of each, some of them that the documents "
                "do not answer"
            )
    cascade = fit(cases)
    changed: dict[str, Any] = json.loads(json.dumps(content))
    # The weight of the search's score stays that of the reranker it was fitted on.
    before = changed.get("verifier_sha256")
    changed.setdefault("reranker_sha256", before)
    changed["verifier_sha256"] = home.verifier.model_sha256
    changed.pop(SECOND, None)
    if not _quotes(writers[0]):
        for name, decision in zip((WRITTEN, SECOND), cascade.decisions, strict=False):
            changed[name] = {"generator": writers[0], **decision.model_dump(mode="json")}
    if _quotes(writers[-1]):
        alone = _cases(
            [(one, one.answers[-1]) for one in tried],
            weighed(FEATURES, home.embedder, home.verifier),
        )
        changed["models"]["decide"] = _alone(fit([alone]).decisions[0])
    elif before != home.verifier.model_sha256:
        changed["models"].pop("decide", None)  # It weighs another verifier's verdicts.
    good = np.array([own.right for own in cases])
    served = cascade.served
    wrong = [place >= 0 and not good[place, i] for i, place in enumerate(served)]
    return changed, {
        "threshold": cascade.decisions[0].threshold,
        "served": int((served >= 0).sum()),
        "served_wrong": int(np.sum(wrong)),
        "writers": {
            digest: {"right": int(good[place].sum()), "served": int((served == place).sum())}
            for place, digest in enumerate(writers)
        },
    }


def _quotes(digest: str) -> bool:
    return digest.startswith(EXTRACTIVE)


def _alone(decision: Decision) -> dict[str, Any]:
    weights = dict(zip(decision.features, decision.weights, strict=True))
    return {
        "features": list(FEATURES),
        "weights": [weights.get(name, 0.0) for name in FEATURES],
        "intercept": decision.intercept,
        "extras": {"threshold": decision.threshold},
    }


def _cases(own: Sequence[tuple[Tried, Answer]], names: tuple[str, ...]) -> Cases:
    def right(one: Tried, answer: Answer) -> bool:
        text = answer.draft.text
        if not one.golds or not text:
            return False
        if _quotes(answer.models["generator"]):
            return holds(text, one.golds)
        return best(token_f1, text, one.golds) >= RIGHT_FROM

    return Cases(
        names,
        np.array([evidence(answer.draft, answer.passages, names) for _, answer in own]),
        np.array([right(one, answer) for one, answer in own]),
        # On trial the threshold is 0: what is withheld is for reasons that no probability mends.
        np.array([answer.status == "answered" for _, answer in own]),
    )
