import pytest

from rag.generate.overlap import overlap, similarity
from rag.types import Pointer, Token

TEXT = "Ada was born in Aachen. Bela painted the bridge in Hamm."


def at(word: str, passage: int = 1) -> list[Token]:
    start = TEXT.index(word)
    return [
        Token("By", 0.9, 0.0, None),
        Token(word, 0.9, 1.0, Pointer(passage, start, start + len(word))),
    ]


def test_the_answers_sentence_is_compared_with_the_best_one():
    right = overlap("Where did Bela paint the bridge?", ["", TEXT], at("Hamm"))
    assert right["sentence_coverage"] == right["coverage"]
    assert right["sentence_lag"] == 0.0
    wrong = overlap("Where did Bela paint the bridge?", ["", TEXT], at("Aachen"))
    assert wrong["coverage"] == right["coverage"] > 0
    assert wrong["sentence_coverage"] == 0.0
    assert wrong["sentence_lag"] == right["sentence_coverage"]
    assert (right["missing"], right["sentence_missing"]) == (0.0, 0.0)
    assert (wrong["missing"], wrong["sentence_missing"]) == (0.0, 3.0)
    assert right["low_coverage"] == 0.0


def test_a_passage_about_something_else_covers_little():
    other = overlap("Who sold seven barrels of salted herring?", ["", TEXT], at("Hamm"))
    assert other["low_coverage"] == 0.6
    assert other["missing"] == 5.0


@pytest.mark.parametrize("tokens", [[], [Token("By", 0.9, 0.0, None)]])
def test_nothing_copied_is_no_evidence(tokens):
    assert set(overlap("Where?", [TEXT], tokens).values()) == {0.0}


def test_a_question_of_no_content_is_no_evidence():
    assert set(overlap("?!?", ["", TEXT], at("Hamm")).values()) == {0.0}


def test_the_answers_sentence_is_compared_with_the_question(embedder):
    question = "Where did Bela paint the bridge?"
    near = similarity(question, ["", TEXT], at("Hamm"), embedder)
    far = similarity(question, ["", TEXT], at("Aachen"), embedder)
    assert 1 > near > far > 0
    assert embedder.embedded[1:4:2] == [
        "Bela painted the bridge in Hamm.",
        "Ada was born in Aachen.",
    ]


@pytest.mark.parametrize("tokens", [[], [Token("By", 0.9, 0.0, None)]])
def test_nothing_copied_is_like_nothing(tokens, embedder):
    assert similarity("Where?", [TEXT], tokens, embedder) == 0.0


def test_copied_white_space_is_in_no_sentence(embedder):
    gap = [Token(" ", 0.9, 1.0, Pointer(0, 1, 2))]
    assert similarity("Where?", ["  \n  "], gap, embedder) == 0.0
