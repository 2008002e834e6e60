"""Checks that answers' figures are the same bits, whatever the threads and whoever is beside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict

import pytest
import torch
from torch.nn.functional import linear

from knowledge_bases import samples
from rag.generate.copying import CopyGenerator
from rag.generate.saved import load_generator
from rag.steady import SteadyLinear, steady
from rag.types import Document, Draft, Passage
from rag.verify.saved import load_verifier
from rag.verify.scorer import TrainedScorer

DOCUMENTS = sorted(samples.DOCUMENTS.glob("*.md"))
QUESTIONS = [
    json.loads(line)["question"] for line in samples.QUESTIONS.read_text("utf-8").splitlines()
][:5]
PASSAGE_CHARS = 300


@pytest.fixture(autouse=True)
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads, which is what it was after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def generator() -> CopyGenerator:
    saved = load_generator("bundled:generator")
    return CopyGenerator(saved.base, saved.name)


@pytest.fixture(scope="module")
def scorer() -> TrainedScorer:
    return TrainedScorer(load_verifier("bundled:verifier"))


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str]]:
    """Claims and texts of many lengths."""
    words = DOCUMENTS[0].read_text(encoding="utf-8").split()
    return [
        (QUESTIONS[i % len(QUESTIONS)], " ".join(words[i * 7 : i * 7 + 4 + 5 * i]))
        for i in range(11)
    ]


def passages_of(path) -> list[Passage]:
    text = path.read_text(encoding="utf-8")
    document = Document(path.stem, path.name, path.stem)
    return [
        Passage(
            chunk_id=start, document=document, version=1, version_id=1, start=start,
            end=start + len(text[start : start + PASSAGE_CHARS]),
            text=text[start : start + PASSAGE_CHARS], before="", after="", section=None, page=None,
            text_sha256="0", score=0.0,
        )
        for start in range(0, 3 * PASSAGE_CHARS, PASSAGE_CHARS)
    ]  # fmt: skip


def figures(draft: Draft) -> str:
    return json.dumps(asdict(draft), sort_keys=True)


@pytest.fixture(scope="module")
def requests() -> list[tuple[str, list[Passage]]]:
    return [
        (question, passages_of(DOCUMENTS[i % len(DOCUMENTS)]))
        for i, question in enumerate(QUESTIONS)
    ]


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6, 7, 9, 10, 11, 17, 27])
def test_a_row_of_a_product_is_the_same_with_any_threads_and_neighbours(rows, threads) -> None:
    torch.manual_seed(0)
    layer = steady(torch.nn.Sequential(torch.nn.Linear(384, 1536)))
    inputs = torch.randn(64, 384)
    threads(1)
    with torch.inference_mode():
        wanted = layer(inputs)[:rows]
        for count in (1, 2, 4, 8):
            threads(count)
            assert torch.equal(layer(inputs[:rows]), wanted), f"{count} threads"
            assert torch.equal(layer(inputs[None, :rows])[0], wanted), f"{count} threads"


def test_a_steady_layer_is_the_linear_layer_it_was() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(16, 3)
    names = list(plain.state_dict())
    inputs = torch.randn(2, 5, 16, requires_grad=True)
    wanted = linear(inputs, plain.weight, plain.bias)
    layer = steady(plain)
    assert isinstance(layer, SteadyLinear)
    assert list(layer.state_dict()) == names
    found = layer(inputs)
    torch.testing.assert_close(found, wanted)
    found.sum().backward()
    assert inputs.grad is not None
    assert torch.isfinite(inputs.grad).all()
    assert layer(torch.zeros(0, 16)).shape == (0, 3)


def test_drafts_are_the_same_bits_with_any_threads(generator, requests, threads) -> None:
    threads(1)
    wanted = [figures(generator.generate(*request)) for request in requests]
    threads(2)
    assert [figures(generator.generate(*request)) for request in requests] == wanted


def test_drafts_are_the_same_bits_in_company(generator, requests, threads) -> None:
    threads(2)
    alone = [figures(generator.generate(*request)) for request in requests]
    assert [figures(draft) for draft in generator.generate_all(requests)] == alone
    assert [figures(draft) for draft in generator.generate_all(requests[1:4])] == alone[1:4]


def test_a_pairs_scores_are_the_same_bits_with_any_threads_and_company(
    scorer, pairs, threads
) -> None:
    threads(1)
    labels, relevance = [], []
    for pair in pairs:
        alone = scorer.score([pair])
        labels.append(alone.labels[0].tobytes())
        relevance.append(alone.relevance[0].tobytes())
    for count in (1, 2, 4):
        threads(count)
        for some in (pairs, pairs[2:7], pairs[::-1]):
            scores = scorer.score(some)
            for i, pair in enumerate(some):
                at = pairs.index(pair)
                assert scores.labels[i].tobytes() == labels[at], (count, at)
                assert scores.relevance[i].tobytes() == relevance[at], (count, at)
