"""Measures a generator on development questions with the gold passage given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import torch
from tokenizers import Tokenizer

from rag.generate.base import Base
from rag.generate.copy_attention import Encoded
from rag.generate.decode import Decoded, greedy
from rag.generate.fusion import SpecialIds, fuse, passage_offset
from rag.generate.span_guide import LONGEST_SPAN
from rag.training.data import QuestionRow
from rag.training.examples import LONGEST_QUESTION
from rag.training.scores import best, exact_match, rouge_l, token_f1

LONGEST_PAIR = 500  # tokens of question and passage
LONGEST_ANSWER = 48  # tokens


@dataclass(frozen=True)
class Prepared:
    """A development question as token ids, with the characters of its passage's tokens."""

    row: QuestionRow
    question: list[int]
    passage: list[int]
    offsets: list[tuple[int, int]]


def sample_rows(rows: Sequence[QuestionRow], counts: dict[str, int]) -> list[QuestionRow]:
    """A fixed sample: up to `counts[source]` answerable and `counts[source + "-"]` other rows."""
    chosen = []
    for key, count in counts.items():
        source, answerable = key.removesuffix("-"), not key.endswith("-")
        own = [r for r in rows if r.source == source and bool(r.answers) == answerable]
        chosen += Random(key).sample(own, min(count, len(own)))
    return chosen


def prepare(rows: Sequence[QuestionRow], tokenizer: Tokenizer) -> list[Prepared]:
    """Tokenise; passages longer than the position table lose their end."""
    prepared = []
    for row in rows:
        question = tokenizer.encode(row.question, add_special_tokens=False).ids
        question = question[:LONGEST_QUESTION]
        encoding = tokenizer.encode(row.context, add_special_tokens=False)
        room = LONGEST_PAIR - len(question)
        prepared.append(Prepared(row, question, encoding.ids[:room], encoding.offsets[:room]))
    return sorted(prepared, key=lambda one: len(one.passage))


@torch.inference_mode()
def evaluate(
    base: Base,
    questions: Sequence[Prepared],
    *,
    batch_size: int = 16,
    between_batches: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Greedy answers against the gold ones.

    Returns:
        for each source in percent: f1 and em of answerable questions, answered (share of them
        that got an answer), span_f1 (the span head alone), rouge_l, copied (share of answer
        tokens with copy share of at least a half), and absent (share of unanswerable questions
        recognised); for all, seconds per question are left to the caller.
    """
    model, tokenizer, special = base.model, base.tokenizer, base.special
    was_training = model.training
    model.eval()
    sums: dict[str, list[float]] = {}
    for i in range(0, len(questions), batch_size):
        between_batches()
        part = questions[i : i + batch_size]
        batch = fuse([one.question for one in part], [[one.passage] for one in part], special)
        batch = batch.to(next(model.parameters()).device)
        encoded = model.encode(batch)
        spans = span_answers(encoded, part, special)
        answers = greedy(model, encoded, max_tokens=LONGEST_ANSWER)
        for one, decoded, span in zip(part, answers, spans, strict=True):
            text = render(decoded, one, special, tokenizer)
            found = decoded.tokens[:1] != [model.reserved_id]
            for name, value in _scores(one.row, text, span, found, decoded).items():
                sums.setdefault(f"{one.row.source}_{name}", []).append(100 * value)
    model.train(was_training)
    return {name: sum(values) / len(values) for name, values in sorted(sums.items())}


def _scores(
    row: QuestionRow, text: str, span: str, found: bool, decoded: Decoded
) -> dict[str, float]:
    if not row.answers:
        return {"absent": float(not found)}
    golds = [answer.text for answer in row.answers]
    shown = text if found else ""
    scores = {
        "f1": best(token_f1, shown, golds),
        "em": best(exact_match, shown, golds),
        "rouge_l": best(rouge_l, shown, golds),
        "answered": float(found),
        "span_f1": best(token_f1, span, golds),
    }
    if found and decoded.copy_shares:
        shares = decoded.copy_shares
        scores["copied"] = sum(share >= 0.5 for share in shares) / len(shares)
    return scores


def render(decoded: Decoded, one: Prepared, special: SpecialIds, tokenizer: Tokenizer) -> str:
    """Answer text: copied runs from the passage's characters, the rest from the vocabulary."""
    first = passage_offset(len(one.question), special)
    pieces: list[str] = []
    run: tuple[int, int] | None = None
    written: list[int] = []
    shares, pointers = decoded.copy_shares, decoded.pointers
    for token, share, pointer in zip(decoded.tokens, shares, pointers, strict=True):
        place = pointer - first if share >= 0.5 and pointer >= 0 else None
        if run is not None and place == run[1] + 1:
            run = (run[0], place)
            continue
        if run is not None:
            pieces.append(_slice(one, run))
            run = None
        if place is not None:
            if written:
                pieces.append(tokenizer.decode(written))
                written = []
            run = (place, place)
        else:
            written.append(token)
    if run is not None:
        pieces.append(_slice(one, run))
    if written:
        pieces.append(tokenizer.decode(written))
    return " ".join(pieces)


def _slice(one: Prepared, run: tuple[int, int]) -> str:
    return one.row.context[one.offsets[run[0]][0] : one.offsets[run[1]][1]]


def span_answers(encoded: Encoded, part: Sequence[Prepared], special: SpecialIds) -> list[str]:
    """The span head's best span of each single-passage question, as text."""
    spans = encoded.spans
    if spans is None:
        return ["" for _ in part]
    scores = spans.start.unsqueeze(-1) + spans.end.unsqueeze(1)  # (B, S, S)
    band = torch.ones_like(scores[0]).triu() - torch.ones_like(scores[0]).triu(LONGEST_SPAN)
    flat = scores.masked_fill(band == 0, -1e9).flatten(1).argmax(-1)  # (B,)
    answers = []
    for b, one in enumerate(part):
        start, end = divmod(int(flat[b]), scores.shape[-1])
        first = passage_offset(len(one.question), special)
        answers.append(_slice(one, (start - first, end - first)) if one.passage else "")
    return answers
