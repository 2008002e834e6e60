"""Low-rank adapters: small trained additions to one generator, switched per call."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from rag.errors import AlreadyExists, DigestMismatch, MissingDependency, ModelError, NotFound
from rag.generate.copy_attention import CopyModel

if TYPE_CHECKING:
    from rag.generate.saved import SavedGenerator

PROJECTIONS = {"bart": ("q_proj", "k_proj", "v_proj", "out_proj"), "t5": ("q", "k", "v", "o")}
"""Names of the attention projections, of encoder, decoder and cross-attention."""

FORMAT = 1
MANIFEST = "adapter.json"
LORA, CONFIG, HEADS = "adapter_model.safetensors", "adapter_config.json", "heads.safetensors"
PREFIX = "base_model.model."  # what peft puts before the names of a wrapped model's tensors


def add_lora(
    model: CopyModel, rank: int, *, name: str = "default", train_heads: bool = True
) -> None:
    """Put adapters round the attention projections (Hu et al., 2021) and freeze the rest.

    W x becomes W x + (alpha / r) B A x with A (r, d) random and B (d, r) zero, so that nothing
    changes before training; alpha is 2 r.

    Args:
        model: changed in place; its encoder-decoder's parameters are frozen.
        rank: r.
        name: of the adapter.
        train_heads: pointer, gate and span head are trained along.

    Raises:
        MissingDependency: peft is not installed.
    """
    peft = _peft()
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.05,
        target_modules=list(PROJECTIONS[model.seq2seq.config.model_type]),
    )
    _inject(model, config, name)
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.startswith("seq2seq."):
            parameter.requires_grad_("lora_" in parameter_name)
        else:
            parameter.requires_grad_(train_heads)


def merge_lora(model: CopyModel) -> None:
    """Add the active adapter to the weights and take all adapters out, in place."""
    peft = _peft()
    found = {n: m for n, m in model.named_modules() if isinstance(m, peft.tuners.lora.LoraLayer)}
    for name, layer in found.items():
        layer.merge()
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, layer.get_base_layer())


def save_adapter(folder: Path, model: CopyModel, *, generator: str, name: str = "default") -> str:
    """Write a peft adapter together with the digest of the generator it belongs to.

    Args:
        folder: new, or one that an earlier call wrote.
        model: with the adapter in it.
        generator: the generator's digest.
        name: of the adapter in the model.

    Returns:
        the adapter's digest, sha256 of adapter.json.

    Raises:
        AlreadyExists: the folder holds something that is no adapter.
    """
    if folder.exists() and not (folder / MANIFEST).is_file() and any(folder.iterdir()):
        raise AlreadyExists(f"{folder} holds something that is no adapter: give another folder")
    peft = _peft()
    partial = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    state = peft.get_peft_model_state_dict(model.seq2seq, adapter_name=name)
    state = {PREFIX + key: value.detach().cpu().contiguous() for key, value in state.items()}
    (partial / LORA).write_bytes(save_tensors(state, {"format": "pt"}))
    config: Any = model.seq2seq.peft_config[name]
    config.save_pretrained(str(partial))
    heads = {key: value.detach().cpu().contiguous() for key, value in _heads(model).items()}
    (partial / HEADS).write_bytes(save_tensors(heads))
    files = {f: _sha256((partial / f).read_bytes()) for f in (LORA, CONFIG, HEADS)}
    manifest = {"format": FORMAT, "generator": generator, "rank": config.r, "files": files}
    content = json.dumps(manifest, indent=1, sort_keys=True).encode()
    (partial / MANIFEST).write_bytes(content)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return _sha256(content)


@dataclass(frozen=True)
class _Adapter:
    digest: str
    heads: dict[str, Tensor]


class AdapterSwitch:
    """One generator with several adapters, of which at most one is on.

    Args:
        saved: the generator; its model is changed in place.
    """

    def __init__(self, saved: SavedGenerator) -> None:
        self._model = saved.base.model
        self._generator = saved.digest
        self._own_heads = _copied(_heads(self._model))
        self._adapters: dict[str, _Adapter] = {}
        self._lock = threading.RLock()
        self._active: str | None = None

    @property
    def names(self) -> list[str]:
        """Adapters that can be used."""
        return sorted(self._adapters)

    @property
    def active(self) -> str | None:
        """The adapter that is on; None if the generator is as it was saved."""
        return self._active

    def digest(self, name: str) -> str:
        """An adapter's digest, for receipts.

        Raises:
            NotFound: there is no such adapter.
        """
        return self._named(name).digest

    def add(self, name: str, folder: Path) -> str:
        """Read an adapter under a name; it is not switched on.

        Returns:
            its digest.

        Raises:
            AlreadyExists: the name is taken.
            ModelError: the folder holds no adapter, or one of another kind of model.
            DigestMismatch: a file has changed, or the adapter belongs to another generator.
        """
        peft = _peft()
        with self._lock:
            if name in self._adapters:
                raise AlreadyExists(f"there is already an adapter {name!r}: give another name")
            contents, digest = _read(folder, self._generator)
            config = peft.LoraConfig(**_settings(folder, contents[CONFIG]))
            state = {
                key.removeprefix(PREFIX): value
                for key, value in load_tensors(contents[LORA]).items()
            }
            heads = load_tensors(contents[HEADS])
            own = {key: value.shape for key, value in self._own_heads.items()}
            if {key: value.shape for key, value in heads.items()} != own:
                raise ModelError(f"{folder / HEADS} is of another model: train the adapter again")
            try:
                _inject(self._model, config, name)
                left = peft.set_peft_model_state_dict(self._model.seq2seq, state, adapter_name=name)
            except (RuntimeError, ValueError) as error:
                raise ModelError(f"{folder / LORA} does not fit the generator: {error}") from error
            if left.unexpected_keys:
                odd = left.unexpected_keys[0]
                raise ModelError(f"{folder / LORA} holds {odd}, which the generator has not")
            self._adapters[name] = _Adapter(digest, heads)
            self._model.requires_grad_(False).eval()
            self.use(self._active)
            return digest

    def use(self, name: str | None) -> None:
        """Switch an adapter on; None switches all off.

        Raises:
            NotFound: there is no such adapter.
        """
        with self._lock:
            heads = self._own_heads if name is None else self._named(name).heads
            for layer in _layers(self._model):
                layer.enable_adapters(name is not None)
                if name is not None:
                    layer.set_adapter(name)
            self._model.seq2seq.requires_grad_(False)  # set_adapter makes its adapter trainable
            with torch.no_grad():
                for key, value in _heads(self._model).items():
                    value.copy_(heads[key])
            self._active = name

    @contextmanager
    def using(self, name: str | None) -> Iterator[None]:
        """Switch an adapter on for one call; other threads' calls wait.

        Raises:
            NotFound: there is no such adapter.
        """
        with self._lock:
            before = self._active
            if name != before:
                self.use(name)
            try:
                yield
            finally:
                if name != before:
                    self.use(before)

    def _named(self, name: str) -> _Adapter:
        if name not in self._adapters:
            known = ", ".join(self.names) or "none"
            raise NotFound(f"there is no adapter {name!r}; there are: {known}")
        return self._adapters[name]


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingDependency("adapters: pip install 'grounded-rag[train]'") from error
    return peft


def _inject(model: CopyModel, config: Any, name: str) -> None:
    with warnings.catch_warnings():
        # peft asks whether several adapters in one model are meant: they are.
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        _peft().inject_adapter_in_model(config, model.seq2seq, adapter_name=name)


def _layers(model: CopyModel) -> list[Any]:
    tuned = _peft().tuners.tuners_utils.BaseTunerLayer
    return [module for module in model.modules() if isinstance(module, tuned)]


def _heads(model: CopyModel) -> dict[str, Tensor]:
    return {n: p for n, p in model.named_parameters() if not n.startswith("seq2seq.")}


def _copied(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in values.items()}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _settings(folder: Path, content: bytes) -> dict[str, Any]:
    """The settings of adapter_config.json that decide the computation."""
    names = ("r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora")
    try:
        values = json.loads(content)
        return {name: values[name] for name in names}
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / CONFIG} is broken ({error!r}): copy the adapter") from error


def _read(folder: Path, generator: str) -> tuple[dict[str, bytes], str]:
    path = folder / MANIFEST
    if not path.is_file():
        raise ModelError(f"{folder} holds no {MANIFEST}: make one with rag train generator")
    content = path.read_bytes()
    try:
        manifest = json.loads(content)
        version, belongs_to, files = manifest["format"], manifest["generator"], manifest["files"]
        expected = {name: str(files[name]) for name in (LORA, CONFIG, HEADS)}
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is broken ({error!r}): copy the adapter again") from error
    if version != FORMAT:
        raise ModelError(f"{path} has format {version!r}, this version reads {FORMAT}: upgrade")
    if belongs_to != generator:
        raise DigestMismatch(
            f"{folder} belongs to the generator with digest {belongs_to}, not to {generator}: "
            "load that one, or train the adapter again"
        )
    contents = {}
    for name, sha256 in expected.items():
        if not (folder / name).is_file():
            raise ModelError(f"{folder / name} is missing: copy the adapter again")
        contents[name] = (folder / name).read_bytes()
        if _sha256(contents[name]) != sha256:
            raise DigestMismatch(
                f"{folder / name} has sha256 {_sha256(contents[name])}, expected {sha256}: "
                "copy the adapter again"
            )
    return contents, _sha256(content)
