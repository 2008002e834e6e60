"""generator.json: what a trained generator's weights are of, and which answers are served."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rag.errors import ModelError
from rag.publish import write_file

M = TypeVar("M", bound=BaseModel)
FORMAT = 1
MANIFEST = "generator.json"


class Framing(BaseModel):
    """`SpecialIds` on disk."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    start: int | None
    separator: int
    padding: int


class Decision(BaseModel):
    """A logistic regression on disk: how likely an answer is right, and when it is served.

    Attributes:
        threshold: least probability of an answer that is served from what a search found.
        reading_threshold: that of one from given passages; None for the same.
        embedder_sha256: digest of the embedder that "similarity" was measured with; None if that
            is not among the features.
        verifier_sha256: digest of the model that judged claims; None if its verdicts are not
            among the features.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    features: tuple[str, ...]
    weights: tuple[float, ...]
    intercept: float
    threshold: float = Field(ge=0, le=1)
    reading_threshold: float | None = Field(default=None, ge=0, le=1)
    embedder_sha256: str | None = None
    verifier_sha256: str | None = None

    @model_validator(mode="after")
    def _one_weight_a_feature(self) -> Decision:
        if len(self.features) != len(self.weights):
            raise ValueError(f"{len(self.features)} features, {len(self.weights)} weights")
        if ("similarity" in self.features) != (self.embedder_sha256 is not None):
            raise ValueError("similarity goes with the embedder that it was measured with")
        if ("entailed" in self.features) != (self.verifier_sha256 is not None):
            raise ValueError("entailed goes with the verifier that judged it")
        return self


class Manifest(BaseModel):
    """generator.json: what the weights are of, the calibration, and every file's digest.

    Attributes:
        base: model reference that config, tokenizer and the tensors not stored come from; None
            if the folder holds everything.
        base_sha256: digest of that model's weights.
        tied: the output layer is the token embedding; false where it has weights of its own.
        layer_norm_eps: of a BART, whose configuration has none.
        absent_threshold: probability of "not in these passages" from which it is the answer; 1
            for never, so that the decision weighs it.
        decision: which answers are served; None if that was never fitted.
        trained_from: what the training started from, in words.
        files: sha256 of every other file in the folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    architecture: Literal["bart", "t5"]
    base: str | None
    base_sha256: str | None
    tied: bool = True
    guided: bool
    concatenated: bool = False
    copying: bool = True
    reserved_token: str
    framing: Framing
    layer_norm_eps: float | None
    absent_threshold: float = Field(ge=0, le=1)
    decision: Decision | None = None
    trained_from: str
    settings: dict[str, Any]
    files: dict[str, str]


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """generator.json and its sha256.

    Raises:
        ModelError: there is none, or it is broken, or of an unknown version.
    """
    return read_versioned(folder / MANIFEST, FORMAT, Manifest, kind="generator")


def read_versioned(path: Path, version: int, schema: type[M], *, kind: str) -> tuple[M, str]:
    """The manifest of a trained model and its sha256.

    Args:
        path: of the manifest.
        version: its "format" that this program reads.
        schema: what it holds.
        kind: of model, as `rag train` names it.

    Raises:
        ModelError: there is none, or it is broken, or of another version.
    """
    if not path.is_file():
        raise ModelError(f"{path.parent} has no {path.name}: make a {kind} with rag train {kind}")
    content = path.read_bytes()
    try:
        value = json.loads(content)
        if value["format"] != version:
            raise ModelError(
                f"{path} has format {value['format']!r}, this version reads {version}: "
                f"upgrade grounded-rag or train the {kind} again"
            )
        return schema.model_validate(value), sha256_of(content)
    except ValidationError as error:
        raise ModelError(f"{path}: {complaint(error)}: copy the {kind} again") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is broken ({error!r}): copy the {kind} again") from error


def put_decision(path: Path, decision: Decision | None) -> str:
    """Set the decision in a generator's or an adapter's manifest.

    Returns:
        the manifest's new sha256, which is the digest of what it describes.
    """
    value = json.loads(path.read_bytes())
    value["decision"] = None if decision is None else decision.model_dump(mode="json")
    content = manifest_bytes(value)
    write_file(path, content)
    return sha256_of(content)


def manifest_bytes(value: dict[str, Any]) -> bytes:
    """A manifest as it stands in its file; equal values give equal bytes."""
    return json.dumps(value, indent=1, sort_keys=True, default=str).encode()


def complaint(error: ValidationError) -> str:
    """The first thing wrong with a value, and where."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{field}: {first['msg']}"


def sha256_of(content: bytes) -> str:
    """Hexadecimal sha256."""
    return hashlib.sha256(content).hexdigest()
