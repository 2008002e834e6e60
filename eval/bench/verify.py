"""What checking an answer costs beside writing it, and what reranking costs.

    python -m eval.bench.verify

The questions of the sample collection are asked of it as `rag ask` would; the times of writing and
of verifying are those of the same answers in the same run, on two threads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from knowledge_bases.home import Home
from rag.given import given_passages
from rag.settings import Settings

SAMPLES = Path(__file__).parents[2] / "knowledge_bases" / "samples"
THREADS = 2
RERANKED = 50  # passages
PASSAGE_TOKENS = 160


def main() -> None:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    lines = (SAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line)["question"] for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder), rerank_depth=RERANKED)
        with Home(settings) as home:
            base = home.create("samples")
            base.ingest([SAMPLES / "documents"])
            base.ask(questions[0])  # Loads the models.
            spent = [
                base.ask(question).answer.timings_ms
                for _ in range(options.rounds)
                for question in questions
            ]
            reranking = _reranking(home, questions)
    generate = [own["generate"] for own in spent]
    verify = [own["verify"] for own in spent]
    print(
        json.dumps(
            {
                "threads": THREADS,
                "answers": len(spent),
                "generate_ms_p50": round(statistics.median(generate), 1),
                "verify_ms_p50": round(statistics.median(verify), 1),
                "verify_ms_p95": round(statistics.quantiles(verify, n=20)[-1], 1),
                "verify_share_of_generate": round(sum(verify) / sum(generate), 3),
                "rerank_passages": RERANKED,
                "rerank_passage_tokens": PASSAGE_TOKENS,
                "rerank_ms_p50": round(1000 * statistics.median(reranking), 1),
                "rerank_ms_p95": round(1000 * statistics.quantiles(reranking, n=20)[-1], 1),
            },
            indent=1,
        )
    )


def _reranking(home: Home, questions: list[str]) -> list[float]:
    """Seconds for each question with fifty passages of a chunk's length."""
    reranker = home.reranker
    assert reranker is not None
    text = "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((SAMPLES / "documents").glob("*.md"))
    )
    words = text.split()
    length = PASSAGE_TOKENS
    while home.embedder.count_tokens([" ".join(words[:length])])[0] > PASSAGE_TOKENS:
        length -= 1
    pieces = [
        " ".join((words * 2)[i * 7 % len(words) :][:length]) for i in range(RERANKED)
    ]  # Overlapping pieces: what they say does not matter here.
    passages = given_passages(pieces)
    spent = []
    for question in questions:
        began = time.perf_counter()
        reranker.rerank(question, passages, 5)
        spent.append(time.perf_counter() - began)
    return spent


if __name__ == "__main__":
    main()
