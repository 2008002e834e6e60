"""Checks that evidence becomes sentences with exact places, and that the likeliest are kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rag.verify.premises import LONGEST_SENTENCE, likeliest, premises
from rag.words import content_words

TEXTS = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.lists(
            st.sampled_from("Dr. Li gave 2.5 mg. Why? 投与。 | \n\n - \ud800 😀".split(" "))
        ).map(" ".join),
    ),
    max_size=4,
)


def test_a_premise_is_a_sentence_among_its_neighbours() -> None:
    text = "One is here.  Two is there.\n\nThree is gone. Four is back."
    found = premises(["Before.", text])
    assert [(p.sentence.evidence, p.sentence.text) for p in found] == [
        (0, "Before."),
        (1, "One is here."),
        (1, "Two is there."),
        (1, "Three is gone."),
        (1, "Four is back."),
    ]
    assert found[0].text == "Before.", "a text's first sentence has no neighbour in another text"
    assert found[2].text == text[: text.index(" Four")]
    assert found[2].words == {"two"}


def test_very_long_sentences_are_cut_in_place() -> None:
    text = "x" * (2 * LONGEST_SENTENCE + 7)
    spans = [(p.sentence.start, p.sentence.end) for p in premises([text])]
    assert spans == [
        (0, LONGEST_SENTENCE),
        (LONGEST_SENTENCE, 2 * LONGEST_SENTENCE),
        (2 * LONGEST_SENTENCE, len(text)),
    ]


@given(TEXTS)
def test_every_sentence_is_a_premise_at_its_place(texts: list[str]) -> None:
    last = (-1, 0)
    kept: list[list[str]] = [[] for _ in texts]
    for premise in premises(texts):
        span = premise.sentence
        assert texts[span.evidence][span.start : span.end] == span.text != ""
        assert last <= (span.evidence, span.start), "in order, none twice"
        assert span.text in premise.text
        assert premise.text in texts[span.evidence]
        last = (span.evidence, span.end)
        kept[span.evidence].append(span.text)
    for text, own in zip(texts, kept, strict=True):
        assert "".join("".join(own).split()) == "".join(text.split())


WORDS = st.lists(st.sampled_from("dose ward nurse alarm fridge pump".split()), max_size=5)


@given(WORDS, st.lists(WORDS, max_size=12), st.integers(0, 6), st.sampled_from([0.0, 0.3, 1.0]))
def test_the_likeliest_share_most_words(claim, sentences, most, least) -> None:
    candidates = premises([" ".join(words) for words in sentences])
    chosen = likeliest(" ".join(claim), candidates, most, least=least)

    def share(premise) -> float:
        wanted = set(content_words(" ".join(claim)))
        there = set(content_words(premise.sentence.text))
        return len(wanted & there) / len(wanted) if wanted else 0.0

    assert chosen == [p for p in candidates if p in chosen], "in their order"
    usable = sorted((share(p) for p in candidates if share(p) >= least), reverse=True)
    assert sorted((share(p) for p in chosen), reverse=True) == usable[:most]


def test_of_equal_ones_the_first_are_kept() -> None:
    candidates = premises(["Ward one. Ward two. Ward three."])
    assert [p.sentence.text for p in likeliest("ward", candidates, 2)] == ["Ward one.", "Ward two."]
