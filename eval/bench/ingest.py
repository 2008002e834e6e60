"""Ingest against bare ``SentenceTransformer.encode`` on the same chunks, and a second ingest."""

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eval.qa_data import questions
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase
from knowledge_bases.samples import DOCUMENTS
from rag.models import resolve
from rag.settings import Settings


def measure(data: Path | None, files: int, per_file: int, rounds: int) -> dict[str, float]:
    """Time ingest and bare encoding in turn, in this process, with the same settings.

    Args:
        data: development data whose contexts become text files; without it, copies of the samples.
        files: how many text files.
        per_file: contexts in each of them.
        rounds: how often; the medians are returned.

    Returns:
        Chunks per second of both, their ratio, and the second ingest's share of the first's time.
    """
    settings = Settings()
    ratios, ingests, bares, seconds = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "texts"
        texts.mkdir()
        for number, text in enumerate(_texts(data, files, per_file)):
            (texts / f"text-{number:05}.txt").write_text(text, encoding="utf-8")
        with Home(settings.model_copy(update={"home": Path(folder) / "warm"})) as warm:
            embedder = warm.embedder
            warm.create("warm").ingest([DOCUMENTS])
        for number in range(rounds):
            at = settings.model_copy(update={"home": Path(folder) / f"home-{number}"})
            with Home(at, embedder=embedder) as home:
                base = home.create("bench")
                first = base.ingest([texts])
                again = base.ingest([texts])
                assert again.embedded == 0
                assert again.unchanged == first.added
                bare = _bare_seconds(settings, _inputs(base))
            ingests.append(first.chunks / first.seconds)
            bares.append(first.chunks / bare)
            ratios.append(ingests[-1] / bares[-1])
            seconds.append(again.seconds / first.seconds)
    return {
        "files": first.added,
        "chunks": first.chunks,
        "ingest_chunks_per_second": float(np.median(ingests)),
        "bare_chunks_per_second": float(np.median(bares)),
        "ratio": float(np.median(ratios)),
        "ratio_lowest": min(ratios),
        "second_ingest_share_of_first": float(np.median(seconds)),
    }


def _texts(data: Path | None, files: int, per_file: int = 1) -> Iterator[str]:
    if data is None:
        source = (DOCUMENTS / "medicines-storage-policy.md").read_text(encoding="utf-8")
        yield from (source.replace("the", f"the {number}", 5) for number in range(files))
        return
    contexts = list(dict.fromkeys(row.context for row in questions(data, "dev")))
    for start in range(0, min(len(contexts), files * per_file), per_file):
        yield "\n\n".join(contexts[start : start + per_file])


def _inputs(base: KnowledgeBase) -> list[str]:
    chunks = base.store.chunks.live(base.row.id, after_revision=0, up_to_revision=base.revision())
    return [f"{chunk.context}\n{chunk.text}" for chunk in chunks]


def _bare_seconds(settings: Settings, inputs: list[str]) -> float:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(resolve(settings.embedder).path), local_files_only=True)
    model.encode(inputs[:64], batch_size=settings.embed_batch_size)
    started = time.perf_counter()
    model.encode(inputs, batch_size=settings.embed_batch_size, normalize_embeddings=True)
    return time.perf_counter() - started


def main() -> None:
    """Run from a checkout: ``python -m eval.bench.ingest [--data DATA]``."""
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--files", type=int, default=120)
    parser.add_argument("--per-file", type=int, default=6, help="contexts in a file")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(
        json.dumps(
            measure(arguments.data, arguments.files, arguments.per_file, arguments.rounds), indent=1
        )
    )


if __name__ == "__main__":
    main()
