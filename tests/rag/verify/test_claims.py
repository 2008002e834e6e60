from rag.types import Segment
from rag.verify.claims import claims_of


def segment(text, citation=None):
    return Segment(text, "copied" if citation else "generated", 1.0, citation)


def test_each_sentence_is_a_claim_with_its_own_citations():
    claims = claims_of(
        "How much?",
        [
            segment("The maximum dose is 4 g a day.", 1),
            segment(" "),
            segment("In renal failure the dose is 2 g.", 2),
        ],
    )
    assert [(c.text, c.citations, c.question) for c in claims] == [
        ("The maximum dose is 4 g a day.", (1,), None),
        ("In renal failure the dose is 2 g.", (2,), None),
    ]


def test_a_short_answer_is_joined_with_its_question():
    (claim,) = claims_of("How much?", [segment("4 g", 1)])
    assert (claim.text, claim.citations, claim.question) == ("4 g", (1,), "How much?")


def test_a_sentence_of_several_segments_carries_all_their_citations():
    (claim,) = claims_of(
        "Who?", [segment("The nurse", 1), segment(" in charge calls "), segment("security.", 2)]
    )
    assert claim.citations == (1, 2)


def test_no_text_no_claim():
    assert claims_of("Who?", []) == ()
