"""Trains tiny random BART and T5 to copy a marked run from one of two passages."""

from __future__ import annotations

from random import Random

import pytest
import torch

from rag.generate.copy_attention import CopyModel
from rag.generate.decode import Search, decode
from rag.generate.fusion import fuse
from rag.training.batches import collate
from rag.training.examples import Example
from rag.training.losses import LossWeights, generator_losses, total_loss

OPEN, CLOSE = 6, 7
TOKENS = range(10, 40)


def task(rng: Random) -> Example:
    """Two passages; the answer is what stands between the markers in one of them."""
    passages = [[rng.choice(TOKENS) for _ in range(rng.randrange(6, 9))] for _ in range(2)]
    gold, length = rng.randrange(2), rng.randrange(2, 4)
    first = rng.randrange(len(passages[gold]) - length)
    marked = passages[gold]
    answer = marked[first : first + length]
    passages[gold] = [*marked[:first], OPEN, *answer, CLOSE, *marked[first + length :]]
    return Example([8], passages, answer, (gold, first + 1, first + length), False)


def exact_share(model: CopyModel, examples: list[Example], special) -> float:
    model.eval()
    with torch.inference_mode():
        encoded = [
            model.encode(fuse([example.question], [example.passages], special))
            for example in examples
        ]
    answers = decode(model, encoded, Search(max_tokens=8))
    pairs = zip(answers, examples, strict=True)
    return sum(list(answer.tokens) == example.target for answer, example in pairs) / len(examples)


@pytest.mark.slow
def test_copying_is_learned(make_model, special) -> None:
    model = make_model(guided=True)
    held_out = [task(Random(f"test/{i}")) for i in range(200)]
    assert exact_share(model, held_out, special) < 0.05
    rng = Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for step in range(400):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 20, (400 - step) / 150)
        examples = [task(rng) for _ in range(32)]
        batch = collate(examples, special, start_id=model.start_id, end_id=model.eos_id)
        loss = total_loss(generator_losses(model, batch), LossWeights())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert exact_share(model, held_out, special) > 0.95
