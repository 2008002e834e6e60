"""Checks what is held out to measure on, and the figures."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig

from rag.training import verifier_measures as module
from rag.training.data import QuestionRow, holds_answer, read_questions
from rag.training.pairs import Shares
from rag.training.scores import token_f1
from rag.training.statements import read_statements
from rag.training.verifier_measures import Held, measured, scores, verdict_claims
from rag.verify.cross_encoder import Framing, PairModel

FRAMING = Framing(start=3, separator=4, padding=0)


@pytest.fixture
def rows(question_file) -> list[QuestionRow]:
    return read_questions(question_file)


@pytest.fixture
def held(rows, statement_file, tokenizer) -> Held:
    return Held.of(rows, read_statements(statement_file), None, tokenizer, FRAMING, seed=1)


class Oracle(nn.Module):
    """Gives each pair of token ids the logits that it was told."""

    def __init__(self, told: dict[tuple[int, ...], tuple[list[float], float]]) -> None:
        super().__init__()
        self.told = told
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, input_ids, token_type_ids, attention_mask):
        keys = [
            tuple(ids[mask.bool()].tolist())
            for ids, mask in zip(input_ids, attention_mask, strict=True)
        ]
        labels = torch.tensor([self.told[key][0] for key in keys])
        return labels, torch.tensor([self.told[key][1] for key in keys])


def oracle(held: Held, told) -> Oracle:
    pairs = list(told)
    made = module.encode_pairs(held.tokenizer, pairs, held.framing)
    return Oracle({tuple(row.ids): told[pair] for row, pair in zip(made, pairs, strict=True)})


def test_held_out_claims_are_one_true_one_wrong(held: Held, rows) -> None:
    assert len(held.claims) > 10
    assert Counter(true for _, true in held.claims) == {
        True: len(held.claims) // 2,
        False: len(held.claims) // 2,
    }
    for ((gold, evidence), _), ((wrong, _), _) in zip(
        held.claims[::2], held.claims[1::2], strict=True
    ):
        row = next(row for row in rows if row.answers and gold.startswith(row.question))
        assert evidence in {other.context for other in rows} or any(
            evidence in other.context for other in rows
        )
        answer = gold.removeprefix(row.question).strip()
        assert answer in evidence
        assert token_f1(wrong.removeprefix(row.question), answer) == 0


def test_the_first_of_ranked_passages_answers(held: Held, rows) -> None:
    assert held.rankings
    for ranking in held.rankings:
        question, first = ranking[0]
        own = [row for row in rows if row.question == question and row.context.startswith(first)]
        assert any(row.answers for row in own)
        answers = next(row.answers for row in own if row.answers)
        assert not any(holds_answer(text, answers) for _, text in ranking[1:])


def test_the_seed_decides_what_is_held(rows, tokenizer) -> None:
    one, again, other = (Held.of(rows, [], None, tokenizer, FRAMING, seed=s) for s in (1, 1, 2))
    assert (one.claims, one.rankings) == (again.claims, again.rankings)
    assert one.rankings != other.rankings


def test_figures_are_of_what_the_model_says(held: Held) -> None:
    told = {}
    for said in held.statements:  # right on "even", "neutral" always on "odd"
        place = ("entailment", "neutral", "contradiction").index(said.label)
        logits = [0.0, 0.0, 0.0]
        logits[place if said.source == "even" else 1] = 1.0
        told[said.hypothesis, said.premise] = (logits, 0.0)
    for pair, true in held.claims:
        told[pair] = ([1.0 if true else -1.0, 0.0, 0.0], 0.0)
    for ranking in held.rankings:
        for place, pair in enumerate(ranking):
            told[pair] = (told.get(pair, ([0.0] * 3, 0.0))[0], 1.0 if place == 1 else 0.5)
        told[ranking[0]] = (told.get(ranking[0], ([0.0] * 3, 0.0))[0], 0.75)
    figures = measured(oracle(held, told), held)
    assert figures["even_accuracy"] == 100.0
    assert figures["odd_accuracy"] == pytest.approx(100 / 3)
    assert figures["claims_auc"] == 100.0
    assert 50.0 <= figures["mrr"] < 100.0
    assert list(figures) == sorted(figures)


def test_what_was_not_held_out_is_left_out(tokenizer) -> None:
    nothing = Held.of([], [], None, tokenizer, FRAMING, seed=0)
    assert measured(Oracle({}), nothing) == {}


def test_scores_are_in_order_and_leave_the_model_as_it_was(tokenizer) -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
    )
    model = PairModel(config).train()
    pairs = [("ada was born " * n, "in aachen " * (9 - n)) for n in (5, 1, 8, 3)]
    labels, relevance = scores(model, pairs, tokenizer, FRAMING)
    assert model.training
    for i, pair in enumerate(pairs):
        alone = scores(model, [pair], tokenizer, FRAMING)
        np.testing.assert_allclose(labels[i], alone[0][0], atol=1e-6)
        np.testing.assert_allclose(relevance[i], alone[1][0], atol=1e-6)
    assert scores(model, [], tokenizer, FRAMING)[0].shape == (0, 3)


def test_verdicts_are_fitted_on_statements_and_a_few_claims_of_each_row(
    rows, statement_file
) -> None:
    said = read_statements(statement_file)
    pairs, allowed = verdict_claims(rows, said, None, Shares(), seed=1)
    assert pairs[: len(said)] == [(one.hypothesis, one.premise) for one in said]
    names = ("entailment", "neutral", "contradiction")
    assert [names[i] for i in allowed[: len(said)].argmax(1)] == [one.label for one in said]
    assert allowed.any(1).all()
    made = pairs[len(said) :]
    assert len(rows) < len(made) <= 3 * len(rows)
    kinds = {tuple(row) for row in allowed[len(said) :].tolist()}
    assert {(True, False, False), (False, True, True)} <= kinds
    again = verdict_claims(rows, said, None, Shares(), seed=1)
    assert again[0] == pairs
    assert (again[1] == allowed).all()
    assert verdict_claims(rows, said, None, Shares(), seed=2)[0] != pairs


def test_many_held_out_rows_give_some_claims(rows, monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_CLAIMS", 30)
    pairs, allowed = verdict_claims(rows, [], None, Shares(), seed=1)
    assert 10 < len(pairs) == len(allowed) <= 30
    empty, none = verdict_claims([], [], None, Shares(), seed=1)
    assert empty == []
    assert none.shape == (0, 3)
