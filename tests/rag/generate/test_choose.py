"""Checks that settings choose the generator, and that unusable ones are refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from rag.calibration import Calibration
from rag.decide import FEATURES, VERIFIED, WRITTEN_FEATURES
from rag.errors import DigestMismatch, ModelError, UsageError
from rag.generate.choose import chosen_writers
from rag.generate.extractive import ExtractiveGenerator
from rag.generate.manifest import Decision, put_decision
from rag.generate.saved import load_generator, save_generator
from rag.settings import Settings
from rag.training.adapters import add_lora, save_adapter
from rag.types import Draft, Token
from rag.verify.guarded import GuardVerifier

OWN_FEATURES = tuple(n for n in WRITTEN_FEATURES if n not in {"similarity", *VERIFIED})
DECISION = Decision(
    features=OWN_FEATURES,
    weights=(-1.0,) + (0.0,) * (len(OWN_FEATURES) - 1),
    intercept=0.5,
    threshold=0.4,
)


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
def calibration(word_calibration) -> Calibration:
    return Calibration.load(word_calibration)


@pytest.fixture
def retrieval(calibration, embedder):
    return SimpleNamespace(embedder=embedder, calibration=calibration, verifier=GuardVerifier())


@pytest.fixture
def chosen(calibration):
    """Chooses the writers; what weighs neither similarity nor verdicts asks for no model."""
    alone = SimpleNamespace(calibration=calibration)

    def choose(folder: Path, retrieval=alone, *, on_trial: bool = False, **settings):
        settings = {"fallback": "none", **settings}
        return chosen_writers(
            Settings(generator=str(folder), **settings), retrieval, on_trial=on_trial
        )

    return choose


def draft(absent: float) -> Draft:
    return Draft((Token("Ada", 0.9, 1.0, None),), 0.9, "test", {"absent": absent})


def test_a_folder_brings_its_own_decision(folder: Path, passage_of, chosen) -> None:
    (writer,) = chosen(folder).of("any")
    assert writer.generator.digest.startswith("copy:")
    assert writer.decider.digest == f"calibration:{writer.generator.digest.removeprefix('copy:')}"
    sure = writer.decider.decide("Who?", draft(-3.0), (), [passage_of("x")])
    unsure = writer.decider.decide("Who?", draft(3.0), (), [passage_of("x")])
    assert (sure.status, unsure.status) == ("answered", "abstained")
    assert sure.threshold == 0.4


def test_the_settings_threshold_counts_for_all(folder: Path, retrieval, passage_of, chosen) -> None:
    writers = chosen(folder, retrieval, fallback="extractive", answer_threshold=0.99).of()
    found = [w.decider.decide("Who?", draft(-3.0), (), [passage_of("x")]) for w in writers]
    assert [decision.threshold for decision in found] == [0.99, 0.99]


def test_settings_decide_how_it_decodes(folder: Path, chosen) -> None:
    generator = chosen(folder, beams=3, answer_tokens=7, generate_timeout_seconds=9).main.generator
    assert (generator.search.beams, generator.search.max_tokens) == (3, 7)
    assert generator.time_limit_seconds == 9


def test_quoting_sentences_is_the_fallback(folder: Path, retrieval, chosen) -> None:
    main, fallback = chosen(folder, retrieval, fallback="extractive").of()
    assert main.generator.digest.startswith("copy:")
    assert isinstance(fallback.generator, ExtractiveGenerator)


def test_a_decision_that_weighs_similarity_needs_its_embedder(
    base, tmp_path: Path, retrieval, embedder, chosen
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
    del retrieval.verifier
    assert chosen(tmp_path / "own", retrieval).fallback is None
    with pytest.raises(DigestMismatch, match="set RAG_EMBEDDER back"):
        chosen(saved("others", "0" * 64), retrieval)


@pytest.mark.parametrize(("features", "digest"), [(("similarity",), None), (("absent",), "0" * 64)])
def test_similarity_goes_with_its_embedder(features, digest) -> None:
    with pytest.raises(ValidationError, match="the embedder that it was measured with"):
        Decision(
            features=features, weights=(1.0,), intercept=0, threshold=0.5, embedder_sha256=digest
        )


def test_an_adapter_brings_its_own_decision(
    folder: Path, adapter: Path, passage_of, chosen
) -> None:
    writers = chosen(folder, adapters={"handbook": adapter})
    (own,) = writers.of("handbook")
    (other,) = writers.of("another")
    assert own.generator.digest.startswith(f"{other.generator.digest}+")
    assert own.decider.decide("Who?", draft(0.0), (), [passage_of("x")]).threshold == 0.7
    assert other.decider.decide("Who?", draft(0.0), (), [passage_of("x")]).threshold == 0.4


def test_an_adapter_s_name_is_not_the_generators(folder: Path, adapter: Path, chosen) -> None:
    writers = chosen(folder, adapters={"handbook": adapter})
    assert writers.main.generator.digest == f"copy:{load_generator(folder).digest}"


def test_after_an_adapter_the_fallback_is_decided_on_alone(
    folder: Path, adapter: Path, calibrated, chosen
) -> None:
    own = f"copy:{load_generator(folder).digest}"
    second = {"generator": own, "features": ["agrees"], "weights": [2.0], "intercept": 0.0}
    retrieval = calibrated()
    retrieval.calibration = replace(retrieval.calibration, second={**second, "threshold": 0.8})
    writers = chosen(folder, retrieval, fallback="extractive", adapters={"handbook": adapter})
    plain, adapted = writers.of("another")[1], writers.of("handbook")[1]
    assert plain.decider is not plain.alone_decider
    assert adapted.decider is plain.alone_decider


def test_on_trial_nothing_need_be_fitted(
    base, tmp_path: Path, retrieval, chosen, passage_of
) -> None:
    save_generator(tmp_path / "own", base, trained_from="a test")
    writers = chosen(tmp_path / "own", retrieval, on_trial=True, fallback="extractive").of()
    for writer in writers:
        decision = writer.decider.decide("Who?", draft(9.0), (), [passage_of("x")])
        assert (decision.status, decision.threshold) == ("answered", 0.0)


def test_an_adapter_without_a_decision_is_refused(folder: Path, adapter: Path, chosen) -> None:
    put_decision(adapter / "adapter.json", None)
    with pytest.raises(ModelError, match="adapter has no fitted decision"):
        chosen(folder, adapters={"handbook": adapter})


def test_without_a_decision_nothing_is_served(base, tmp_path: Path, chosen) -> None:
    save_generator(tmp_path / "own", base, trained_from="a test")
    with pytest.raises(ModelError, match="no fitted decision: run rag train generator"):
        chosen(tmp_path / "own")


def test_unknown_evidence_is_refused(base, tmp_path: Path, chosen) -> None:
    other = Decision(features=("hunch",), weights=(1.0,), intercept=0.0, threshold=0.5)
    save_generator(tmp_path / "own", base, trained_from="a test", decision=other)
    with pytest.raises(ModelError, match="decides by hunch"):
        chosen(tmp_path / "own")


def test_changed_weights_are_refused_by_digest(folder: Path, chosen) -> None:
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    expected = json.loads((folder / "generator.json").read_text())["files"][weights.name]
    with pytest.raises(DigestMismatch, match=f"expected {expected}"):
        chosen(folder)


def test_pickles_are_refused(tmp_path: Path, chosen) -> None:
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


def weighing_verdicts(verifier_sha256: str, **fields) -> Decision:
    return Decision(
        **{"weights": (-1.0, 0.5), "intercept": 0.5, "threshold": 0.6, **fields},
        features=("absent", "entailed"),
        verifier_sha256=verifier_sha256,
    )


def test_a_decision_that_weighs_verdicts_needs_its_verifier(
    base, tmp_path: Path, retrieval, chosen
) -> None:
    decision = weighing_verdicts("a" * 64)
    save_generator(tmp_path / "own", base, trained_from="a test", decision=decision)
    retrieval.verifier = SimpleNamespace(model_sha256="a" * 64)
    assert chosen(tmp_path / "own", retrieval).main.decider.digest.startswith("calibration:")
    for other in (None, "b" * 64):
        retrieval.verifier = SimpleNamespace(model_sha256=other)
        with pytest.raises(DigestMismatch, match="verifier of sha256 aaaaaaaaaaaa") as refused:
            chosen(tmp_path / "own", retrieval)
        assert "rag calibrate" in str(refused.value)
        on_trial = chosen(tmp_path / "own", retrieval, on_trial=True)
        assert on_trial.main.generator.digest.startswith("copy:"), "else none could be fitted"


def test_quoting_needs_the_verifier_of_the_calibration(retrieval, folder, chosen) -> None:
    retrieval.verifier = SimpleNamespace(model_sha256="b" * 64)
    for generator in ("extractive", folder):
        with pytest.raises(DigestMismatch, match="the guards alone, not on verifier bbbbbbbbbbbb"):
            chosen(generator, retrieval, fallback="extractive")
        assert chosen(generator, retrieval, fallback="extractive", on_trial=True).of()


@pytest.fixture
def calibrated(folder: Path, word_calibration: Path, tmp_path: Path, retrieval):
    """Retrieval whose calibration file holds a decision on a generator."""

    def make(generator: str | None = None, **fields: object):
        own = f"copy:{load_generator(folder).digest}"
        content = json.loads(word_calibration.read_bytes())
        content["written"] = {
            "generator": generator or own,
            **DECISION.model_dump(mode="json"),
            "threshold": 0.9,
            **fields,
        }
        path = tmp_path / "calibration.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        retrieval.calibration = Calibration.load(path)
        return retrieval

    return make


def test_the_calibration_file_s_decision_takes_the_place_of_the_generators(
    folder: Path, calibrated, chosen, passage_of
) -> None:
    retrieval = calibrated()
    decider = chosen(folder, retrieval).main.decider
    assert decider.decide("Who?", draft(-1.0), (), [passage_of("x")]).threshold == 0.9
    assert decider.digest == f"calibration:{retrieval.calibration.digest}", "a receipt names it"


def test_a_calibration_of_another_generator_is_refused(folder: Path, calibrated, chosen) -> None:
    own = load_generator(folder).digest
    with pytest.raises(DigestMismatch) as refused:
        chosen(folder, calibrated(f"copy:{'0' * 64}"))
    assert f"copy:{'0' * 12}…" in str(refused.value)
    assert f"copy:{own[:12]}…" in str(refused.value)
    on_trial = chosen(folder, calibrated(f"copy:{'0' * 64}"), on_trial=True)
    assert on_trial.main.generator.digest == f"copy:{own}"


def test_the_bundled_calibration_of_another_generator_leaves_it_its_own_decision(
    folder: Path, calibrated, chosen, passage_of
) -> None:
    retrieval = calibrated(f"copy:{'0' * 64}")
    retrieval.calibration = replace(retrieval.calibration, bundled=True)
    decider = chosen(folder, retrieval).main.decider
    assert decider.decide("Who?", draft(-1.0), (), [passage_of("x")]).threshold == 0.4


def test_given_passages_have_a_threshold_of_their_own(
    base, tmp_path: Path, calibrated, chosen, passage_of
) -> None:
    decision = DECISION.model_copy(update={"reading_threshold": 0.2})
    save_generator(tmp_path / "own", base, trained_from="a test", decision=decision)
    own = f"copy:{load_generator(tmp_path / 'own').digest}"
    for retrieval, threshold in ((None, 0.4), (calibrated(own), 0.9)):
        writer = chosen(tmp_path / "own", *([retrieval] if retrieval else [])).main
        deciders = (writer.decider, writer.reading_decider)
        found = [one.decide("Who?", draft(-1.0), (), [passage_of("x")]) for one in deciders]
        assert [decision.threshold for decision in found] == [threshold, 0.2]


def test_a_decision_fitted_anew_serves_for_reading_too(
    base, tmp_path: Path, calibrated, chosen, passage_of
) -> None:
    save_generator(
        tmp_path / "own", base, trained_from="a test", decision=weighing_verdicts("a" * 64)
    )
    own = f"copy:{load_generator(tmp_path / 'own').digest}"
    retrieval = calibrated(
        own, **weighing_verdicts("b" * 64, threshold=0.7).model_dump(mode="json")
    )
    retrieval.verifier = SimpleNamespace(model_sha256="b" * 64)
    writer = chosen(tmp_path / "own", retrieval).main
    assert writer.reading_decider is not None
    decision = writer.reading_decider.decide("Who?", draft(-1.0), (), [passage_of("x")])
    assert decision.threshold == 0.7


def test_quoting_after_a_generator_has_a_decision_of_its_own(
    folder: Path, calibrated, chosen, passage_of
) -> None:
    own = f"copy:{load_generator(folder).digest}"
    second = {
        "generator": own,
        "features": ["agrees", "written_absent"],
        "weights": [2.0, -1.0],
        "intercept": 0.0,
        "threshold": 0.8,
    }
    retrieval = calibrated()
    retrieval.calibration = replace(retrieval.calibration, second=second)
    fallback = chosen(folder, retrieval, fallback="extractive").of()[1]
    agreeing = Draft(
        (Token("Ada", 0.9, 1.0, None),), 0.9, "x", {"agrees": 1.0, "written_absent": 0.5}
    )
    decision = fallback.decider.decide("Who?", agreeing, (), [passage_of("x")])
    assert decision.probability == pytest.approx(1 / (1 + math.exp(-1.5)))
    assert (decision.status, decision.threshold) == ("answered", 0.8)
    assert fallback.alone_decider is not None
    alone = fallback.alone_decider.decide("Who?", agreeing, (), [passage_of("x")])
    assert alone.threshold == retrieval.calibration.model("decide", FEATURES).extra("threshold")
    retrieval.calibration = replace(retrieval.calibration, second={**second, "generator": "copy:0"})
    with pytest.raises(DigestMismatch, match="fitted on generator copy:0"):
        chosen(folder, retrieval, fallback="extractive")


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"weights": [1.0]}, "features, 1 weights"),
        ({"threshold": 2}, "threshold"),
        ({"intercept": None}, "intercept"),
        ({"hunch": 1}, "hunch"),
    ],
)
def test_a_broken_decision_of_a_calibration_file_is_refused(
    folder: Path, calibrated, chosen, broken, why
) -> None:
    with pytest.raises(ModelError, match=f"the calibration file is broken: .*{why}"):
        chosen(folder, calibrated(**broken))


def test_a_calibration_of_another_verifier_s_verdicts_is_refused(
    folder: Path, calibrated, chosen
) -> None:
    fields = weighing_verdicts("a" * 64).model_dump(mode="json")
    with pytest.raises(DigestMismatch, match="verifier of sha256 aaaaaaaaaaaa"):
        chosen(folder, calibrated(**fields))
