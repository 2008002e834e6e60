"""Checks the fitted decision on drafts whose worth is known."""

from __future__ import annotations

from random import Random

import pytest

from rag.errors import UsageError
from rag.training import decision as fitting
from rag.training.data import GoldAnswer, QuestionRow
from rag.training.decision import among_others, fit_decision, is_right, with_unanswerable
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

    def __init__(self, *_: object, **__: object) -> None:
        self.rng = Random(0)

    def write(self, requests):
        ((_, texts),) = requests
        there = any("Ada" in text for text in texts)
        absent = self.rng.gauss(-2.0 if there else 2.0, 1.5)
        features = {"absent": absent, "log_prob": self.rng.gauss(-0.5, 0.1), "finished": 1.0}
        return [Draft((Token("Ada", 0.9, 1.0, None),), 0.9, "test", features)]


def probability(decision, **features: float) -> float:
    from rag.calibration import sigmoid

    pairs = zip(decision.features, decision.weights, strict=True)
    return sigmoid(decision.intercept + sum(w * features.get(name, 0.0) for name, w in pairs))


def test_the_threshold_withholds_the_share_asked_for(monkeypatch) -> None:
    monkeypatch.setattr(fitting, "CopyGenerator", Telling)
    data = [row for row in rows(100, 100) if True]
    for row in range(100, 200):
        data[row] = QuestionRow(f"u{row}", "own", "empty", "Who?", f"Nobody {row}.", ())
    strict = fit_decision(None, data, withheld=0.95)  # type: ignore[arg-type]
    loose = fit_decision(None, data, withheld=0.5)  # type: ignore[arg-type]
    assert strict.threshold > loose.threshold
    assert strict.weights[strict.features.index("absent")] < 0
    sure = probability(strict, absent=-3.0, log_prob=-0.5)
    unsure = probability(strict, absent=3.0, log_prob=-0.5)
    assert sure > strict.threshold > unsure


def test_too_few_questions_are_refused() -> None:
    with pytest.raises(UsageError, match="needs 40 answerable"):
        fit_decision(None, rows(30, 60))  # type: ignore[arg-type]


def test_other_contexts_are_of_the_same_title() -> None:
    data = rows(30, 0)
    texts = among_others(data[0], data, Random(0))
    assert data[0].context in texts
    assert len(texts) == 5
    titles = {row.context: row.title for row in data}
    assert {titles[text] for text in texts} == {data[0].title}


def test_missing_unanswerable_questions_are_made() -> None:
    made = with_unanswerable(rows(60, 0))
    others = [row for row in made if not row.answers]
    assert len(others) == 30
    contexts = {row.id: row.context for row in rows(60, 0)}
    assert all(row.context != contexts[row.id.removesuffix("/other")] for row in others)
    assert len(with_unanswerable(rows(20, 30))) == 50


def test_right_is_half_of_a_gold_answer() -> None:
    row = rows(1, 0)[0]
    said = Draft((Token("Ada Lovelace", 0.9, 1.0, None),), 0.9, "test")
    other = Draft((Token("Bela", 0.9, 1.0, None),), 0.9, "test")
    assert is_right(row, said)
    assert not is_right(row, other)
    assert not is_right(rows(0, 1)[0], said)
