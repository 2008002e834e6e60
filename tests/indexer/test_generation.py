import json

import numpy as np
import pytest

from indexer.generation import MANIFEST, Generation, IndexedChunk, build, can_continue, publish
from rag.errors import IndexCorrupt
from rag.settings import Settings

DIMENSION = 8
SETTINGS = Settings(exact_below=50)


def chunk(i, text=None):
    vector = np.zeros(DIMENSION, dtype="<f4")
    vector[i % DIMENSION] = 1
    return IndexedChunk(i, i // 2, "Title", text or f"word{i} common", vector.tobytes())


def built(folder, *, number=1, previous=None, added=(), retired=(), chunks=None, settings=SETTINGS):
    target = folder / f"building-{number}"
    build(
        target,
        number=number,
        revision=number * 10,
        chunks=len(added) if chunks is None else chunks,
        dimension=DIMENSION,
        embedder_sha256="e" * 64,
        previous=previous,
        added=iter(added),
        retired=retired,
        settings=settings,
    )
    publish(target, folder / f"{number:08}")
    return Generation(folder / f"{number:08}", settings)


def query(axis):
    vector = np.zeros((1, DIMENSION), dtype=np.float32)
    vector[0, axis] = 1
    return vector


def test_a_generation_finds_what_was_put_in(tmp_path):
    generation = built(tmp_path, added=[chunk(i) for i in range(1, 6)])
    assert generation.vectors.search(query(3), 1)[0][0] == 3
    assert generation.lexical.search("word4", 3)[0][0] == 4
    assert generation.manifest.chunks == 5
    generation.verify()


def test_the_next_one_continues_it_and_leaves_it_as_it_was(tmp_path):
    first = built(tmp_path, added=[chunk(i) for i in range(1, 6)])
    second = built(tmp_path, number=2, previous=first, added=[chunk(6)], retired=[4], chunks=5)
    assert second.lexical.search("word6", 3)[0][0] == 6
    assert second.lexical.search("word4", 3) == []
    assert 4 not in [i for i, _ in second.vectors.search(query(4), 10)]
    first.verify()
    reopened = Generation(first.path, SETTINGS)
    assert reopened.lexical.search("word4", 3)[0][0] == 4
    assert reopened.lexical.search("word6", 3) == []


def test_every_file_is_in_the_manifest(tmp_path):
    generation = built(tmp_path, added=[chunk(1)])
    on_disk = {
        path.relative_to(generation.path).as_posix()
        for path in generation.path.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }
    assert on_disk == {*generation.manifest.files, MANIFEST}


@pytest.mark.parametrize("damage", ["truncate", "remove", "manifest"])
def test_damage_is_noticed_on_opening(tmp_path, damage):
    generation = built(tmp_path, added=[chunk(i) for i in range(1, 6)])
    vectors = generation.path / "vectors.index"
    if damage == "truncate":
        vectors.write_bytes(vectors.read_bytes()[:-10])
    elif damage == "remove":
        vectors.unlink()
    else:
        (generation.path / MANIFEST).write_text("{")
    with pytest.raises(IndexCorrupt, match="00000001"):
        Generation(generation.path, SETTINGS)


def test_a_changed_byte_is_found_by_verify(tmp_path):
    generation = built(tmp_path, added=[chunk(1)])
    name = next(name for name in generation.manifest.files if name.startswith("lexical/"))
    raw = bytearray((generation.path / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (generation.path / name).write_bytes(raw)
    with pytest.raises(IndexCorrupt, match=name):
        generation.verify()


def test_a_failed_build_leaves_nothing_behind(tmp_path):
    def broken():
        yield chunk(1)
        raise RuntimeError("the database went away")

    with pytest.raises(RuntimeError):
        built(tmp_path, added=broken(), chunks=1)
    assert list(tmp_path.iterdir()) == []


def test_growing_past_the_limit_needs_a_new_kind(tmp_path):
    generation = built(tmp_path, added=[chunk(i) for i in range(40)])
    fits = {"embedder_sha256": "e" * 64, "settings": SETTINGS}
    assert can_continue(generation, chunks=49, retired=0, **fits)
    assert not can_continue(generation, chunks=50, retired=0, **fits)
    assert not can_continue(
        generation, chunks=49, retired=0, embedder_sha256="f" * 64, settings=SETTINGS
    )


def test_hnsw_is_built_anew_once_a_fifth_is_dead(tmp_path):
    generation = built(tmp_path, added=[chunk(i) for i in range(100)])
    assert json.loads((generation.path / MANIFEST).read_text())["vectors_kind"] == "hnsw"
    fits = {"embedder_sha256": "e" * 64, "settings": SETTINGS}
    assert can_continue(generation, chunks=90, retired=10, **fits)
    assert not can_continue(generation, chunks=80, retired=20, **fits)
