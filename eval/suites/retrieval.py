"""Retrieval over all contexts of the development data: each retriever alone, and fused."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from eval.metrics import bootstrap_interval
from eval.qa_data import CachedEmbedder, Question, contexts_kb, questions
from eval.report import Report
from indexer.embed import SentenceEmbedder
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase
from rag.settings import Settings

Search = Callable[[str], list[str]]
"""A question to the URIs of the first ten hits."""


def run(settings: Settings, data: Path | None) -> Report:
    """Measure how often the gold context is the first hit, and among the first five.

    All distinct contexts of ``qa/dev`` are documents of one knowledge base; a hit is a chunk, so
    several hits may come from one document (which only makes it harder). Answerable questions.
    """
    rows = questions(data, "dev")
    with tempfile.TemporaryDirectory() as folder:
        at = settings.model_copy(update={"home": Path(folder), "fusion": "weighted"})
        model = SentenceEmbedder(settings.embedder, device=settings.device)
        with Home(at, embedder=CachedEmbedder(model)) as home:
            base = contexts_kb(home, rows, "contexts")
            home.embedder.embed([row.question for row in rows if row.answers])
            found = {
                name: {row.id: search(row.question) for row in rows if row.answers}
                for name, search in _searches(home, base).items()
            }
            counts = base.counts()
    content = {"documents": counts["documents"], "chunks": counts["chunks"], "sources": {}}
    table = Table(
        *("source", "questions", "retriever", "first, %", "first 5, %"),
        *("fusion ahead: first", "fusion ahead: first 5"),
        title=f"{counts['documents']:,} contexts in {counts['chunks']:,} chunks",
    )
    for source in sorted({row.source for row in rows}):
        asked = [row for row in rows if row.source == source and row.answers]
        measured = {name: _rates(asked, hits) for name, hits in found.items()}
        content["sources"][source] = {"questions": len(asked)}
        for name, (first, five) in measured.items():
            content["sources"][source][name] = {
                "first": _with_interval(first),
                "first_5": _with_interval(five),
                # Question by question, so that the interval is that of the difference.
                "fusion_ahead_first": _with_interval(np.subtract(measured["fusion"][0], first)),
                "fusion_ahead_first_5": _with_interval(np.subtract(measured["fusion"][1], five)),
            }
            figures = content["sources"][source][name]
            table.add_row(source, str(len(asked)), name, *map(_shown, figures.values()))
    return Report(content, table)


def _searches(home: Home, base: KnowledgeBase) -> dict[str, Search]:
    generation = base.lifecycle.current()

    def uris(ids: list[int]) -> list[str]:
        passages = home.store.chunks.passages(base.row.id, ids)
        return [passages[i].document.uri for i in ids]

    def dense(question: str) -> list[str]:
        hits = generation.vectors.search(home.embedder.embed([question]), 10)
        return uris([i for i, _ in hits])

    def bm25(question: str) -> list[str]:
        return uris([i for i, _ in generation.lexical.search(question, 10)])

    def fused(question: str) -> list[str]:
        return [passage.document.uri for passage in base.search(question, k=10)]

    rrf_home = Home(home.settings.model_copy(update={"fusion": "rrf"}), embedder=home.embedder)
    rrf_base = rrf_home.open(base.name)

    def rrf(question: str) -> list[str]:
        return [passage.document.uri for passage in rrf_base.search(question, k=10)]

    return {"dense": dense, "bm25": bm25, "fusion": fused, "rrf": rrf}


def _with_interval(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean and its 95 % bootstrap interval."""
    return float(np.mean(values)), *bootstrap_interval(values)


def _shown(figure: tuple[float, float, float]) -> str:
    mean, low, high = (100 * value for value in figure)
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def _rates(asked: list[Question], hits: dict[str, list[str]]) -> tuple[list[float], list[float]]:
    first = [float(hits[row.id][:1] == [row.context_uri]) for row in asked]
    five = [float(row.context_uri in hits[row.id][:5]) for row in asked]
    return first, five
