"""Checks that copied words come out as the source has them, and only whole words."""

from __future__ import annotations

import itertools

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from rag.generate.provenance import Trace
from rag.generate.render import render
from rag.generate.windows import windows
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


@pytest.fixture(scope="module")
def byte_level() -> Tokenizer:
    """As BART's, but without merges: every byte is a token."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(sorted(alphabet))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


@pytest.fixture(scope="module")
def sentencepiece() -> Tokenizer:
    """As T5's: compatibility forms are spelled out, words begin with a mark."""
    pieces = ["▁", "▁the", "▁king", "s", ".", "▁mg", "▁10", "▁1", "⁄", "2", "1", "a", "m", "g"]
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), *((p, -1.0) for p in pieces)], unk_id=0))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def told(tokenizer: Tokenizer, text: str, *, copied: range | None) -> tuple[Token, ...]:
    """Render a whole text as an answer; the tokens in the range are copied from itself."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    (window,) = windows(tokenizer, [text], 500)
    places = [Pointer(0, start, end) for start, end in window.offsets]
    count = len(encoding.ids)
    there = range(count) if copied is None else copied
    pointers = tuple(i if i in there else None for i in range(count))
    shares = tuple(float(p is not None) for p in pointers)
    traced = Trace((-0.1,) * count, -0.1, shares, pointers, 0.0)
    found = render(encoding.ids, traced, places, [text], tokenizer)
    for token in found:
        if token.pointer is not None:
            assert text[token.pointer.start : token.pointer.end] == token.text
    return found


@pytest.mark.parametrize(
    "text", ["Paris won", "(Paris) won.", "Trần Hưng Đạo won", "a 😀 b", "½ x"]
)
@pytest.mark.parametrize("copied", [True, False])
def test_byte_level_pieces_make_whole_words(byte_level, text: str, copied: bool) -> None:
    found = told(byte_level, text, copied=None if copied else range(0))
    assert "".join(token.text for token in found) == text
    assert all((token.pointer is not None) == copied for token in found)


@pytest.mark.parametrize("text", ["the kings.", "½ mg", "10½ mg"])
def test_characters_of_several_pieces_come_once(sentencepiece, text: str) -> None:
    found = told(sentencepiece, text, copied=None)
    assert "".join(token.text for token in found) == text
    assert all(token.pointer is not None for token in found)


def test_written_sentencepieces_make_words(sentencepiece) -> None:
    found = told(sentencepiece, "the kings.", copied=range(0))
    assert [token.text for token in found] == ["the", " kings."]


def test_trailing_white_space_is_no_word(byte_level) -> None:
    found = told(byte_level, "Paris.\n\n", copied=None)
    assert "".join(token.text for token in found) == "Paris."


def test_half_a_number_is_not_copied(tokenizer: Tokenizer) -> None:
    pieces = tokenizer.encode(SOURCE, add_special_tokens=False).tokens
    first, last = pieces.index("1"), pieces.index("50")
    half = written(tokenizer, [(pieces[i], i) for i in range(first, first + 3)])
    assert half
    assert all(token.pointer is None for token in half)
    whole = written(tokenizer, [(pieces[i], i) for i in range(first, last + 1)])
    assert shown(whole) == "1,204.50"
    assert all(token.pointer is not None for token in whole)


def test_nothing_is_nothing(tokenizer: Tokenizer) -> None:
    assert written(tokenizer, []) == ()
