"""Checks that made claims are true, wrong or altered as they are said to be."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.training.augment import NAME, NUMBER
from rag.training.claims import (
    altered_name,
    altered_number,
    declarative,
    like,
    random_span,
    sentences,
    stated,
    window,
    wrong_answers,
)
from rag.training.data import GoldAnswer
from rag.training.scores import token_f1

CONTEXT = (
    "Ada Lovelace was born in London in 1815. She met Charles Babbage at 17. "
    "The engine had 25,000 parts. It was never built. Her notes came out in 1843."
)
texts = st.text(st.sampled_from("ab AB12,. \né🙂"), max_size=60)
seeds = st.integers(0, 1_000)


@pytest.mark.parametrize(
    ("question", "answer", "statement"),
    [
        ("Who led the expedition?", "Ada", "Ada led the expedition."),
        ("What is a chiton?", "a garment.", "a chiton is a garment."),
        ("what were the parts ?", "wheels", "the parts were wheels."),
        ("Who did Ada meet?", "Charles", None),
        ("What year was it?", "1843", None),
        ("When did it begin?", "in May", None),
        ("", "Ada", None),
    ],
)
def test_questions_with_answers_become_statements(question, answer, statement) -> None:
    assert declarative(question, answer) == statement


def test_short_answers_stay_with_their_question() -> None:
    question = "Who led it?"
    assert stated(question, "Ada", Random(0), declared=0.0) == "Who led it? Ada"
    assert stated(question, "Ada", Random(0), declared=1.0) == "Ada led it."
    assert stated("When?", "In May", Random(0), declared=1.0) == "When? In May"


def test_windows_are_whole_sentences_round_the_answer() -> None:
    at = CONTEXT.index("25,000")
    assert window(CONTEXT, at, at + 6, 0) == "The engine had 25,000 parts."
    wide = window(CONTEXT, at, at + 6)
    assert wide.startswith("She met")
    assert wide.endswith("never built.")
    assert window(CONTEXT, 0, len(CONTEXT), 0) == CONTEXT


@given(texts, st.integers(0, 60), st.integers(0, 60), st.integers(0, 2))
def test_windows_hold_the_characters_asked_for(context, one, other, neighbours) -> None:
    start, end = sorted((min(one, len(context)), min(other, len(context))))
    found = window(context, start, end, neighbours)
    assert found in context
    if sentences(context) and context[start:end].strip():
        assert context[start:end].strip() in found


@given(st.lists(st.sampled_from(CONTEXT.split()), min_size=1, max_size=3), seeds)
def test_wrong_answers_share_nothing_with_a_gold(golds: list[str], seed: int) -> None:
    others = [GoldAnswer("Charles Babbage", CONTEXT.index("Charles")), GoldAnswer("May", None)]
    for text, start in wrong_answers(CONTEXT, golds, others):
        assert CONTEXT.startswith(text, start)
        assert all(token_f1(text, gold) == 0 for gold in golds)
        assert not any(gold.lower() in text.lower() for gold in golds)
    span = random_span(CONTEXT, golds, Random(seed))
    if span is not None:
        assert span[0] in CONTEXT[span[1] :]
        assert all(token_f1(span[0], gold) < 0.2 for gold in golds)


def test_wrong_answers_are_names_numbers_and_others_answers() -> None:
    others = [GoldAnswer("never built", CONTEXT.index("never"))]
    found = [text for text, _ in wrong_answers(CONTEXT, ["London"], others)]
    assert {"Ada Lovelace", "1815", "25,000", "Charles Babbage", "never built"} <= set(found)
    assert "London" not in found
    assert "Charles Babbage" not in dict(wrong_answers(CONTEXT, ["Babbage, Charles"], others))
    starts = [start for _, start in wrong_answers(CONTEXT, ["London"], others)]
    assert starts == sorted(starts)


def test_answers_are_alike_by_digits_and_capitals() -> None:
    found = [("1815", 0), ("Ada", 1), ("never built", 2)]
    assert like("25,000 parts", found) == [("1815", 0)]
    assert like("Charles Babbage", found) == [("Ada", 1)]
    assert like("at night", found) == [("never built", 2)]


@given(seeds, st.lists(st.sampled_from(["1843", "25,000", "17"]), max_size=2))
def test_an_altered_number_is_another_number(seed: int, others: list[str]) -> None:
    text = "It had 1,815 parts in 1843 and 7 wheels."
    changed = altered_number(text, Random(seed), others)
    assert changed is not None
    before, after = NUMBER.findall(text), NUMBER.findall(changed)
    differing = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(differing) == 1
    assert float(differing[0][0].replace(",", "")) != float(differing[0][1].replace(",", ""))
    assert NUMBER.sub("#", text) == NUMBER.sub("#", changed)


@given(seeds)
def test_an_altered_name_is_another_name(seed: int) -> None:
    others = ["Grace Hopper", "charles Babbage"]
    changed = altered_name("He met Charles Babbage.", others, Random(seed))
    assert changed in ("He met Grace Hopper.", "Grace Hopper met Charles Babbage.") or (
        changed is not None and "Grace Hopper" in changed
    )
    assert NAME.findall(str(changed)) != NAME.findall("He met Charles Babbage.")


def test_what_cannot_be_altered_is_left() -> None:
    assert altered_number("no number", Random(0)) is None
    assert altered_name("no name", ["Ada"], Random(0)) is None
    assert altered_name("Ada sang", ["ada"], Random(0)) is None


@given(texts, seeds)
def test_any_text_can_be_asked_for_a_span(context: str, seed: int) -> None:
    found = random_span(context, ["gold"], Random(seed))
    assert found is None or found[0] in context[found[1] :]
