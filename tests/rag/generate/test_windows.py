"""Checks that windows cover passages and that their offsets are right."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from rag.generate.windows import LONGEST_HEADING, OVERLAP, windows


def word_tokenizer() -> Tokenizer:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.?,!'-"
    vocabulary = ["[UNK]", *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = Tokenizer(
        models.WordPiece({token: i for i, token in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


TOKENIZER = word_tokenizer()


@given(st.lists(st.text(max_size=300), max_size=4), st.integers(OVERLAP + 1, OVERLAP + 40))
def test_windows_cover_every_token(texts: list[str], room: int) -> None:
    found = windows(TOKENIZER, texts, room)
    for passage, text in enumerate(texts):
        whole = TOKENIZER.encode(text, add_special_tokens=False)
        own = [window for window in found if window.passage == passage]
        assert all(0 < len(window.ids) <= room for window in own)
        assert all(len(window.ids) == len(window.offsets) for window in own)
        joined: list[int] = []
        for window in own:
            joined += window.ids[OVERLAP:] if joined else window.ids
        assert joined == whole.ids


@given(st.text(max_size=400))
def test_offsets_are_characters_of_the_passage(text: str) -> None:
    for window in windows(TOKENIZER, [text], OVERLAP + 10):
        for token, (start, end) in zip(window.ids, window.offsets, strict=True):
            assert 0 <= start <= end <= len(text)
            piece = TOKENIZER.id_to_token(token).removeprefix("##")
            if piece != "[UNK]" and text[start:end].isascii():
                assert text[start:end].lower() == piece


def test_control_characters_keep_the_offsets_right() -> None:
    text = "\x01ab\x00 c\x02d\u200b é1"
    (window,) = windows(TOKENIZER, [text], 100)
    assert [text[start:end] for start, end in window.offsets] == list("abcdé1")


def test_a_space_before_a_word_is_none_of_its_characters() -> None:
    tokenizer = Tokenizer(models.WordLevel({"▁one": 0, "▁two": 1, "[UNK]": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    (window,) = windows(tokenizer, ["one two"], 100)
    assert window.offsets == [(0, 3), (4, 7)]


def test_passages_without_tokens_have_no_window() -> None:
    assert windows(TOKENIZER, ["", "  \n", "a", "\x00\x01"], 100)[0].passage == 2
    assert len(windows(TOKENIZER, ["", "  \n", "a", "\x00\x01"], 100)) == 1
    assert windows(TOKENIZER, [], 100) == []


def test_too_little_room_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 64"):
        windows(TOKENIZER, ["a"], OVERLAP)


@given(st.text(max_size=300), st.text(max_size=200), st.integers(OVERLAP + 1, OVERLAP + 60))
def test_headings_take_room_but_no_place(text: str, heading: str, room: int) -> None:
    found = windows(TOKENIZER, [text], room, headings=[heading])
    above = TOKENIZER.encode(heading, add_special_tokens=False).ids
    joined: list[int] = []
    for window in found:
        assert len(window.heading) + len(window.ids) <= room
        assert list(window.heading) == above[len(above) - len(window.heading) :]
        assert len(window.heading) == min(len(above), LONGEST_HEADING, (room - OVERLAP) // 2)
        assert len(window.ids) == len(window.offsets)
        joined += window.ids[OVERLAP:] if joined else window.ids
    assert joined == TOKENIZER.encode(text, add_special_tokens=False).ids


def test_a_long_text_takes_no_quadratic_time() -> None:
    started = time.process_time()
    found = windows(TOKENIZER, ["a b c d " * 25_000], 400)
    assert sum(len(window.ids) for window in found) > 100_000
    assert time.process_time() - started < 5
