import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from indexer import vectors
from indexer.vectors import faiss_exact
from indexer.vectors.faiss_exact import FaissExact
from indexer.vectors.faiss_index import faiss
from rag.settings import Settings

CPU_SETTINGS = Settings(exact_below=1000)


def rows(count: int) -> np.ndarray:
    made = np.random.default_rng(1).standard_normal((count, 16)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.fixture
def gpu(monkeypatch):
    """A machine where FAISS sees a GPU: dispatch is under test, not the GPU's arithmetic."""
    log = SimpleNamespace(copies=0, searches=0, fail=False)

    class OnGpu:
        def __init__(self, flat):
            self.copied = faiss.clone_index(flat)

        def search(self, query, k):
            log.searches += 1
            if log.fail:
                raise RuntimeError("out of device memory")
            return self.copied.search(query, k)

    def to_gpu(resources, device, flat):
        log.copies += 1
        return OnGpu(flat)

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", to_gpu, raising=False)
    return log


@pytest.mark.parametrize(("size", "kind"), [(0, "exact"), (999, "exact"), (1000, "hnsw")])
def test_the_kind_follows_the_expected_size(size, kind):
    backend = vectors.describe_backend(size, CPU_SETTINGS)
    assert (backend.kind, backend.device, backend.gpus) == (kind, "cpu", faiss.get_num_gpus())
    assert backend.version == faiss.__version__
    assert vectors.create(16, size, CPU_SETTINGS).kind == kind


def test_a_gpu_keeps_the_exact_kind_for_more_vectors(gpu):
    backend = vectors.describe_backend(10**6, CPU_SETTINGS)
    assert (backend.kind, backend.device, backend.gpus) == ("exact", "gpu", 1)
    assert vectors.create(16, 10**6, CPU_SETTINGS).device == "gpu"


def test_vectors_too_big_for_the_gpu_go_to_hnsw(gpu):
    size = faiss_exact.GPU_MAX_BYTES // (4 * 384) + 1
    assert vectors.describe_backend(size - 1, CPU_SETTINGS).kind == "exact"
    backend = vectors.describe_backend(size, CPU_SETTINGS)
    assert (backend.kind, backend.device) == ("hnsw", "cpu")


def test_the_device_setting_keeps_off_the_gpu(gpu):
    settings = Settings(exact_below=1000, device="cpu")
    assert vectors.describe_backend(10**6, settings).kind == "hnsw"
    assert vectors.create(16, 5, settings).device == "cpu"


def test_unfiltered_searches_go_to_the_gpu_and_filtered_ones_do_not(gpu):
    index = vectors.create(16, 100, Settings())
    plain = FaissExact.create(16)
    for each in (index, plain):
        each.add(np.arange(100), rows(100))
    query = rows(1)[0]
    assert index.search(query, 5) == plain.search(query, 5)
    assert (gpu.copies, gpu.searches) == (1, 1)
    allowed = np.arange(10, 20)
    assert index.search(query, 5, allowed) == plain.search(query, 5, allowed)
    assert (gpu.copies, gpu.searches) == (1, 1)


def test_a_change_renews_the_copy_on_the_gpu(gpu):
    index = vectors.create(16, 100, Settings())
    index.add(np.arange(50), rows(50))
    index.search(rows(1)[0], 5)
    index.add(np.array([99]), -rows(1))
    assert index.search(-rows(1)[0], 1)[0][0] == 99
    index.remove(np.array([99]))
    assert index.search(-rows(1)[0], 1)[0][0] != 99
    assert gpu.copies == 3


def test_a_failing_gpu_leaves_the_search_to_the_cpu(gpu, caplog):
    index = vectors.create(16, 100, Settings())
    index.add(np.arange(50), rows(50))
    gpu.fail = True
    assert index.search(rows(50)[7], 1)[0][0] == 7
    assert "searching on the CPU" in caplog.text
    assert index.device == "cpu"
    assert index.search(rows(50)[8], 1)[0][0] == 8
    assert gpu.searches == 1


def test_an_exact_file_is_searched_on_the_gpu_that_is_there_when_it_is_opened(tmp_path, gpu):
    made = FaissExact.create(16)
    made.add(np.arange(50), rows(50))
    made.save(tmp_path / "index")
    assert vectors.load(tmp_path / "index", 16, Settings()).device == "gpu"
    assert vectors.load(tmp_path / "index", 16, Settings(device="cpu")).device == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not faiss.get_num_gpus(), reason="FAISS sees no GPU")
def test_a_real_gpu_agrees_with_the_cpu():
    index, plain = FaissExact.create(16, gpu=True), FaissExact.create(16)
    for each in (index, plain):
        each.add(np.arange(1000), rows(1000))
    found = index.search(rows(1)[0], 10)
    assert index.device == "gpu"
    assert [chunk for chunk, _ in found] == [chunk for chunk, _ in plain.search(rows(1)[0], 10)]


WITHOUT_FAISS = """
import sys
sys.modules["faiss"] = None
import pathlib
import numpy as np
from indexer import vectors
from rag.errors import MissingDependency
from rag.settings import Settings

backend = vectors.describe_backend(10**6, Settings())
assert (backend.engine, backend.kind, backend.gpus) == ("numpy", "exact", 0), backend
index = vectors.create(4, 10**6, Settings())
index.add(np.array([7]), np.eye(1, 4, dtype=np.float32))
folder = pathlib.Path(sys.argv[1])
index.save(folder / "numpy")
assert vectors.load(folder / "numpy", 4, Settings()).search(np.eye(1, 4, dtype=np.float32), 1)
try:
    vectors.load(folder / "faiss", 16, Settings())
except MissingDependency as error:
    print(error)
"""


def test_without_faiss_numpy_searches_and_faiss_files_name_the_remedy(tmp_path):
    FaissExact.create(16).save(tmp_path / "faiss")
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_FAISS, str(tmp_path)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "pip install 'grounded-rag[cpu]'" in run.stdout
    # The file made without FAISS opens where FAISS is installed, too.
    assert vectors.load(tmp_path / "numpy", 4, Settings()).engine == "numpy"
