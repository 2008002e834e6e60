"""Reranking over all contexts of the development data, beside fusion alone."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
from rich.table import Table

from eval.metrics import bootstrap_interval
from eval.qa_data import CachedEmbedder, Question, contexts_kb, questions
from eval.report import Report
from indexer.embed import SentenceEmbedder
from knowledge_bases.home import Home
from rag.errors import UsageError
from rag.settings import Settings
from rag.types import Passage

QUESTIONS = 250
"""Asked of each source at most: fifty passages are read for each."""
DEPTH = 10
Figure = tuple[float, float, float]


def run(settings: Settings, data: Path | None) -> Report:
    """Measure where the gold context stands before and after reranking.

    All distinct contexts of ``qa/dev`` are documents of one knowledge base; a hit is a chunk of the
    gold one. The differences are those of the same questions, so their intervals are too.
    """
    rows = questions(data, "dev")
    with tempfile.TemporaryDirectory() as folder:
        at = settings.model_copy(update={"home": Path(folder)})
        embedder = CachedEmbedder(SentenceEmbedder(settings.embedder, device=settings.device))
        with Home(at, embedder=embedder) as home:
            reranker = home.reranker
            if reranker is None:
                raise UsageError("the settings name no reranker: set RAG_RERANKER")
            base = contexts_kb(home, rows, "contexts")
            asked = sampled(rows)
            home.embedder.embed([row.question for row in asked])
            figures: dict[str, dict[str, Figure | int]] = {}
            for source in sorted({row.source for row in asked}):
                before, after = [], []
                for row in (row for row in asked if row.source == source):
                    found = base.search(row.question, k=settings.candidates)
                    before.append(_place(row, found))
                    after.append(_place(row, reranker.rerank(row.question, found, DEPTH)))
                figures[source] = {"questions": len(before), **_figures(before, after)}
    return Report({"reranker": reranker.digest, "sources": figures}, _table(figures))


def sampled(rows: Sequence[Question]) -> list[Question]:
    """The answerable questions that are asked, the same ones each time."""
    chosen = []
    for source in sorted({row.source for row in rows}):
        own = [row for row in rows if row.source == source and row.answers]
        chosen += Random(source).sample(own, min(QUESTIONS, len(own)))
    return chosen


def _place(row: Question, passages: Sequence[Passage]) -> int | None:
    """Rank of the gold context, from 1; None if it is not among the first ten."""
    for rank, passage in enumerate(passages[:DEPTH], start=1):
        if passage.document.uri == row.context_uri:
            return rank
    return None


def _figures(before: Sequence[int | None], after: Sequence[int | None]) -> dict[str, Figure]:
    figures = {}
    for name, score in (
        ("MRR@10", lambda rank: 0.0 if rank is None else 1 / rank),
        ("recall@5", lambda rank: float(rank is not None and rank <= 5)),
        ("first", lambda rank: float(rank == 1)),
    ):
        fused, reranked = ([score(rank) for rank in ranks] for ranks in (before, after))
        figures[f"{name}, fusion"] = _figure(fused)
        figures[f"{name}, reranked"] = _figure(reranked)
        figures[f"{name}, ahead"] = _figure(np.subtract(reranked, fused).tolist())
    return figures


def _figure(values: Sequence[float]) -> Figure:
    return (float(np.mean(values)), *bootstrap_interval(values))


def _table(figures: dict[str, dict[str, Figure | int]]) -> Table:
    table = Table("source", "questions", "measure", "%, with its 95 % interval", title="Reranking")
    for source, own in figures.items():
        for name, figure in own.items():
            if isinstance(figure, tuple):
                mean, low, high = (100 * value for value in figure)
                shown = f"{mean:.1f} ({low:.1f} to {high:.1f})"
                table.add_row(source, str(own["questions"]), name, shown)
    return table
