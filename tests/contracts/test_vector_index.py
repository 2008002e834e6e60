"""What every VectorIndex must do, whatever searches it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer import vectors
from indexer.vectors.exact import NumpyExact
from indexer.vectors.faiss_exact import FaissExact
from indexer.vectors.faiss_hnsw import FaissHnsw
from rag.errors import IndexCorrupt, NotFound, StorageError, UsageError
from rag.protocols import Ids, VectorIndex, Vectors
from rag.settings import Settings

DIMENSION = 8
MAKERS: dict[str, Callable[[int], VectorIndex]] = {
    "numpy": NumpyExact,
    "faiss-exact": FaissExact.create,
    "faiss-hnsw": FaissHnsw.create,
}
EXACT = ["numpy", "faiss-exact"]


@pytest.fixture(params=list(MAKERS))
def name(request) -> str:
    return request.param


@pytest.fixture
def index(name) -> VectorIndex:
    return MAKERS[name](DIMENSION)


def unit(count: int, seed: int = 0, dimension: int = DIMENSION) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def filled(name: str, count: int, seed: int = 0) -> tuple[VectorIndex, Ids, Vectors]:
    """An index with ids 5, 12, 19, … in shuffled order."""
    ids = np.random.default_rng(seed).permutation(np.arange(count, dtype=np.int64) * 7 + 5)
    rows = unit(count, seed)
    made = MAKERS[name](DIMENSION)
    made.add(ids, rows)
    return made, ids, rows


def brute_force(ids: Ids, rows: Vectors, query: Vectors, allowed: Ids | None) -> dict[int, float]:
    """Every score, the slow and obvious way."""
    return {
        int(chunk): float(sum(float(a) * float(b) for a, b in zip(row, query, strict=True)))
        for chunk, row in zip(ids, rows, strict=True)
        if allowed is None or chunk in allowed
    }


def agrees(hits: list[tuple[int, float]], truth: dict[int, float], k: int) -> None:
    """The hits are k of the best, in order; near-equal scores may swap."""
    assert len(hits) == min(k, len(truth))
    assert len({chunk for chunk, _ in hits}) == len(hits)
    best = sorted(truth.values(), reverse=True)
    for (chunk, score), expected in zip(hits, best, strict=False):
        assert score == pytest.approx(truth[chunk], abs=1e-5)
        assert score == pytest.approx(expected, abs=1e-5)
    assert [score for _, score in hits] == sorted((s for _, s in hits), reverse=True)


@st.composite
def histories(draw):
    """Batches to add, ids to remove in between, then a search."""
    pool = draw(st.permutations(range(60)))
    sizes = draw(st.lists(st.integers(0, 12), min_size=1, max_size=5))
    steps, start = [], 0
    for size in sizes:
        batch = pool[start : start + size]
        start += size
        gone = draw(st.lists(st.sampled_from(range(60)), max_size=6, unique=True))
        steps.append((batch, gone))
    allowed = draw(st.none() | st.lists(st.integers(0, 70), max_size=40, unique=True))
    return steps, allowed, draw(st.integers(1, 80)), draw(st.integers(0, 2**31))


@pytest.mark.parametrize("name", EXACT)
@given(history=histories())
@settings(max_examples=60, deadline=None)
def test_exact_kinds_equal_brute_force_through_any_history(name, history):
    steps, allowed, k, seed = history
    index, truth, rows = MAKERS[name](DIMENSION), {}, unit(60, seed)
    for batch, gone in steps:
        index.add(np.array(batch, np.int64), rows[batch])
        truth |= {chunk: rows[chunk] for chunk in batch}
        assert index.remove(np.array(gone, np.int64)) == len(truth.keys() & set(gone))
        truth = {chunk: row for chunk, row in truth.items() if chunk not in gone}
        assert len(index) == len(truth)
    query = unit(1, seed + 1)[0]
    among = None if allowed is None else np.array(sorted(allowed), np.int64)
    ids = np.array(list(truth), np.int64)
    stack = np.array(list(truth.values()), np.float32).reshape(-1, DIMENSION)
    agrees(index.search(query, k, among), brute_force(ids, stack, query, among), k)


@given(
    count=st.integers(0, 120),
    k=st.integers(1, 150),
    allowed=st.none() | st.lists(st.integers(0, 900), max_size=200),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=40, deadline=None)
def test_hnsw_gives_as_many_allowed_hits_as_there_are_with_true_scores(count, k, allowed, seed):
    index, ids, rows = filled("faiss-hnsw", count, seed)
    query = unit(1, seed + 1)[0]
    among = None if allowed is None else np.array(sorted(allowed), np.int64)
    truth = brute_force(ids, rows, query, among)
    hits = index.search(query, k, among)
    assert len(hits) == min(k, len(truth))
    for chunk, score in hits:
        assert score == pytest.approx(truth[chunk], abs=1e-5)
    assert [score for _, score in hits] == sorted((s for _, s in hits), reverse=True)


def test_an_empty_index_finds_nothing(index):
    assert len(index) == 0
    assert index.search(unit(1)[0], 5) == []
    assert index.search(unit(1)[0], 5, np.array([1, 2], np.int64)) == []
    assert index.remove(np.array([1], np.int64)) == 0


def test_an_empty_batch_changes_nothing(index):
    index.add(np.empty(0, np.int64), np.empty((0, DIMENSION), np.float32))
    assert len(index) == 0


def test_no_allowed_ids_means_no_hits(name):
    index, _, rows = filled(name, 20)
    assert index.search(rows[0], 5, np.empty(0, np.int64)) == []
    assert index.search(rows[0], 5, np.array([1_000_000], np.int64)) == []


def test_a_query_may_be_a_row_or_a_one_row_matrix(name):
    index, ids, rows = filled(name, 20)
    assert index.search(rows[3], 1) == index.search(rows[3:4], 1)
    assert index.search(rows[3], 1)[0][0] == ids[3]


def test_equal_scores_are_ordered_by_id(name):
    index = MAKERS[name](DIMENSION)
    row = np.eye(1, DIMENSION, dtype=np.float32)  # its products are exact in any order of adding
    index.add(np.array([30, 10, 20], np.int64), np.repeat(row, 3, axis=0))
    assert index.search(row[0], 3) == [(10, 1.0), (20, 1.0), (30, 1.0)]


NAN = unit(1).copy()
NAN[0, 3] = np.nan
INFINITE = unit(1).copy()
INFINITE[0, 0] = np.inf
ONE = np.array([1], np.int64)
BAD_BATCHES = {
    "NaN": (ONE, NAN),
    "infinity": (ONE, INFINITE),
    "dimension": (ONE, unit(1, dimension=DIMENSION + 1)),
    "no rows": (ONE, unit(1)[0]),
    "float64": (ONE, unit(1).astype(np.float64)),
    "float16": (ONE, unit(1).astype(np.float16)),
    "int32 ids": (ONE.astype(np.int32), unit(1)),
    "matrix of ids": (ONE[None], unit(1)),
    "too few ids": (ONE, unit(2)),
    "negative id": (-ONE, unit(1)),
    "id twice": (np.array([1, 1], np.int64), unit(2)),
    "id there": (np.array([2, 12], np.int64), unit(2)),
}


@pytest.mark.parametrize("case", list(BAD_BATCHES))
def test_a_bad_batch_is_refused_whole(name, case):
    index, _, rows = filled(name, 10)
    before = index.search(rows[0], 20)
    with pytest.raises(UsageError):
        index.add(*BAD_BATCHES[case])
    assert len(index) == 10
    assert index.search(rows[0], 20) == before


@pytest.mark.parametrize(
    ("query", "k", "allowed"),
    [
        (NAN[0], 1, None),
        (unit(1, dimension=DIMENSION - 1)[0], 1, None),
        (unit(2), 1, None),
        (unit(1)[0].astype(np.float64), 1, None),
        (unit(1)[0], 0, None),
        (unit(1)[0], 1, np.array([1], np.int32)),
    ],
)
def test_a_bad_search_is_refused(name, query, k, allowed):
    index, *_ = filled(name, 10)
    with pytest.raises(UsageError):
        index.search(query, k, allowed)


def test_what_was_added_is_the_index_s_own(index):
    ids, rows = np.array([3, 4], np.int64), unit(2)
    query = rows[0].copy()
    index.add(ids, rows)
    ids[:], rows[:] = 9, 0
    assert index.search(query, 1)[0] == (3, pytest.approx(1.0, abs=1e-6))


def test_searches_in_threads_equal_searches_in_turn(name):
    index, ids, rows = filled(name, 400)
    jobs = [(rows[i], 10, None if i % 3 == 0 else np.sort(ids[: 5 + i % 200])) for i in range(200)]
    expected = [index.search(*job) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda job: index.search(*job), jobs)) == expected


def test_the_same_vectors_give_the_same_file(name, tmp_path):
    for copy in ("one", "two"):
        filled(name, 500, seed=3)[0].save(tmp_path / copy)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("count", [0, 1, 50])
def test_a_saved_index_answers_as_before(name, tmp_path, count):
    index, ids, _ = filled(name, count)
    index.save(tmp_path / "index")
    loaded = vectors.load(tmp_path / "index", DIMENSION, Settings())
    query = unit(1, 9)[0]
    assert loaded.kind == index.kind
    assert len(loaded) == count
    assert loaded.search(query, 5) == index.search(query, 5)
    assert loaded.search(query, 5, ids[:20]) == index.search(query, 5, ids[:20])


def test_a_loaded_index_can_be_changed_and_saved_elsewhere(name, tmp_path):
    index, ids, rows = filled(name, 50)
    index.save(tmp_path / "old")
    before = (tmp_path / "old").read_bytes()
    loaded = vectors.load(tmp_path / "old", DIMENSION, Settings())
    new = unit(3, 8)
    removed = loaded.remove(ids[:4])
    loaded.add(np.array([1, 2, 3], np.int64), new)
    assert removed == (0 if loaded.kind == "hnsw" else 4)
    loaded.save(tmp_path / "new")
    assert (tmp_path / "old").read_bytes() == before
    again = vectors.load(tmp_path / "new", DIMENSION, Settings())
    assert len(again) == 53 - removed
    assert again.search(new[1], 1)[0][0] == 2
    assert again.search(rows[7], 1)[0][0] == ids[7]


def test_the_file_in_use_is_not_overwritten(name, tmp_path):
    filled(name, 5)[0].save(tmp_path / "index")
    loaded = vectors.load(tmp_path / "index", DIMENSION, Settings())
    with pytest.raises(UsageError, match="in use"):
        loaded.save(tmp_path / "index")
    assert len(vectors.load(tmp_path / "index", DIMENSION, Settings())) == 5


def test_an_unwritable_place_is_a_storage_error(name, tmp_path):
    with pytest.raises(StorageError):
        filled(name, 5)[0].save(tmp_path / "missing" / "index")


@pytest.mark.parametrize("name", list(MAKERS))
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_damaged_file_is_refused(name, data, tmp_path_factory):
    path: Path = tmp_path_factory.mktemp("damaged") / "index"
    filled(name, 30)[0].save(path)
    good = path.read_bytes()
    length = data.draw(st.integers(0, len(good) - 1))
    damaged = {
        "truncated": good[:length],
        "flipped": good[:length] + bytes([good[length] ^ 0x41]) + good[length + 1 :],
        "longer": good + b"\0",
        "noise": np.random.default_rng(length).bytes(len(good)),
    }[data.draw(st.sampled_from(["truncated", "flipped", "longer", "noise"]))]
    path.write_bytes(damaged)
    with pytest.raises(IndexCorrupt):
        vectors.load(path, DIMENSION, Settings())


def test_a_missing_file_and_a_wrong_dimension_are_told_apart(name, tmp_path):
    with pytest.raises(NotFound):
        vectors.load(tmp_path / "none", DIMENSION, Settings())
    filled(name, 5)[0].save(tmp_path / "index")
    with pytest.raises(IndexCorrupt, match="length 8, not 16"):
        vectors.load(tmp_path / "index", 16, Settings())
