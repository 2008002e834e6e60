"""Checks the fitted decision on drafts whose worth is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import ClassVar

import numpy as np
import pytest

from rag.decide import WRITTEN_FEATURES
from rag.errors import UsageError
from rag.training import decision as fitting
from rag.training.data import GoldAnswer, QuestionRow
from rag.training.decision import (
    among_others,
    fit_decision,
    fitted,
    forms,
    is_right,
    with_unanswerable,
)
from rag.types import Draft, Token


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


def test_the_threshold_weighs_wrong_answers_against_right_ones(monkeypatch) -> None:
    monkeypatch.setattr(fitting, "CopyGenerator", Telling)
    data = rows(100, 100)
    strict = fit_decision(None, data, wrong_costs=20.0)  # type: ignore[arg-type]
    loose = fit_decision(None, data, wrong_costs=0.2)  # type: ignore[arg-type]
    assert strict.threshold > loose.threshold
    assert strict.weights[strict.features.index("absent")] < 0
    sure = probability(strict, absent=-3.0, log_prob=-0.5)
    unsure = probability(strict, absent=3.0, log_prob=-0.5)
    assert sure > strict.threshold > unsure


def test_similarity_is_weighed_only_with_an_embedder(monkeypatch, embedder) -> None:
    monkeypatch.setattr(fitting, "CopyGenerator", Telling)
    monkeypatch.setattr(Telling, "embedders", [])
    without = fit_decision(None, rows(60, 60))  # type: ignore[arg-type]
    assert without.features == tuple(n for n in WRITTEN_FEATURES if n != "similarity")
    assert without.embedder_sha256 is None
    weighed = fit_decision(None, rows(60, 60), embedder=embedder)  # type: ignore[arg-type]
    assert weighed.features == WRITTEN_FEATURES
    assert weighed.embedder_sha256 == embedder.digest
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
    decision = fitted(features, right, names, wrong_costs=1.0)
    assert decision.weights[0] < -0.5
    assert decision.weights[4] == 0.0
    logits = features @ np.array(decision.weights) + decision.intercept
    served = 1 / (1 + np.exp(-logits)) >= decision.threshold
    assert served[right].mean() > 0.95
    assert served[~right].mean() < 0.05
