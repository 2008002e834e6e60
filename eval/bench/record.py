"""What the log adds to the time of an answer.

    python -m eval.bench.record

The questions of the sample collection are asked of it as `rag ask` would, with checkpoints signed
beside them. What an answer takes beyond the stages that it is made in is put down to the log: the
receipt, its sealing, the append, and looking up settings and index generation.
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
from rag.settings import Settings

SAMPLES = Path(__file__).parents[2] / "knowledge_bases" / "samples"
THREADS = 2


def main() -> None:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    lines = (SAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line)["question"] for line in lines] * options.rounds
    whole, added = [], []
    with tempfile.TemporaryDirectory() as folder, Home(Settings(home=Path(folder))) as home:
        home.audit.start()
        base = home.create("samples")
        base.ingest([SAMPLES / "documents"])
        base.ask(questions[0])  # Loads the models.
        for question in questions:
            started = time.perf_counter()
            answer = base.ask(question).answer
            whole.append(1000 * (time.perf_counter() - started))
            added.append(whole[-1] - sum(answer.timings_ms.values()))
    print(
        json.dumps(
            {
                "threads": THREADS,
                "answers": len(questions),
                "answer_ms_p50": round(statistics.median(whole), 1),
                "added_ms_p50": round(statistics.median(added), 2),
                "added_ms_p95": round(statistics.quantiles(added, n=20)[-1], 2),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
