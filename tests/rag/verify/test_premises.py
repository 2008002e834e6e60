"""Checks that evidence becomes sentences with exact places, and that the likeliest are kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rag.verify.premises import LONGEST_SENTENCE, likeliest, premises, together
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


FAR = "Ada was born in Paris. It rained. Nobody came. Later she moved. She taught physics in Rome."


def joined(claim: str, found) -> str:
    return "\n".join(premise.sentence.text for premise in together(claim, found))


def test_sentences_that_have_the_words_only_together_are_joined() -> None:
    claim = "Ada was born in Paris and taught physics in Rome"
    assert joined(claim, premises([FAR])) == "Ada was born in Paris.\nShe taught physics in Rome."
    two = [FAR, "Ada of Paris was born. Rain. More rain. Snow. Physics she taught."]
    assert joined(claim, premises(two)) == joined(claim, premises([FAR])), "that has more words"


def test_places_are_those_in_the_text_not_among_the_likeliest() -> None:
    text = " ".join(["Ada was born in Paris.", *["It rained."] * 30, "She taught physics in Rome."])
    claim = "Ada was born in Paris and taught physics in Rome"
    kept = likeliest(claim, premises([text]), 3)
    assert joined(claim, kept) == "Ada was born in Paris.\nShe taught physics in Rome."


def test_what_one_premise_has_is_not_joined() -> None:
    assert together("Ada was born in Paris", premises([FAR])) == []
    assert together("Nobody came when it rained", premises([FAR])) == [], "neighbours"
    assert together("Zebras", premises([FAR])) == []
    assert together("Ada", []) == []
    apart = premises(["Ada was born in Paris.", "She taught physics."])
    assert together("Ada, born in Paris, taught physics", apart) == [], "she is another's she"


TOLD = ("ada", "bela", "carl", "dora", "emil", "fay", "gert", "hugo", "ida", "jan")


@given(st.lists(st.sampled_from(TOLD), min_size=2, max_size=6), st.permutations(TOLD * 2))
def test_what_is_joined_holds_more_of_the_claim_than_any_of_its_sentences(claim, words) -> None:
    text = " ".join(f"{word.capitalize()} spoke." for word in words)
    found = premises([text])
    chosen = together(" ".join(claim), found)
    wanted = set(content_words(" ".join(claim)))
    if chosen:
        held = set().union(*(premise.words for premise in chosen)) & wanted
        assert len(held) > max(len(premise.words & wanted) for premise in found)
        assert [premise.place for premise in chosen] == sorted(premise.place for premise in chosen)
        assert 1 < len(chosen) <= 3
