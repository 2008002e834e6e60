"""A trained generator's folder: what is stored beside its base, and the checks before use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor
from transformers import AutoConfig

from rag.errors import AlreadyExists, DigestMismatch, ModelError, UsageError
from rag.generate.base import (
    ARCHITECTURES,
    Base,
    build,
    embedded_base,
    layer_norm_eps,
    open_tokenizer,
    pretrained_base,
    tied,
)
from rag.generate.copy_attention import CopyModel
from rag.generate.fusion import SpecialIds
from rag.generate.layout import Layout
from rag.generate.manifest import (
    FORMAT,
    MANIFEST,
    Decision,
    Framing,
    Manifest,
    manifest_bytes,
    read_manifest,
    sha256_of,
)
from rag.generate.warm_start import MINILM
from rag.models import resolve
from rag.publish import new_partial, publish

if TYPE_CHECKING:
    from rag.training.adapters import AdapterSwitch

WEIGHTS = "weights.safetensors"
CONFIG, TOKENIZER, CARD = "config.json", "tokenizer.json", "README.md"


@dataclass(frozen=True)
class SavedGenerator:
    """A generator ready to answer.

    Attributes:
        base: model (float32, evaluation mode), tokenizer and framing.
        digest: sha256 of generator.json, which holds the digests of all other files and the
            thresholds.
        absent_threshold: probability of "not in these passages" from which it is the answer.
        name: its reference, or the folder's name where the reference is a path.
        manifest: generator.json.
        adapters: its adapters by name; None when it was loaded without any.
    """

    base: Base
    digest: str
    absent_threshold: float
    name: str
    manifest: Manifest
    adapters: AdapterSwitch | None = None


def save_generator(
    folder: Path,
    base: Base,
    *,
    trained_from: str,
    absent_threshold: float = 1.0,
    decision: Decision | None = None,
    settings: Mapping[str, Any] | None = None,
    card: str | None = None,
) -> str:
    """Write a generator that `load_generator` can read; replaces an older one whole.

    Weights are stored in fp16, and only where they differ from those of the base's reference.

    Args:
        folder: new, or one that an earlier call wrote.
        base: the trained model; adapters must be merged into it.
        trained_from: what the training started from, in words.
        absent_threshold: probability of "not in these passages" from which it is the answer; 1
            for never: the decision weighs absence with all else.
        decision: which answers are served.
        settings: anything JSON can hold, for readers.
        card: text of README.md.

    Returns:
        the generator's digest.

    Raises:
        AlreadyExists: the folder holds something that is no generator.
        ModelError: a weight is not finite in fp16.
    """
    if folder.exists() and not (folder / MANIFEST).is_file() and any(folder.iterdir()):
        raise AlreadyExists(f"{folder} holds something that is no generator: give another folder")
    model = base.model
    stored = _stored(base)
    for name, tensor in stored.items():
        if not torch.isfinite(tensor).all():
            raise ModelError(f"weight {name} is not finite in fp16: the training has diverged")
    contents = {WEIGHTS: save_tensors(stored)}
    if base.reference is None:
        contents[CONFIG] = (model.seq2seq.config.to_json_string()).encode()
        contents[TOKENIZER] = base.tokenizer.to_str().encode()
    if card is not None:
        contents[CARD] = card.encode()
    manifest = Manifest(
        format=FORMAT,
        architecture="t5" if base.architecture == "t5" else "bart",
        base=base.reference,
        base_sha256=resolve(base.reference).digest if base.reference else None,
        tied=tied(model.seq2seq),
        guided=model.span_guide is not None,
        concatenated=base.layout.concatenated,
        copying=base.layout.copying,
        reserved_token=str(base.tokenizer.id_to_token(base.reserved_id)),
        framing=Framing(**vars(base.special)),
        layer_norm_eps=layer_norm_eps(model.seq2seq),
        absent_threshold=absent_threshold,
        decision=decision,
        trained_from=trained_from,
        settings=dict(settings or {}),
        files={name: sha256_of(content) for name, content in sorted(contents.items())},
    )
    contents[MANIFEST] = manifest_bytes(manifest.model_dump(mode="json"))
    partial = new_partial(folder)
    for name, content in contents.items():
        (partial / name).write_bytes(content)
    publish(partial, folder)
    return sha256_of(contents[MANIFEST])


def load_generator(
    reference: str | Path, *, device: str = "cpu", adapter: Path | None = None
) -> SavedGenerator:
    """Read a generator, every file checked against its digest first.

    Args:
        reference: `bundled:NAME`, a folder's path, or `hub:NAME@REVISION`.
        device: where the model goes.
        adapter: folder of an adapter that was trained on this generator; it is switched on.

    Raises:
        ModelError: not there, pickled, incomplete, of an unknown version or otherwise unusable.
        DigestMismatch: a file or the base is not the one the generator was saved with, or the
            adapter belongs to another generator.
        UsageError: the device is not there.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"torch sees no device {device!r}: set RAG_DEVICE to cpu or auto")
    reference = str(reference)
    folder = resolve(reference).path
    manifest, digest = read_manifest(folder)
    contents = {name: _checked(folder, name, sha256) for name, sha256 in manifest.files.items()}
    if WEIGHTS not in contents:
        raise ModelError(f"{folder / MANIFEST} does not list {WEIGHTS}: copy the generator again")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        base = _untrained(folder, manifest, contents)
        _fill(base.model, folder, contents[WEIGHTS], manifest)
    base.model.to(device).eval()
    saved = SavedGenerator(
        base=base,
        digest=digest,
        absent_threshold=manifest.absent_threshold,
        name=reference if _schemed(reference) else folder.name,
        manifest=manifest,
    )
    if adapter is None:
        return saved
    from rag.training.adapters import AdapterSwitch  # peft is optional

    switch = AdapterSwitch(saved)
    switch.add(adapter.name, adapter)
    switch.use(adapter.name)
    return replace(saved, adapters=switch)


def _schemed(reference: str) -> bool:
    return reference.startswith(("bundled:", "package:", "hub:"))


def _checked(folder: Path, name: str, expected: str) -> bytes:
    path = folder / name
    if Path(name).name != name or not path.is_file():
        raise ModelError(f"{path} is missing: copy the generator again")
    content = path.read_bytes()
    found = sha256_of(content)
    if found != expected:
        raise DigestMismatch(
            f"{path} has sha256 {found}, expected {expected}: copy the generator again"
        )
    return content


def _untrained(folder: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> Base:
    """The base that the weights go into."""
    layout = Layout(concatenated=manifest.concatenated, copying=manifest.copying)
    if manifest.base is not None:
        found = resolve(manifest.base).digest
        if found != manifest.base_sha256:
            raise DigestMismatch(
                f"{folder} needs {manifest.base} with sha256 {manifest.base_sha256}, "
                f"found {found}: install that version"
            )
        return replace(referenced_base(manifest.base, guided=manifest.guided), layout=layout)
    for name in (CONFIG, TOKENIZER):
        if name not in contents:
            raise ModelError(f"{folder / MANIFEST} does not list {name}: copy the generator again")
    try:
        config = AutoConfig.for_model(**json.loads(contents[CONFIG]))
        if config.model_type != manifest.architecture or config.model_type not in ARCHITECTURES:
            raise ModelError(
                f"{folder / CONFIG} is of a {config.model_type}, not of a {manifest.architecture}"
            )
        tokenizer = open_tokenizer(contents[TOKENIZER])
        seq2seq = build(config, manifest.layer_norm_eps, own_head=not manifest.tied)
    except ModelError:
        raise
    except Exception as error:  # Each library raises its own errors, tokenizers bare ones.
        raise ModelError(f"{folder}: {CONFIG} or {TOKENIZER} is unusable: {error!r}") from error
    reserved = tokenizer.token_to_id(manifest.reserved_token)
    if reserved is None:
        raise ModelError(f"{folder / TOKENIZER} lacks the token {manifest.reserved_token!r}")
    model = CopyModel(seq2seq, reserved_id=reserved, guided=manifest.guided)
    special = SpecialIds(**manifest.framing.model_dump())
    return Base(model, tokenizer, special, layout=layout)


def referenced_base(reference: str, *, guided: bool = True) -> Base:
    """The untrained base of a reference, the same at each call but for its random heads."""
    if reference == MINILM:
        return embedded_base(guided=guided)
    return pretrained_base(reference, guided=guided)


def tensors(model: CopyModel) -> dict[str, Tensor]:
    """Every parameter and buffer once, by name; tied ones under their first name."""
    saved = model.state_dict().keys()
    own = dict(model.named_parameters())
    return own | {name: value for name, value in model.named_buffers() if name in saved}


def _stored(base: Base) -> dict[str, Tensor]:
    """What must be stored beside the base, in fp16."""
    untrained: dict[str, Tensor] = {}
    if base.reference is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            known = referenced_base(base.reference, guided=base.model.span_guide is not None)
        untrained = tensors(known.model)
    stored = {}
    for name, tensor in tensors(base.model).items():
        value = tensor.detach().cpu()
        # The heads of a base are random, so theirs are always stored.
        if name.startswith("seq2seq.") and torch.equal(untrained.get(name, value.new()), value):
            continue
        stored[name] = value.half().contiguous()
    return stored


def _fill(model: CopyModel, folder: Path, content: bytes, manifest: Manifest) -> None:
    """Put stored weights into a model.

    Raises:
        ModelError: a tensor is missing, unknown, of another shape, or not finite.
    """
    path = folder / WEIGHTS
    try:
        stored = load_tensors(content)
    except SafetensorError as error:
        raise ModelError(f"{path} is no safetensors file: copy the generator again") from error
    own = tensors(model)
    needed = {n for n in own if manifest.base is None or not n.startswith("seq2seq.")}
    again = "save the generator again with this version"
    for name in sorted(needed - stored.keys()):
        raise ModelError(f"{path} lacks {name}: {again}")
    for name, value in stored.items():
        if name not in own:
            raise ModelError(f"{path} holds {name}, which the model has not: {again}")
        if own[name].shape != value.shape:
            raise ModelError(
                f"{path}: {name} has shape {tuple(value.shape)}, "
                f"the model needs {tuple(own[name].shape)}: {again}"
            )
        if not torch.isfinite(value).all():
            raise ModelError(f"{path}: {name} holds values that are not finite: {again}")
    with torch.no_grad():
        for name, value in stored.items():
            own[name].copy_(value)
