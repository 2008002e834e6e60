"""Checks cross-encoders of other makers against transformers itself."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from rag.errors import ModelError
from rag.verify.cross_encoder import CONTRADICTION, ENTAILMENT, NEUTRAL
from rag.verify.scorer import LIKELIEST, CrossEncoderScorer, TrainedScorer, open_scorer

PAIRS = [
    ("The dose is 4 g.", "Ward three is closed on Sundays, and the pharmacy opens at nine."),
    ("Who is on call?", "Dr Li."),
    ("Is it cold?", "The fridge alarm sounds at 8 °C. " * 40),
]


def test_labels_are_known_by_name_and_the_text_comes_first(entailment_folder, logits_of) -> None:
    scores = CrossEncoderScorer(str(entailment_folder)).score(PAIRS)
    assert scores.labels is not None
    assert scores.relevance is None
    for (claim, text), row in zip(PAIRS, scores.labels, strict=True):
        contradiction, entailment, neutral = logits_of(entailment_folder, text, claim)
        total = sum(map(math.exp, (contradiction, entailment, neutral)))
        assert row[ENTAILMENT] == pytest.approx(math.exp(entailment) / total, abs=1e-5)
        assert row[NEUTRAL] == pytest.approx(math.exp(neutral) / total, abs=1e-5)
        assert row[CONTRADICTION] == pytest.approx(math.exp(contradiction) / total, abs=1e-5)
    other_way = [logits_of(entailment_folder, claim, text)[0] for claim, text in PAIRS]
    first_way = [logits_of(entailment_folder, text, claim)[0] for claim, text in PAIRS]
    assert not np.allclose(other_way, first_way, atol=1e-2), "else the order is not tested"


def test_a_reranker_reads_the_question_first_and_gives_log_odds(reranker_folder, logits_of) -> None:
    scores = CrossEncoderScorer(str(reranker_folder)).score(PAIRS)
    assert scores.labels is None
    assert scores.relevance is not None
    expected = [logits_of(reranker_folder, question, text)[0] for question, text in PAIRS]
    assert scores.relevance.tolist() == pytest.approx(expected, abs=1e-4)
    assert scores.relevance.shape == (len(PAIRS),)


def test_what_each_is_for_is_known(entailment_folder, reranker_folder) -> None:
    judge, ranker = (CrossEncoderScorer(str(f)) for f in (entailment_folder, reranker_folder))
    assert (judge.ranks, judge.verdicts) == (False, LIKELIEST)
    assert (ranker.ranks, ranker.verdicts) == (True, None)
    assert judge.digest == f"entailment:{judge.sha256}"
    assert judge.sha256 != ranker.sha256


def test_nothing_asked_nothing_said(entailment_folder, reranker_folder) -> None:
    judge = CrossEncoderScorer(str(entailment_folder)).score([])
    assert judge.labels is not None
    assert judge.labels.shape == (0, 3)
    ranker = CrossEncoderScorer(str(reranker_folder)).score([])
    assert ranker.relevance is not None
    assert ranker.relevance.shape == (0,)
    one = CrossEncoderScorer(str(reranker_folder)).score(PAIRS[:1]).relevance
    assert one is not None
    assert one.shape == (1,)


@pytest.mark.parametrize("text", ["", "\0", "\ud800", "😀", "投与量", "x" * 5_000, "a " * 5_000])
def test_any_text_can_be_scored(entailment_folder, reranker_folder, text) -> None:
    pairs = [(text, "Some text."), ("A claim.", text), (text, text)]
    labels = CrossEncoderScorer(str(entailment_folder)).score(pairs).labels
    assert labels is not None
    assert np.isfinite(labels).all()
    relevance = CrossEncoderScorer(str(reranker_folder)).score(pairs).relevance
    assert relevance is not None
    assert np.isfinite(relevance).all()


@pytest.mark.parametrize(
    "labels",
    [("entailment", "not_entailment"), ("LABEL_0", "LABEL_1", "LABEL_2"), ("yes", "no", "neutral")],
)
def test_other_labels_are_refused_by_name(cross_encoder, labels) -> None:
    with pytest.raises(ModelError, match=labels[0].lower()) as refused:
        CrossEncoderScorer(str(cross_encoder(labels)))
    assert "a verifier needs entailment, neutral, contradiction, a reranker one" in str(
        refused.value
    )


def test_pickled_weights_are_refused(entailment_folder: Path) -> None:
    (entailment_folder / "model.safetensors").unlink()
    torch.save({}, entailment_folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="only pickled weights"):
        CrossEncoderScorer(str(entailment_folder))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model folder at .*nowhere"):
        open_scorer(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors"])
def test_a_broken_folder_is_one_line(entailment_folder: Path, broken: str) -> None:
    (entailment_folder / broken).write_bytes(b"{")
    with pytest.raises(ModelError, match="is no cross-encoder") as refused:
        open_scorer(str(entailment_folder))
    assert "\n" not in str(refused.value)


def test_a_folder_of_ours_is_known_by_its_manifest(entailment_folder) -> None:
    assert isinstance(open_scorer("bundled:verifier"), TrainedScorer)
    assert isinstance(open_scorer(str(entailment_folder)), CrossEncoderScorer)
