"""Trains the generator again and again, each time without one of its parts, and compares.

    python -m eval.ablate --data DATA --out FOLDER

Every variant sees the same number of examples in the same order. A variant that is done is not
trained again, so the command can be stopped and given again.
"""

import argparse
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from eval.metrics import rouge_l, token_f1
from eval.qa_data import Question, questions
from eval.suites.reader import rare_words
from rag.generate.copying import CopyGenerator
from rag.generate.decode import Search
from rag.training.batches import BatchPlan
from rag.training.checkpoints import checkpoints, load_checkpoint
from rag.training.data import GoldAnswer, QuestionRow
from rag.training.decision import among_others
from rag.training.evaluate import LONGEST_ANSWER, sample_rows
from rag.training.examples import Mix
from rag.training.generator import train
from rag.training.losses import LossWeights
from rag.training.scores import auc
from rag.training.settings import GeneratorTraining
from rag.training.start import starting_base
from rag.types import Draft

log = logging.getLogger(__name__)

SQUAD, STORIES = "squad2", "fairytaleqa"
SAMPLE = {SQUAD: 250, f"{SQUAD}-": 250, STORIES: 120}
HELD_OUT = ("Harvard_University", "1973_oil_crisis")

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "all parts": {},
    "no copy attention": {"copying": False},
    "no warm start": {"warm_start": False},
    "one concatenated input": {"layout": "concatenated"},
    "no span guide": {"guided": False},
    "no pointer supervision": {"losses": LossWeights(pointer=0.0, absence=1.0)},
    "no statements": {"statements": None},
}
"""What each variant changes of the reference."""


@dataclass(frozen=True)
class Figures:
    """Mean scores in per cent; greedy answers, none withheld."""

    squad_f1: float
    rare_f1: float
    squad_5_f1: float
    stories_rouge_l: float
    absent_auc: float
    copied: float


def main() -> None:
    """Run from a checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=12_000)
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    rows = questions(options.data, "dev")
    found = {}
    for name in options.only:
        settings = replace(
            GeneratorTraining(
                train=options.data / "qa" / "train.jsonl.gz",
                statements=options.data / "nli" / "train.jsonl.gz",
                out=options.out / name.replace(" ", "-"),
                held_out=HELD_OUT,
                examples=options.examples,
                mix=Mix(passage_tokens=128, several=0.3),
                plan=BatchPlan(easy_examples=0),
                losses=LossWeights(absence=1.0),
            ),
            **VARIANTS[name],
        )
        found[name] = measured(settings, rows)
        log.info("%s: %s", name, found[name])
    print(json.dumps({name: vars(figures) for name, figures in found.items()}, indent=1))
    Console(stderr=True).print(_table(found))


def measured(settings: GeneratorTraining, rows: Sequence[Question]) -> Figures:
    """Train a variant unless that is done, and measure it on a fixed sample of ``qa/dev``."""
    done = settings.out / "figures.json"
    if done.is_file():
        return Figures(**json.loads(done.read_text(encoding="utf-8")))
    train(settings)
    base = starting_base(settings)
    load_checkpoint(checkpoints(settings.out)[-1], base.model)
    base.model.eval()
    generator = CopyGenerator(
        base, "variant", absent_threshold=2.0, search=Search(max_tokens=LONGEST_ANSWER)
    )
    figures = _figures(generator, rows)
    done.write_text(json.dumps(vars(figures)), encoding="utf-8")
    return figures


def _figures(generator: CopyGenerator, rows: Sequence[Question]) -> Figures:
    sampled = sample_rows([_row(row) for row in rows], SAMPLE)
    squad = [row for row in sampled if row.source == SQUAD]
    answerable = [row for row in squad if row.answers]
    stories = [row for row in sampled if row.source == STORIES]
    drafts = _drafts(generator, squad, [[row.context] for row in squad])
    own = [draft for row, draft in zip(squad, drafts, strict=True) if row.answers]
    among = [among_others(row, squad, Random(row.id)) for row in answerable]
    rare = rare_words(rows)
    by_id = {row.id: row for row in rows}
    chosen = [rare(by_id[row.id]) for row in answerable]
    f1 = _scores(token_f1, answerable, own)
    return Figures(
        squad_f1=_percent(f1),
        rare_f1=_percent([score for score, kept in zip(f1, chosen, strict=True) if kept]),
        squad_5_f1=_percent(_scores(token_f1, answerable, _drafts(generator, answerable, among))),
        stories_rouge_l=_percent(
            _scores(rouge_l, stories, _drafts(generator, stories, [[r.context] for r in stories]))
        ),
        absent_auc=100
        * auc([draft.features["absent"] for draft in drafts], [not row.answers for row in squad]),
        copied=_percent([draft.features["copied"] for draft in own]),
    )


def _row(row: Question) -> QuestionRow:
    answers = tuple(GoldAnswer(answer, None) for answer in row.answers)
    return QuestionRow(row.id, row.source, row.title, row.question, row.context, answers)


def _drafts(
    generator: CopyGenerator, rows: Sequence[QuestionRow], texts: Sequence[Sequence[str]]
) -> list[Draft]:
    return [generator.write([(row.question, own)])[0] for row, own in zip(rows, texts, strict=True)]


def _scores(
    metric: Callable[[str, Sequence[str]], float],
    rows: Sequence[QuestionRow],
    drafts: Sequence[Draft],
) -> list[float]:
    return [
        metric(draft.text, [answer.text for answer in row.answers])
        for row, draft in zip(rows, drafts, strict=True)
    ]


def _percent(values: Sequence[float]) -> float:
    return 100 * sum(values) / max(1, len(values))


def _table(found: Mapping[str, Figures]) -> Table:
    table = Table("variant", *(field.name for field in fields(Figures)))
    for name, figures in found.items():
        table.add_row(name, *(f"{value:.1f}" for value in vars(figures).values()))
    return table


if __name__ == "__main__":
    main()
