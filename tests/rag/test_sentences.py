import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.sentences import sentence_spans, without_headings

TEXTS = st.text(st.sampled_from("aB1. !?\n|-•é😀’\t"), max_size=200) | st.text(max_size=100)


def split(text):
    return [text[start:end] for start, end in sentence_spans(text)]


@given(TEXTS)
def test_spans_are_ordered_and_hold_every_visible_character(text):
    spans = sentence_spans(text)
    position, outside = 0, ""
    for start, end in spans:
        assert position <= start < end
        assert not text[start].isspace()
        assert not text[end - 1].isspace()
        outside += text[position:start]
        position = end
    assert not (outside + text[position:]).strip()


def test_abbreviations_and_decimals_do_not_end_a_sentence():
    assert split("Dr. Li gave 2.5 mg. It worked.") == ["Dr. Li gave 2.5 mg.", "It worked."]


def test_list_items_and_table_rows_stand_alone():
    text = "Steps:\n1. Wash hands\n2. Check\nDrug: A | Dose: 4 g\nDrug: B | Dose: 5 g\nThe end"
    assert split(text) == [
        "Steps:",
        "1. Wash hands",
        "2. Check",
        "Drug: A | Dose: 4 g",
        "Drug: B | Dose: 5 g",
        "The end",
    ]


def test_a_long_line_of_cells_takes_no_quadratic_time():
    import time

    started = time.process_time()
    assert split("a | " * 100_000)
    assert time.process_time() - started < 5


def test_a_wrapped_line_stays_one_sentence():
    assert split("The dose is\n4 g a day.\n\nNext") == ["The dose is\n4 g a day.", "Next"]


LATE = "If an instalment is late, interest is due from the day after."


@pytest.mark.parametrize(
    "heading",
    ["4. Late payment\n", "4.2 Late payment\n", "## Late payment\n"],
)
def test_a_heading_is_no_part_of_the_sentence_below_it(heading):
    text = heading + LATE
    ((start, end),) = sentence_spans(text)
    start, end = without_headings(text, start, end)
    assert text[start:end] == LATE


def test_a_heading_that_is_known_needs_no_number():
    text = f"Late payment\n{LATE}"
    assert without_headings(text, 0, len(text)) == (0, len(text))
    assert text[slice(*without_headings(text, 0, len(text), ["Late  payment"]))] == LATE


@pytest.mark.parametrize(
    "text",
    [
        "4. Instalments that are late are reported by the\nMinister of Finance.",  # wrapped
        "4. Late payment\nof an instalment bears interest.",
        "The wait is\n4 hours.",
        "2024 was wet\nMarch was dry and long.",
        "4. Late payment",
        "",
    ],
)
def test_a_wrapped_line_is_no_heading(text):
    assert without_headings(text, 0, len(text)) == (0, len(text))


@given(TEXTS)
def test_without_headings_a_sentence_is_its_end(text):
    for start, end in sentence_spans(text):
        begin, stop = without_headings(text, start, end, text.split("\n"))
        assert start <= begin < stop == end
        assert not text[begin].isspace()
