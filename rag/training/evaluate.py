"""Measures a generator on development questions with the gold passage given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import torch

from rag.generate.base import Base
from rag.generate.copy_attention import Encoded
from rag.generate.copying import CopyGenerator, Source
from rag.generate.decode import Search
from rag.generate.span_guide import LONGEST_SPAN
from rag.training.data import QuestionRow
from rag.training.scores import auc, best, exact_match, rouge_l, token_f1
from rag.types import Draft

LONGEST_ANSWER = 48  # tokens


def sample_rows(rows: Sequence[QuestionRow], counts: dict[str, int]) -> list[QuestionRow]:
    """A fixed sample: up to `counts[source]` answerable and `counts[source + "-"]` other rows."""
    chosen = []
    for key, count in counts.items():
        source, answerable = key.removesuffix("-"), not key.endswith("-")
        own = [r for r in rows if r.source == source and bool(r.answers) == answerable]
        chosen += Random(key).sample(own, min(count, len(own)))
    return chosen


def evaluate(
    base: Base,
    rows: Sequence[QuestionRow],
    *,
    batch_size: int = 16,
    between_batches: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Greedy answers against the gold ones; every question gets an answer.

    Returns:
        for each source in percent, of its answerable questions: f1, em, rouge_l, copied (share
        of the answer's words with a pointer) and span_f1 (the span head alone); and absent_auc,
        how well the score for "not in these passages" tells the two kinds apart.
    """
    was_training = base.model.training
    base.model.eval()
    generator = CopyGenerator(base, "in training", search=Search(max_tokens=LONGEST_ANSWER))
    sums: dict[str, list[float]] = {}
    absent: dict[str, list[tuple[float, bool]]] = {}
    rows = sorted(rows, key=lambda row: len(row.context))
    for i in range(0, len(rows), batch_size):
        between_batches()
        part = rows[i : i + batch_size]
        drafts = generator.write([(row.question, [row.context]) for row in part])
        for row, draft in zip(part, drafts, strict=True):
            score = draft.features.get("absent", 0.0)
            absent.setdefault(row.source, []).append((score, not row.answers))
            if not row.answers:
                continue
            span = span_answer(generator.encode(row.question, [row.context]))
            for name, value in _scores(row, draft, span).items():
                sums.setdefault(f"{row.source}_{name}", []).append(100 * value)
    base.model.train(was_training)
    figures = {name: sum(values) / len(values) for name, values in sums.items()}
    for source, pairs in absent.items():
        if len({wanted for _, wanted in pairs}) == 2:
            figures[f"{source}_absent_auc"] = 100 * auc(*zip(*pairs, strict=True))
    return dict(sorted(figures.items()))


def _scores(row: QuestionRow, draft: Draft, span: str) -> dict[str, float]:
    golds = [answer.text for answer in row.answers]
    words = [token for token in draft.tokens if token.text.strip()]
    return {
        "f1": best(token_f1, draft.text, golds),
        "em": best(exact_match, draft.text, golds),
        "rouge_l": best(rouge_l, draft.text, golds),
        "span_f1": best(token_f1, span, golds),
        "copied": sum(word.pointer is not None for word in words) / max(1, len(words)),
    }


def span_answer(source: Source) -> str:
    """The span head's best span of a question with one passage, as text."""
    encoded = source.encoded
    if encoded is None or encoded.spans is None:
        return ""
    start, end = best_span(encoded)
    first, last = source.places[start], source.places[end]
    if first is None or last is None:
        return ""
    return source.texts[first.passage][first.start : last.end]


@torch.inference_mode()
def best_span(encoded: Encoded) -> tuple[int, int]:
    """First and last source position of the likeliest span of one question."""
    if encoded.spans is None:
        raise ValueError("the model has no span head")
    scores = encoded.spans.start.unsqueeze(-1) + encoded.spans.end.unsqueeze(1)  # (1, S, S)
    band = torch.ones_like(scores[0]).triu() - torch.ones_like(scores[0]).triu(LONGEST_SPAN)
    flat = int(scores[0].masked_fill(band == 0, -1e9).argmax())
    start, end = divmod(flat, scores.shape[-1])
    return start, end
