"""Fits which of a generator's answers are served, on questions that it has not learned from."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from rag.cite import PassageText, cite
from rag.decide import VERIFIED, WRITTEN_FEATURES, evidence
from rag.errors import UsageError
from rag.generate.base import Base
from rag.generate.copying import CopyGenerator
from rag.generate.manifest import Decision
from rag.given import given_passages
from rag.pipeline import judged, verified
from rag.protocols import Embedder, Verifier
from rag.training.augment import swap_entity
from rag.training.data import QuestionRow, holds_answer
from rag.training.scores import best, token_f1
from rag.training.thresholds import threshold_for
from rag.types import Draft
from rag.words import content_words

RIGHT_FROM = 0.5  # token F1 against a gold answer
PRECISION = 0.9  # share of the served answers that are to be right
READING_PRECISION = 0.7  # where passages are given: whoever gives them thinks that they answer
ANSWERABLE = "answerable"
MISLEADING = "sounds answered"
"""Kinds of questions: the second has no answer, though the text speaks of the matter."""
FOLDS = 5  # of the cross-fitting that the threshold is chosen by
DISTRACTORS = 4
DONORS = 6  # contexts looked through for another name
LEAST_ROWS = 40
BATCH = 16  # questions at a time


def fit_decision(
    base: Base,
    rows: Sequence[QuestionRow],
    *,
    embedder: Embedder | None = None,
    verifier: Verifier | None = None,
    precision: float = PRECISION,
    reading_precision: float = READING_PRECISION,
    seed: int = 0,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Decision:
    """Fit "is this answer right?" and the probability from which answers are served.

    Each question is answered from its own context and from that among others of the same title,
    as a search would find them. A question that has an answer is also asked of those others alone,
    and with another name or number in it. An answer is right if it overlaps a gold answer by half
    (token F1); to a question without an answer, or without its context, none is right.

    Args:
        base: the generator, in evaluation mode.
        rows: answerable and unanswerable questions, none of them trained on.
        embedder: the one that answers will be served with; None leaves similarity out.
        verifier: the one that will judge them; None leaves its verdicts out.
        precision: see `fitted`.
        reading_precision: see `fitted`.
        seed: of the choice of other contexts.
        progress: called with the numbers of answers written so far and in all.

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
    requests = forms(rows, seed)
    asked = [(row.question, texts) for row, texts in requests]
    drafts = written(base, asked, progress, embedder)
    if verifier is not None:
        drafts = [judge(*own, verifier) for own in zip(drafts, asked, strict=True)]
    names = weighed(WRITTEN_FEATURES, embedder, verifier)
    features = np.array([evidence(draft, (), names) for draft in drafts])
    right = np.array(
        [is_right(row, texts, draft) for (row, texts), draft in zip(requests, drafts, strict=True)]
    )
    if right.all() or not right.any():
        raise UsageError("all answers are right or all are wrong; nothing tells them apart")
    return fitted(
        features,
        right,
        names,
        kinds=[kind_of(row, texts) for row, texts in requests],
        groups=[row.context for row, _ in requests],
        precision=precision,
        reading_precision=reading_precision,
        embedder_sha256=None if embedder is None else embedder.digest,
        verifier_sha256=None if verifier is None else verifier.model_sha256,
    )


def weighed(
    names: Sequence[str], embedder: Embedder | None, verifier: Verifier | None
) -> tuple[str, ...]:
    """Those of the features, of either writer, that there is evidence for with these."""
    without = set() if embedder is not None else {"similarity"}
    if verifier is None or verifier.model_sha256 is None:
        without |= set(VERIFIED)
    return tuple(name for name in names if name.removeprefix("written_") not in without)


def judge(draft: Draft, asked: tuple[str, Sequence[str]], verifier: Verifier) -> Draft:
    """A draft with its verdict among the features, as `rag.pipeline` judges it."""
    question, texts = asked
    passages = given_passages(texts)
    segments, citations = cite(draft, passages, PassageText())
    _, whole = judged(verifier, question, segments, citations, passages)
    return replace(draft, features={**draft.features, **verified(whole)})


def fitted(
    features: NDArray[np.float64],
    right: NDArray[np.bool_],
    names: Sequence[str],
    *,
    kinds: Sequence[str],
    groups: Sequence[str],
    precision: float = PRECISION,
    reading_precision: float | None = None,
    embedder_sha256: str | None = None,
    verifier_sha256: str | None = None,
) -> Decision:
    """Fit the logistic regression and its threshold.

    Questions with and without an answer weigh the same together, and so does each kind of those
    without. The threshold is the lowest at which the wanted share of the served answers is right;
    the probabilities that it is chosen by come from models that have not seen the question's
    context.

    Args:
        features: (n, features).
        right: (n,) whether the answer is right.
        names: of the features.
        kinds: (n,) `ANSWERABLE`, or the kind of a question without an answer.
        groups: (n,) what must not be in two folds: the contexts.
        precision: wanted share of right answers among those served.
        reading_precision: the same where passages are given; None for the same threshold.
        embedder_sha256: digest of the embedder that measured similarity, if that is a feature.
        verifier_sha256: digest of the model that judged claims, if its verdicts are features.
    """
    weights = half_and_half(kinds)
    model = cross_fitted(features, right, weights, groups)

    def threshold(share: float) -> float:
        return round(threshold_for(model.held, right, share, weights=weights), 4)

    return Decision(
        features=tuple(names),
        weights=model.weights,
        intercept=model.intercept,
        threshold=threshold(precision),
        reading_threshold=None if reading_precision is None else threshold(reading_precision),
        embedder_sha256=embedder_sha256,
        verifier_sha256=verifier_sha256,
    )


@dataclass(frozen=True, slots=True)
class CrossFitted:
    """A logistic regression, and what it says of cases that it has not seen.

    Attributes:
        weights: (features,) of the model that has seen all cases.
        held: (n,) probabilities by models that have not seen the case's group.
    """

    weights: tuple[float, ...]
    intercept: float
    held: NDArray[np.float64]


def cross_fitted(
    features: NDArray[np.float64],
    right: NDArray[np.bool_],
    weights: NDArray[np.float64],
    groups: Sequence[str],
) -> CrossFitted:
    """Fit a logistic regression, and once more without each fifth of the groups.

    Args:
        features: (n, features).
        right: (n,).
        weights: (n,) of the cases.
        groups: (n,) what must not be in two folds.

    Raises:
        UsageError: there are too few groups.
    """
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread[spread < 1e-6] = 1.0  # what never varies says nothing
    scaled = (features - mean) / spread
    held = np.zeros(len(right))
    folds = fold_of(groups)
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        if right[train].all() or not right[train].any():  # also where there are no others
            raise UsageError(
                f"{len(set(groups))} different texts are too few to fit a decision on: give "
                "questions on more of them, some of which have no answer there"
            )
        model = LogisticRegression(C=1.0, max_iter=2_000)
        model.fit(scaled[train], right[train], sample_weight=weights[train])
        held[test] = model.predict_proba(scaled[test])[:, 1]
    model = LogisticRegression(C=1.0, max_iter=2_000).fit(scaled, right, sample_weight=weights)
    coefficients = model.coef_[0] / spread
    intercept = float(model.intercept_[0] - coefficients @ mean)
    return CrossFitted(
        tuple(round(float(weight), 6) for weight in coefficients), round(intercept, 6), held
    )


def half_and_half(kinds: Sequence[str]) -> NDArray[np.float64]:
    """Weights (n,) by which one half has answers, and the other its kinds in equal parts."""
    counts = Counter(kinds)
    others = len(counts) - (ANSWERABLE in counts)
    shares = {kind: 0.5 if kind == ANSWERABLE else 0.5 / others for kind in counts}
    return np.array([len(kinds) * shares[kind] / counts[kind] for kind in kinds])


def kind_of(row: QuestionRow, texts: Sequence[str]) -> str:
    """The kind of a question asked of texts."""
    if row.answers:
        return ANSWERABLE if row.context in texts else "withdrawn"
    made = {"/swapped": "another name", "/other": "withdrawn"}
    return next((kind for end, kind in made.items() if row.id.endswith(end)), MISLEADING)


def fold_of(groups: Sequence[str]) -> NDArray[np.int64]:
    """A fold for each row; rows of a group share one, and which does not depend on the others."""
    digests = [hashlib.sha256(group.encode("utf-8", "replace")).digest() for group in groups]
    return np.array([digest[0] % FOLDS for digest in digests])


def forms(rows: Sequence[QuestionRow], seed: int = 0) -> list[tuple[QuestionRow, list[str]]]:
    """Each question with the texts it is answered from, in each form; see `fit_decision`."""
    among = [(row, among_others(row, rows, Random(f"{seed}/{row.id}"))) for row in rows]
    without = [
        (row, [text for text in texts if text != row.context])
        for row, texts in among
        if row.answers and len(texts) > 1
    ]
    others = sorted({row.context for row in rows})
    swapped = [
        (replace(row, id=f"{row.id}/swapped", question=question, answers=()), texts)
        for row, texts in among
        if row.answers
        and (question := about_another(row.question, texts, others, _swapping(row, seed)))
    ]
    return [*((row, [row.context]) for row in rows), *among, *without, *swapped]


def _swapping(row: QuestionRow, seed: int) -> Random:
    return Random(f"swapped/{seed}/{row.id}")


def about_another(
    question: str, texts: Sequence[str], contexts: Sequence[str], rng: Random
) -> str | None:
    """A question with a name or number that none of its texts holds; None without one.

    Args:
        question: as it was asked.
        texts: what it is asked of.
        contexts: where the other name may come from.
        rng: decides which.
    """
    donors = [context for context in contexts if context not in texts]
    for donor in rng.sample(donors, min(DONORS, len(donors))):
        changed = swap_entity(question, donor, rng)
        if changed is None:
            continue
        new = set(content_words(changed)) - set(content_words(question))
        if new - set(content_words(" ".join(texts))):
            return changed
    return None


def written(
    base: Base,
    requests: Sequence[tuple[str, Sequence[str]]],
    progress: Callable[[int, int], object],
    embedder: Embedder | None = None,
) -> list[Draft]:
    """Drafts of all requests, none of them emptied for absence; batches are of like length."""
    generator = CopyGenerator(base, "to be decided on", embedder=embedder)
    order = sorted(range(len(requests)), key=lambda i: sum(map(len, requests[i][1])))
    drafts: dict[int, Draft] = {}
    for at in range(0, len(order), BATCH):
        part = order[at : at + BATCH]
        drafts |= zip(part, generator.write([requests[i] for i in part]), strict=True)
        progress(len(drafts), len(requests))
    return [drafts[i] for i in range(len(requests))]


def with_unanswerable(rows: Sequence[QuestionRow], seed: int = 0) -> list[QuestionRow]:
    """Rows of which at least a third are unanswerable; missing ones get another row's context."""
    rows = list(rows)
    rng = Random(f"unanswerable/{seed}")
    answerable = [row for row in rows if row.answers]
    missing = max(0, len(answerable) // 2 - (len(rows) - len(answerable)))
    made = []
    for row in rng.sample(answerable, min(missing, len(answerable))):
        others = [text for text in among_others(row, rows, rng) if text != row.context]
        if others:
            made.append(replace(row, id=f"{row.id}/other", context=others[0], answers=()))
    return rows + made


def is_right(row: QuestionRow, texts: Sequence[str], draft: Draft) -> bool:
    """Whether a draft answers its question; never, where the texts don't."""
    golds = [answer.text for answer in row.answers if row.context in texts]
    return bool(golds) and best(token_f1, draft.text, golds) >= RIGHT_FROM


def among_others(row: QuestionRow, rows: Sequence[QuestionRow], rng: Random) -> list[str]:
    """A row's context at a random place among others, of its own title where there are some.

    None of the others holds an answer that any row has to the same question: a made unanswerable
    row has none itself.
    """
    golds = [gold for other in rows if other.question == row.question for gold in other.answers]
    titles = {o.context: o.title for o in rows if o.context != row.context}
    others = sorted(context for context in titles if not holds_answer(context, golds))
    pool = [context for context in others if titles[context] == row.title] or others
    texts = rng.sample(pool, min(DISTRACTORS, len(pool)))
    texts.insert(rng.randrange(len(texts) + 1), row.context)
    return texts
