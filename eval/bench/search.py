"""Search in a large knowledge base: latency, peak memory, and size on disk."""

import argparse
import hashlib
import json
import logging
import random
import re
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from indexer.load.loaded import Loaded
from knowledge_bases.home import Home
from knowledge_bases.ingest import embedding_input
from knowledge_bases.knowledge_base import KnowledgeBase
from knowledge_bases.samples import DOCUMENTS, QUESTIONS
from knowledge_bases.store.changes import PreparedVersion
from rag.settings import Settings
from rag.types import Chunk

_DOCUMENT_CHUNKS = 100
_NOISE = 0.35
"""Length of the random part added to a unit vector for an edited text."""


def fill(base: KnowledgeBase, chunks: int, seed: int = 0) -> None:
    """Store that many chunks: those of the samples, repeated with edited words.

    An edited chunk's vector is its original's plus noise, normalised: embedding 100,000 texts
    would take an hour and search doesn't care where a vector comes from.
    """
    base.ingest([DOCUMENTS])
    originals = list(
        base.store.chunks.live(base.row.id, after_revision=0, up_to_revision=base.revision())
    )
    words = sorted({word for chunk in originals for word in re.findall(r"\w+", chunk.text)})
    generator, numbers = random.Random(seed), np.random.default_rng(seed)
    made = len(originals)
    while made < chunks:
        count = min(_DOCUMENT_CHUNKS, chunks - made)
        sources = [generator.choice(originals) for _ in range(count)]
        texts = [_edited(source.text, words, generator) for source in sources]
        prepared, inputs = _document(f"made-{made}", texts)
        vectors = {}
        for source, digest in zip(sources, inputs, strict=True):
            vector = np.frombuffer(source.vector, dtype="<f4")
            noise = numbers.standard_normal(len(vector)).astype(np.float32)
            vector = vector + _NOISE * noise / np.linalg.norm(noise)
            vectors[digest] = vector / np.linalg.norm(vector)
        base.store.changes.add_vectors(base.row.id, vectors)
        base.store.changes.add_versions(base.row.id, [prepared])
        made += count


def measure(chunks: int, queries: int, exact: bool, folder: Path) -> dict[str, Any]:
    """Fill a knowledge base, build its index, and time searches one after another."""
    settings = Settings(home=folder, exact_below=chunks + 1 if exact else 100_000)
    with Home(settings) as home:
        base = home.create("bench")
        fill(base, chunks)
        started = time.perf_counter()
        generation = base.lifecycle.catch_up()
        build_seconds = time.perf_counter() - started
        questions = _questions(queries)
        for question in questions[:10]:
            base.search(question)
        milliseconds = []
        for question in questions:
            started = time.perf_counter()
            base.search(question)
            milliseconds.append((time.perf_counter() - started) * 1000)
        p50, p95 = np.percentile(milliseconds, [50, 95])
        return {
            "chunks": generation.manifest.chunks,
            "dense_index": generation.manifest.vectors_kind,
            "search_p50_ms": round(float(p50), 1),
            "search_p95_ms": round(float(p95), 1),
            "index_build_seconds": round(build_seconds, 1),
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "index_on_disk_mib": _mebibytes(generation.path),
            "database_mib": round((folder / "rag.sqlite3").stat().st_size / 2**20),
        }


def _questions(count: int) -> list[str]:
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    return [rows[number % len(rows)]["question"] for number in range(count)]


def _edited(text: str, words: Sequence[str], generator: random.Random) -> str:
    """Replace every fifth word or so by another."""
    return re.sub(
        r"\w+",
        lambda match: generator.choice(words) if generator.random() < 0.2 else match.group(),
        text,
    )


def _document(uri: str, texts: Sequence[str]) -> tuple[PreparedVersion, tuple[str, ...]]:
    chunks = tuple(_chunks(uri, texts))
    text = "\n".join(texts)
    digest = hashlib.sha256(text.encode()).hexdigest()
    inputs = tuple(hashlib.sha256(embedding_input(chunk).encode()).hexdigest() for chunk in chunks)
    loaded = Loaded(text, (), uri, "text", digest)
    return PreparedVersion(uri, uri, loaded, chunks, inputs, ()), inputs


def _chunks(uri: str, texts: Sequence[str]) -> Iterator[Chunk]:
    start = 0
    for text in texts:
        yield Chunk(start, start + len(text), text, None, None, uri)
        start += len(text) + 1


def _mebibytes(folder: Path) -> int:
    return round(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 2**20)


def main() -> None:
    """Run from a checkout: ``python -m eval.bench.search [--chunks 100000] [--exact]``."""
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--exact", action="store_true", help="exact search at any size")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(arguments.chunks, arguments.queries, arguments.exact, Path(folder))
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
