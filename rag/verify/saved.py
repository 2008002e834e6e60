"""A trained verifier's folder: what is stored beside its base, and the checks before use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors
from tokenizers import Tokenizer
from torch import Tensor

from rag.errors import AlreadyExists, DigestMismatch, ModelError
from rag.generate.base import read_tokenizer
from rag.generate.manifest import manifest_bytes, read_versioned, sha256_of
from rag.generate.warm_start import (
    MINILM,
    PADDING_ID,
    SEPARATOR_ID,
    START_ID,
    minilm_folder,
)
from rag.models import resolve
from rag.publish import new_partial, publish
from rag.verify.cross_encoder import LABELS, Framing, PairModel, from_bart_encoder, from_bert

FORMAT = 1
MANIFEST, WEIGHTS, CARD = "verifier.json", "weights.safetensors", "README.md"
EMBEDDED = "embedded"
EMBEDDING = "encoder.embeddings.word_embeddings.weight"


class Verdicts(BaseModel):
    """From which probabilities a claim is supported or contradicted, fitted on held-out claims.

    Attributes:
        temperature: by which label logits are divided, so that probabilities are calibrated.
        supported, contradicted: least probability of each verdict.
        fitted_on: sha256 of the files of whose held-out parts the claims are, by name; None where
            nothing of a file was held out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: float = Field(gt=0)
    supported: float = Field(ge=0, le=1)
    contradicted: float = Field(ge=0, le=1)
    fitted_on: dict[str, str | None] = Field(default_factory=dict)


class Manifest(BaseModel):
    """verifier.json: what the weights are of, the verdicts' thresholds, and every file's digest.

    Attributes:
        base: model reference of the encoder that it started from; its token embedding is not
            stored.
        base_sha256: digest of that model's weights.
        labels: of the entailment head, in order.
        verdicts: None if they were never fitted; such a verifier can't serve.
        trained_from: what the training started from, in words.
        files: sha256 of the files that decide what it says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    base: str
    base_sha256: str
    labels: tuple[str, ...]
    verdicts: Verdicts | None
    trained_from: str
    settings: dict[str, Any]
    files: dict[str, str]


@dataclass(frozen=True)
class SavedVerifier:
    """A verifier ready to judge.

    Attributes:
        model: float32, in evaluation mode.
        digest: sha256 of verifier.json, which holds the digests of all other files.
    """

    model: PairModel
    tokenizer: Tokenizer
    framing: Framing
    digest: str
    name: str
    manifest: Manifest


def embedded_model() -> PairModel:
    """An untrained verifier: MiniLM's encoder, whose token embedding is not trained."""
    folder = minilm_folder()
    config = json.loads((folder / "config.json").read_text())
    return _frozen(from_bert(_bert_weights(folder), config))


def model_from_generator(weights: Mapping[str, Tensor]) -> PairModel:
    """An untrained verifier that starts from the encoder of a generator warm-started from MiniLM.

    Args:
        weights: the generator's BART tensors by name.

    Raises:
        ValueError: they are of another architecture, or their token embedding is not MiniLM's.
    """
    folder = minilm_folder()
    config = json.loads((folder / "config.json").read_text())
    bert = _bert_weights(folder)
    try:
        model = from_bart_encoder(weights, bert, config)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"the generator is not of MiniLM's architecture: {error}") from error
    if not _has_embedding(model, bert):
        raise ValueError("the generator's token embedding is not MiniLM's")
    return _frozen(model)


def embedded_tokenizer() -> Tokenizer:
    """MiniLM's, without truncation or padding."""
    return read_tokenizer(minilm_folder())


def embedded_framing() -> Framing:
    """MiniLM's."""
    return Framing(START_ID, SEPARATOR_ID, PADDING_ID)


def save_verifier(
    folder: Path,
    model: PairModel,
    *,
    trained_from: str,
    verdicts: Verdicts | None = None,
    settings: Mapping[str, Any] | None = None,
    card: str | None = None,
) -> str:
    """Write a verifier that `load_verifier` can read; replaces an older one whole.

    Weights are stored in fp16, without the token embedding, which must be MiniLM's.

    Returns:
        the verifier's digest.

    Raises:
        AlreadyExists: the folder holds something that is no verifier.
        ModelError: a weight is not finite in fp16, or the token embedding is another.
    """
    if folder.exists() and not (folder / MANIFEST).is_file() and any(folder.iterdir()):
        raise AlreadyExists(f"{folder} holds something that is no verifier: give another folder")
    if not _has_embedding(model, _bert_weights(minilm_folder())):
        raise ModelError("the verifier's token embedding is not MiniLM's: leave it as it is")
    stored = {
        name: tensor.detach().cpu().half().contiguous()
        for name, tensor in model.state_dict().items()
        if name != EMBEDDING and tensor.is_floating_point()
    }
    for name, tensor in stored.items():
        if not torch.isfinite(tensor).all():
            raise ModelError(f"weight {name} is not finite in fp16: the training has diverged")
    contents = {WEIGHTS: save_tensors(stored)}
    manifest = Manifest(
        format=FORMAT,
        base=MINILM,
        base_sha256=resolve(MINILM).digest,
        labels=LABELS,
        verdicts=verdicts,
        trained_from=trained_from,
        settings=dict(settings or {}),
        files={name: sha256_of(content) for name, content in contents.items()},
    )
    content = manifest_bytes(manifest.model_dump(mode="json"))
    partial = new_partial(folder)
    # The card is no part of the digest: what decisions were fitted on stays the same model.
    shown = {} if card is None else {CARD: card.encode("utf-8", "replace")}
    for name, part in {**contents, **shown, MANIFEST: content}.items():
        (partial / name).write_bytes(part)
    publish(partial, folder)
    return sha256_of(content)


def load_verifier(reference: str, *, device: str = "cpu") -> SavedVerifier:
    """Load a trained verifier and check every file of it.

    Args:
        reference: `bundled:NAME` or a folder that `save_verifier` wrote.
        device: where the model goes, in float32.

    Raises:
        ModelError: it is not there, or broken, or of an unknown version.
        DigestMismatch: a file of it, or its base, is not the one that its manifest names.
    """
    folder = resolve(reference).path
    manifest, digest = read_manifest(folder)
    contents = {}
    for name, wanted in manifest.files.items():
        path = folder / name
        content = path.read_bytes() if path.is_file() else b""
        if sha256_of(content) != wanted:
            raise DigestMismatch(
                f"{path} is not the file that {MANIFEST} names (sha256 {wanted[:12]}…): "
                "copy the verifier again"
            )
        contents[name] = content
    if resolve(manifest.base).digest != manifest.base_sha256:
        raise DigestMismatch(f"{reference} was trained from another {manifest.base}: install it")
    model = embedded_model()
    try:
        tensors = load_tensors(contents[WEIGHTS])
        state = {name: tensor.float() for name, tensor in tensors.items()}
        missing, unexpected = model.load_state_dict(state, strict=False)
    except (KeyError, SafetensorError, RuntimeError) as error:
        why = " ".join(str(error).split())  # torch writes a line for each tensor
        raise ModelError(f"{folder / WEIGHTS} does not fit ({why}): copy it again") from error
    odd = {*unexpected, *({*missing} ^ {EMBEDDING})}
    if odd:
        raise ModelError(f"{folder / WEIGHTS} lacks or has beside others {min(odd)}: copy it again")
    model.requires_grad_(False)
    model.encoder.set_attn_implementation("sdpa")  # faster than eager where nothing is learned
    name = reference if ":" in reference else folder.name
    return SavedVerifier(
        model.to(device).eval(), embedded_tokenizer(), embedded_framing(), digest, name, manifest
    )


def learnable(model: PairModel) -> PairModel:
    """A loaded verifier, changed in place so that training can go on from it."""
    model.requires_grad_(True)
    model.encoder.set_attn_implementation("eager")
    return _frozen(model)


def is_verifier(reference: str) -> bool:
    """The reference is of a saved verifier.

    Raises:
        ModelError: there is nothing.
    """
    return (resolve(reference).path / MANIFEST).is_file()


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """verifier.json and its sha256.

    Raises:
        ModelError: there is none, or it is broken, or of an unknown version.
    """
    path = folder / MANIFEST
    manifest, digest = read_versioned(path, FORMAT, Manifest, kind="verifier")
    if manifest.labels != LABELS:
        raise ModelError(
            f"{path} has the labels {', '.join(manifest.labels)}, not {', '.join(LABELS)}: "
            "train the verifier again"
        )
    return manifest, digest


def _bert_weights(folder: Path) -> dict[str, Tensor]:
    return {
        name.removeprefix("bert."): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }


def _has_embedding(model: PairModel, bert: Mapping[str, Tensor]) -> bool:
    ours = model.encoder.embeddings.word_embeddings.weight.detach().cpu()
    return torch.equal(ours, bert["embeddings.word_embeddings.weight"])


def _frozen(model: PairModel) -> PairModel:
    """Leave the token embedding as it is: it is half of all weights, and MiniLM's is good."""
    model.encoder.embeddings.word_embeddings.requires_grad_(False)
    return model
