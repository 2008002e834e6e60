"""The generator on given passages, as ``rag read`` serves it: answers, abstentions, pointers."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from rich.table import Table

from eval.metrics import bootstrap_interval, exact_match, rouge_l, token_f1
from eval.qa_data import CachedEmbedder, Question, contexts_kb, questions
from eval.report import Report
from indexer.embed import SentenceEmbedder
from knowledge_bases.home import Home
from rag.cite import PassageText
from rag.generate.choose import EXTRACTIVE
from rag.pipeline import Pipeline
from rag.settings import Settings
from rag.training.augment import add_typos
from rag.training.scores import auc
from rag.types import Answer, Document, Passage, Token
from rag.words import content_words

SQUAD, FAIRYTALES = "squad2", "fairytaleqa"
BUNDLED = "bundled:generator"
TOGETHER = 32
PASSAGES = 5
RARE_IN_CONTEXTS = 2
"""A word that at most so many of the development contexts hold is rare."""
Figure = tuple[float, float, float]
Metric = Callable[[str, Sequence[str]], float]


@dataclass(frozen=True)
class Measured:
    """Answers to some questions, in the same order."""

    asked: list[Question]
    answers: list[Answer]

    def mean(self, metric: Metric, *, forced: bool = False) -> Figure:
        """Mean of a metric and its 95 % interval.

        Args:
            metric: of a text and the gold answers; an abstention has no text.
            forced: score what the generator drafted even where it was withheld.
        """
        return _figure(self.each(metric, forced=forced))

    def each(self, metric: Metric, *, forced: bool = False) -> list[float]:
        """The metric question by question."""
        return [
            metric(answer.draft.text if forced else answer.text, row.answers)
            for row, answer in zip(self.asked, self.answers, strict=True)
        ]

    def withheld(self) -> Figure:
        """Share of questions that got no answer."""
        return _figure([answer.status == "abstained" for answer in self.answers])

    def where(self, holds: Callable[[Question], bool]) -> "Measured":
        """Only the questions of which something holds."""
        pairs = [pair for pair in zip(self.asked, self.answers, strict=True) if holds(pair[0])]
        return Measured([row for row, _ in pairs], [answer for _, answer in pairs])


def run(settings: Settings, data: Path | None) -> Report:
    """Measure reading on ``qa/dev``: the bundled generator, or another that the settings name.

    Answers as they are served. Greedy decoding, so the same figures each time; beside it, quoting
    sentences.
    """
    rows = questions(data, "dev")
    squad = [row for row in rows if row.source == SQUAD]
    answerable = [row for row in squad if row.answers]
    stories = [row for row in rows if row.source == FAIRYTALES]
    with tempfile.TemporaryDirectory() as folder:
        named = BUNDLED if settings.generator == EXTRACTIVE else settings.generator
        at = settings.model_copy(update={"home": Path(folder), "generator": named})
        embedder = CachedEmbedder(SentenceEmbedder(settings.embedder, device=settings.device))
        with Home(at, embedder=embedder) as home:
            pipeline = home.pipeline(source=PassageText())
            generator = home.writers.main.generator.digest
            gold = _read(pipeline, squad, _gold)
            base = contexts_kb(home, rows, "contexts")
            found = {row.id: base.search(row.question, k=PASSAGES) for row in answerable}
            retrieved = _read(pipeline, answerable, lambda row: found[row.id])
            typos = _read(pipeline, [_with_typos(row) for row in answerable], _gold)
            told = _read(pipeline, stories, _gold)
            others = {
                source: _read(
                    pipeline, [r for r in rows if r.source == source and r.answers], _gold
                )
                for source in sorted({row.source for row in rows} - {SQUAD, FAIRYTALES})
            }
        extractive = at.model_copy(update={"generator": EXTRACTIVE})
        with Home(extractive, embedder=embedder) as home:
            quoted = _read(home.pipeline(source=PassageText()), stories, _gold)
            quoted_squad = _read(home.pipeline(source=PassageText()), answerable, _gold)
    right = gold.where(lambda row: bool(row.answers))
    wrong = gold.where(lambda row: not row.answers)
    rare = rare_words(rows)
    figures: dict[str, Figure] = {
        "squad2: F1": right.mean(token_f1),
        "squad2: exact match": right.mean(exact_match),
        "squad2: F1 if nothing were withheld": right.mean(token_f1, forced=True),
        "squad2: exact match if nothing were withheld": right.mean(exact_match, forced=True),
        "squad2: unanswerable recognised": wrong.withheld(),
        "squad2: answerable withheld": right.withheld(),
        "squad2, rare names and numbers: F1": right.where(rare).mean(token_f1),
        "squad2, extractive: F1": quoted_squad.mean(token_f1, forced=True),
        "squad2: words with a pointer": _figure(_pointed(right)),
        "squad2: copied runs that are exact": _figure(_exact_runs(right)),
        "squad2, 5 retrieved: F1": retrieved.mean(token_f1),
        "squad2, 5 retrieved: F1 lost": _figure(
            np.subtract(right.each(token_f1), retrieved.each(token_f1))
        ),
        "squad2, 5 retrieved: gold passage cited": _figure(_gold_cited(retrieved)),
        "squad2, 5 retrieved: gold passage among them": _figure(
            [any(_is_gold(row, p) for p in found[row.id]) for row in answerable]
        ),
        "squad2, typos: F1": typos.mean(token_f1),
        "squad2, typos: F1 lost": _figure(np.subtract(right.each(token_f1), typos.each(token_f1))),
        "fairytaleqa: ROUGE-L": told.mean(rouge_l, forced=True),
        "fairytaleqa, extractive: ROUGE-L": quoted.mean(rouge_l, forced=True),
        "fairytaleqa: ahead of extractive": _figure(
            np.subtract(told.each(rouge_l, forced=True), quoted.each(rouge_l, forced=True))
        ),
        "fairytaleqa: ROUGE-L of what is served": told.mean(rouge_l),
    }
    for source, measured in others.items():
        figures[f"{source}: F1"] = measured.mean(token_f1)
        figures[f"{source}: F1 if nothing were withheld"] = measured.mean(token_f1, forced=True)
    scores = [answer.decision.probability for answer in gold.answers]
    telling = auc(scores, [bool(row.answers) for row in squad])
    return Report(
        {
            "generator": generator,
            "questions": {source: sum(r.source == source for r in rows) for source in others}
            | {SQUAD: len(squad), FAIRYTALES: len(stories)},
            "figures": {
                name: dict(zip(("mean", "low", "high"), f, strict=True))
                for name, f in figures.items()
            },
            "answerable_auc": telling,
        },
        _table(figures, telling),
    )


def _table(figures: dict[str, Figure], telling: float) -> Table:
    table = Table("measure", "%, with its 95 % interval", title="Reading given passages, qa/dev")
    for name, (mean, low, high) in figures.items():
        table.add_row(name, f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})")
    table.add_row("squad2: area under the curve, answerable or not", f"{100 * telling:.1f}")
    return table


def _read(
    pipeline: Pipeline, asked: list[Question], passages: Callable[[Question], Sequence[Passage]]
) -> Measured:
    answers: list[Answer] = []
    for at in range(0, len(asked), TOGETHER):
        part = asked[at : at + TOGETHER]
        answers += pipeline.read_all([(row.question, passages(row)) for row in part])
    return Measured(asked, answers)


def _gold(row: Question) -> list[Passage]:
    document = Document(row.context_uri, row.context_uri, row.title)
    return [
        Passage(0, document, 1, 0, 0, len(row.context), row.context, "", "", None, None, "", 0.0)
    ]


def _with_typos(row: Question) -> Question:
    changed = add_typos(row.question, Random(row.id), edits=2)
    return Question(row.id, row.source, row.title, changed, row.context, row.answers)


def rare_words(rows: Sequence[Question]) -> Callable[[Question], bool]:
    """Whether a gold answer holds a number, or a word that hardly any context holds."""
    counts: dict[str, int] = {}
    for context in {row.context for row in rows}:
        for word in set(content_words(context)):
            counts[word] = counts.get(word, 0) + 1

    def rare(row: Question) -> bool:
        words = [word for answer in row.answers for word in content_words(answer)]
        return any(
            any(letter.isdigit() for letter in word) or counts.get(word, 0) <= RARE_IN_CONTEXTS
            for word in words
        )

    return rare


def _pointed(measured: Measured) -> list[float]:
    """Of each drafted word, whether it carries a pointer."""
    return [
        float(token.pointer is not None)
        for answer in measured.answers
        for token in answer.draft.tokens
        if token.text.strip()
    ]


def _exact_runs(measured: Measured) -> list[float]:
    """Of each drafted run, whether its text is what its passage holds between its ends."""
    exact = []
    for answer in measured.answers:
        run: list[Token] = []
        for token in [*answer.draft.tokens, None]:
            last = run[-1].pointer if run else None
            own = token.pointer if token else None
            if token and own and last and (last.passage, last.end) == (own.passage, own.start):
                run.append(token)
                continue
            if last is not None and run[0].pointer is not None:
                text = answer.passages[last.passage].text[run[0].pointer.start : last.end]
                exact.append(float(text == "".join(part.text for part in run)))
            run = [token] if token and own else []
    return exact


def _is_gold(row: Question, passage: Passage) -> bool:
    return passage.document.uri == row.context_uri


def _gold_cited(measured: Measured) -> list[float]:
    """Of each served answer, whether a citation lies in the gold context."""
    return [
        float(any(_is_gold(row, answer.passages[c.passage]) for c in answer.citations))
        for row, answer in zip(measured.asked, measured.answers, strict=True)
        if answer.status == "answered"
    ]


def _figure(values: Sequence[float] | np.ndarray) -> Figure:
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()) if len(array) else 0.0, *bootstrap_interval(array)
