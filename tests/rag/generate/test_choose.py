"""Checks that settings choose the generator, and that unusable ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from rag.calibration import Calibration
from rag.decide import WRITTEN_FEATURES
from rag.errors import DigestMismatch, ModelError, UsageError
from rag.generate.choose import chosen_writers
from rag.generate.extractive import ExtractiveGenerator
from rag.generate.manifest import Decision, put_decision
from rag.generate.saved import load_generator, save_generator
from rag.settings import Settings
from rag.training.adapters import add_lora, save_adapter
from rag.types import Draft, Token

DECISION = Decision(
    features=WRITTEN_FEATURES[:-1],
    weights=(-1.0,) + (0.0,) * (len(WRITTEN_FEATURES) - 2),
    intercept=0.5,
    threshold=0.4,
)


class NotAskedFor:
    """A generator whose decision weighs no similarity needs neither embedder nor calibration."""


@pytest.fixture
def folder(base, tmp_path: Path) -> Path:
    save_generator(tmp_path / "own", base, trained_from="a test", decision=DECISION)
    return tmp_path / "own"


@pytest.fixture
def adapter(folder: Path, tmp_path: Path) -> Path:
    saved = load_generator(folder)
    add_lora(saved.base.model, rank=2)
    decision = Decision(features=("absent",), weights=(-1.0,), intercept=0.0, threshold=0.7)
    save_adapter(tmp_path / "adapter", saved.base.model, generator=saved.digest, decision=decision)
    return tmp_path / "adapter"


@pytest.fixture
def retrieval(word_calibration, embedder):
    return SimpleNamespace(embedder=embedder, calibration=Calibration.load(word_calibration))


def chosen(folder: Path, retrieval=None, **settings):
    settings = {"fallback": "none", **settings}
    return chosen_writers(Settings(generator=str(folder), **settings), retrieval or NotAskedFor())


def draft(absent: float) -> Draft:
    return Draft((Token("Ada", 0.9, 1.0, None),), 0.9, "test", {"absent": absent})


def test_a_folder_brings_its_own_decision(folder: Path, passage_of) -> None:
    (writer,) = chosen(folder).of("any")
    assert writer.generator.digest.startswith("copy:")
    assert writer.decider.digest == f"calibration:{writer.generator.digest.removeprefix('copy:')}"
    sure = writer.decider.decide("Who?", draft(-3.0), (), [passage_of("x")])
    unsure = writer.decider.decide("Who?", draft(3.0), (), [passage_of("x")])
    assert (sure.status, unsure.status) == ("answered", "abstained")
    assert sure.threshold == 0.4


def test_the_settings_threshold_counts_for_all(folder: Path, retrieval, passage_of) -> None:
    writers = chosen(folder, retrieval, fallback="extractive", answer_threshold=0.99).of()
    found = [w.decider.decide("Who?", draft(-3.0), (), [passage_of("x")]) for w in writers]
    assert [decision.threshold for decision in found] == [0.99, 0.99]


def test_settings_decide_how_it_decodes(folder: Path) -> None:
    generator = chosen(folder, beams=3, answer_tokens=7, generate_timeout_seconds=9).main.generator
    assert (generator.search.beams, generator.search.max_tokens) == (3, 7)
    assert generator.time_limit_seconds == 9


def test_quoting_sentences_is_the_fallback(folder: Path, retrieval) -> None:
    main, fallback = chosen(folder, retrieval, fallback="extractive").of()
    assert main.generator.digest.startswith("copy:")
    assert isinstance(fallback.generator, ExtractiveGenerator)


def test_a_decision_that_weighs_similarity_needs_its_embedder(
    base, tmp_path: Path, retrieval, embedder
) -> None:
    def saved(name: str, digest: str) -> Path:
        decision = Decision(
            features=("similarity",),
            weights=(9.0,),
            intercept=-4.0,
            threshold=0.4,
            embedder_sha256=digest,
        )
        save_generator(tmp_path / name, base, trained_from="a test", decision=decision)
        return tmp_path / name

    main = chosen(saved("own", embedder.digest), retrieval).main
    assert main.generator.embedder is embedder
    assert chosen(tmp_path / "own", SimpleNamespace(embedder=embedder)).fallback is None
    with pytest.raises(DigestMismatch, match="set RAG_EMBEDDER back"):
        chosen(saved("others", "0" * 64), retrieval)


@pytest.mark.parametrize(("features", "digest"), [(("similarity",), None), (("absent",), "0" * 64)])
def test_similarity_goes_with_its_embedder(features, digest) -> None:
    with pytest.raises(ValidationError, match="the embedder that it was measured with"):
        Decision(
            features=features, weights=(1.0,), intercept=0, threshold=0.5, embedder_sha256=digest
        )


def test_an_adapter_brings_its_own_decision(folder: Path, adapter: Path, passage_of) -> None:
    writers = chosen(folder, adapters={"handbook": adapter})
    (own,) = writers.of("handbook")
    (other,) = writers.of("another")
    assert own.generator.digest.startswith(f"{other.generator.digest}+")
    assert own.decider.decide("Who?", draft(0.0), (), [passage_of("x")]).threshold == 0.7
    assert other.decider.decide("Who?", draft(0.0), (), [passage_of("x")]).threshold == 0.4


def test_an_adapter_without_a_decision_is_refused(folder: Path, adapter: Path) -> None:
    put_decision(adapter / "adapter.json", None)
    with pytest.raises(ModelError, match="adapter has no fitted decision"):
        chosen(folder, adapters={"handbook": adapter})


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


def test_sentences_can_be_quoted_instead(retrieval) -> None:
    writers = chosen_writers(Settings(generator="extractive"), retrieval)
    (writer,) = writers.of("any")
    assert isinstance(writer.generator, ExtractiveGenerator)


def test_quoting_sentences_takes_no_adapters(retrieval, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'handbook', but quoting sentences takes no adapters"):
        chosen_writers(Settings(generator="extractive", adapters={"handbook": tmp_path}), retrieval)
