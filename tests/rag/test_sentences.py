from hypothesis import given
from hypothesis import strategies as st

from rag.sentences import sentence_spans

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
