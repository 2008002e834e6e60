import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.chunk import Chunker
from indexer.load.loaded import Loaded, Mark


def count_words(texts):
    return [len(re.findall(r"\w+|[^\w\s]", text)) for text in texts]


def chunks_of(text, marks=(), *, tokens=20, overlap=5, title="Title"):
    chunker = Chunker(count_words, tokens=tokens, overlap=overlap)
    return chunker.chunks(Loaded(text, tuple(marks), None, "text", "0" * 64), title)


PIECES = st.sampled_from(
    ["word ", "Dr. ", "dose. ", "a | b\n", "\n\n", "- item\n", "é😀 ", "x" * 300, "1.5 mg; ", "\t"]
)


@settings(max_examples=200)
@given(st.lists(PIECES, max_size=80).map("".join), st.integers(5, 40), st.data())
def test_offsets_are_exact_and_nothing_visible_is_lost(text, tokens, data):
    overlap = data.draw(st.integers(0, tokens // 2))
    marks = [
        Mark("heading", start, text[start : start + 5].strip(), 1 + start % 3)
        for start in sorted(data.draw(st.sets(st.integers(0, max(0, len(text) - 1)), max_size=4)))
    ]
    covered = [False] * len(text)
    for chunk in chunks_of(text, marks, tokens=tokens, overlap=overlap):
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.text
        assert count_words([chunk.text])[0] <= tokens or len(chunk.text.split("\n")[0]) < 80
        covered[chunk.start : chunk.end] = [True] * (chunk.end - chunk.start)
    assert all(inside or char.isspace() for inside, char in zip(covered, text, strict=True))


def test_no_chunk_is_longer_than_the_limit():
    text = " ".join(f"Sentence number {i} has a few words." for i in range(50)) + " word" * 300
    assert max(count_words([c.text])[0] for c in chunks_of(text)) <= 20


def test_whole_sentences_are_repeated_as_overlap():
    text = " ".join(f"This is number {i}." for i in range(12))
    chunks = chunks_of(text, tokens=15, overlap=5)
    for before, after in itertools.pairwise(chunks):
        assert before.start < after.start < before.end
        assert text[after.start : before.end].count(".") == 1


def test_text_that_repeats_itself_keeps_exact_offsets():
    text = "same same same. " * 60
    starts = [chunk.start for chunk in chunks_of(text, overlap=0)]
    assert starts == sorted(set(starts))
    assert chunks_of(text, overlap=0)[-1].end == len(text.rstrip())


def test_headings_end_chunks_and_become_sections():
    text = "Guideline\nIntro text.\nDose\nGive four.\nStorage\nKeep cold."
    marks = [
        Mark("heading", 0, "Guideline", 1),
        Mark("heading", text.index("Dose"), "Dose", 2),
        Mark("heading", text.index("Storage"), "Storage", 2),
    ]
    chunks = chunks_of(text, marks, title="Guideline")
    assert [(c.section, c.context) for c in chunks] == [
        ("Guideline", "Guideline"),
        ("Guideline > Dose", "Guideline > Dose"),
        ("Guideline > Storage", "Guideline > Storage"),
    ]
    assert chunks[1].text == "Dose\nGive four."


def test_a_bare_heading_goes_with_what_follows():
    text = "Part one\nChapter\nBody text."
    marks = [Mark("heading", 0, "Part one", 1), Mark("heading", 9, "Chapter", 2)]
    (chunk,) = chunks_of(text, marks)
    assert (chunk.text, chunk.section) == (text, "Part one > Chapter")


def test_pages_are_those_where_a_chunk_begins():
    text = "First page text.\nSecond page text."
    marks = [Mark("page", 0, "1"), Mark("page", 17, "2")]
    assert [c.page for c in chunks_of(text, marks, tokens=5, overlap=0)] == [1, 2]


@pytest.mark.parametrize("text", ["", "   \n\t ", "\n"])
def test_text_without_words_has_no_chunks(text):
    assert chunks_of(text) == []


def test_an_endless_word_is_cut():
    chunks = chunks_of("x" * 10_000, tokens=20, overlap=0)
    assert "".join(chunk.text for chunk in chunks) == "x" * 10_000
    assert max(len(chunk.text) for chunk in chunks) <= 20 * 12


def test_metadata_before_the_body_is_in_no_chunk():
    text = "---\ntitle: Dose\n---\nGive four."
    loaded = Loaded(text, (), None, "markdown", "0" * 64, body_start=text.index("Give"))
    (chunk,) = Chunker(count_words).chunks(loaded, "Dose")
    assert (chunk.start, chunk.text) == (text.index("Give"), "Give four.")


@pytest.mark.parametrize("underline", ["", "\n-------"])
def test_a_bare_markdown_heading_is_no_chunk_of_its_own(underline):
    marker = "" if underline else "## "
    heads = [f"{marker}{name}{underline}\n\n" for name in ("[One](a.html)", "Two", "Three")]
    text = f"{heads[0]}{heads[1]}Body text.\n\n{heads[2]}"
    marks = []
    for head, name in zip(heads, ("One", "Two", "Three"), strict=True):
        marks.append(Mark("heading", text.index(head), name, 2))
    loaded = Loaded(text, tuple(marks), None, "markdown", "0" * 64)
    (chunk,) = Chunker(count_words, tokens=60).chunks(loaded, "Title")
    assert (chunk.text, chunk.section) == (text.strip(), "Two")


def test_headings_alone_are_one_chunk():
    text = "One\nTwo"
    (chunk,) = chunks_of(text, [Mark("heading", 0, "One", 1), Mark("heading", 4, "Two", 2)])
    assert (chunk.text, chunk.section) == (text, "One > Two")
