import numpy as np
import pytest

from indexer.vectors import faiss_hnsw
from indexer.vectors.exact import NumpyExact
from indexer.vectors.faiss_hnsw import FaissHnsw
from indexer.vectors.faiss_index import faiss

COUNT, DIMENSION, QUERIES = 6000, 48, 60


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def indexes():
    """The same clustered vectors in a graph and in an exact index, with queries near them."""
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((150, DIMENSION))
    rows = centres[rng.integers(150, size=COUNT)] + 0.6 * rng.standard_normal((COUNT, DIMENSION))
    queries = rows[:QUERIES] + 0.6 * rng.standard_normal((QUERIES, DIMENSION))
    graph, exact = FaissHnsw.create(DIMENSION), NumpyExact(DIMENSION)
    for index in (graph, exact):
        index.add(np.arange(COUNT) * 3, unit(rows))
    return graph, exact, unit(queries)


def recall(indexes, allowed=None) -> float:
    """Share of the true ten best that the graph finds."""
    graph, exact, queries = indexes
    shares = []
    for query in queries:
        truth = {chunk for chunk, _ in exact.search(query, 10, allowed)}
        found = {chunk for chunk, _ in graph.search(query, 10, allowed)}
        assert len(found) == len(truth)
        assert allowed is None or found <= set(allowed.tolist())
        shares.append(len(found & truth) / len(truth))
    return float(np.mean(shares))


def test_unfiltered_recall(indexes):
    assert recall(indexes) >= 0.98


@pytest.mark.parametrize("share", [0.5, 0.05, 0.005])
def test_filtered_recall(indexes, share):
    allowed = np.flatnonzero(np.random.default_rng(2).random(COUNT) < share) * 3
    assert recall(indexes, allowed) >= (0.98 if share > faiss_hnsw.EXACT_SHARE else 1.0)


def test_the_walk_keeps_to_the_filter_however_small(indexes, monkeypatch):
    monkeypatch.setattr(faiss_hnsw, "EXACT_SHARE", 0.0)
    allowed = np.flatnonzero(np.random.default_rng(2).random(COUNT) < 0.1) * 3
    assert recall(indexes, allowed) >= 0.95


def test_a_filter_on_one_far_cluster_still_fills_k(indexes, monkeypatch):
    monkeypatch.setattr(faiss_hnsw, "EXACT_SHARE", 0.0)
    graph, exact, queries = indexes
    far = [chunk for chunk, _ in exact.search(-queries[0], 40)]
    allowed = np.array(sorted(far), np.int64)
    assert len(graph.search(queries[0], 40, allowed)) == 40


@pytest.mark.parametrize(
    ("version", "threads"), [("1.15.1", 2), ("1.15.0", 1), ("1.9.0.post1", 1), ("2.0rc1", 2)]
)
def test_only_faiss_that_builds_the_same_graph_in_threads_may_use_them(
    monkeypatch, version, threads
):
    used = []
    monkeypatch.setattr(faiss, "__version__", version)
    monkeypatch.setattr(faiss, "omp_get_max_threads", lambda: 2)
    monkeypatch.setattr(faiss, "omp_set_num_threads", used.append)
    FaissHnsw.create(4).add(np.arange(2), np.eye(2, 4, dtype=np.float32))
    assert used == [threads, 2]


def test_threads_do_not_change_the_graph(tmp_path):
    rows = unit(np.random.default_rng(3).standard_normal((3000, 16)))
    usual = faiss.omp_get_max_threads()
    try:
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            index = FaissHnsw.create(16)
            index.add(np.arange(3000), rows)
            index.save(tmp_path / str(threads))
    finally:
        faiss.omp_set_num_threads(usual)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
