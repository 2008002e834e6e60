"""Checks the bundled generator: it loads with the network cut off, and copies what it reads."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from indexer.embed import SentenceEmbedder
from rag.calibration import BUNDLED, Calibration
from rag.generate.choose import chosen_writers
from rag.generate.copying import CopyGenerator
from rag.generate.extractive import ExtractiveGenerator
from rag.settings import Settings
from rag.verify.choose import Judges

FACTS = (
    "After removal of an epidural catheter, wait at least 4 hours before giving enoxaparin. "
    "The duty pharmacist, Žofia O'Brien-Müller, is on bleep 2417. The bridge cost €1,204,000."
)
OTHERS = [
    "The canteen opens at seven and serves breakfast until ten.",
    "Visitors sign in at the front desk and wear a badge.",
]


@pytest.fixture(scope="module")
def generator() -> CopyGenerator:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("the network is cut off")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        retrieval = SimpleNamespace(
            embedder=SentenceEmbedder(Settings().embedder, device="cpu"),
            calibration=Calibration.load(BUNDLED),
            verifier=Judges(Settings(device="cpu")).verifier,
        )
        main, fallback = chosen_writers(Settings(), retrieval).of()
        found = main.generator
        assert isinstance(found, CopyGenerator)
        assert isinstance(fallback.generator, ExtractiveGenerator)
        found.write([("Who is on duty?", [FACTS])])
    return found


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How long must one wait before giving enoxaparin?", "4 hours"),
        ("Who is the duty pharmacist?", "Žofia O'Brien-Müller"),
        ("How much did the bridge cost?", "€1,204,000"),
    ],
)
def test_facts_are_copied_exactly(generator: CopyGenerator, question: str, answer: str) -> None:
    (draft,) = generator.write([(question, [OTHERS[0], FACTS, OTHERS[1]])])
    assert answer in draft.text
    for token in draft.tokens:
        if token.pointer is not None:
            assert token.pointer.passage == 1
            assert FACTS[token.pointer.start : token.pointer.end] == token.text
    assert draft.features["copied"] == 1.0


def test_one_of_two_hundred_passages_is_found(generator: CopyGenerator) -> None:
    texts = [f"Shelf {i} holds {i * 7} boxes of saline and a torch." for i in range(200)]
    texts[151] = FACTS
    (draft,) = generator.write([("Who is the duty pharmacist?", texts)])
    assert "Müller" in draft.text
    assert {token.pointer.passage for token in draft.tokens if token.pointer} == {151}


def test_a_fact_far_into_a_long_passage_is_found(generator: CopyGenerator) -> None:
    filler = "Shelves are counted each morning and the count is written down. " * 60
    text = filler + FACTS + " " + filler
    (draft,) = generator.write([("Who is the duty pharmacist?", [text])])
    assert "Müller" in draft.text
    first = next(token.pointer for token in draft.tokens if token.pointer)
    assert first.start > len(filler)


def test_the_same_question_gets_the_same_draft(generator: CopyGenerator) -> None:
    requests = [(q, [FACTS, *OTHERS]) for q in ("Who is on bleep 2417?", "When does it open?")]
    together = generator.write(requests)
    assert together == [generator.write([request])[0] for request in requests]
    assert together == generator.write(requests)
