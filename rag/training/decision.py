"""Fits which of a generator's answers are served, on questions that it has not learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from rag.decide import WRITTEN_FEATURES, evidence
from rag.errors import UsageError
from rag.generate.base import Base
from rag.generate.copying import CopyGenerator
from rag.generate.saved import Decision
from rag.training.data import QuestionRow
from rag.training.scores import best, token_f1
from rag.types import Draft

RIGHT_FROM = 0.5  # token F1 against a gold answer
WITHHELD = 0.7
DISTRACTORS = 4
LEAST_ROWS = 40


def fit_decision(
    base: Base, rows: Sequence[QuestionRow], *, withheld: float = WITHHELD, seed: int = 0
) -> Decision:
    """Fit "is this answer right?" and the probability from which answers are served.

    Each question is answered twice: from its own context, and from that among others of the
    same title, as a search would find them. An answer is right if it overlaps a gold answer by
    half (token F1); to a question without an answer none is right.

    Args:
        base: the generator, in evaluation mode.
        rows: answerable and unanswerable questions, none of them trained on.
        withheld: share of the answers to unanswerable questions that the threshold must withhold.
        seed: of the choice of other contexts.

    Raises:
        UsageError: there are too few rows of either kind.
    """
    rows = with_unanswerable(rows, seed)
    counts = [sum(bool(row.answers) is kind for row in rows) for kind in (True, False)]
    if min(counts) < LEAST_ROWS:
        raise UsageError(
            f"a decision needs {LEAST_ROWS} answerable and {LEAST_ROWS} unanswerable questions, "
            f"got {counts[0]} and {counts[1]}"
        )
    generator = CopyGenerator(base, "to be decided on", absent_threshold=2.0)
    requests = [(row, [row.context]) for row in rows]
    requests += [(row, among_others(row, rows, Random(f"{seed}/{row.id}"))) for row in rows]
    drafts = [generator.write([(row.question, texts)])[0] for row, texts in requests]
    features = np.array([evidence(draft, (), WRITTEN_FEATURES) for draft in drafts])
    right = np.array(
        [is_right(row, draft) for (row, _), draft in zip(requests, drafts, strict=True)]
    )
    unanswerable = np.array([not row.answers for row, _ in requests])
    if right.all() or not right.any():
        raise UsageError("all answers are right or all are wrong; nothing tells them apart")
    spread = features.std(axis=0) + 1e-9
    model = LogisticRegression(C=1.0, max_iter=2_000).fit(features / spread, right)
    probabilities = model.predict_proba(features / spread)[:, 1]
    return Decision(
        features=WRITTEN_FEATURES,
        weights=tuple(round(float(w), 6) for w in model.coef_[0] / spread),
        intercept=round(float(model.intercept_[0]), 6),
        threshold=round(float(np.quantile(probabilities[unanswerable], withheld)), 4),
    )


def with_unanswerable(rows: Sequence[QuestionRow], seed: int = 0) -> list[QuestionRow]:
    """Rows of which at least a third are unanswerable; missing ones get another row's context."""
    rows = list(rows)
    rng = Random(f"unanswerable/{seed}")
    answerable = [row for row in rows if row.answers]
    missing = max(0, len(answerable) // 2 - (len(rows) - len(answerable)))
    for row in rng.sample(answerable, min(missing, len(answerable))):
        others = [text for text in among_others(row, rows, rng) if text != row.context]
        if others:
            rows.append(replace(row, id=f"{row.id}/other", context=others[0], answers=()))
    return rows


def is_right(row: QuestionRow, draft: Draft) -> bool:
    """Whether a draft answers its question; never, where the context doesn't."""
    golds = [answer.text for answer in row.answers]
    return bool(golds) and best(token_f1, draft.text, golds) >= RIGHT_FROM


def among_others(row: QuestionRow, rows: Sequence[QuestionRow], rng: Random) -> list[str]:
    """A row's context at a random place among others, of its own title where there are some."""
    own = {other.context for other in rows if other.title == row.title} - {row.context}
    pool = sorted(own) or sorted({other.context for other in rows} - {row.context})
    texts = rng.sample(pool, min(DISTRACTORS, len(pool)))
    texts.insert(rng.randrange(len(texts) + 1), row.context)
    return texts
