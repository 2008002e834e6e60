"""The verifier: entailment, grounding of other systems' claims, answers told apart, guards."""

import gzip
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from eval.metrics import auc, bootstrap, bootstrap_interval
from eval.qa_data import questions
from eval.report import Report
from eval.suites.guards import guard_figures
from rag.errors import NotFound, UsageError
from rag.protocols import Verifier
from rag.settings import Settings
from rag.training.claims import golds_of, like, window, wrong_answers
from rag.training.data import QuestionRow, read_questions
from rag.training.statements import Statement, read_statements
from rag.types import Claim
from rag.verify.check import check_text
from rag.verify.choose import Judges
from rag.verify.cross_encoder import CONTRADICTION, ENTAILMENT, LABELS
from rag.verify.nli import Scorer
from rag.words import content_words

FOLDS = 5
Figure = tuple[float, float, float]
Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grounded:
    """A row of AttributionBench: another system's claim with the evidence that it cited."""

    claim: str
    evidence: tuple[str, ...]
    supported: bool
    source: str


def run(settings: Settings, data: Path | None) -> Report:
    """Measure the verifier that the settings name.

    Entailment on ``nli/dev``, claims of other systems on ``grounding/dev``, answers to the SQuAD
    part of ``qa/dev``, and the guards alone.
    """
    if data is None:
        raise UsageError("name the folder of the development data with --data")
    judges = Judges(settings)
    scorer = judges.scorer
    if scorer is None:
        raise UsageError("the settings judge by guards alone: name a verifier in RAG_VERIFIER")
    figures: dict[str, Figure] = {}
    figures |= entailment(scorer, read_statements(_file(data, "nli")))
    figures |= grounding(judges.verifier, scorer, grounded(_file(data, "grounding")))
    figures |= answers_told_apart(
        judges.verifier,
        [row for row in read_questions(_file(data, "qa")) if row.source == "squad2"],
    )
    squad = [row for row in questions(data, "dev") if row.source == "squad2"]
    figures |= {f"guards: {name}": figure for name, figure in guard_figures(squad).items()}
    return Report(
        {
            "verifier": judges.verifier.digest,
            "figures": {
                name: dict(zip(("mean", "low", "high"), figure, strict=True))
                for name, figure in figures.items()
            },
        },
        _table(figures),
    )


def entailment(scorer: Scorer, statements: Sequence[Statement]) -> dict[str, Figure]:
    """Accuracy by source: the likeliest of three labels; of two where only two are asked for."""
    labels = scorer.score([(said.hypothesis, said.premise) for said in statements]).labels
    if labels is None:
        raise UsageError("the verifier has no entailment head")
    right: dict[str, list[bool]] = defaultdict(list)
    for said, own in zip(statements, labels, strict=True):
        if said.source == "fever-symmetric":
            guess = "entailment" if own[ENTAILMENT] > own[CONTRADICTION] else "contradiction"
        else:
            guess = LABELS[int(own.argmax())]
        right[said.source].append(guess == said.label)
    return {f"{source}: accuracy": _figure(own) for source, own in sorted(right.items())}


def grounded(path: Path) -> list[Grounded]:
    """Read AttributionBench's rows."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        Grounded(row["claim"], tuple(row["evidence"]), row["supported"], row["source"])
        for row in rows
    ]


def grounding(verifier: Verifier, scorer: Scorer, rows: Sequence[Grounded]) -> dict[str, Figure]:
    """Claims of other systems: sentence by sentence, by shared words, and in one call.

    Each method's threshold comes from the other folds, so that none has an advantage; balanced
    accuracy is the mean of the two classes' accuracies.
    """
    supported = np.array([row.supported for row in rows])
    checked = [check_text(verifier, row.claim, row.evidence) for row in rows]
    whole = scorer.score([(row.claim, "\n".join(row.evidence)) for row in rows]).labels
    assert whole is not None
    scores: dict[str, Scores] = {
        "sentence by sentence": np.array([c.p_supported or 0.0 for c in checked]),
        "shared words": np.array([shared(row.claim, row.evidence) for row in rows]),
        "one call": whole[:, ENTAILMENT].astype(np.float64),
    }
    right = {name: _cross_fitted(own, supported) for name, own in scores.items()}
    figures: dict[str, Figure] = {}
    for name, own in scores.items():
        figures[f"grounding, {name}: balanced accuracy"] = _balanced(right[name], supported)
        figures[f"grounding, {name}: AUC"] = _auc(own, supported)
    served = np.array([(c.worst.label == "supported") for c in checked]) == supported
    figures["grounding, verdicts as they are: balanced accuracy"] = _balanced(served, supported)
    ours = right["sentence by sentence"].astype(float)
    for name in ("shared words", "one call"):
        figures[f"grounding: ahead of {name}"] = _balanced(ours - right[name], supported)
    return figures


def shared(claim: str, evidence: Sequence[str]) -> float:
    """Share of a claim's content words that stand in the evidence."""
    wanted = set(content_words(claim))
    return len(wanted & set(content_words("\n".join(evidence)))) / (len(wanted) or 1)


def answers_told_apart(verifier: Verifier, rows: Sequence[QuestionRow]) -> dict[str, Figure]:
    """Gold answers against wrong answers from the same passage, each by its own sentences."""
    asked: list[tuple[str, str, str, bool]] = []
    others: dict[str, list[QuestionRow]] = defaultdict(list)
    for row in rows:
        others[row.context].append(row)
    for row in rows:
        if not row.answers or row.answers[0].start is None:
            continue
        wrong = wrong_choice(row, others[row.context], Random(row.id))
        if wrong is None:
            continue
        gold, start = row.answers[0].text, row.answers[0].start
        asked.append((row.question, gold, window(row.context, start, start + len(gold)), True))
        text, at = wrong
        asked.append((row.question, text, window(row.context, at, at + len(text)), False))
    verdicts = [
        verifier.verify([Claim(answer, (), question)], [[text]])[0]
        for question, answer, text, _ in asked
    ]
    true = np.array([is_gold for *_, is_gold in asked])
    scores = np.array([verdict.p_supported or 0.0 for verdict in verdicts])
    label = np.array([verdict.label == "supported" for verdict in verdicts])
    return {
        "squad2, gold or wrong answer: AUC": _auc(scores, true),
        "squad2: gold answers supported": _figure(label[true]),
        "squad2: wrong answers supported": _figure(label[~true]),
    }


def wrong_choice(
    row: QuestionRow, asked: Sequence[QuestionRow], rng: Random
) -> tuple[str, int] | None:
    """A wrong answer from a row's context, and where it stands; None where there is none.

    An answer to another question on the context, or a name or number in it; of the gold answer's
    kind where there is one.
    """
    others = [answer for other in asked for answer in other.answers]
    found = wrong_answers(row.context, golds_of(row), others)
    pool = like(row.answers[0].text, found) or found
    return rng.choice(pool) if pool else None


def _cross_fitted(scores: Scores, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each row is judged rightly, by the best threshold on the other folds."""
    folds = np.arange(len(scores)) % FOLDS
    Random(0).shuffle(folds)  # type: ignore[arg-type]
    right = np.zeros(len(scores), dtype=bool)
    for fold in range(FOLDS):
        own, test = scores[folds != fold], folds == fold
        targets = wanted[folds != fold]
        candidates = np.unique(own)
        gains = [
            ((own >= t) & targets).sum() / targets.sum()
            - ((own >= t) & ~targets).sum() / (~targets).sum()
            for t in candidates
        ]
        threshold = candidates[int(np.argmax(gains))]
        right[test] = (scores[test] >= threshold) == wanted[test]
    return right


def _balanced(values: NDArray[Any], wanted: NDArray[np.bool_]) -> Figure:
    """Mean over both classes of the classes' means, with its interval."""

    def mean(chosen: NDArray[np.int64]) -> float:
        own, classes = values[chosen], wanted[chosen]
        return float((own[classes].mean() + own[~classes].mean()) / 2)

    return bootstrap(mean, len(values))


def _auc(scores: Scores, wanted: NDArray[np.bool_]) -> Figure:
    return bootstrap(lambda chosen: auc(scores[chosen], wanted[chosen]), len(scores))


def _figure(values: Sequence[float] | NDArray[Any]) -> Figure:
    return (float(np.mean(values)), *bootstrap_interval(np.asarray(values, dtype=np.float64)))


def _file(data: Path, folder: str) -> Path:
    path = data / folder / "dev.jsonl.gz"
    if not path.is_file():
        raise NotFound(f"there is no {path}")
    return path


def _table(figures: dict[str, Figure]) -> Table:
    table = Table("measure", "%, with its 95 % interval", title="The verifier on development data")
    for name, (mean, low, high) in figures.items():
        table.add_row(name, f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})")
    return table
