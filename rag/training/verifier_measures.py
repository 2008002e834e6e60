"""Measures a verifier on held-out statements and questions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from rag.protocols import Embedder
from rag.training.claims import golds_of, like, stated, window, wrong_answers
from rag.training.data import QuestionRow
from rag.training.negatives import Negatives
from rag.training.pairs import PASSAGE_CHARS, PairComposer, Shares
from rag.training.scores import auc
from rag.training.statements import Statement
from rag.verify.cross_encoder import (
    ENTAILMENT,
    LABELS,
    Framing,
    Pair,
    PairModel,
    by_length,
    collate,
    encode_pairs,
)

RANKED = 10  # passages in each held-out ranking
MOST = 400  # rankings, and claims of each kind, that are measured
BATCH_TOKENS = 4096
CLAIMS_PER_ROW = 3  # that verdicts are fitted on
MOST_CLAIMS = 1_500  # of them

Scores = NDArray[np.float32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Held:
    """What is measured on.

    Attributes:
        statements: with their labels.
        claims: pairs, and whether the claim is true.
        rankings: questions with passages, the first of which answers.
    """

    statements: list[Statement]
    claims: list[tuple[Pair, bool]]
    rankings: list[list[Pair]]
    tokenizer: Tokenizer
    framing: Framing

    @classmethod
    def of(
        cls,
        rows: Sequence[QuestionRow],
        statements: Sequence[Statement],
        embedder: Embedder | None,
        tokenizer: Tokenizer,
        framing: Framing,
        seed: int,
    ) -> Held:
        """Make claims and rankings of held-out rows; the seed decides them."""
        rng = Random(f"held/{seed}")
        negatives = Negatives(rows, embedder)
        answered = [row for row in rows if row.answers and row.answers[0].start is not None]
        rng.shuffle(answered)
        claims: list[tuple[Pair, bool]] = []
        rankings: list[list[Pair]] = []
        for row in answered[:MOST]:
            claims += gold_and_wrong(row, rows, rng)
            others = negatives.draw(row, RANKED - 1, rng)
            if others:
                passages = [row.context, *(context for _, context in others)]
                rankings.append([(row.question, text[:PASSAGE_CHARS]) for text in passages])
        return cls(list(statements), claims, rankings, tokenizer, framing)


def gold_and_wrong(
    row: QuestionRow, rows: Sequence[QuestionRow], rng: Random
) -> list[tuple[Pair, bool]]:
    """A gold answer and a wrong one from the same passage, as claims with their evidence.

    The wrong one is an answer to another question, or a name or number, of the gold one's kind
    where there is one; each is judged by the sentences that it stands in.
    """
    golds = golds_of(row)
    gold = row.answers[0]
    others = [a for other in rows if other.context == row.context for a in other.answers]
    found = wrong_answers(row.context, golds, others)
    pool = like(gold.text, found) or found
    if not pool or gold.start is None:
        return []
    text, at = rng.choice(pool)
    return [
        (
            (
                stated(row.question, gold.text, rng, declared=0.0),
                window(row.context, gold.start, gold.start + len(gold.text)),
            ),
            True,
        ),
        (
            (
                stated(row.question, text, rng, declared=0.0),
                window(row.context, at, at + len(text)),
            ),
            False,
        ),
    ]


def verdict_claims(
    rows: Sequence[QuestionRow],
    statements: Sequence[Statement],
    embedder: Embedder | None,
    shares: Shares,
    seed: int,
) -> tuple[list[Pair], Flags]:
    """What verdicts are fitted on: held-out statements, and claims made of held-out rows.

    The claims are true, wrong and altered as in training, a few of each row; none comes twice.

    Args:
        rows: held-out questions; of many, some.
        statements: held-out statements; all count.
        embedder: finds the passages that a claim has nothing to do with.
        shares: what the claims are made of.
        seed: decides them.

    Returns:
        n pairs, and (n, 3), true on each pair's right labels.
    """
    rng = Random(f"verdicts/{seed}")
    composer = PairComposer(rows, statements, Negatives(rows, embedder))
    chosen = rng.sample(range(len(rows)), min(len(rows), MOST_CLAIMS // CLAIMS_PER_ROW))
    examples = [composer.nli(index) for index in range(len(statements))]
    claims = [composer.claim(index, rng, shares) for index in chosen for _ in range(CLAIMS_PER_ROW)]
    examples += dict.fromkeys(claims)
    allowed = np.zeros((len(examples), len(LABELS)), dtype=np.bool_)
    for number, example in enumerate(examples):
        allowed[number, list(example.labels)] = True
    return [example.pairs[0] for example in examples], allowed


def scores(
    model: PairModel, pairs: Sequence[Pair], tokenizer: Tokenizer, framing: Framing
) -> tuple[Scores, Scores]:
    """Label logits (n, 3) and relevance logits (n,) of pairs, in order."""
    rows = encode_pairs(tokenizer, pairs, framing)
    labels = np.zeros((len(rows), len(LABELS)), dtype=np.float32)
    relevance = np.zeros(len(rows), dtype=np.float32)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for part in by_length(rows, BATCH_TOKENS):
            batch = collate([rows[i] for i in part], framing).to(device)
            judged, ranked = model(batch.input_ids, batch.token_type_ids, batch.attention_mask)
            labels[part] = judged.cpu().numpy()
            relevance[part] = ranked.cpu().numpy()
    model.train(was_training)
    return labels, relevance


def measured(model: PairModel, held: Held) -> dict[str, float]:
    """Accuracy by source, how well claims are told apart, how high the right passage ranks.

    Returns:
        in percent: SOURCE_accuracy, claims_auc and mrr; what was not held out is left out.
    """
    figures: dict[str, float] = {}
    if held.statements:
        pairs = [(said.hypothesis, said.premise) for said in held.statements]
        guessed = scores(model, pairs, held.tokenizer, held.framing)[0].argmax(1)
        right: dict[str, list[bool]] = defaultdict(list)
        for said, label in zip(held.statements, guessed, strict=True):
            right[said.source].append(LABELS[label] == said.label)
        figures |= {f"{s}_accuracy": 100 * float(np.mean(own)) for s, own in right.items()}
    if held.claims:
        labels = scores(model, [pair for pair, _ in held.claims], held.tokenizer, held.framing)[0]
        supported = labels[:, ENTAILMENT] - np.logaddexp(labels[:, 1], labels[:, 2])
        figures["claims_auc"] = 100 * auc(supported.tolist(), [true for _, true in held.claims])
    if held.rankings:
        pairs = [pair for own in held.rankings for pair in own]
        relevance = scores(model, pairs, held.tokenizer, held.framing)[1]
        at, reciprocal = 0, []
        for own in held.rankings:
            logits = relevance[at : at + len(own)]
            reciprocal.append(1 / (1 + int((logits[1:] >= logits[0]).sum())))
            at += len(own)
        figures["mrr"] = 100 * float(np.mean(reciprocal))
    return dict(sorted(figures.items()))
