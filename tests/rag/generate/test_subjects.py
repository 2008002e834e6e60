"""Checks which words a question is about, and where they are found."""

from __future__ import annotations

import pytest

from rag.generate.base import read_tokenizer
from rag.generate.overlap import subjects_missing
from rag.generate.subjects import missing, subjects
from rag.generate.warm_start import minilm_folder
from rag.types import Pointer, Token

TOKENIZER = read_tokenizer(minilm_folder())


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("What is the target level for teicoplanin?", ["teicoplanin"]),
        ("How many may Critical Care hold?", ["critical", "care"]),
        ("What caused incident INC-2024-0391?", ["inc-2024-0391"]),
        ("Which of Müller’s memos is in force?", ["müller"]),
        ("Where do they meet?", []),
        ("WHERE IS THE DOSE?", []),
        ("What of hepatitis B?", ["b"]),
        ("", []),
    ],
)
def test_names_codes_and_rare_words_are_subjects(question: str, wanted: list[str]) -> None:
    assert subjects(question, TOKENIZER) == wanted


@pytest.mark.parametrize(
    ("word", "text", "count"),
    [
        ("teicoplanin", "Vancomycin: 10 to 15 mg/L.", 1),
        ("teicoplanin", "TEICOPLANIN: 15 mg/L.", 0),
        ("transfusions", "One transfusion a day.", 0),
        ("inc-2024-0391", "Incident INC-2024-0303.", 1),
        ("inc-2024-0391", "Incident INC-2024-0391.", 0),
        ("müller", "Ask Dr Müller's deputy.", 0),
        ("prednisone", "Give prednisolone.", 1),
        ("b", "Screen for hepatitis C by blood test.", 1),
        ("karl", "The Karlsruhe office.", 1),
    ],
)
def test_words_are_found_in_any_form(word: str, text: str, count: int) -> None:
    assert missing([word], text) == count


def test_the_heading_counts_as_the_passages() -> None:
    texts = ["Nothing here.", "The dose is 5 mg/kg."]
    tokens = [Token("5 mg", 0.9, 1.0, Pointer(1, 12, 16))]
    question = "What is the dose of gentamicin?"
    assert subjects_missing(question, texts, tokens, TOKENIZER) == 1
    assert subjects_missing(question, texts, tokens, TOKENIZER, ["Gentamicin", ""]) == 1
    assert subjects_missing(question, texts, tokens, TOKENIZER, ["", "Gentamicin"]) == 0
    assert subjects_missing(question, texts, [], TOKENIZER) == 0
