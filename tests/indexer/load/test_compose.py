import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.load.compose import TextBuilder, clean, label
from indexer.load.limits import Limits
from rag.errors import LimitExceeded

# Characters that compose with, or change places with, what stands before them; and what must go.
TRICKY = st.sampled_from(
    [
        *("e", "\u0301", "\u0327", "\u0344", "\u1100", "\u1161", "\u11a8", "\u0fb2", "\u0f71"),
        *("\r\n", "\r", "\n", " ", "\t", "\x00", "\x0c", "\x85", "\u2028", "\ufeff", "\x1b[2J"),
        *("\ud83d", "\ude00", "\U0001f600", "Å", "ﬁ", "\u2126", "\u0958", "a\u0323"),
    ]
)
TEXTS = st.lists(st.one_of(TRICKY, st.characters()), max_size=12).map("".join)


@given(TEXTS)
def test_clean_text_can_be_stored_as_it_is(text):
    cleaned = clean(text)
    assert unicodedata.is_normalized("NFC", cleaned)
    cleaned.encode("utf-8")
    assert not any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in cleaned)
    assert clean(cleaned) == cleaned


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("a\r\nb\rc\u2028d\x0ce\x85f", "a\nb\nc\nd\ne\nf"),
        ("e\u0301", "é"),
        ("a\x00b", "ab"),
        ("\ud83d\ude00", "\U0001f600"),
        ("a\ud800b", "a\ufffdb"),
        ("\x1b[31mred", "[31mred"),
    ],
)
def test_clean(given, stored):
    assert clean(given) == stored


@given(st.lists(st.tuples(TEXTS, st.booleans(), st.sampled_from([1, 2])), max_size=8))
def test_marks_point_at_the_first_character_of_their_block(blocks):
    builder = TextBuilder("t", Limits())
    expected = []
    for number, (block, marked, gap) in enumerate(blocks):
        if marked:
            builder.mark("page", f"p{number}")
        before = builder.length
        builder.add(block, gap=gap)
        if marked and builder.length > before:
            expected.append((f"p{number}", clean(block).strip("\n")))
    document = builder.loaded(b"", "text")
    assert unicodedata.is_normalized("NFC", document.text)
    assert builder.length == len(document.text)
    found = {mark.label: mark.start for mark in document.marks}
    for name, block in expected:
        assert document.text.startswith(block, found[name])
        assert found[name] == 0 or document.text[found[name] - 1] == "\n"


def test_the_mark_of_an_empty_page_gives_way_to_the_next():
    builder = TextBuilder("t", Limits())
    builder.mark("page", "1")
    builder.add(" \n")
    builder.mark("page", "2")
    builder.add("text")
    builder.mark("page", "3")
    [mark] = builder.loaded(b"", "text").marks
    assert (mark.label, mark.start) == ("2", 0)


def test_a_page_comes_before_the_heading_it_begins_with():
    builder = TextBuilder("t", Limits())
    builder.mark("heading", "One", 1)
    builder.mark("page", "1")
    builder.add("One")
    assert [mark.kind for mark in builder.loaded(b"", "text").marks] == ["page", "heading"]


def test_too_long_a_text_names_the_setting():
    builder = TextBuilder("big.txt", Limits(max_chars=10))
    builder.add("123456")
    with pytest.raises(LimitExceeded, match=r"^big\.txt: .*10 characters.*RAG_LOAD_MAX_CHARS"):
        builder.add("12345")


def test_label_is_one_short_line():
    assert label("  A\n B\x00 ") == "A B"
    assert label(" \n") is None
    assert label(None) is None
    assert len(label("x" * 1000) or "") == 300
