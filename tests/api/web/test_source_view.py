"""The text of a document version as the source page cuts it."""

from __future__ import annotations

import pytest

from api.web.source_view import SHOWN_CHARS, source_text
from knowledge_bases.knowledge_base import KnowledgeBase
from rag.errors import NotFound, UsageError

OLD = "# One\n\nAlpha 🧊 bravo.\n\n# Two\n\nThe limit is 30 minutes. Charlie delta.\n"


@pytest.fixture
def written(kb, tmp_path):
    def write(text: str, name: str = "a.md") -> KnowledgeBase:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        assert kb.ingest([path]).failed == []
        return kb

    return write


def span_of(text: str, words: str) -> tuple[int, int]:
    return text.index(words), text.index(words) + len(words)


def test_the_pieces_are_the_text_and_the_marked_ones_the_span(written):
    kb = written(OLD)
    for words in ("🧊 bravo", "Two", "bravo.\n\n# Two\n\nThe", OLD, "# One"):
        found = source_text(kb, "a.md", span=span_of(OLD, words))
        assert "".join(piece.text for piece in found.pieces) == OLD
        assert "".join(piece.text for piece in found.pieces if piece.marked) == words
        assert sum(piece.begins for piece in found.pieces) == 1
    assert [p.text.strip("# ") for p in found.pieces if p.level] == ["One", "Two"]
    assert [entry.label for entry in found.contents] == ["One", "Two"]


def test_the_place_of_a_span_is_named_by_its_own_headings(written):
    kb = written("# A\n\nx one\n\n## B\n\ny two\n\n# C\n\nz three\n")
    text = kb.document_at("a.md")[1]
    places = [source_text(kb, "a.md", span=span_of(text, w)).place for w in ("one", "two", "three")]
    assert places == ["A", "A › B", "C"]


@pytest.mark.parametrize(
    ("new", "state"),
    [
        (OLD + "More.\n", "resolved"),
        ("Put before.\n\n" + OLD, "resolved"),
        ("# One\n\nBy new rules the limit is 30 minutes now.\n", "moved"),
        ("# One\n\nThe limit is 45 minutes. Charlie delta.\n", "lost"),
    ],
)
def test_a_newer_version_is_told_with_what_became_of_the_words(written, new, state):
    written(OLD)
    kb = written(new)
    found = source_text(kb, "a.md", version=1, span=span_of(OLD, "limit is 30 minutes"))
    assert found.newer is not None
    assert found.newer.version == 2
    assert found.newer.anchor is not None
    assert found.newer.anchor.state == state
    anchor = found.newer.anchor
    if state == "lost":
        assert anchor.nearest is not None
        assert "45 minutes" in anchor.nearest.text
    else:
        assert new[anchor.start : anchor.end] == "limit is 30 minutes"
        assert f"start={anchor.start}&end={anchor.end}#span" in found.newer.href
    assert source_text(kb, "a.md").newer is None
    assert [one.number for one in found.history] == [2, 1]


def test_a_withdrawn_document_is_still_read_and_said_to_be_withdrawn(written):
    kb = written(OLD)
    kb.delete_document("a.md")
    found = source_text(kb, "a.md", version=1, span=span_of(OLD, "30 minutes"))
    assert found.withdrawn is not None


def test_a_long_text_is_shown_in_parts_that_make_it_up(written):
    lines = [f"Line {n} speaks of nothing but the number {n * 7919}.\n" for n in range(6_000)]
    text = "".join(lines)
    kb = written(text, "long.txt")
    stored = kb.document_at("long.txt")[1]
    span = span_of(stored, lines[3_000].strip())
    cited = source_text(kb, "long.txt", span=span)
    assert cited.last - cited.first <= SHOWN_CHARS
    assert "".join(p.text for p in cited.pieces if p.marked) == lines[3_000].strip()
    assert cited.earlier
    assert cited.later
    shown, at = "", 0
    while at < len(stored):
        part = source_text(kb, "long.txt", first=at)
        assert part.first == at
        shown += "".join(piece.text for piece in part.pieces)
        at = part.last
    assert shown == stored


def test_a_span_longer_than_a_part_is_shown_whole(written):
    text = "word " * 40_000
    kb = written(text, "long.txt")
    found = source_text(kb, "long.txt", span=(10, 150_000))
    assert sum(len(p.text) for p in found.pieces if p.marked) == 149_990


def test_what_is_not_there_is_named(written):
    kb = written(OLD)
    with pytest.raises(NotFound, match=r"b\.md"):
        source_text(kb, "b.md")
    with pytest.raises(NotFound, match="version 7"):
        source_text(kb, "a.md", version=7)
    with pytest.raises(UsageError, match="has no characters 3–3"):
        source_text(kb, "a.md", span=(3, 3))
