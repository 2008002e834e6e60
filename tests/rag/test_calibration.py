"""Checks that a calibration file is used only with the models that it was fitted on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rag.calibration import BUNDLED, Calibration
from rag.decide import FEATURES
from rag.errors import DigestMismatch, ModelError
from rag.settings import Settings
from rag.verify.choose import Judges


@pytest.fixture
def changed(tmp_path: Path):
    """The bundled file with changes, as read."""

    def make(**values: object) -> Calibration:
        content = {**json.loads(BUNDLED.read_bytes()), **values}
        path = tmp_path / "calibration.json"
        path.write_text(json.dumps({k: v for k, v in content.items() if v != "left out"}))
        return Calibration.load(path)

    return make


def test_the_bundled_one_is_of_the_bundled_models() -> None:
    calibration = Calibration.load(BUNDLED)
    judges = Judges(Settings(device="cpu"))
    calibration.check_judged_by(judges.verifier.model_sha256)
    assert judges.scorer is not None
    assert calibration.reranker == judges.scorer.sha256
    assert calibration.model("decide", FEATURES).weights.shape == (len(FEATURES),)


@pytest.mark.parametrize(
    ("fitted", "used", "message"),
    [
        ("a" * 64, "b" * 64, "fitted on verifier aaaaaaaaaaaa…, not on verifier bbbbbbbbbbbb…"),
        ("a" * 64, None, "fitted on verifier aaaaaaaaaaaa…, not on the guards alone"),
        (None, "b" * 64, "fitted on the guards alone, not on verifier bbbbbbbbbbbb…"),
    ],
)
def test_verdicts_of_another_verifier_are_refused(changed, fitted, used, message) -> None:
    calibration = changed(verifier_sha256=fitted)
    with pytest.raises(DigestMismatch, match=message) as refused:
        calibration.check_judged_by(used)
    assert "rag calibrate" in str(refused.value)
    calibration.check_judged_by(fitted)


def test_the_reranker_is_the_verifier_unless_it_is_named(changed) -> None:
    assert changed(verifier_sha256="a" * 64).reranker == "a" * 64
    assert changed(verifier_sha256=None, reranker_sha256="b" * 64).reranker == "b" * 64


def test_a_generators_own_decision_is_optional(changed) -> None:
    assert changed(written="left out").written is None
    assert changed(written=None).written is None
    assert changed(written={"generator": "copy:1"}).written == {"generator": "copy:1"}


@pytest.mark.parametrize(
    "broken",
    [
        {"embedder_sha256": "left out"},
        {"models": "left out"},
        {"fusion": {}},
        {"fusion": {"dense_weight": 1, "rank_share": 1, "rerank_weight": "much"}},
        {"fusion": 3},
        {"written": 3},
        {"written": "copy"},
    ],
)
def test_a_broken_file_is_named(changed, broken) -> None:
    with pytest.raises(ModelError, match=r"calibration\.json is not a calibration file"):
        changed(**broken)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"null"])
def test_what_is_no_json_object_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"calibration\.json is not a calibration file"):
        Calibration.load(path)
    with pytest.raises(ModelError, match="No such file"):
        Calibration.load(tmp_path / "none.json")


def test_a_decision_on_other_evidence_is_refused(changed) -> None:
    models = json.loads(BUNDLED.read_bytes())["models"]
    models["decide"]["features"] = models["decide"]["features"][:-1]
    with pytest.raises(ModelError, match="fitted on other features"):
        changed(models=models).model("decide", FEATURES)
    with pytest.raises(ModelError, match="lacks a usable 'none'"):
        changed().model("none", FEATURES)
