"""Checks that copied words come out as the source has them, and only whole words."""

from __future__ import annotations

import itertools

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from rag.generate.provenance import Trace
from rag.generate.render import render
from rag.types import Pointer, Token

SOURCE = "The café paid $1,204.50 to Žofia O'Brien-Müller; the superbowl in Rhône-Alpes."
WORDS = [
    "the",
    "cafe",
    "paid",
    "$",
    "1",
    ",",
    "204",
    ".",
    "50",
    "to",
    "zofia",
    "o",
    "'",
    "brien",
    "-",
    "muller",
    ";",
    "super",
    "##bowl",
    "in",
    "rhone",
    "alpes",
    "king",
    "##s",
    "is",
    "200",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    ids = {token: i for i, token in enumerate(["[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def written(tokenizer: Tokenizer, answer: list[tuple[str, int | None]]) -> tuple[Token, ...]:
    """Render an answer given as (piece, source token or None for a written piece)."""
    encoding = tokenizer.encode(SOURCE, add_special_tokens=False)
    places = [Pointer(0, start, end) for start, end in encoding.offsets]
    tokens = [tokenizer.token_to_id(piece) for piece, _ in answer]
    for token, (_, pointer) in zip(tokens, answer, strict=True):
        assert pointer is None or encoding.ids[pointer] == token
    traced = Trace(
        log_probs=tuple(-0.1 for _ in answer),
        end_log_prob=-0.1,
        copy_shares=tuple(0.0 if pointer is None else 1.0 for _, pointer in answer),
        pointers=tuple(pointer for _, pointer in answer),
        absent=0.0,
    )
    return render(tokens, traced, places, [SOURCE], tokenizer)


def shown(tokens: tuple[Token, ...]) -> str:
    for token in tokens:
        if token.pointer is not None:
            assert SOURCE[token.pointer.start : token.pointer.end] == token.text
    return "".join(token.text for token in tokens)


def second_the() -> tuple[int, int]:
    start = SOURCE.index("the super")
    return start, start + 3


def run(tokenizer: Tokenizer, first: int, last: int) -> list[tuple[str, int | None]]:
    pieces = tokenizer.encode(SOURCE, add_special_tokens=False).tokens
    return [(pieces[i], i) for i in range(first, last + 1)]


def test_a_run_is_the_source_s_own_characters(tokenizer: Tokenizer) -> None:
    count = len(tokenizer.encode(SOURCE, add_special_tokens=False).ids)
    tokens = written(tokenizer, run(tokenizer, 0, count - 1))
    assert shown(tokens) == SOURCE
    assert all(token.pointer is not None for token in tokens)
    follows = itertools.pairwise(tokens)
    assert all(a.pointer and b.pointer and a.pointer.end == b.pointer.start for a, b in follows)


def test_numbers_and_names_keep_their_form(tokenizer: Tokenizer) -> None:
    assert shown(written(tokenizer, run(tokenizer, 3, 8))) == "$1,204.50"
    assert shown(written(tokenizer, run(tokenizer, 10, 15))) == "Žofia O'Brien-Müller"


def test_written_words_are_set_apart(tokenizer: Tokenizer) -> None:
    answer = [("king", None), *run(tokenizer, 10, 10), ("is", None), ("in", None), (".", None)]
    tokens = written(tokenizer, answer)
    assert shown(tokens) == "king Žofia is in."
    assert [token.text for token in tokens if token.pointer] == ["Žofia"]


def test_two_runs_do_not_touch(tokenizer: Tokenizer) -> None:
    tokens = written(tokenizer, [*run(tokenizer, 1, 1), *run(tokenizer, 10, 10)])
    assert [(token.text, token.pointer is None) for token in tokens] == [
        ("café", False),
        (" ", True),
        ("Žofia", False),
    ]


def test_half_a_source_word_is_not_copied(tokenizer: Tokenizer) -> None:
    pieces = tokenizer.encode(SOURCE, add_special_tokens=False).tokens
    half = pieces.index("super")
    tokens = written(tokenizer, [("the", half - 1), ("super", half)])
    assert shown(tokens) == "the super"
    assert [token.pointer is not None for token in tokens] == [True, False]


def test_a_copied_piece_with_a_written_ending_is_not_copied(tokenizer: Tokenizer) -> None:
    pieces = tokenizer.encode(SOURCE, add_special_tokens=False).tokens
    tokens = written(tokenizer, [("cafe", pieces.index("cafe")), ("##s", None)])
    assert shown(tokens) == "cafes"
    assert tokens[0].pointer is None


def test_the_same_word_elsewhere_starts_a_new_run(tokenizer: Tokenizer) -> None:
    pieces = tokenizer.encode(SOURCE, add_special_tokens=False).tokens
    second = pieces.index("the", 1)
    tokens = written(tokenizer, [("the", second), ("cafe", 1)])
    assert shown(tokens) == "the café"
    assert tokens[0].pointer == Pointer(0, *second_the())


def test_probability_of_a_word_is_that_of_all_its_pieces(tokenizer: Tokenizer) -> None:
    pieces = tokenizer.encode(SOURCE, add_special_tokens=False).tokens
    half = pieces.index("super")
    (token,) = written(tokenizer, [("super", half), ("##bowl", half + 1)])
    assert token.text == "superbowl"
    assert token.probability == pytest.approx(2.718281828**-0.2)


def test_vocabularies_that_mark_the_start_of_words() -> None:
    tokenizer = Tokenizer(
        models.WordLevel({"▁the": 0, "▁king": 1, "s": 2, ".": 3, "[UNK]": 4}, unk_token="[UNK]")
    )
    tokenizer.decoder = decoders.Metaspace()
    traced = Trace((0.0,) * 4, 0.0, (0.0,) * 4, (None,) * 4, 0.0)
    tokens = render([0, 1, 2, 3], traced, [], [], tokenizer)
    assert [token.text for token in tokens] == ["the", " kings", "."]


def test_nothing_is_nothing(tokenizer: Tokenizer) -> None:
    assert written(tokenizer, []) == ()
