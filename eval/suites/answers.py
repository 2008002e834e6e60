"""Whole answers with abstention: how many are wrong among the served, at every threshold."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from eval.metrics import auc, bootstrap, contains, token_f1
from eval.qa_data import CachedEmbedder, Question, contexts_kb, questions
from eval.report import Report
from indexer.embed import SentenceEmbedder
from knowledge_bases.knowledge_base import Home
from rag.settings import Settings
from rag.types import Answer

SOURCE = "squad2"  # the only one with questions that sound as if they were answered, but are not
QUESTIONS = 200  # of each kind
RIGHT_FROM = 0.5  # token F1 of a written answer against a gold one
BINS = 10
Figure = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one question.

    Attributes:
        probability: that the answer is right, as the decision sees it.
        confidence: the generator's own.
        right: of the text that was or would have been served.
        served: whether it was.
    """

    probability: float
    confidence: float
    right: bool
    served: bool
    answerable: bool


def run(settings: Settings, data: Path | None) -> Report:
    """Ask answerable and unanswerable questions, half and half, of all ``qa/dev`` contexts.

    A served answer to an unanswerable question is wrong. A written answer is right if it overlaps
    a gold answer by half (token F1), a quoted sentence if it holds one.
    """
    rows = questions(data, "dev")
    asked = sampled([row for row in rows if row.source == SOURCE])
    with tempfile.TemporaryDirectory() as folder:
        at = settings.model_copy(update={"home": Path(folder)})
        embedder = CachedEmbedder(SentenceEmbedder(settings.embedder, device=settings.device))
        with Home(at, embedder=embedder) as home:
            base = contexts_kb(home, rows, "contexts")
            outcomes = [outcome(row, base.ask(row.question).answer) for row in asked]
    return Report(*report(outcomes))


def sampled(rows: Sequence[Question]) -> list[Question]:
    """As many answerable as unanswerable questions, the same ones each time."""
    kinds = ([row for row in rows if bool(row.answers) is kind] for kind in (True, False))
    drawn = [Random(SOURCE).sample(own, min(QUESTIONS, len(own))) for own in kinds]
    least = min(map(len, drawn))
    return [row for own in drawn for row in own[:least]]


def outcome(row: Question, answer: Answer) -> Outcome:
    """Score what was served, or would have been."""
    text = answer.draft.text
    quoted = answer.draft.generator.startswith("extractive")
    right = contains(text, row.answers) > 0 if quoted else token_f1(text, row.answers) >= RIGHT_FROM
    return Outcome(
        answer.decision.probability,
        answer.draft.confidence,
        bool(row.answers) and bool(right),
        answer.status == "answered",
        bool(row.answers),
    )


def report(outcomes: Sequence[Outcome]) -> tuple[dict[str, Any], Table, dict[str, bytes]]:
    """Figures, table and curve of outcomes."""
    right = np.array([one.right for one in outcomes])
    served = np.array([one.served for one in outcomes])
    answerable = np.array([one.answerable for one in outcomes])
    probability = np.array([one.probability for one in outcomes])
    confidence = np.array([one.confidence for one in outcomes])
    count = len(outcomes)
    figures: dict[str, Figure] = {
        "wrong among the served": bootstrap(
            lambda i: float((~right[i])[served[i]].mean()) if served[i].any() else 0.0, count
        ),
        "served": bootstrap(lambda i: float(served[i].mean()), count),
        "answerable questions answered rightly": bootstrap(
            lambda i: float((served & right)[i][answerable[i]].mean()), count
        ),
        "unanswerable questions withheld": bootstrap(
            lambda i: float((~served)[i][~answerable[i]].mean()), count
        ),
        "expected calibration error": bootstrap(
            lambda i: calibration_error(probability[i], right[i]), count
        ),
        "right or wrong, AUC": bootstrap(lambda i: auc(probability[i], right[i]), count),
        "right or wrong, AUC of the generator's confidence": bootstrap(
            lambda i: auc(confidence[i], right[i]), count
        ),
        "selective risk, area under the curve": bootstrap(
            lambda i: area(probability[i], right[i]), count
        ),
        "selective risk of the generator's confidence, area": bootstrap(
            lambda i: area(confidence[i], right[i]), count
        ),
    }
    content = {
        "questions": count,
        "figures": {
            name: dict(zip(("mean", "low", "high"), figure, strict=True))
            for name, figure in figures.items()
        },
        "curve": [
            {"coverage": share, "risk": own, "risk_of_confidence": other}
            for share, own, other in curve(probability, confidence, right)
        ],
    }
    table = Table(
        "measure", "%, with its 95 % interval", title=f"{count} questions, half answerable"
    )
    for name, (mean, low, high) in figures.items():
        table.add_row(name, f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})")
    for share, own, other in curve(probability, confidence, right):
        table.add_row(
            f"wrong among the surest {100 * share:.0f} %",
            f"{100 * own:.1f}; by the generator's confidence {100 * other:.1f}",
        )
    return content, table, {"risk-coverage.png": plot(probability, confidence, right, served)}


def calibration_error(probabilities: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Mean distance of probability and share of right answers, over ten bins (Naeini, 2015)."""
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    distance = 0.0
    for own in range(BINS):
        inside = bins == own
        if inside.any():
            gap = abs(probabilities[inside].mean() - right[inside].mean())
            distance += float(inside.mean() * gap)
    return distance


def risks(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of wrong answers among the surest 1, 2, … n; (n,)."""
    wrong = ~right[np.argsort(-scores, kind="stable")]
    return np.asarray(wrong.cumsum() / np.arange(1, len(wrong) + 1), dtype=np.float64)


def area(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Area under the risk-coverage curve (Geifman & El-Yaniv, 2017)."""
    return float(risks(scores, right).mean())


def curve(
    probability: NDArray[np.float64], confidence: NDArray[np.float64], right: NDArray[np.bool_]
) -> list[tuple[float, float, float]]:
    """(coverage, risk by the decision, risk by the generator's confidence) in tenths."""
    ours, theirs = risks(probability, right), risks(confidence, right)
    points = []
    for tenth in range(1, 11):
        last = max(0, round(tenth * len(right) / 10) - 1)
        points.append((tenth / 10, float(ours[last]), float(theirs[last])))
    return points


def plot(
    probability: NDArray[np.float64],
    confidence: NDArray[np.float64],
    right: NDArray[np.bool_],
    served: NDArray[np.bool_],
) -> bytes:
    """The risk-coverage curve as PNG; the cross is where answers are served by default."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Plot

    drawing = Plot(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(drawing)
    axes = drawing.subplots()
    coverage = 100 * np.arange(1, len(right) + 1) / len(right)
    axes.plot(coverage, 100 * risks(probability, right), label="decision with the verifier")
    axes.plot(coverage, 100 * risks(confidence, right), label="generator's confidence alone")
    if served.any():
        place = 100 * served.mean(), 100 * (~right[served]).mean()
        axes.plot(*place, "x", color="black", markersize=9, label="default threshold")
    axes.set_xlabel("served, % of all questions")
    axes.set_ylabel("wrong among the served, %")
    axes.set_ylim(bottom=0)
    axes.legend()
    content = BytesIO()
    drawing.savefig(content, format="png", dpi=110)
    return content.getvalue()
