"""Checks that citations are found in newer texts where their words still stand, and only there."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge_bases.audit.anchors import Quoted, reanchor
from knowledge_bases.audit.positions import mapped

OLD = (
    "Storage of medicines\n"
    "Keep insulin in the fridge between 2 and 8 degrees.\n"
    "Adults: give 4 g in 24 hours at most.\n"
    "Children: give 4 g in 24 hours never.\n"
    "Report every incident to the duty pharmacist on bleep 2417.\n"
)


def quoted(text: str, words: str, occurrence: int = 0) -> Quoted:
    start = -1
    for _ in range(occurrence + 1):
        start = text.index(words, start + 1)
    return Quoted.of(text, start, start + len(words))


def found(words: str, new: str, occurrence: int = 0, *, with_old: bool = True):
    anchor = reanchor(quoted(OLD, words, occurrence), new, old_text=OLD if with_old else None)
    if anchor.state != "lost":
        assert new[anchor.start : anchor.end] == words
    return anchor


@pytest.mark.parametrize("with_old", [True, False])
def test_in_the_same_text_every_quote_is_resolved(with_old):
    for occurrence in (0, 1):
        anchor = found("4 g", OLD, occurrence, with_old=with_old)
        assert (anchor.state, anchor.start) == ("resolved", quoted(OLD, "4 g", occurrence).start)


@pytest.mark.parametrize("with_old", [True, False])
@pytest.mark.parametrize("occurrence", [0, 1])
def test_text_before_a_quote_shifts_it(with_old, occurrence):
    new = "A new first paragraph of some length.\n\n" + OLD
    anchor = found("4 g", new, occurrence, with_old=with_old)
    assert anchor.state == "resolved"
    assert anchor.start == new.index("4 g", new.index(("Adults", "Children")[occurrence]))


def test_a_quote_in_other_surroundings_has_moved():
    new = "See also: between 2 and 8 degrees, in Appendix B."
    anchor = found("between 2 and 8 degrees", new)
    assert (anchor.state, anchor.start) == ("moved", new.index("between"))


def test_context_tells_equal_quotes_apart_when_they_change_places():
    lines = OLD.splitlines(keepends=True)
    new = "".join([lines[0], lines[3], lines[1], lines[2], lines[4]])
    anchor = found("4 g in 24 hours", new)
    assert anchor.start == new.index("4 g", new.index("Adults"))


def test_a_diff_tells_equal_quotes_apart_whose_context_says_nothing():
    rows = [f"row {i}\n" + "yes " * 30 + f"\nend {i}\n" for i in range(9)]
    old = "".join(rows)
    start = old.index("row 6") + len("row 6\n") + 4 * 15
    new = "".join(["preface\n" * 3, *rows[:4], *rows[5:]])
    expected = new.index("row 6") + len("row 6\n") + 4 * 15
    cited = Quoted.of(old, start, start + 3)
    assert reanchor(cited, new, old_text=old).start == expected
    assert reanchor(cited, new).start != expected


def test_words_inside_longer_words_or_numbers_are_not_the_quote():
    old = "The dose is 7 mg."
    for new in ("The dose is 7.5 mg.", "The dose is 17 mg.", "The dose is 0.7 mg.", "Dose: 27th"):
        assert reanchor(quoted(old, "7"), new, old_text=old).state == "lost", new
    assert reanchor(quoted(old, "7"), "Give 7.", old_text=old).state == "moved"
    assert reanchor(quoted("he art", "art"), "the heart", old_text="he art").state == "lost"


def test_scripts_without_spaces_have_no_such_words():
    old, new = "投与量は7mgです。最大", "次の投与量は7mgです。最大"
    anchor = reanchor(quoted(old, "投与量"), new, old_text=old)
    assert (anchor.state, anchor.start) == ("resolved", 2)


def test_a_lost_quote_names_the_nearest_passage_as_a_hint():
    new = OLD.replace("between 2 and 8 degrees", "between 3 and 7 degrees")
    anchor = found("Keep insulin in the fridge between 2 and 8 degrees.", new)
    assert (anchor.state, anchor.start, anchor.end) == ("lost", None, None)
    assert anchor.nearest is not None
    assert "between 3 and 7 degrees" in anchor.nearest.text
    assert new[anchor.nearest.start : anchor.nearest.end] == anchor.nearest.text
    assert 0.9 < anchor.nearest.similarity < 1


def test_a_text_with_nothing_alike_gives_no_hint():
    anchor = found("between 2 and 8 degrees", "Quite another matter.")
    assert (anchor.state, anchor.nearest) == ("lost", None)
    assert found("between 2 and 8 degrees", "").state == "lost"


def test_an_empty_quote_is_never_found():
    assert reanchor(Quoted(0, 0, "", "", ""), OLD, old_text=OLD).state == "lost"


def test_offsets_outside_the_texts_do_no_harm():
    anchor = reanchor(Quoted(10**9, 10**9 + 3, "4 g", "", ""), OLD, old_text=OLD)
    assert OLD[anchor.start : anchor.end] == "4 g"


@pytest.mark.parametrize(
    "quote", ["a", "aaa", "b", "a b", "\0", "\u202e", "\ud800", "e\u0301", "👩‍👩‍👧"]
)
def test_huge_and_odd_texts_take_no_long_time(quote):
    text = "a" * 1_000_000 + "b a " * 200_000 + "\0\u202e\ud800e\u0301👩‍👩‍👧"
    old = "x" + text
    start = old.index(quote)
    begun = time.process_time()
    anchor = reanchor(Quoted.of(old, start, start + len(quote)), text, old_text=old)
    assert time.process_time() - begun < 20
    assert text[anchor.start : anchor.end] == quote


TEXTS = st.text("ab \n.1é投", max_size=60)


@given(TEXTS, TEXTS, st.integers(0, 70), st.integers(0, 12), st.booleans())
def test_what_is_found_is_the_quote(old, new, start, length, with_old):
    start = min(start, len(old))
    cited = Quoted.of(old, start, min(len(old), start + length))
    anchor = reanchor(cited, new, old_text=old if with_old else None)
    if anchor.state == "lost":
        assert anchor.start is anchor.end is None
    else:
        assert cited.quote
        assert new[anchor.start : anchor.end] == cited.quote
        assert anchor.nearest is None
    if anchor.nearest:
        assert new[anchor.nearest.start : anchor.nearest.end] == anchor.nearest.text


@given(TEXTS, TEXTS, TEXTS, st.data())
def test_quotes_survive_insertions_around_their_paragraph(before, after, added, data):
    paragraph = "Keep it between two and eight degrees, and note the time each morning."
    start = data.draw(st.integers(32, 36))
    old = before + paragraph + after
    new = added + "\n" + paragraph + "\n" + before
    cited = Quoted.of(old, len(before) + start, len(before) + start + 2)
    anchor = reanchor(cited, new, old_text=old)
    assert anchor.state != "lost"
    assert anchor.start == len(added) + 1 + start


@given(TEXTS, TEXTS, st.integers(-3, 80))
def test_positions_are_mapped_into_the_new_text(old, new, position):
    assert 0 <= mapped(old, new, position) <= len(new)
    inside = min(max(position, 0), len(old))
    assert mapped(old, old, position) == inside


def test_positions_in_lines_that_stayed_are_mapped_exactly():
    rng = random.Random(5)
    lines = [f"line {i} of the text\n" for i in range(500)]
    kept = sorted(rng.sample(range(500), 300))
    new_lines = [f"new {i}\n" if rng.random() < 0.3 else lines[i] for i in kept]
    old, new = "".join(lines), "".join(new_lines)
    for i, line in zip(kept, new_lines, strict=True):
        if line == lines[i]:
            assert mapped(old, new, old.index(lines[i]) + 5) == new.index(lines[i]) + 5
