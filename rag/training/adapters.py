"""Low-rank adapters: small trained additions to one generator, switched per call."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from rag.errors import AlreadyExists, DigestMismatch, MissingDependency, ModelError, NotFound
from rag.generate.copy_attention import CopyModel
from rag.generate.manifest import Decision, complaint, manifest_bytes, sha256_of
from rag.publish import new_partial, publish

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


def save_adapter(
    folder: Path,
    model: CopyModel,
    *,
    generator: str,
    name: str = "default",
    decision: Decision | None = None,
) -> str:
    """Write a peft adapter together with the digest of the generator it belongs to.

    Args:
        folder: new, or one that an earlier call wrote.
        model: with the adapter in it.
        generator: the generator's digest.
        name: of the adapter in the model.
        decision: which of the adapted generator's answers are served.

    Returns:
        the adapter's digest, sha256 of adapter.json.

    Raises:
        AlreadyExists: the folder holds something that is no adapter.
    """
    if folder.exists() and not (folder / MANIFEST).is_file() and any(folder.iterdir()):
        raise AlreadyExists(f"{folder} holds something that is no adapter: give another folder")
    peft = _peft()
    partial = new_partial(folder)
    state = peft.get_peft_model_state_dict(model.seq2seq, adapter_name=name)
    state = {PREFIX + key: value.detach().cpu().contiguous() for key, value in state.items()}
    (partial / LORA).write_bytes(save_tensors(state, {"format": "pt"}))
    config: Any = model.seq2seq.peft_config[name]
    config.save_pretrained(str(partial))
    heads = {key: value.detach().cpu().contiguous() for key, value in _heads(model).items()}
    (partial / HEADS).write_bytes(save_tensors(heads))
    files = {f: sha256_of((partial / f).read_bytes()) for f in (LORA, CONFIG, HEADS)}
    manifest = {"format": FORMAT, "generator": generator, "rank": config.r, "files": files}
    fitted = None if decision is None else decision.model_dump(mode="json")
    content = manifest_bytes({**manifest, "decision": fitted})
    (partial / MANIFEST).write_bytes(content)
    publish(partial, folder)
    return sha256_of(content)


@dataclass(frozen=True)
class _Adapter:
    digest: str
    heads: dict[str, Tensor]
    decision: Decision | None


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

    def decision(self, name: str) -> Decision | None:
        """Which answers are served with an adapter; None if that was never fitted.

        Raises:
            NotFound: there is no such adapter.
        """
        return self._named(name).decision

    def add(self, name: str, folder: Path) -> str:
        """Read an adapter under a name; it is not switched on.

        One that is refused leaves the model as it was.

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
            found = _read(folder, self._generator)
            state = {
                key.removeprefix(PREFIX): value
                for key, value in load_tensors(found.contents[LORA]).items()
            }
            heads = load_tensors(found.contents[HEADS])
            own = {key: value.shape for key, value in self._own_heads.items()}
            if {key: value.shape for key, value in heads.items()} != own:
                raise ModelError(f"{folder / HEADS} is of another model: train the adapter again")
            try:
                config = peft.LoraConfig(**_settings(folder, found.contents[CONFIG]))
                _check(folder / LORA, state, _wanted(self._model, config))
                _inject(self._model, config, name)
                peft.set_peft_model_state_dict(self._model.seq2seq, state, adapter_name=name)
            except (RuntimeError, ValueError, TypeError) as error:
                self._remove(name)
                raise ModelError(f"{folder / LORA} does not fit the generator: {error}") from error
            self._adapters[name] = _Adapter(found.digest, heads, found.decision)
            self._model.requires_grad_(False).eval()
            self.use(self._active)
            return found.digest

    def _remove(self, name: str) -> None:
        """Take out what of an adapter is in the model, and wrappers that nothing is left in."""
        for path, module in list(self._model.named_modules()):
            if not isinstance(module, _tuned()):
                continue
            module.set_adapter([])  # what is deleted while active is warned of
            module.delete_adapter(name)
            if not self._adapters:
                parent, _, attribute = path.rpartition(".")
                setattr(self._model.get_submodule(parent), attribute, module.get_base_layer())
        getattr(self._model.seq2seq, "peft_config", {}).pop(name, None)
        self._model.requires_grad_(False).eval()
        self.use(self._active)

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


def _tuned() -> Any:
    return _peft().tuners.tuners_utils.BaseTunerLayer


def _layers(model: CopyModel) -> list[Any]:
    tuned = _tuned()
    return [module for module in model.modules() if isinstance(module, tuned)]


def _wanted(model: CopyModel, config: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that an adapter of these settings has in a model."""
    wanted: dict[str, tuple[int, ...]] = {}
    for name, module in model.seq2seq.named_modules():
        if name.rpartition(".")[2] not in config.target_modules:
            continue
        layer: Any = module.get_base_layer() if isinstance(module, _tuned()) else module
        if isinstance(layer, torch.nn.Linear):
            wanted[f"{name}.lora_A.weight"] = (config.r, layer.in_features)
            wanted[f"{name}.lora_B.weight"] = (layer.out_features, config.r)
    return wanted


def _check(path: Path, state: dict[str, Tensor], wanted: dict[str, tuple[int, ...]]) -> None:
    for name in sorted(state.keys() ^ wanted.keys()):
        had = "holds" if name in state else "lacks"
        raise ModelError(f"{path} {had} {name}, unlike the generator: train the adapter again")
    for name, shape in wanted.items():
        if state[name].shape != shape:
            raise ModelError(
                f"{path}: {name} has shape {tuple(state[name].shape)}, the generator needs "
                f"{shape}: train the adapter again"
            )


def _heads(model: CopyModel) -> dict[str, Tensor]:
    return {n: p for n, p in model.named_parameters() if not n.startswith("seq2seq.")}


def _copied(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in values.items()}


def _settings(folder: Path, content: bytes) -> dict[str, Any]:
    """The settings of adapter_config.json that decide the computation."""
    names = ("r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora")
    try:
        values = json.loads(content)
        return {name: values[name] for name in names}
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / CONFIG} is broken ({error!r}): copy the adapter") from error


@dataclass(frozen=True)
class _Read:
    contents: dict[str, bytes]
    digest: str
    decision: Decision | None


def _read(folder: Path, generator: str) -> _Read:
    path = folder / MANIFEST
    if not path.is_file():
        raise ModelError(f"{folder} holds no {MANIFEST}: make one with rag train generator")
    content = path.read_bytes()
    try:
        manifest = json.loads(content)
        version, belongs_to, files = manifest["format"], manifest["generator"], manifest["files"]
        expected = {name: str(files[name]) for name in (LORA, CONFIG, HEADS)}
        fitted = manifest.get("decision")
        decision = None if fitted is None else Decision.model_validate(fitted)
    except ValidationError as error:
        raise ModelError(f"{path}: {complaint(error)}: copy the adapter again") from error
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
        if sha256_of(contents[name]) != sha256:
            raise DigestMismatch(
                f"{folder / name} has sha256 {sha256_of(contents[name])}, expected {sha256}: "
                "copy the adapter again"
            )
    return _Read(contents, sha256_of(content), decision)
