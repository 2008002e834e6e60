"""Checks that slips are put right and that words which are only unknown are left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.generate.base import read_tokenizer
from rag.generate.spelling import mended
from rag.generate.warm_start import minilm_folder

TOKENIZER = read_tokenizer(minilm_folder())
TEXTS = ["It is given enoxaparin 4 hours later.", "The Accountable Officer: Žofia Müller."]


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        ("When is it givne?", "When is it given?"),  # exchanged
        ("How many hous?", "How many hours?"),  # too few
        ("How many hourrs?", "How many hours?"),  # too many
        ("Hourrs, how many?", "hours, how many?"),
        ("where, whcih hours?", "where, which hours?"),
    ],
)
def test_slips_become_the_passages_words(asked: str, read: str) -> None:
    assert mended(asked, TEXTS, TOKENIZER) == read


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("When is enoxaparin given?", TEXTS[0]),
        ("How many tours?", "Four hours."),  # a word of its own
        ("When is it gvn?", "It is given."),  # two letters off
        ("When is enoxaprin given?", "It is not enoxaparin."),  # rare words may be others
        ("What is the nitrite limit?", "The nitrate limit is 50."),  # a replaced letter
        ("How do asymptomatic staff wait?", "Symptomatic staff wait."),  # the first letter
        ("Did Hadi sign?", "He had signed."),
        ("Did Jansen sign?", "Janssen signed."),  # a name
        ("which hotel is in eisenbach?", "Our hotel in Eisenach."),
        ("Eisenbach hotel?", "Our hotel in Eisenach."),
        ("Is prednisone given?", "Give prednisolone."),
        ("Is sulfaate there?", "The sulfate and sulfaat."),  # two words are near
        ("Q3 2024?", TEXTS[0]),
        ("", TEXTS[0]),
    ],
)
def test_other_words_are_left_alone(asked: str, text: str) -> None:
    assert mended(asked, [text], TOKENIZER) == asked


@given(st.text(max_size=60), st.lists(st.text(max_size=60), max_size=3))
def test_any_text_is_taken(question: str, texts: list[str]) -> None:
    read = mended(question, texts, TOKENIZER)
    assert mended(read, texts, TOKENIZER) == read
