"""Checks that composed examples keep the answer where they say it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rag.training.data import read_questions
from rag.training.examples import Composer, Mix

PLAIN = Mix(
    typo=0, negative=0, swapped=0, opposite=0, removed=0, crop=0, several=0, lone_sentence=1.0
)


@pytest.fixture
def composer(question_file: Path, tokenizer: Tokenizer) -> Composer:
    return Composer(read_questions(question_file), tokenizer, reserved_id=1)


def text_of(tokenizer: Tokenizer, ids: list[int]) -> str:
    return " ".join(str(tokenizer.id_to_token(i)) for i in ids).replace(" ##", "")


def test_a_plain_example_is_its_row(composer: Composer, tokenizer: Tokenizer) -> None:
    for index, row in enumerate(composer.rows):
        example = composer.compose(index, Random(0), PLAIN)
        assert len(example.passages) == 1
        assert example.passages[0] == composer.texts[row.context].ids
        assert example.absent == (not row.answers)
        if row.answers:
            assert text_of(tokenizer, example.target).strip(" .") == row.answers[
                0
            ].text.lower().strip(" .")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    index=st.integers(0, 23),
    seed=st.integers(),
    room=st.integers(16, 80),
    several=st.sampled_from([0.0, 1.0]),
    crop=st.sampled_from([0.0, 1.0]),
)
def test_the_target_stands_at_the_span(
    composer: Composer, index: int, seed: int, room: int, several: float, crop: float
) -> None:
    mix = Mix(passage_tokens=room, several=several, crop=crop, lone_sentence=0.3)
    example = composer.compose(index, Random(seed), mix)
    assert example == composer.compose(index, Random(seed), mix)
    assert example.question
    assert all(example.passages)
    if several:
        assert 2 <= len(example.passages) <= mix.most_passages
    if example.absent:
        assert example.target == [1]
        assert example.span is None
    elif example.span is not None:
        passage, first, last = example.span
        assert 0 <= first <= last < len(example.passages[passage])
        assert example.passages[passage][first : last + 1] == example.target
    longest = max(len(composer.texts[row.context].ids) for row in composer.rows)
    assert max(map(len, example.passages)) <= max(room, longest)


def test_made_negatives_do_not_hold_the_answer(composer: Composer, tokenizer: Tokenizer) -> None:
    mix = Mix(
        typo=0, negative=1.0, swapped=0, opposite=0, removed=0, several=0, crop=0, lone_sentence=1.0
    )
    for index, row in enumerate(composer.rows):
        if not row.answers:
            continue
        example = composer.compose(index, Random(index), mix)
        assert example.absent
        passage = text_of(tokenizer, example.passages[0])
        assert not any(answer.text.lower() in passage for answer in row.answers)


def test_opposite_questions_have_no_answer(composer: Composer, tokenizer: Tokenizer) -> None:
    mix = Mix(typo=0, negative=0, swapped=0, opposite=1.0, several=0, crop=0, lone_sentence=1.0)
    index = next(i for i, r in enumerate(composer.rows) if r.source == "squad2" and r.answers)
    example = composer.compose(index, Random(0), mix)
    assert example.absent
    asked = text_of(tokenizer, example.question)
    assert " not " in asked or " never " in asked


def test_a_removed_sentence_takes_the_answer_along(
    composer: Composer, tokenizer: Tokenizer
) -> None:
    mix = replace(PLAIN, removed=1.0)
    index = next(i for i, r in enumerate(composer.rows) if r.source == "squad2" and r.answers)
    row = composer.rows[index]
    example = composer.compose(index, Random(0), mix)
    assert example.absent
    passage = text_of(tokenizer, example.passages[0])
    assert row.answers[0].text.lower() not in passage
    own = composer.texts[row.context].sentences
    assert len(example.passages[0]) == own[-1][1] - (own[0][1] - own[0][0])


def test_single_sentences_get_neighbours(composer: Composer) -> None:
    index = next(i for i, row in enumerate(composer.rows) if row.source == "qamr")
    own = composer.texts[composer.rows[index].context].ids
    mix = Mix(
        typo=0, negative=0, swapped=0, opposite=0, removed=0, crop=0, several=0, lone_sentence=0.0
    )
    lengths = Counter(
        len(composer.compose(index, Random(seed), mix).passages[0]) > len(own) for seed in range(50)
    )
    assert lengths[True] > 40


def test_gold_passages_stand_anywhere(composer: Composer) -> None:
    index = next(i for i, r in enumerate(composer.rows) if r.source == "squad2" and r.answers)
    mix = Mix(negative=0, swapped=0, opposite=0, removed=0, several=1.0, most_passages=3)
    places = Counter()
    for seed in range(100):
        span = composer.compose(index, Random(seed), mix).span
        assert span is not None
        places[span[0]] += 1
    assert set(places) == {0, 1, 2}
