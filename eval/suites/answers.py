"""Whole answers with abstention: how many are wrong among the served, at every threshold."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from eval.metrics import auc, bootstrap, contains, token_f1
from eval.mixture import Asked, Mixture
from eval.qa_data import CachedEmbedder, Question, contexts_kb, questions
from eval.report import Report
from indexer.embed import SentenceEmbedder
from knowledge_bases.home import Home
from rag.settings import Settings
from rag.training.decision import ANSWERABLE, MISLEADING
from rag.types import Answer

SOURCE = "squad2"  # the only one with questions that sound as if they were answered, but are not
QUESTIONS = 200  # that have an answer, and as many that have none
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
        kind: of `eval.mixture`.
        barred: whether no threshold would have let it be served: a guard missed something, what the
            question names is not cited, or the like.
    """

    probability: float
    confidence: float
    right: bool
    served: bool
    kind: str
    barred: bool = False

    @property
    def rank(self) -> float:
        """The probability by which it would be served; what is barred comes after all else."""
        return self.probability - 1.0 if self.barred else self.probability


def run(settings: Settings, data: Path | None) -> Report:
    """Ask questions with and without an answer of all ``qa/dev`` contexts, half and half.

    Those without are of three kinds in equal parts (see `eval.mixture`); the figures stand once for
    all three, once for questions that were written to sound answered. A served answer to an
    unanswerable question is wrong. A written answer is right if it overlaps a gold answer by half
    (token F1), a quoted sentence if it holds one.
    """
    rows = questions(data, "dev")
    uris = sorted({row.context_uri for row in rows})
    with tempfile.TemporaryDirectory() as folder:
        at = settings.model_copy(update={"home": Path(folder)})
        embedder = CachedEmbedder(SentenceEmbedder(settings.embedder, device=settings.device))
        with Home(at, embedder=embedder) as home:
            base = contexts_kb(home, rows, "contexts")
            outcomes = [
                outcome(one, base.ask(one.row.question, filters=one.filters(uris)).answer)
                for one in sampled(rows)
            ]
    return Report(*report(outcomes))


def sampled(rows: Sequence[Question]) -> list[Asked]:
    """The questions that are asked, the same ones each time: each kind, and none in two kinds."""
    mixture = Mixture(rows)
    answerable, misleading = (
        Random(SOURCE).sample(own, len(own))
        for own in (
            [row for row in rows if row.source == SOURCE and bool(row.answers) is answered]
            for answered in (True, False)
        )
    )
    count = min(QUESTIONS, len(misleading), len(answerable) * 3 // 5)
    each = count // 3
    spare = iter(answerable[count:])
    named = (mixture.another_name(row) for row in answerable[count + each :])
    return [
        *map(mixture.own, answerable[:count]),
        *map(mixture.withdrawn, islice(spare, each)),
        *islice((one for one in named if one is not None), each),
        *map(mixture.own, misleading[:count]),
    ]


def outcome(asked: Asked, answer: Answer) -> Outcome:
    """Score what was served, or would have been."""
    text, golds, decided = answer.draft.text, asked.row.answers, answer.decision
    quoted = answer.draft.generator.startswith("extractive")
    right = contains(text, golds) > 0 if quoted else token_f1(text, golds) >= RIGHT_FROM
    return Outcome(
        decided.probability,
        answer.draft.confidence,
        bool(golds) and bool(right),
        answer.status == "answered",
        asked.kind,
        decided.barred,
    )


def report(outcomes: Sequence[Outcome]) -> tuple[dict[str, Any], Table, dict[str, bytes]]:
    """Figures, table and curve of outcomes."""
    answerable = [one for one in outcomes if one.kind == ANSWERABLE]
    misleading = [one for one in outcomes if one.kind == MISLEADING]
    others = [one for one in outcomes if one.kind not in (ANSWERABLE, MISLEADING)]
    third = len(others) // 2  # of each kind as many
    mixed = [*answerable, *others, *misleading[:third]] if others else list(outcomes)
    columns = {"all kinds": mixed, "written to sound answered": [*answerable, *misleading]}
    content: dict[str, Any] = {
        "withheld": {
            kind: float(np.mean([not one.served for one in outcomes if one.kind == kind]))
            for kind in sorted({one.kind for one in outcomes})
        }
    }
    figures = {name: figures_of(own) for name, own in columns.items()}
    curves = {name: curve(*_scores(own)) for name, own in columns.items()}
    for name, own in columns.items():
        content[name] = {
            "questions": len(own),
            "figures": {
                measure: dict(zip(("mean", "low", "high"), figure, strict=True))
                for measure, figure in figures[name].items()
            },
            "curve": [
                {"coverage": share, "risk": ours, "risk_of_confidence": theirs}
                for share, ours, theirs in curves[name]
            ],
        }
    heads = [f"unanswerable: {name} ({len(own)})" for name, own in columns.items()]
    table = Table(
        "measure", *heads, title="%, with 95 % intervals; half of the questions answerable"
    )
    for measure in next(iter(figures.values())):
        cells = [figures[name][measure] for name in columns]
        table.add_row(
            measure, *(f"{100 * m:.1f} ({100 * a:.1f} to {100 * b:.1f})" for m, a, b in cells)
        )
    for points in zip(*curves.values(), strict=True):
        table.add_row(
            f"wrong among the surest {100 * points[0][0]:.0f} %",
            *(f"{100 * ours:.1f}; by confidence {100 * theirs:.1f}" for _, ours, theirs in points),
        )
    for kind, share in content["withheld"].items():
        table.add_row(f"withheld: {kind}", f"{100 * share:.1f}")
    served = np.array([one.served for one in mixed])
    return content, table, {"risk-coverage.png": plot(*_scores(mixed), served)}


def _scores(
    outcomes: Sequence[Outcome],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Rank, confidence and rightness, (n,) each."""
    return (
        np.array([one.rank for one in outcomes]),
        np.array([one.confidence for one in outcomes]),
        np.array([one.right for one in outcomes]),
    )


def figures_of(outcomes: Sequence[Outcome]) -> dict[str, Figure]:
    """Every figure with its interval; the mean over what there is."""
    rank, confidence, right = _scores(outcomes)
    probability = np.array([one.probability for one in outcomes])
    served = np.array([one.served for one in outcomes])
    answerable = np.array([one.kind == ANSWERABLE for one in outcomes])
    count = len(outcomes)
    return {
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
        "selective risk, area under the curve": bootstrap(lambda i: area(rank[i], right[i]), count),
        "selective risk of the generator's confidence, area": bootstrap(
            lambda i: area(confidence[i], right[i]), count
        ),
    }


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
    rank: NDArray[np.float64], confidence: NDArray[np.float64], right: NDArray[np.bool_]
) -> list[tuple[float, float, float]]:
    """(coverage, risk by the decision, risk by the generator's confidence) in tenths."""
    ours, theirs = risks(rank, right), risks(confidence, right)
    points = []
    for tenth in range(1, 11):
        last = max(0, round(tenth * len(right) / 10) - 1)
        points.append((tenth / 10, float(ours[last]), float(theirs[last])))
    return points


def plot(
    rank: NDArray[np.float64],
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
    axes.plot(coverage, 100 * risks(rank, right), label="decision with the verifier")
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
