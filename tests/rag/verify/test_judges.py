"""Checks that settings choose verifier and reranker, and that unusable ones are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rag.calibration import Calibration
from rag.errors import DigestMismatch, ModelError, UsageError
from rag.rerank import CrossReranker
from rag.settings import Settings
from rag.types import Claim
from rag.verify.choose import Judges
from rag.verify.guarded import GuardVerifier
from rag.verify.nli import NliVerifier
from rag.verify.saved import Verdicts, embedded_model, save_verifier


@pytest.fixture
def calibration(word_calibration: Path) -> Calibration:
    return replace(Calibration.load(word_calibration), rerank_weight=4.0)


def judges(**settings: object) -> Judges:
    return Judges(Settings(device="cpu", **settings))  # type: ignore[arg-type]


def test_guards_and_none_need_no_model(calibration, monkeypatch) -> None:
    monkeypatch.setattr("rag.verify.scorer.open_scorer", lambda *_, **__: pytest.fail("loaded"))
    chosen = judges(verifier="guards", reranker="none")
    assert isinstance(chosen.verifier, GuardVerifier)
    assert chosen.scorer is None
    assert chosen.reranker(calibration) is None


def test_one_model_of_both_roles_is_loaded_once(calibration, monkeypatch) -> None:
    from rag.verify import scorer

    opened: list[str] = []
    real = scorer.open_scorer

    def counted(reference: str, *, device: str):
        opened.append(reference)
        return real(reference, device=device)

    monkeypatch.setattr("rag.verify.scorer.open_scorer", counted)
    chosen = judges()
    assert opened == [], "nothing is loaded before it is asked for"
    reranker = chosen.reranker(calibration)
    assert isinstance(chosen.verifier, NliVerifier)
    assert isinstance(reranker, CrossReranker)
    assert reranker.scorer is chosen.scorer
    assert opened == ["bundled:verifier"]
    assert chosen.verifier.model_sha256 == chosen.scorer.sha256


def test_the_search_counts_beside_the_relevance_it_was_weighed_with(
    calibration, reranker_folder
) -> None:
    chosen = judges(reranker=str(reranker_folder), rerank_depth=7)
    other = chosen.reranker(calibration)
    assert isinstance(other, CrossReranker)
    assert (other.fused_weight, other.depth) == (0.0, 7)
    fitted = replace(calibration, reranker=other.scorer.sha256)  # type: ignore[attr-defined]
    same = chosen.reranker(fitted)
    assert isinstance(same, CrossReranker)
    assert same.fused_weight == 4.0


def test_a_cross_encoder_of_another_maker_judges(entailment_folder) -> None:
    verifier = judges(verifier=str(entailment_folder)).verifier
    (verdict,) = verifier.verify([Claim("The dose is 4 g.", ())], [["The dose is 4 g."]])
    assert verdict.p_supported is not None
    assert verifier.digest.startswith(f"entailment:{verifier.model_sha256}+guards:")


def one_line(error: pytest.ExceptionInfo[Exception], *words: str) -> bool:
    message = str(error.value)
    return "\n" not in message and all(word in message for word in words)


def test_a_reranker_gives_no_verdicts(reranker_folder) -> None:
    with pytest.raises(UsageError) as refused:
        _ = judges(verifier=str(reranker_folder)).verifier
    assert one_line(refused, str(reranker_folder), "RAG_VERIFIER", "guards")


def test_a_verifier_of_entailment_alone_ranks_nothing(entailment_folder, calibration) -> None:
    with pytest.raises(UsageError) as refused:
        judges(reranker=str(entailment_folder)).reranker(calibration)
    assert one_line(refused, str(entailment_folder), "RAG_RERANKER", "none")


def test_a_verifier_whose_thresholds_were_never_fitted_reranks_only(tmp_path, calibration) -> None:
    save_verifier(tmp_path / "own", embedded_model(), trained_from="a test")
    chosen = judges(verifier=str(tmp_path / "own"), reranker=str(tmp_path / "own"))
    assert isinstance(chosen.reranker(calibration), CrossReranker)
    with pytest.raises(UsageError, match="whose thresholds were fitted"):
        _ = chosen.verifier


def test_a_folder_that_is_not_there_is_named(tmp_path, calibration) -> None:
    gone = str(tmp_path / "gone")
    with pytest.raises(ModelError, match=r"no model folder at .*gone"):
        _ = judges(verifier=gone).verifier
    with pytest.raises(ModelError, match=r"no model folder at .*gone"):
        judges(reranker=gone).reranker(calibration)


def test_changed_weights_are_refused(tmp_path) -> None:
    verdicts = Verdicts(temperature=1, supported=0.5, contradicted=0.5)
    save_verifier(tmp_path / "own", embedded_model(), trained_from="a test", verdicts=verdicts)
    weights = tmp_path / "own" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DigestMismatch, match="copy the verifier again"):
        _ = judges(verifier=str(tmp_path / "own")).verifier
