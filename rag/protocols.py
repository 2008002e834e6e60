"""The seams: what each stage of the line must be able to do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rag.listening import NOBODY, Listener
from rag.types import Claim, Decision, Disagreement, Draft, Filters, Passage, Verdict

Vectors = NDArray[np.float32]
Ids = NDArray[np.int64]


class Embedder(Protocol):
    """Texts to unit vectors."""

    @property
    def digest(self) -> str:
        """Sha256 of the weights; part of every index generation and receipt."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count each text's tokens, without special tokens."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts; (n, dimension), rows of length 1."""


class VectorIndex(Protocol):
    """Inner-product search over vectors keyed by chunk id."""

    kind: str

    def __len__(self) -> int:
        """Count the vectors held, removed ones that still take room included."""

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors (n, d) under ids (n,) that are not in the index yet."""

    def remove(self, ids: Ids) -> int:
        """Take ids out and return how many went; 0 where the kind can't remove."""

    def search(self, query: Vectors, k: int, allowed: Ids | None = None) -> list[tuple[int, float]]:
        """Return up to k (chunk id, inner product), best first, among ``allowed`` if given."""

    def save(self, path: Path) -> None:
        """Write the index to a file."""


class LexicalIndex(Protocol):
    """BM25 over chunk texts, kept in a directory."""

    def add(self, chunks: Sequence[tuple[int, int, str, str]]) -> None:
        """Add (chunk id, document key, heading line, text) rows; `commit` makes them findable."""

    def remove(self, ids: Sequence[int]) -> None:
        """Take chunk ids out; `commit` makes it so."""

    def commit(self) -> None:
        """Write what was added and removed."""

    def search(
        self, query: str, k: int, documents: Sequence[int] | None = None
    ) -> list[tuple[int, float]]:
        """Return up to k (chunk id, BM25 score), best first, among ``documents`` if given."""


class Retriever(Protocol):
    """A question to its best passages."""

    def retrieve(self, question: str, k: int, filters: Filters) -> list[Passage]:
        """Return up to k passages, best first."""


class Reranker(Protocol):
    """Passages to the few most relevant."""

    @property
    def digest(self) -> str:
        """Name and sha256 of what ranks."""

    def rerank(self, question: str, passages: Sequence[Passage], k: int) -> list[Passage]:
        """Return the k most relevant passages, best first."""


class Generator(Protocol):
    """A question and passages to a draft."""

    @property
    def digest(self) -> str:
        """Name and sha256 of what writes."""

    def generate(
        self, question: str, passages: Sequence[Passage], listener: Listener = NOBODY
    ) -> Draft:
        """Write an answer; a draft without tokens says: not in these passages."""

    def generate_all(self, requests: Sequence[tuple[str, Sequence[Passage]]]) -> list[Draft]:
        """Write an answer to each question from its passages, as `generate` would."""


class Verifier(Protocol):
    """Claims against evidence."""

    @property
    def digest(self) -> str:
        """Name and sha256 of what judges."""

    @property
    def model_sha256(self) -> str | None:
        """Of the model whose probabilities decisions weigh; None where rules alone judge."""

    def for_question(self) -> "Verifier":
        """The same for one question's drafts: what they share may be judged once."""

    def verify(self, claims: Sequence[Claim], evidence: Sequence[Sequence[str]]) -> list[Verdict]:
        """Judge each claim by its evidence texts alone."""

    def disagreements(
        self, claims: Sequence[Claim], texts: Sequence[str]
    ) -> list[Disagreement | None]:
        """Say for each claim what one of the texts says otherwise."""


class Decider(Protocol):
    """Whether a checked draft may leave the house."""

    @property
    def digest(self) -> str:
        """Sha256 of the calibration."""

    def decide(
        self, question: str, draft: Draft, verdicts: Sequence[Verdict], passages: Sequence[Passage]
    ) -> Decision:
        """Weigh all evidence and decide."""
