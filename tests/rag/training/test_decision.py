"""Checks the fitted decision on drafts whose worth is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import ClassVar

import numpy as np
import pytest
from pydantic import ValidationError

from rag.decide import FEATURES, VERIFIED, WRITTEN_FEATURES
from rag.errors import UsageError
from rag.generate.manifest import Decision
from rag.training import decision as fitting
from rag.training.data import GoldAnswer, QuestionRow
from rag.training.decision import (
    among_others,
    fit_decision,
    fitted,
    fold_of,
    forms,
    is_right,
    judge,
    weighed,
    with_unanswerable,
)
from rag.training.scores import auc
from rag.types import Draft, Pointer, Token
from rag.verify.guarded import GuardVerifier
from rag.verify.nli import NliVerifier
from rag.verify.saved import Verdicts


def rows(count: int, unanswerable: int) -> list[QuestionRow]:
    made = [
        QuestionRow(str(i), "own", f"t{i % 3}", "Who?", f"Ada {i}.", (GoldAnswer("Ada", 0),))
        for i in range(count)
    ]
    return made + [
        QuestionRow(f"u{i}", "own", f"t{i % 3}", "Who?", f"Nobody {i}.", ())
        for i in range(unanswerable)
    ]


class Telling:
    """Writes "Ada" always, and is surer of it where that is right."""

    batches: ClassVar[list[int]] = []
    embedders: ClassVar[list[object]] = []

    def __init__(self, *_: object, embedder: object = None) -> None:
        self.rng = Random(0)
        self.embedders.append(embedder)

    def write(self, requests):
        self.batches.append(len(requests))
        return [self.draft(texts) for _, texts in requests]

    def draft(self, texts):
        there = any("Ada" in text for text in texts)
        absent = self.rng.gauss(-2.0 if there else 2.0, 1.5)
        features = {"absent": absent, "log_prob": self.rng.gauss(-0.5, 0.1), "finished": 1.0}
        return Draft((Token("Ada", 0.9, 1.0, None),), 0.9, "test", features)


def probability(decision, **features: float) -> float:
    from rag.calibration import sigmoid

    pairs = zip(decision.features, decision.weights, strict=True)
    return sigmoid(decision.intercept + sum(w * features.get(name, 0.0) for name, w in pairs))


def test_a_higher_precision_has_a_higher_threshold(monkeypatch) -> None:
    monkeypatch.setattr(fitting, "CopyGenerator", Telling)
    data = rows(100, 100)
    strict = fit_decision(None, data, precision=0.97)  # type: ignore[arg-type]
    loose = fit_decision(None, data, precision=0.6)  # type: ignore[arg-type]
    assert strict.threshold > loose.threshold
    assert strict.weights[strict.features.index("absent")] < 0
    sure = probability(strict, absent=-3.0, log_prob=-0.5)
    unsure = probability(strict, absent=3.0, log_prob=-0.5)
    assert sure > strict.threshold > unsure


def test_similarity_is_weighed_only_with_an_embedder(monkeypatch, embedder) -> None:
    monkeypatch.setattr(fitting, "CopyGenerator", Telling)
    monkeypatch.setattr(Telling, "embedders", [])
    without = fit_decision(None, rows(60, 60))  # type: ignore[arg-type]
    unmeasured = {"similarity", *VERIFIED}
    assert without.features == tuple(n for n in WRITTEN_FEATURES if n not in unmeasured)
    assert (without.embedder_sha256, without.verifier_sha256) == (None, None)
    similar = fit_decision(None, rows(60, 60), embedder=embedder)  # type: ignore[arg-type]
    assert similar.features == tuple(n for n in WRITTEN_FEATURES if n not in VERIFIED)
    assert similar.embedder_sha256 == embedder.digest
    assert Telling.embedders == [None, embedder]


def test_questions_are_answered_in_batches(monkeypatch) -> None:
    monkeypatch.setattr(fitting, "CopyGenerator", Telling)
    monkeypatch.setattr(Telling, "batches", [])
    seen = []
    fit_decision(None, rows(60, 60), progress=lambda *counts: seen.append(counts))  # type: ignore[arg-type]
    assert Telling.batches == [16] * 18 + [12], "60 + 60 in two forms, 60 in a third"
    assert seen[0] == (16, 300)
    assert seen[-1] == (300, 300)


def test_drafts_keep_their_requests_order(monkeypatch) -> None:
    class Echoing(Telling):
        def draft(self, texts):
            return Draft((Token(texts[0], 0.9, 1.0, None),), 0.9, "test")

    monkeypatch.setattr(fitting, "CopyGenerator", Echoing)
    requests = [("Who?", ["x" * (40 - i)]) for i in range(40)]
    drafts = fitting.written(None, requests, lambda *_: None)  # type: ignore[arg-type]
    assert [draft.text for draft in drafts] == [texts[0] for _, texts in requests]


def test_too_few_questions_are_refused() -> None:
    with pytest.raises(UsageError, match="needs 40 answerable"):
        fit_decision(None, rows(30, 60))  # type: ignore[arg-type]


def placed(count: int) -> list[QuestionRow]:
    """Rows whose answers differ, of three titles."""
    return [
        QuestionRow(
            str(i), "own", f"t{i % 3}", f"Where {i}?", f"In P{i:02}.", (GoldAnswer(f"P{i:02}", 3),)
        )
        for i in range(count)
    ]


def test_other_contexts_are_of_the_same_title() -> None:
    data = placed(30)
    texts = among_others(data[0], data, Random(0))
    assert data[0].context in texts
    assert len(texts) == 5
    titles = {row.context: row.title for row in data}
    assert {titles[text] for text in texts} == {data[0].title}


def test_other_contexts_hold_no_gold_answer() -> None:
    data = placed(12)
    holding = [replace(r, context=f"{r.context} Not p00.") for r in data[3::3]]
    data = [row for row in data if row.title != "t0"] + [data[0], *holding]
    row = next(row for row in data if row.id == "0")
    for seed in range(20):
        others = set(among_others(row, data, Random(seed))) - {row.context}
        assert others
        assert not any("p00" in text for text in others)


def test_made_unanswerable_questions_stay_so_among_others() -> None:
    data = placed(60)
    made = with_unanswerable(data)
    contexts = {row.id: row.context for row in data}
    others = [row for row in made if not row.answers]
    assert len(others) == 30
    for row in others:
        own = contexts[row.id.removesuffix("/other")]
        assert row.context != own
        for seed in range(5):
            assert own not in among_others(row, made, Random(seed))


def test_given_unanswerable_questions_are_enough() -> None:
    assert len(with_unanswerable(rows(20, 30))) == 50


def test_right_is_half_of_a_gold_answer() -> None:
    row = rows(1, 0)[0]
    said = Draft((Token("Ada Lovelace", 0.9, 1.0, None),), 0.9, "test")
    other = Draft((Token("Bela", 0.9, 1.0, None),), 0.9, "test")
    assert is_right(row, [row.context], said)
    assert not is_right(row, [row.context], other)
    assert not is_right(row, ["Another text."], said)
    assert not is_right(rows(0, 1)[0], ["Nobody 0."], said)


def test_questions_with_an_answer_are_also_asked_without_their_context() -> None:
    data = rows(9, 6)
    asked = forms(data)
    counts = Counter(row.id for row, _ in asked)
    assert {counts[row.id] for row in data if not row.answers} == {2}
    assert max(counts[row.id] for row in data if row.answers) == 3
    last = [texts for row, texts in asked if row.id == "0"]
    assert last[0] == [data[0].context]
    assert data[0].context in last[1]


def test_questions_are_also_asked_about_something_else() -> None:
    data = [
        replace(row, question=f"Whom did Ada see in 1{i:03}?", context=f"She saw P{i:02}.")
        for i, row in enumerate(placed(30))
    ]
    made = [(row, texts) for row, texts in forms(data) if row.id.endswith("/swapped")]
    assert len(made) == 30
    asked = {row.id: row.question for row in data}
    for row, texts in made:
        assert row.answers == ()
        assert row.question != asked[row.id.removesuffix("/swapped")]
        assert row.context in texts
    assert forms(data) == forms(data)


def test_evidence_that_never_varies_says_nothing() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(400) < 0.5
    names = WRITTEN_FEATURES[:6]
    features = np.zeros((400, len(names)))
    features[:, 0] = np.where(right, -2.0, 2.0) + rng.normal(size=400)
    features[:, 4] = 1.0  # everything was copied
    groups = [str(i) for i in range(400)]
    decision = fitted(features, right, names, kinds=kinds_of(right), groups=groups)
    assert decision.weights[0] < -0.5
    assert decision.weights[4] == 0.0
    logits = features @ np.array(decision.weights) + decision.intercept
    served = 1 / (1 + np.exp(-logits)) >= decision.threshold
    assert served[right].mean() > 0.9
    assert (~right)[served].mean() < 0.15


@pytest.fixture
def verifier(pair_scorer) -> NliVerifier:
    """Says that Ada is whom a text must name."""
    scorer = pair_scorer(
        lambda claim, text: 0.9 if "Ada" in text else 0.1,
        relevance=lambda question, text: 2.0 if "Ada" in text else -2.0,
    )
    return NliVerifier(scorer, Verdicts(temperature=1, supported=0.5, contradicted=0.5))


def test_a_decision_is_bound_to_the_verifier_whose_verdicts_it_weighs(
    monkeypatch, verifier
) -> None:
    monkeypatch.setattr(fitting, "CopyGenerator", Quoting)
    decision = fit_decision(None, rows(60, 60), verifier=verifier)  # type: ignore[arg-type]
    assert decision.verifier_sha256 == verifier.model_sha256
    weights = dict(zip(decision.features, decision.weights, strict=True))
    assert weights["entailed"] > 0 < weights["relevant"]
    by_rules = fit_decision(None, rows(60, 60), verifier=GuardVerifier())  # type: ignore[arg-type]
    assert by_rules.verifier_sha256 is None
    assert not set(VERIFIED) & set(by_rules.features)


class Quoting(Telling):
    """Copies the first word of the first text, which says nothing of whether it is right."""

    def draft(self, texts):
        word = texts[0].split()[0]
        token = Token(word, 0.9, 1.0, Pointer(0, 0, len(word)))
        return Draft((token,), 0.9, "test", {"absent": self.rng.gauss(0, 1)})


def test_a_draft_is_judged_by_what_it_cites(verifier) -> None:
    texts = ["Ada came.", "Bela left."]
    drafts = {
        at: Draft((Token(word, 0.9, 1.0, Pointer(at, 0, len(word))),), 0.9, "test", {"own": 1.0})
        for at, word in enumerate(("Ada", "Bela"))
    }
    told = [judge(draft, ("Who?", texts), verifier).features for draft in drafts.values()]
    assert [features["own"] for features in told] == [1.0, 1.0]
    assert [features["relevant"] for features in told] == [2.0, -2.0]
    assert told[0]["entailed"] > 0 > told[1]["entailed"]
    assert judge(drafts[0], ("Who?", texts), GuardVerifier()).features == {"own": 1.0}


def test_only_what_is_measured_is_weighed(embedder, verifier) -> None:
    assert weighed(FEATURES, embedder, verifier) == FEATURES
    assert weighed(FEATURES, None, verifier) == FEATURES[1:]
    for rules in (None, GuardVerifier()):
        assert weighed(FEATURES, embedder, rules) == FEATURES[: -len(VERIFIED)]


def synthetic(answerable: int, others: int, seed: int = 0, noise: float = 1.0):
    """One feature that tells right answers, all of them to answerable questions."""
    rng = np.random.default_rng(seed)
    is_answerable = np.arange(answerable + others) < answerable
    right = is_answerable & (rng.random(len(is_answerable)) < 0.8)
    features = np.where(right, 1.0, -1.0)[:, None] + noise * rng.normal(size=(len(right), 1))
    return features, right, is_answerable


def kinds_of(answerable) -> list[str]:
    return [fitting.ANSWERABLE if there else "withdrawn" for there in answerable]


def served_by(decision: Decision, features) -> np.ndarray:
    logits = features @ np.array(decision.weights) + decision.intercept
    return 1 / (1 + np.exp(-logits)) >= decision.threshold


@pytest.mark.parametrize("precision", [0.8, 0.9, 0.95])
def test_the_wanted_precision_is_kept_on_questions_never_seen(precision: float) -> None:
    features, right, answerable = synthetic(3_000, 3_000)
    groups = [str(i) for i in range(len(right))]
    decision = fitted(
        features,
        right,
        ("absent",),
        kinds=kinds_of(answerable),
        groups=groups,
        precision=precision,
    )
    others, truth, _ = synthetic(3_000, 3_000, seed=1)
    served = served_by(decision, others)
    assert truth[served].mean() == pytest.approx(precision, abs=0.03)
    assert served[truth].mean() > 0.4, "and no more is withheld than that takes"


def test_answerable_and_other_questions_weigh_the_same_together() -> None:
    def fit(answerable: int, others: int, *, seed: int) -> Decision:
        features, right, kinds = synthetic(answerable, others, seed)
        groups = [str(i) for i in range(len(right))]
        return fitted(features, right, ("absent",), kinds=kinds_of(kinds), groups=groups)

    even, uneven = fit(3_000, 3_000, seed=2), fit(6_000, 600, seed=3)
    assert uneven.intercept == pytest.approx(even.intercept, abs=0.25)
    assert uneven.threshold == pytest.approx(even.threshold, abs=0.08)


def test_misleading_questions_raise_the_threshold() -> None:
    features, right, answerable = synthetic(2_000, 2_000)
    kinds, groups = kinds_of(answerable), [str(i) for i in range(len(right))]
    plain = fitted(features, right, ("absent",), kinds=kinds, groups=groups)
    rng = np.random.default_rng(5)
    misled = np.concatenate([features, 0.3 + rng.normal(size=(2_000, 1))])
    truth = np.concatenate([right, np.zeros(2_000, dtype=bool)])
    kinds += [fitting.MISLEADING] * 2_000
    groups += [f"m{i}" for i in range(2_000)]
    decision = fitted(misled, truth, ("absent",), kinds=kinds, groups=groups)
    assert decision.weights[0] < plain.weights[0], "they score high and are wrong"
    before, now = served_by(plain, misled), served_by(decision, misled)
    weights = fitting.half_and_half(kinds)
    shares = [(truth * weights)[own].sum() / weights[own].sum() for own in (before, now)]
    assert shares[0] < 0.88
    assert shares[1] == pytest.approx(0.9, abs=0.03)


def test_reading_has_a_threshold_of_its_own() -> None:
    features, right, answerable = synthetic(1_000, 1_000)
    kinds, groups = kinds_of(answerable), [str(i) for i in range(len(right))]
    names = ("absent",)
    one = fitted(features, right, names, kinds=kinds, groups=groups)
    assert one.reading_threshold is None
    two = fitted(features, right, names, kinds=kinds, groups=groups, reading_precision=0.7)
    assert two.threshold == one.threshold
    assert two.reading_threshold is not None
    assert two.reading_threshold < two.threshold


def test_each_kind_without_an_answer_weighs_the_same() -> None:
    kinds = [fitting.ANSWERABLE] * 10 + ["withdrawn"] * 30 + [fitting.MISLEADING] * 5
    weights = fitting.half_and_half(kinds)
    assert weights[:10].sum() == pytest.approx(weights[10:].sum())
    assert weights[10:40].sum() == pytest.approx(weights[40:].sum())


def test_the_threshold_is_chosen_on_questions_the_model_has_not_seen(monkeypatch) -> None:
    chosen_by: list[np.ndarray] = []

    def noted(probabilities, right, precision, *, weights):
        chosen_by.append(probabilities)
        return 0.5

    monkeypatch.setattr(fitting, "threshold_for", noted)
    features = np.random.default_rng(5).normal(size=(240, 60))  # says nothing
    right = np.arange(240) % 2 == 0
    names = tuple(f"feature{i}" for i in range(60))
    groups = [str(i) for i in range(240)]
    decision = fitted(features, right, names, kinds=kinds_of(right), groups=groups)
    own = features @ np.array(decision.weights) + decision.intercept
    assert auc(own.tolist(), right.tolist()) > 0.75, "what it has learned by heart"
    (held,) = chosen_by
    assert 0.35 < auc(held.tolist(), right.tolist()) < 0.65


def test_rows_of_a_context_share_a_fold() -> None:
    groups = ["a", "b", "a", "\ud800", "c", "b"]
    folds = fold_of(groups)
    assert folds[0] == folds[2]
    assert folds[1] == folds[5]
    assert set(fold_of([str(i) for i in range(200)])) == set(range(fitting.FOLDS))
    assert fold_of(["c"])[0] == folds[4], "whatever the others are"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"features": ("entailed",)}, "the verifier that judged it"),
        ({"features": ("absent",), "verifier_sha256": "0" * 64}, "the verifier that judged it"),
        ({"features": ("absent", "words")}, "2 features, 1 weights"),
        ({"features": ("absent",), "threshold": 1.1}, "threshold"),
        ({"features": ("absent",), "weights": (float("nan"),)}, "weights"),
        ({"features": ("absent",), "intercept": float("inf")}, "intercept"),
        ({"features": ("absent",), "verifier": "x"}, "verifier"),
    ],
)
def test_a_decision_that_is_none_is_refused(given: dict[str, object], why: str) -> None:
    usual = {"weights": (1.0,), "intercept": 0.0, "threshold": 0.5}
    with pytest.raises(ValidationError, match=why):
        Decision.model_validate({**usual, **given})
