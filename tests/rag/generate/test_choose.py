"""Checks that settings choose the generator, and that unusable ones are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rag.calibration import Calibration
from rag.decide import FEATURES, WRITTEN_FEATURES
from rag.errors import DigestMismatch, ModelError
from rag.generate.choose import chosen_generator
from rag.generate.extractive import ExtractiveGenerator
from rag.generate.manifest import Decision
from rag.generate.saved import save_generator
from rag.settings import Settings

DECISION = Decision(
    features=WRITTEN_FEATURES,
    weights=(-1.0,) + (0.0,) * (len(WRITTEN_FEATURES) - 1),
    intercept=0.5,
    threshold=0.4,
)


def not_asked_for():
    raise AssertionError("a generator with weights of its own needs no embedder")


@pytest.fixture
def folder(base, tmp_path: Path) -> Path:
    save_generator(tmp_path / "own", base, trained_from="a test", decision=DECISION)
    return tmp_path / "own"


def chosen(folder: Path, **settings):
    return chosen_generator(Settings(generator=str(folder), **settings), not_asked_for)


def test_a_folder_brings_its_own_decision(folder: Path) -> None:
    generator, fitted = chosen(folder)
    assert generator.digest.startswith("copy:")
    assert fitted.features == WRITTEN_FEATURES
    assert fitted.model.extra("threshold") == 0.4
    assert fitted.digest == generator.digest.removeprefix("copy:")


def test_settings_decide_how_it_decodes(folder: Path) -> None:
    generator, _ = chosen(folder, beams=3, answer_tokens=7, generate_timeout_seconds=9)
    assert (generator.search.beams, generator.search.max_tokens) == (3, 7)
    assert generator.time_limit_seconds == 9


def test_without_a_decision_nothing_is_served(base, tmp_path: Path) -> None:
    save_generator(tmp_path / "own", base, trained_from="a test")
    with pytest.raises(ModelError, match="no fitted decision: run rag train generator"):
        chosen(tmp_path / "own")


def test_unknown_evidence_is_refused(base, tmp_path: Path) -> None:
    other = Decision(features=("hunch",), weights=(1.0,), intercept=0.0, threshold=0.5)
    save_generator(tmp_path / "own", base, trained_from="a test", decision=other)
    with pytest.raises(ModelError, match="decides by hunch"):
        chosen(tmp_path / "own")


def test_changed_weights_are_refused_by_digest(folder: Path) -> None:
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    expected = json.loads((folder / "generator.json").read_text())["files"][weights.name]
    with pytest.raises(DigestMismatch, match=f"expected {expected}"):
        chosen(folder)


def test_pickles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match="only pickled weights"):
        chosen(tmp_path)


def test_sentences_can_be_quoted_instead(word_calibration, embedder) -> None:
    calibration = Calibration.load(word_calibration)
    generator, fitted = chosen_generator(
        Settings(generator="extractive"), lambda: (embedder, calibration)
    )
    assert isinstance(generator, ExtractiveGenerator)
    assert fitted.features == FEATURES
