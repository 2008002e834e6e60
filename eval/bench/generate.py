"""How fast the generator writes, beside transformers' `generate` on a BART of the same size.

    python -m eval.bench.generate

Both decode greedily over the same encoder states of five passages, on two threads, in turns; the
time for a token is the best of several rounds. Whole answers are timed from text to text.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from transformers import BartForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from rag.generate.copy_attention import Encoded
from rag.generate.copying import CopyGenerator
from rag.generate.decode import Search, decode
from rag.generate.saved import load_generator

SAMPLES = Path(__file__).parents[2] / "knowledge_bases" / "samples"
PASSAGES = 5
PASSAGE_CHARS = 800
THREADS = 2


def main() -> None:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generator", default="bundled:generator")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    saved = load_generator(options.generator)
    generator = CopyGenerator(saved.base, saved.name, absent_threshold=2.0)
    questions, texts = _material()
    encoded = generator.encode(questions[0], texts).encoded
    assert encoded is not None
    plain = BartForConditionalGeneration(saved.base.model.seq2seq.config).eval()
    banned = [saved.base.model.eos_id]
    ours, theirs = [], []
    for _ in range(options.rounds):  # In turns, so that both see the same machine.
        ours.append(_ours(generator, encoded, options.tokens, banned))
        theirs.append(_plain(plain, encoded, options.tokens))
    answers = _answers(generator, questions, texts)
    print(
        json.dumps(
            {
                "threads": THREADS,
                "passages": PASSAGES,
                "source_tokens": int(encoded.attention_mask.sum()),
                "parameters": {
                    "copy": sum(p.numel() for p in saved.base.model.parameters()),
                    "plain": sum(p.numel() for p in plain.parameters()),
                },
                "ms_per_token": {
                    "copy": round(1000 * min(ours), 3),
                    "plain": round(1000 * min(theirs), 3),
                },
                "ratio": round(min(ours) / min(theirs), 3),
                "ratio_of_medians": round(statistics.median(ours) / statistics.median(theirs), 3),
                "answers": len(answers),
                "answer_ms_p50": round(1000 * statistics.median(answers), 1),
                "answer_ms_p95": round(1000 * statistics.quantiles(answers, n=20)[-1], 1),
                "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            },
            indent=1,
        )
    )


def _material() -> tuple[list[str], list[str]]:
    """Questions and passages of the sample collection."""
    lines = (SAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    text = "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((SAMPLES / "documents").glob("*.md"))
    )
    texts = [text[i * PASSAGE_CHARS : (i + 1) * PASSAGE_CHARS] for i in range(PASSAGES)]
    return [json.loads(line)["question"] for line in lines], texts


def _ours(generator: CopyGenerator, encoded: Encoded, tokens: int, banned: list[int]) -> float:
    """Seconds for a token."""
    began = time.perf_counter()
    # The end is banned, so that both write as many.
    (answer,) = decode(
        generator.base.model,
        [encoded],
        Search(max_tokens=tokens - 1, stop_loops=False),
        banned=banned,
    )
    return (time.perf_counter() - began) / answer.steps


@torch.inference_mode()
def _plain(model: BartForConditionalGeneration, encoded: Encoded, tokens: int) -> float:
    network: Any = model
    began = time.perf_counter()
    network.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=encoded.states),
        attention_mask=encoded.attention_mask,
        min_new_tokens=tokens,
        max_new_tokens=tokens,
        num_beams=1,
        do_sample=False,
    )
    return (time.perf_counter() - began) / tokens


def _answers(generator: CopyGenerator, questions: list[str], texts: list[str]) -> list[float]:
    """Seconds for each whole answer, from text to text."""
    spent = []
    for question in questions:
        began = time.perf_counter()
        generator.write([(question, texts)])
        spent.append(time.perf_counter() - began)
    return spent


if __name__ == "__main__":
    main()
