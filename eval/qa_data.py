"""Reads question–answer files and makes knowledge bases of their contexts."""

import gzip
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase
from rag.errors import NotFound, UsageError
from rag.protocols import Embedder, Vectors


@dataclass(frozen=True, slots=True)
class Question:
    """One row; ``answers`` is empty where the context doesn't answer it."""

    id: str
    source: str
    title: str
    question: str
    context: str
    answers: tuple[str, ...]

    @property
    def context_uri(self) -> str:
        """The URI that its context has as a document."""
        return hashlib.sha256(self.context.encode()).hexdigest()[:16]


class CachedEmbedder:
    """An embedder that remembers: questions and sentences come back again and again."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, Vectors] = {}
        self.digest = embedder.digest
        self.dimension = embedder.dimension

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count each text's tokens."""
        return self._embedder.count_tokens(texts)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts; (n, dimension)."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self._embedder.embed(new), strict=True))
        return np.stack([self._known[text] for text in texts])


def questions(data: Path | None, part: str) -> list[Question]:
    """Read ``qa/<part>.jsonl.gz`` under the data folder.

    Raises:
        UsageError: no folder was given.
        NotFound: the file isn't there.
    """
    if data is None:
        raise UsageError("name the folder of the development data with --data")
    path = data / "qa" / f"{part}.jsonl.gz"
    if not path.is_file():
        raise NotFound(f"there is no {path}")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        Question(
            row["id"],
            row["source"],
            row["title"],
            row["question"],
            row["context"],
            tuple(answer["text"] for answer in row["answers"]),
        )
        for row in rows
    ]


def contexts_kb(home: Home, rows: Iterable[Question], name: str) -> KnowledgeBase:
    """Make a knowledge base whose documents are the distinct contexts, titled as in the data."""
    corpus = home.settings.home / f"{name}.jsonl"
    contexts = {row.context_uri: row for row in rows}
    with corpus.open("w", encoding="utf-8") as file:
        for uri, row in contexts.items():
            document = {"uri": uri, "title": row.title.replace("_", " "), "text": row.context}
            file.write(json.dumps(document) + "\n")
    base = home.create(name)
    summary = base.ingest([corpus])
    if summary.failed or summary.added != len(contexts):
        raise UsageError(f"{len(summary.failed)} contexts could not be ingested")
    return base
