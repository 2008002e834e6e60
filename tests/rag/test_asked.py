"""Checks what may be asked and judged, in any script."""

import pytest

from rag.asked import check_claim, check_given, checked_question, has_words, spaced
from rag.errors import QuestionError, TextError


@pytest.mark.parametrize(
    "text", ["投与量は？", "ما الجرعة؟", "ปริมาณเท่าไร", "कितना?", "7", "٣", "😀 why", "x"]
)
def test_words_of_any_script_and_numbers_are_words(text):
    assert has_words(text)
    assert checked_question(text, 100) == text
    check_claim(text, text)


@pytest.mark.parametrize("text", ["", " \n", "???", "...!?", "😀", "\x07", "— • —"])
def test_what_holds_no_words_is_refused(text):
    with pytest.raises(QuestionError, match=r"^the question holds no words; write some$"):
        checked_question(text, 100)
    with pytest.raises(QuestionError, match=r"^the query holds no words"):
        checked_question(text, 100, name="the query")
    with pytest.raises(TextError, match=r"^the claim holds no words; write some$"):
        check_claim(text, None)
    with pytest.raises(QuestionError, match=r"^the question holds no words"):
        check_claim("A claim.", text)


@pytest.mark.parametrize("char", ["\0", "\ud800"])
def test_nul_and_broken_characters_are_refused_with_the_same_words(char):
    told = r"holds NUL or broken Unicode characters; remove them$"
    with pytest.raises(QuestionError, match=rf"^the question {told}"):
        checked_question(f"a{char}b", 100)
    with pytest.raises(TextError, match=rf"^the claim {told}"):
        check_claim(f"a{char}b", None)
    with pytest.raises(TextError, match=rf"^evidence\[1\] {told}"):
        check_given(["a", f"a{char}b"], "evidence", None)


def test_other_control_characters_are_spaces():
    assert checked_question("\x07What\x1b is\x85this?\x00"[:-1], 100) == "What  is\x85this?"
    assert spaced("a\x07b\tc\nd\x9f") == "a b\tc\nd "


def test_texts_are_bounded_together():
    check_given(["a" * 6, "b" * 4], "passages", 10)
    with pytest.raises(TextError, match="there are 11 characters of passages; give at most 10"):
        check_given(["a" * 6, "b" * 5], "passages", 10)
