"""Checks the verifier's figures with a cross-encoder whose probabilities are known."""

from __future__ import annotations

import gzip
import json
from random import Random

import numpy as np
import pytest

from eval.suites.verifier import (
    Grounded,
    _balanced,
    _cross_fitted,
    answers_told_apart,
    entailment,
    grounded,
    grounding,
    shared,
    wrong_choice,
)
from rag.errors import UsageError
from rag.training.data import GoldAnswer, QuestionRow
from rag.training.statements import Statement
from rag.verify.nli import NliVerifier
from rag.verify.saved import Verdicts

VERDICTS = Verdicts(temperature=1, supported=0.5, contradicted=0.5)


def test_shared_words_are_a_share_of_the_claims() -> None:
    assert shared("The dose is 4 g.", ["A dose of 4 g.", "x"]) == 1.0
    assert shared("The dose is 4 g.", ["A dose of", "8 g."]) == pytest.approx(2 / 3)
    assert shared("The dose is 4 g.", []) == 0.0
    assert shared("Is it?", ["It is."]) == 0.0, "no content words"


def said(premise: str, hypothesis: str, label: str, source: str = "snli") -> Statement:
    return Statement(premise, hypothesis, label, source)


def test_accuracy_is_that_of_the_likeliest_label(pair_scorer) -> None:
    table = {"e": (0.6, 0.1), "n": (0.3, 0.3), "c": (0.1, 0.8)}
    scorer = pair_scorer(lambda claim, text: table[text][0], lambda claim, text: table[text][1])
    figures = entailment(
        scorer,
        [
            said("e", "x", "entailment"),
            said("n", "x", "neutral"),
            said("c", "x", "contradiction"),
            said("e", "x", "neutral"),
            said("c", "y", "contradiction", "fever-symmetric"),
            said("e", "y", "contradiction", "fever-symmetric"),
        ],
    )
    assert {name: mean for name, (mean, _, _) in figures.items()} == {
        "fever-symmetric: accuracy": 0.5,
        "snli: accuracy": 0.75,
    }
    assert scorer.pairs[0] == ("x", "e"), "the hypothesis is the claim"


def test_of_two_labels_the_likelier_counts(pair_scorer) -> None:
    unsure = pair_scorer(lambda claim, text: 0.2, lambda claim, text: 0.1)
    rows = [said("x", "y", "entailment", source) for source in ("fever-symmetric", "snli")]
    figures = entailment(unsure, rows)
    assert figures["fever-symmetric: accuracy"][0] == 1.0
    assert figures["snli: accuracy"][0] == 0.0


def test_a_reranker_tells_no_entailment(pair_scorer) -> None:
    with pytest.raises(UsageError, match="no entailment head"):
        entailment(pair_scorer(relevance=lambda question, text: 0.0), [said("x", "y", "neutral")])


def test_rows_of_other_systems_are_read(tmp_path) -> None:
    path = tmp_path / "dev.jsonl.gz"
    row = {"claim": "C", "evidence": ["a", "b"], "supported": True, "source": "s"}
    path.write_bytes(gzip.compress((json.dumps(row) + "\n").encode()))
    assert grounded(path) == [Grounded("C", ("a", "b"), True, "s")]


def test_a_method_that_tells_all_apart_is_ahead_of_one_that_does_not(pair_scorer) -> None:
    def supports(claim: str, text: str) -> float:
        return (0.9 if claim.rstrip(".") in text else 0.1) if "\n" not in text else 0.5

    rows = [
        Grounded(
            f"Fact {i}.", ("Nothing.", f"Fact {i if i % 2 else 'none'} it is."), i % 2 == 1, "s"
        )
        for i in range(100, 160)
    ]
    scorer = pair_scorer(supports)
    figures = {k: v[0] for k, v in grounding(NliVerifier(scorer, VERDICTS), scorer, rows).items()}
    assert figures["grounding, sentence by sentence: balanced accuracy"] == 1.0
    assert figures["grounding, sentence by sentence: AUC"] == 1.0
    assert figures["grounding, one call: AUC"] == 0.5
    assert figures["grounding, one call: balanced accuracy"] == pytest.approx(0.5)
    assert figures["grounding: ahead of one call"] == pytest.approx(0.5)
    assert figures["grounding, verdicts as they are: balanced accuracy"] == 1.0


def test_thresholds_come_from_the_other_folds() -> None:
    wanted = np.arange(100) % 2 == 0
    assert _cross_fitted(np.where(wanted, 0.8, 0.2), wanted).all()
    noise = np.random.default_rng(0).random(400)
    labels = np.random.default_rng(1).random(400) < 0.5
    assert _cross_fitted(noise, labels).mean() < 0.6, "the own fold would give more"


def test_balanced_accuracy_is_the_mean_over_classes() -> None:
    wanted = np.array([True] * 90 + [False] * 10)
    mean, low, high = _balanced(wanted, wanted)
    assert mean == 0.5, "always saying yes is half right"
    assert low <= mean <= high


def row(number: int, answer: str, context: str) -> QuestionRow:
    start = context.index(answer)
    gold = (GoldAnswer(answer, start),)
    return QuestionRow(str(number), "squad2", "t", f"Who {number}?", context, gold)


def test_gold_answers_are_told_from_others_of_the_passage(pair_scorer) -> None:
    contexts = [f"Ada Stone came in {1900 + i}. Bela Field left in {1950 + i}." for i in range(20)]
    rows = [row(i, "Ada Stone", context) for i, context in enumerate(contexts)]
    scorer = pair_scorer(lambda claim, text: 0.9 if claim.endswith("Ada Stone") else 0.1)
    figures = answers_told_apart(NliVerifier(scorer, VERDICTS), rows)
    assert {name: mean for name, (mean, _, _) in figures.items()} == {
        "squad2, gold or wrong answer: AUC": 1.0,
        "squad2: gold answers supported": 1.0,
        "squad2: wrong answers supported": 0.0,
    }


def test_a_wrong_answer_is_of_the_same_kind_and_stands_where_it_says() -> None:
    own = row(0, "Ada Stone", "Ada Stone came in 1903. Bela Field left in 1955.")
    for seed in range(10):
        found = wrong_choice(own, [own], Random(seed))
        assert found is not None
        text, at = found
        assert own.context[at:].startswith(text)
        assert "Ada" not in text
    alone = row(1, "ada", "there is only ada here.")
    assert wrong_choice(alone, [alone], Random(0)) is None
