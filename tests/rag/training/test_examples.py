"""Checks that composed examples keep the answer where they say it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from rag.training.data import GoldAnswer, QuestionRow, read_questions
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
        assert 1 <= len(example.passages) <= mix.most_passages  # one where no other fits
    if example.absent:
        assert example.target == [1]
        assert example.span is None
    elif example.span is not None:
        passage, first, last = example.span
        assert 0 <= first <= last < len(example.passages[passage])
        assert example.passages[passage][first : last + 1] == example.target
    assert max(map(len, example.passages)) <= room


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


def row_of(context: str, *answers: str, written: bool = False, **changes) -> QuestionRow:
    """A row with the answers at their first places in the context."""
    golds = tuple(GoldAnswer(a, None if written else context.index(a)) for a in answers)
    row = QuestionRow("1", "own", "t", "Where was Ada born?", context, golds)
    return replace(row, **changes)


def test_made_negatives_of_one_document_stay_answerable(tokenizer: Tokenizer) -> None:
    composer = Composer([row_of("Ada was born in Essen.", "Essen")], tokenizer, reserved_id=1)
    for mix in (replace(PLAIN, negative=1.0), replace(PLAIN, several=1.0)):
        example = composer.compose(0, Random(0), mix)
        assert not example.absent
        assert len(example.passages) == 1
        assert text_of(tokenizer, example.target) == "essen"


def test_distractors_never_hold_the_answer(tokenizer: Tokenizer) -> None:
    rows = [
        row_of("Ada was born in Essen.", "Essen"),
        row_of("In Essen Bela was born.", "Essen", id="2"),
        row_of("Dora was born in Gotha.", "Gotha", id="3"),
    ]
    composer = Composer(rows, tokenizer, reserved_id=1)
    for seed in range(20):
        example = composer.compose(0, Random(seed), replace(PLAIN, several=1.0))
        assert sum("essen" in text_of(tokenizer, ids) for ids in example.passages) == 1


@pytest.mark.parametrize("lone", [0.0, 1.0])
def test_a_long_context_without_sentence_ends_is_cut(tokenizer: Tokenizer, lone: float) -> None:
    context = "born in " * 300 + "Essen " + "born in " * 300
    rows = [row_of(context, "Essen"), row_of(context, id="2")]
    mix = replace(PLAIN, lone_sentence=lone)
    for most, expected in ((None, 224), (60, 60 - 5 - 3)):
        composer = Composer(rows, tokenizer, reserved_id=1, max_positions=most)
        for index in (0, 1):
            example = composer.compose(index, Random(3), mix)
            assert len(example.passages[0]) == expected
            assert most is None or example.longest <= most
        passage, first, last = composer.compose(0, Random(3), mix).span
        assert text_of(tokenizer, composer.compose(0, Random(3), mix).target) == "essen"
        assert (passage, first) == (0, last)


def test_very_short_position_tables_leave_room_for_the_passage(tokenizer: Tokenizer) -> None:
    row = row_of("Ada was born in Essen.", "Essen", question="born " * 60)
    composer = Composer([row], tokenizer, reserved_id=1, max_positions=32)
    assert composer.compose(0, Random(0), PLAIN).longest <= 32


def test_a_removed_sentence_takes_every_gold_answer_along(tokenizer: Tokenizer) -> None:
    context = "Ada was born in Essen. Bela was born in Gotha. Dora was born in Celle."
    mix = replace(PLAIN, removed=1.0)
    both = Composer([row_of(context, "Essen", "Gotha")], tokenizer, reserved_id=1)
    example = both.compose(0, Random(0), mix)
    assert example.absent
    assert text_of(tokenizer, example.passages[0]) == "dora was born in celle ."
    again = Composer([row_of(f"{context} So Essen.", "Essen")], tokenizer, reserved_id=1)
    assert not again.compose(0, Random(0), mix).absent, "the words stand elsewhere too"


def test_written_answers_keep_their_evidence(tokenizer: Tokenizer) -> None:
    filler = "in was in was in was in was in was. " * 30
    context = f"{filler}Emil and Frida were born there together. {filler}"
    row = replace(
        row_of(context, written=True),
        question="What about Frida?",
        answers=(GoldAnswer("Emil and Frida together", None),),
    )
    composer = Composer([row], tokenizer, reserved_id=1)
    for seed in range(10):
        short = replace(PLAIN, passage_tokens=2_000, crop=1.0)
        assert composer.compose(0, Random(seed), short).passages == [composer.texts[context].ids]
        long = composer.compose(0, Random(seed), replace(PLAIN, passage_tokens=40, crop=1.0))
        assert len(long.passages[0]) == 40
        passage = text_of(tokenizer, long.passages[0])
        assert "emil" in passage
        assert "frida" in passage
        assert not long.absent


def test_entailed_statements_are_whole_or_left_out(tokenizer: Tokenizer) -> None:
    premise = "Ada was born in Essen. " * 10 + "Bela was born in Gotha."
    rows = [
        row_of(premise, id=str(entailed), question="Bela was born in Gotha.", entailed=entailed)
        for entailed in (True, False)
    ]
    mix = replace(PLAIN, passage_tokens=20)
    composer = Composer(rows, tokenizer, reserved_id=1)
    whole, cut = (composer.compose(i, Random(0), mix) for i in (0, 1))
    assert (whole.absent, whole.passages) == (False, [composer.texts[premise].ids])
    assert (cut.absent, len(cut.passages[0])) == (True, 20)
    small = Composer(rows, tokenizer, reserved_id=1, max_positions=50)
    assert [row.entailed for row in small.rows] == [False]


def test_framing_tokens_in_a_text_are_hidden(tokenizer: Tokenizer) -> None:
    spelling = Tokenizer.from_str(tokenizer.to_str())
    spelling.add_special_tokens(["[SEP]", "[PAD]"])
    row = row_of("Ada [SEP] was born [PAD] in Essen.", "Essen", question="Where [SEP] was Ada?")
    written = replace(row, id="2", answers=(GoldAnswer("in [SEP] Gotha", None),))
    composer = Composer([row, written], spelling, reserved_id=1, hidden={0, 3, 4})
    for index in (0, 1):
        example = composer.compose(index, Random(0), PLAIN)
        assert not {0, 3, 4} & {*example.question, *example.passages[0], *example.target}
    assert text_of(spelling, composer.compose(0, Random(0), PLAIN).target) == "essen"
    assert Composer([row_of("[SEP]")], spelling, reserved_id=1, hidden={4}).rows == []


def test_sentences_begin_at_words_where_tokens_hold_the_space_before_them() -> None:
    words = "▁Ada ▁sang. ▁Bela ▁wept.".split()
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "▁Ada"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    composer = Composer([row_of("Ada sang. Bela wept.")], tokenizer, reserved_id=9)
    (text,) = composer.texts.values()
    assert text.sentences == [(0, 2), (2, 4)]
    assert text.starts == [0, 4, 10, 15]


def test_halves_of_surrogate_pairs_are_read_over(tokenizer: Tokenizer) -> None:
    row = row_of("Ada \ud800 was born in Essen.", "Essen", question="Where \udfff was Ada?")
    example = Composer([row], tokenizer, reserved_id=1).compose(0, Random(0), PLAIN)
    assert text_of(tokenizer, example.target) == "essen"
