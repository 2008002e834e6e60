"""Checks that composed examples are labelled as what they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest

from rag.training.data import holds_answer, read_questions
from rag.training.negatives import Negatives
from rag.training.pairs import (
    CONTRADICTED,
    SUPPORTED,
    UNRELATED,
    UNSUPPORTED,
    Example,
    PairComposer,
    Shares,
)
from rag.training.scores import token_f1
from rag.training.statements import read_statements
from rag.verify.cross_encoder import LABELS

KINDS = ("wrong", "altered", "opposite", "elsewhere", "sentence")


@pytest.fixture
def composer(question_file, statement_file) -> PairComposer:
    rows = read_questions(question_file)
    return PairComposer(rows, read_statements(statement_file), Negatives(rows, None))


def only(kind: str | None) -> Shares:
    """Claims of one kind; None for gold ones."""
    shares = {name: float(name == kind) for name in KINDS}
    return Shares(typo=0.0, **shares)


def claims(composer: PairComposer, kind: str | None) -> Iterator[tuple[int, str, str, Example]]:
    """(row, claim, evidence, example)."""
    for index in range(len(composer.rows)):
        for seed in range(8):
            example = composer.claim(index, Random(f"{index}/{seed}"), only(kind))
            ((claim, evidence),) = example.pairs
            assert example.relevant == ()
            yield index, claim, evidence, example


def test_statements_keep_their_label(composer) -> None:
    for index, said in enumerate(composer.statements):
        example = composer.nli(index)
        assert example.pairs == ((said.hypothesis, said.premise),)
        assert [LABELS[label] for label in example.labels] == [said.label]


def test_gold_claims_are_borne_out(composer) -> None:
    for index, claim, evidence, example in claims(composer, None):
        row = composer.rows[index]
        if not row.answers:
            assert example.labels != SUPPORTED or claim in row.context
            continue
        assert example.labels == SUPPORTED
        assert claim in {f"{row.question} {answer.text}" for answer in row.answers}
        if row.answers[0].start is not None:
            assert holds_answer(evidence, row.answers)
        assert evidence in row.context


def test_wrong_answers_never_overlap_a_gold(composer) -> None:
    checked = 0
    for index, claim, evidence, example in claims(composer, "wrong"):
        row = composer.rows[index]
        assert evidence in row.context
        if not claim.startswith(row.question):  # where nothing is wrong a sentence is taken
            continue
        if row.answers and example.labels == SUPPORTED:
            continue  # or the gold answer
        wrong = claim.removeprefix(row.question).strip()
        assert example.labels == UNSUPPORTED
        assert wrong
        assert wrong in row.context
        assert all(token_f1(wrong, answer.text) < 0.2 for answer in row.answers)
        checked += 1
    assert checked > 100


def test_altered_claims_differ_from_the_gold_one(composer) -> None:
    seen: Counter[frozenset[int]] = Counter()
    for index, claim, _, example in claims(composer, "altered"):
        row = composer.rows[index]
        gold = {f"{row.question} {answer.text}" for answer in row.answers}
        seen[example.labels] += 1
        if example.labels == CONTRADICTED:
            assert claim.startswith(row.question), "the answer is another"
            assert claim not in gold
        elif example.labels == UNSUPPORTED and row.answers:
            assert claim not in gold
        elif example.labels == SUPPORTED:
            assert claim in gold or claim in row.context
    assert seen[CONTRADICTED] > 20


def test_claims_are_unrelated_to_passages_without_the_answer(composer) -> None:
    seen = 0
    for index, claim, evidence, example in claims(composer, "elsewhere"):
        row = composer.rows[index]
        if example.labels == UNRELATED and claim.startswith(row.question):
            assert not holds_answer(evidence, row.answers)
            assert evidence not in row.context
            seen += 1
    assert seen > 20


def test_sentences_are_supported_as_they_stand_only(composer) -> None:
    seen: Counter[frozenset[int]] = Counter()
    for index, claim, evidence, example in claims(composer, "sentence"):
        context = composer.rows[index].context
        seen[example.labels] += 1
        if example.labels == SUPPORTED:
            assert claim in evidence
        elif example.labels == UNSUPPORTED:
            assert claim not in context
        else:
            assert example.labels == UNRELATED
            assert claim in context
            assert claim not in evidence
    assert min(seen[SUPPORTED], seen[UNSUPPORTED], seen[UNRELATED]) > 5


def test_opposites_are_not_supported(composer) -> None:
    turned = 0
    for index, claim, _, example in claims(composer, "opposite"):
        row = composer.rows[index]
        if row.answers and not claim.startswith(row.question):
            assert example.labels == UNSUPPORTED
            turned += 1
    assert turned > 100


def test_only_the_first_passage_answers(composer) -> None:
    for index, row in enumerate(composer.ranked):
        example = composer.relevance(index, Random(index), Shares(typo=0.0, titled=1.0))
        assert example.labels == frozenset()
        assert example.relevant == (bool(row.answers), *[False] * (len(example.pairs) - 1))
        for number, (question, passage) in enumerate(example.pairs):
            title, text = passage.split("\n", 1)
            assert question == row.question
            assert title in {other.title for other in composer.rows}
            if number == 0:
                assert title == row.title
                assert text in row.context
            else:
                assert not holds_answer(text, row.answers)
    assert not any(row.source == "qamr" for row in composer.ranked)
    plain = composer.relevance(0, Random(0), Shares(typo=0.0, titled=0.0))
    assert "\n" not in plain.pairs[0][1]


def test_long_passages_are_cut_to_whole_sentences_round_the_answer(question_file) -> None:
    row = read_questions(question_file)[0]
    filler = " ".join(f"Filler sentence number {i} stands here." for i in range(40))
    answer = row.answers[0]
    context = f"{filler} {row.context} {filler}"
    moved = type(answer)(answer.text, len(filler) + 1 + (answer.start or 0))
    long = type(row)(row.id, "own", "t", row.question, context, (moved,))
    composer = PairComposer([long], [], Negatives([long], None))
    for seed in range(10):
        ((_, passage),) = composer.relevance(0, Random(seed), Shares(titled=0.0)).pairs
        assert len(passage) <= 560
        assert answer.text in passage
        assert passage in context
        assert passage.endswith(".")


def test_the_same_randomness_gives_the_same_example(composer) -> None:
    for index in range(len(composer.rows)):
        made = [composer.claim(index, Random(f"s/{index}"), Shares()) for _ in range(2)]
        assert made[0] == made[1]
    assert composer.relevance(0, Random(3), Shares()) == composer.relevance(0, Random(3), Shares())
