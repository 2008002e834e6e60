"""Compares lexical engines in recall, time, memory and disk (the figures of ADR 0002).

Run it from a checkout, with bm25s beside the project's own dependencies::

    pip install bm25s
    python -m eval.bench.lexical_engines --data FOLDER_WITH_QA [--chunks 100000]
"""

import argparse
import importlib
import json
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from eval.qa_data import questions
from indexer import lexical
from indexer.lexical import TantivyIndex
from indexer.terms import terms_of

QUERIES_TIMED = 500
CHANGED = 100


class Engine(Protocol):
    """What is measured."""

    def build(self, folder: Path, texts: Sequence[str]) -> None:
        """Index texts as chunks 0, 1, … in a new folder."""

    def open(self, folder: Path) -> None:
        """Get ready to search."""

    def search(self, question: str, k: int) -> list[int]:
        """Return up to k chunk numbers, best first."""

    def add(self, folder: Path, texts: Sequence[str], start: int) -> None:
        """Make texts findable as chunks from number ``start`` on."""

    def remove(self, folder: Path, chunks: Sequence[int]) -> None:
        """Make chunks unfindable."""


class _Tantivy:
    """The product's own index; every change is a new generation that shares files with the old."""

    def build(self, folder: Path, texts: Sequence[str]) -> None:
        self._index = TantivyIndex.create(folder / "0")
        self._index.add([(i, i, "", text) for i, text in enumerate(texts)])
        self._index.commit()

    def open(self, folder: Path) -> None:
        self._index = TantivyIndex.open(folder / "0")

    def search(self, question: str, k: int) -> list[int]:
        return [chunk for chunk, _ in self._index.search(question, k)]

    def add(self, folder: Path, texts: Sequence[str], start: int) -> None:
        index = self._next(folder, "added")
        index.add([(start + i, start + i, "", text) for i, text in enumerate(texts)])
        index.commit()

    def remove(self, folder: Path, chunks: Sequence[int]) -> None:
        index = self._next(folder, "removed")
        index.remove(chunks)
        index.commit()

    def _next(self, folder: Path, name: str) -> TantivyIndex:
        TantivyIndex.copy(folder / "0", folder.parent / name)
        return TantivyIndex.open(folder.parent / name)


class _TantivyWords(_Tantivy):
    """The same without light words and pairs: BM25 over words alone."""

    def search(self, question: str, k: int) -> list[int]:
        lexical.LIGHT_WEIGHT, lexical.PAIR_WEIGHT = 1.0, 0.0
        return super().search(question, k)


class _Bm25s:
    """bm25s with its own tokenizer (English stop words, no stemmer) and its defaults."""

    def build(self, folder: Path, texts: Sequence[str]) -> None:
        bm25s = importlib.import_module("bm25s")
        self._index = bm25s.BM25()
        self._index.index([self.words(text) for text in texts], show_progress=False)
        self._index.save(str(folder / "0"), show_progress=False)
        self._texts = list(texts)

    def open(self, folder: Path) -> None:
        bm25s = importlib.import_module("bm25s")
        self._index = bm25s.BM25.load(str(folder / "0"), mmap=True, show_progress=False)

    def words(self, text: str) -> list[str]:
        bm25s = importlib.import_module("bm25s")
        words: list[list[str]] = bm25s.tokenize([text], return_ids=False, show_progress=False)
        return words[0]

    def search(self, question: str, k: int) -> list[int]:
        found, scores = self._index.retrieve(
            [self.words(question)], k=k, show_progress=False, n_threads=0
        )
        return [int(i) for i, score in zip(found[0], scores[0], strict=True) if score > 0]

    def add(self, folder: Path, texts: Sequence[str], start: int) -> None:
        self.build(folder.parent / "added", [*self._texts, *texts])

    def remove(self, folder: Path, chunks: Sequence[int]) -> None:
        gone = set(chunks)
        kept = [text for i, text in enumerate(self._texts) if i not in gone]
        self.build(folder.parent / "removed", kept)


class _Bm25sOurTerms(_Bm25s):
    """bm25s with the product's terms: lower case, no accents, English stems."""

    def words(self, text: str) -> list[str]:
        return terms_of(text)


class _Fts5:
    """SQLite's FTS5 with its Porter stemmer; changes are made in place, in a transaction."""

    def build(self, folder: Path, texts: Sequence[str]) -> None:
        folder.mkdir(exist_ok=True)
        self.open(folder)
        self._database.execute(
            "CREATE VIRTUAL TABLE chunk USING fts5(text, tokenize='porter unicode61')"
        )
        self.add(folder, texts, 0)

    def open(self, folder: Path) -> None:
        self._database = sqlite3.connect(folder / "0.db")

    def search(self, question: str, k: int) -> list[int]:
        words = dict.fromkeys(re.findall(r"\w+", question))
        rows = self._database.execute(
            "SELECT rowid FROM chunk WHERE chunk MATCH ? ORDER BY rank LIMIT ?",
            (" OR ".join(f'"{word}"' for word in words) or '""', k),
        )
        return [row for (row,) in rows]

    def add(self, folder: Path, texts: Sequence[str], start: int) -> None:
        rows = [(start + i, text) for i, text in enumerate(texts)]
        with self._database:
            self._database.executemany("INSERT INTO chunk (rowid, text) VALUES (?, ?)", rows)

    def remove(self, folder: Path, chunks: Sequence[int]) -> None:
        with self._database:
            self._database.executemany("DELETE FROM chunk WHERE rowid = ?", [(i,) for i in chunks])


ENGINES: dict[str, type[Engine]] = {
    "tantivy": _Tantivy,
    "tantivy, words alone": _TantivyWords,
    "bm25s": _Bm25s,
    "bm25s, our terms": _Bm25sOurTerms,
    "SQLite FTS5": _Fts5,
}


def copies(contexts: Sequence[str], count: int, *, seed: int = 0) -> Iterator[str]:
    """Yield ``count`` texts: the contexts over and over with every fifth word drawn anew."""
    rng = random.Random(seed)
    vocabulary = [word for context in contexts for word in context.split()]
    for i in range(count):
        words = contexts[i % len(contexts)].split()
        yield " ".join(rng.choice(vocabulary) if rng.random() < 0.2 else word for word in words)


def measure(name: str, step: str, data: Path, chunks: int, folder: Path) -> dict[str, Any]:
    """Run one step of one engine, in a process of its own so that its memory is its own.

    Args:
        name: of the engine.
        step: "recall", "build" or "search"; "search" opens what "build" left in the folder.
        data: folder of the development data.
        chunks: texts to index; the contexts themselves for "recall".
        folder: where the index lies.
    """
    rows = questions(data, "dev")
    contexts = list(dict.fromkeys(row.context for row in rows))
    texts = contexts if chunks == len(contexts) else list(copies(contexts, chunks))
    asked = [row for row in rows if row.answers]
    engine = ENGINES[name]()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    memory = _peak_mebibytes()
    if step == "search":
        engine.open(folder)
        seconds = []
        for row in random.Random(1).sample(asked, QUERIES_TIMED):
            start = time.perf_counter()
            engine.search(row.question, 50)
            seconds.append(time.perf_counter() - start)
        p50, p95 = 1000 * np.percentile(seconds, [50, 95])
        return {"p50_ms": p50, "p95_ms": p95, "search_mib": _peak_mebibytes() - memory}
    start = time.perf_counter()
    engine.build(folder, texts)
    built = {"build_s": time.perf_counter() - start, "build_mib": _peak_mebibytes() - memory}
    if step == "build":
        files = [path for path in folder.rglob("*") if path.is_file()]
        built["disk_mib"] = sum(path.stat().st_size for path in files) / 2**20
        start = time.perf_counter()
        engine.remove(folder, range(0, 10 * CHANGED, 10))
        built["remove_s"] = time.perf_counter() - start
        new = list(copies(contexts, CHANGED, seed=2))
        start = time.perf_counter()
        engine.add(folder, new, chunks)
        built["add_s"] = time.perf_counter() - start
        return built
    ranks: dict[str, list[int]] = {}
    for row in asked:
        found = [contexts[i] for i in engine.search(row.question, 5)]
        rank = found.index(row.context) if row.context in found else 5
        ranks.setdefault(row.source, []).append(rank)
    return {
        source: [100 * float(np.mean(np.array(each) < k)) for k in (1, 5)]
        for source, each in ranks.items()
    }


def _peak_mebibytes() -> float:
    """Return the most memory resident so far; Linux counts it in KiB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _in_own_process(name: str, step: str, data: Path, chunks: int, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "eval.bench.lexical_engines", "--data", str(data)]
    command += ["--one", name, step, str(chunks), str(folder)]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return measured


def main() -> None:
    """Print both tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, step, chunks, folder = options.one
        print(json.dumps(measure(name, step, options.data, int(chunks), Path(folder))))
        return
    contexts = len({row.context for row in questions(options.data, "dev")})
    sources: list[str] = []
    for name in ENGINES:
        with tempfile.TemporaryDirectory() as folder:
            recall = _in_own_process(name, "recall", options.data, contexts, Path(folder) / "index")
        if not sources:
            sources = sorted(recall)
            print(f"| gold context first / among 5, % | {' | '.join(sources)} |")
            print("|---|" + "---|" * len(sources))
        cells = [f"{recall[source][0]:.1f} / {recall[source][1]:.1f}" for source in sources]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    columns = ("build_s", "build_mib", "disk_mib", "add_s", "remove_s", "p50_ms", "p95_ms")
    print(f"\n| engine | chunks | {' | '.join(columns)} | search_mib |")
    print("|---|" + "---|" * (len(columns) + 2))
    for chunks in (contexts, options.chunks):
        for name in ENGINES:
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder) / "index"
                figures = _in_own_process(name, "build", options.data, chunks, place)
                figures |= _in_own_process(name, "search", options.data, chunks, place)
            cells = [f"{figures[column]:.2f}" for column in (*columns, "search_mib")]
            print(f"| {name} | {chunks} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
