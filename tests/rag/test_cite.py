import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.cite import PassageText, cite
from rag.errors import CitationError
from rag.types import Draft, Pointer, Token

TEXT = "The maximum dose is 4 g. In renal failure it is 2 g."


def copied(text, start, end, passage=0, probability=0.9):
    return Token(text[start:end], probability, 1.0, Pointer(passage, start, end))


def draft_of(*tokens):
    return Draft(tokens, 0.5, "test")


def test_contiguous_pointers_become_one_segment_and_one_citation(passage_of):
    passage = passage_of(TEXT, start=100)
    draft = draft_of(copied(TEXT, 4, 11), copied(TEXT, 11, 16, probability=0.7))
    segments, citations = cite(draft, [passage], PassageText())
    assert [(s.text, s.origin, s.probability, s.citation) for s in segments] == [
        ("maximum dose", "copied", 0.7, 1)
    ]
    assert [(c.start, c.end, c.quote) for c in citations] == [(104, 116, "maximum dose")]


def test_generated_words_carry_no_citation(passage_of):
    draft = draft_of(Token("About ", 0.4, 0.1, None), copied(TEXT, 20, 23))
    segments, citations = cite(draft, [passage_of(TEXT)], PassageText())
    assert [(s.origin, s.citation) for s in segments] == [("generated", None), ("copied", 1)]
    assert len(citations) == 1


def test_a_jump_within_or_between_passages_starts_a_new_citation(passage_of):
    passages = [passage_of(TEXT, index=0), passage_of(TEXT, index=1)]
    draft = draft_of(copied(TEXT, 0, 3), copied(TEXT, 12, 16), copied(TEXT, 16, 19, passage=1))
    _, citations = cite(draft, passages, PassageText())
    assert [(c.document.id, c.quote) for c in citations] == [
        ("0", "The"),
        ("0", "dose"),
        ("1", " is"),
    ]


def test_the_same_quote_twice_is_one_citation(passage_of):
    token = copied(TEXT, 20, 23)
    draft = draft_of(token, Token(" and ", 1.0, 0.0, None), token)
    segments, citations = cite(draft, [passage_of(TEXT)], PassageText())
    assert len(citations) == 1
    assert [s.citation for s in segments] == [1, None, 1]


def test_context_is_32_characters_on_either_side(passage_of):
    text = "x" * 50 + "QUOTE" + "y" * 50
    _, (citation,) = cite(draft_of(copied(text, 50, 55)), [passage_of(text)], PassageText())
    assert (citation.before, citation.after) == ("x" * 32, "y" * 32)


def test_a_quote_that_is_not_in_the_text_is_refused(passage_of):
    forged = Token("5 g", 0.9, 1.0, Pointer(0, 20, 23))
    with pytest.raises(CitationError, match=r"document-0\.txt version 1"):
        cite(draft_of(forged), [passage_of(TEXT)], PassageText())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1, max_size=60), st.data())
def test_every_citation_slices_to_its_quote(passage_of, text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    _, (citation,) = cite(draft_of(copied(text, start, end)), [passage_of(text)], PassageText())
    assert text[citation.start : citation.end] == citation.quote
