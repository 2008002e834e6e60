import numpy as np
import pytest

from indexer.embed import SentenceEmbedder
from rag.errors import ModelError


def test_vectors_are_unit_length_in_the_order_given(minilm):
    texts = ["a long text about insulin and fridges " * 5, "short", ""]
    vectors = minilm.embed(texts)
    assert vectors.shape == (3, minilm.dimension)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    for text, vector in zip(texts, vectors, strict=True):
        assert minilm.embed([text])[0] == pytest.approx(vector, abs=1e-5)
    assert minilm.embed([]).shape == (0, minilm.dimension)


def test_the_declared_dimension_is_the_real_one(minilm):
    assert minilm.dimension == minilm._loaded().get_embedding_dimension() == 384


def test_tokens_are_counted_without_truncation(minilm):
    assert minilm.count_tokens(["hello world", "", "word " * 1_000]) == [2, 0, 1_000]


def test_weights_that_do_not_fit_are_one_line(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"garbage")
    embedder = SentenceEmbedder(str(tmp_path))
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        embedder.count_tokens(["x"])
    with pytest.raises(ModelError, match="can't be loaded"):
        embedder.embed(["x"])
