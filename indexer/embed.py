"""Texts to unit vectors with a sentence-transformers model."""

import json
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rag.errors import ModelError
from rag.models import resolve
from rag.protocols import Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)


_LOCKED_BATCHES = 2
"""Batches embedded before others get a turn: a second or so of work."""


class SentenceEmbedder:
    """The bi-encoder; weights and torch are loaded at the first use, the tokenizer before.

    Args:
        reference: a model reference (see `rag.models`).
        device: "auto", "cpu" or "cuda".
        batch_size: texts per forward pass.

    Raises:
        ModelError: the model can't be loaded.
    """

    def __init__(self, reference: str, *, device: str = "auto", batch_size: int = 32) -> None:
        self._files = resolve(reference)
        self._device = None if device == "auto" else device
        self._batch_size = batch_size
        self._lock = threading.RLock()
        self._model: SentenceTransformer | None = None
        self._tokenizer: Tokenizer | None = None
        self._dimension: int | None = None

    @property
    def digest(self) -> str:
        """Sha256 of the weights."""
        return self._files.digest

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        if self._dimension is None:
            self._dimension = _declared_dimension(self._files.path) or (
                self._loaded().get_embedding_dimension()
            )
        if self._dimension is None:
            raise ModelError(f"{self._files.reference}: the model doesn't name its dimension")
        return self._dimension

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count each text's tokens, without special tokens and never truncated."""
        encodings = self._fast_tokenizer().encode_batch(list(texts), add_special_tokens=False)
        return [len(encoding) for encoding in encodings]

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts, sorted by length inside so that batches waste little padding.

        Returns:
            (n, dimension) float32, rows of length 1, in the order given.
        """
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(order), _LOCKED_BATCHES * self._batch_size):
            part = order[start : start + _LOCKED_BATCHES * self._batch_size]
            with self._lock:  # One forward pass at a time: torch uses all cores for each.
                vectors[part] = self._loaded().encode(
                    [texts[i] for i in part],
                    batch_size=self._batch_size,
                    normalize_embeddings=True,
                    convert_to_numpy=True,
                    show_progress_bar=False,
                )
            time.sleep(0.001)  # Lets a question that waits for the lock go first.
        return vectors

    def _fast_tokenizer(self) -> "Tokenizer":
        if self._tokenizer is None:
            from tokenizers import Tokenizer

            path = self._files.path / "tokenizer.json"
            if not path.is_file():
                raise ModelError(f"{self._files.reference}: {path} is missing")
            try:
                tokenizer = Tokenizer.from_file(str(path))
            except Exception as error:  # tokenizers raises bare Exceptions.
                raise ModelError(f"{path} can't be read: {error}") from error
            tokenizer.no_truncation()
            tokenizer.no_padding()
            self._tokenizer = tokenizer
        return self._tokenizer

    def _loaded(self) -> "SentenceTransformer":
        with self._lock:
            return self._load()

    def _load(self) -> "SentenceTransformer":
        if self._model is None:
            # Takes seconds, so commands that embed nothing never pay for it.
            from sentence_transformers import SentenceTransformer
            from transformers.utils.logging import disable_progress_bar

            from rag.steady import steady

            disable_progress_bar()  # type: ignore[no-untyped-call]
            log.info("loading %s", self._files.reference)
            try:
                self._model = steady(
                    SentenceTransformer(
                        str(self._files.path), device=self._device, local_files_only=True
                    )
                )
            except Exception as error:  # torch and safetensors raise their own, not a common base.
                raise ModelError(
                    f"{self._files.reference} can't be loaded from {self._files.path}: {error}"
                ) from error
        return self._model


def _declared_dimension(folder: Path) -> int | None:
    """Read the dimension from the model's files, which spares loading torch to create an index.

    Returns:
        None where a module after pooling may change it, or the files say nothing.
    """
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        if any(module["type"].rpartition(".")[2] == "Dense" for module in modules):
            return None
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return int(config["hidden_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
