"""Cross-encoders behind one face: the trained one, or any that sentence-transformers loads."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from rag.cpu import cpu_has_bf16
from rag.errors import MissingDependency, ModelError
from rag.models import resolve
from rag.steady import steady
from rag.verify.cross_encoder import LABELS, Pair, by_length, collate, encode_pairs
from rag.verify.saved import MANIFEST, SavedVerifier, Verdicts, load_verifier
from rag.words import whole

BATCH_TOKENS = 2048
"""Most tokens of a batch; larger ones are no faster on a CPU."""

STEADY_TOKENS = 16
"""Pairs are padded to a multiple of this, and only to the next: attention over more padding adds
up otherwise, so that a pair's last bits would depend on the longest of its batch."""

LIKELIEST = Verdicts(temperature=1.0, supported=0.5, contradicted=0.5)
"""Verdicts of a model for which no thresholds were fitted: what is likelier than not."""

Probabilities = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scores:
    """What a cross-encoder says of n pairs.

    Attributes:
        labels: (n, 3), probabilities in the order of `LABELS`; None from a reranker.
        relevance: (n,), log-odds that the text answers; None from a model of entailment alone.
    """

    labels: Probabilities | None
    relevance: Probabilities | None


class TrainedScorer:
    """Both heads of a trained verifier in one pass.

    Args:
        saved: the verifier.
    """

    def __init__(self, saved: SavedVerifier) -> None:
        self._saved = saved
        steady(saved.model)
        self._lock = threading.Lock()
        self.digest = f"{saved.name}:{saved.digest}"
        self.sha256 = saved.digest
        self.verdicts: Verdicts | None = saved.manifest.verdicts
        self.ranks = True

    def rank(self, pairs: Sequence[Pair]) -> Scores:
        """As `score`, in bfloat16 where the CPU multiplies that itself.

        Takes 0.6 of the time; an order of passages is not decided by the third digit. With other
        passages beside it that may be another, but not with another number of threads.
        """
        on_cpu = next(self._saved.model.parameters()).device.type == "cpu"
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=on_cpu and cpu_has_bf16()):
            return self._scores(pairs, multiple=1)

    def score(self, pairs: Sequence[Pair]) -> Scores:
        """Judge pairs of claim or question and text; batches hold pairs of like length.

        What is said of a pair does not depend on the others, nor on the number of threads.
        """
        return self._scores(pairs, multiple=STEADY_TOKENS)

    def _scores(self, pairs: Sequence[Pair], *, multiple: int) -> Scores:
        saved = self._saved
        rows = encode_pairs(saved.tokenizer, pairs, saved.framing)
        logits = np.zeros((len(rows), len(LABELS)), dtype=np.float32)
        relevance = np.zeros(len(rows), dtype=np.float32)
        device = next(saved.model.parameters()).device
        with self._lock, torch.inference_mode():
            for part in by_length(rows, BATCH_TOKENS, multiple=multiple):
                own = [rows[i] for i in part]
                batch = collate(own, saved.framing, multiple=multiple).to(device)
                judged, ranked = saved.model(
                    batch.input_ids, batch.token_type_ids, batch.attention_mask
                )
                logits[part] = judged.cpu().numpy()
                relevance[part] = ranked.cpu().numpy()
        temperature = 1.0 if self.verdicts is None else self.verdicts.temperature
        return Scores(_softmax(logits / temperature), relevance)


class CrossEncoderScorer:
    """A sentence-transformers CrossEncoder, for entailment (three labels) or relevance (one).

    Args:
        reference: a folder's path or `hub:NAME@REVISION`.
        device: as torch names it.

    Raises:
        ModelError: it is not there, or has neither one label nor the three of entailment.
        MissingDependency: sentence-transformers is not installed.
    """

    def __init__(self, reference: str, *, device: str = "cpu") -> None:
        files = resolve(reference)
        try:
            from sentence_transformers import CrossEncoder
        except ImportError as error:
            raise MissingDependency(
                "sentence-transformers: pip install sentence-transformers"
            ) from error
        try:
            self._model: Any = CrossEncoder(
                str(files.path),
                device=device,
                local_files_only=True,
                model_kwargs={"use_safetensors": True},
                activation_fn=torch.nn.Identity(),
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"{reference} is no cross-encoder ({type(error).__name__}): name a folder that "
                "sentence-transformers' CrossEncoder loads"
            ) from error
        steady(self._model.model)
        self._order = _label_order(reference, self._model.model.config)
        self.ranks = self._order is None
        self._lock = threading.Lock()
        name = reference if ":" in reference else Path(reference).name
        self.digest = f"{name}:{files.digest}"
        self.sha256 = files.digest
        self.verdicts = None if self.ranks else LIKELIEST

    def rank(self, pairs: Sequence[Pair]) -> Scores:
        """As `score`."""
        return self.score(pairs)

    def score(self, pairs: Sequence[Pair]) -> Scores:
        """Judge pairs; of entailment models the text comes first, of rerankers the question."""
        if not pairs:
            empty = np.zeros(0, dtype=np.float32)
            return (
                Scores(empty.reshape(0, len(LABELS)), None) if self._order else Scores(None, empty)
            )
        known = [(whole(claim), whole(text)) for claim, text in pairs]
        asked = [(text, claim) if self._order else (claim, text) for claim, text in known]
        with self._lock:
            logits = np.asarray(
                self._model.predict(asked, batch_size=32, show_progress_bar=False), dtype=np.float32
            )
        if self._order is None:
            return Scores(None, logits.reshape(len(pairs)))
        return Scores(_softmax(logits[:, self._order]), None)


def open_scorer(reference: str, *, device: str = "cpu") -> TrainedScorer | CrossEncoderScorer:
    """The cross-encoder that a reference names.

    Raises:
        ModelError: it is not there or not usable.
        DigestMismatch: a file of it is not the one that its manifest names.
    """
    if (resolve(reference).path / MANIFEST).is_file():
        return TrainedScorer(load_verifier(reference, device=device))
    return CrossEncoderScorer(reference, device=device)


def _label_order(reference: str, config: Any) -> list[int] | None:
    """Where a model's three labels stand, in the order of `LABELS`; None for one label."""
    if config.num_labels == 1:
        return None
    names = {str(name).lower(): int(index) for index, name in config.id2label.items()}
    try:
        return [names[label] for label in LABELS]
    except KeyError as error:
        raise ModelError(
            f"{reference} has the labels {', '.join(sorted(names))}: a verifier needs "
            f"{', '.join(LABELS)}, a reranker one"
        ) from error


def _softmax(logits: NDArray[np.float32]) -> Probabilities:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Probabilities = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities
