"""The tree against the test vectors of the certificate-transparency reference implementation, and
against RFC 6962's own recursive definitions on random trees."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge_bases.audit.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    new_nodes,
    root,
    root_at,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"


class Tree:
    """A growing tree that keeps complete subtrees as the database does, and counts reads."""

    def __init__(self) -> None:
        self.size = 0
        self.kept: dict[tuple[int, int], bytes] = {}
        self.reads = 0

    def append(self, hashes: Sequence[bytes]) -> None:
        created = {(level, at): found for level, at, found in new_nodes(self.size, hashes, self)}
        assert not created.keys() & self.kept.keys()
        self.kept |= created
        self.kept |= {(0, self.size + i): found for i, found in enumerate(hashes)}
        self.size += len(hashes)

    def __call__(self, level: int, position: int) -> bytes:
        self.reads += 1
        return self.kept[level, position]


def hashes_of(leaves: Sequence[bytes]) -> list[bytes]:
    return [bytes.fromhex(leaf_hash(leaf)) for leaf in leaves]


def split(width: int) -> int:
    k = 1
    while k * 2 < width:
        k *= 2
    return k


def naive_root(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = split(len(hashes))
    return hashlib.sha256(b"\x01" + naive_root(hashes[:k]) + naive_root(hashes[k:])).digest()


def naive_path(index: int, hashes: Sequence[bytes]) -> list[bytes]:
    if len(hashes) == 1:
        return []
    k = split(len(hashes))
    if index < k:
        return [*naive_path(index, hashes[:k]), naive_root(hashes[k:])]
    return [*naive_path(index - k, hashes[k:]), naive_root(hashes[:k])]


def naive_consistency(first: int, hashes: Sequence[bytes], whole: bool = True) -> list[bytes]:
    if first == len(hashes):
        return [] if whole else [naive_root(hashes)]
    k = split(len(hashes))
    if first <= k:
        return [*naive_consistency(first, hashes[:k], whole), naive_root(hashes[k:])]
    return [*naive_consistency(first - k, hashes[k:], False), naive_root(hashes[:k])]


@pytest.fixture
def vectors() -> Tree:
    tree = Tree()
    tree.append(hashes_of(LEAVES))
    return tree


@pytest.mark.parametrize("size", range(9))
def test_published_roots(vectors: Tree, size: int) -> None:
    assert root_at(size, vectors).hex() == root(hashes_of(LEAVES[:size])).hex() == ROOTS[size]


@pytest.mark.parametrize(
    ("leaf", "size", "path"),
    [
        (1, 1, []),
        (1, 8, [A, B, C]),
        (6, 8, [D, E, ROOTS[4]]),
        (3, 3, [ROOTS[2]]),
        (2, 5, [ROOTS[1], B, D]),
    ],
)
def test_published_inclusion_proofs(vectors: Tree, leaf: int, size: int, path: list[str]) -> None:
    proof = inclusion_proof(leaf - 1, size, vectors)
    assert [found.hex() for found in proof] == path
    own = bytes.fromhex(leaf_hash(LEAVES[leaf - 1]))
    assert verify_inclusion(own, leaf - 1, size, proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(
    ("first", "second", "path"),
    [(1, 1, []), (1, 8, [A, B, C]), (6, 8, [F, E, ROOTS[4]]), (2, 5, [B, D])],
)
def test_published_consistency_proofs(
    vectors: Tree, first: int, second: int, path: list[str]
) -> None:
    proof = consistency_proof(first, second, vectors)
    assert [found.hex() for found in proof] == path
    roots = bytes.fromhex(ROOTS[first]), bytes.fromhex(ROOTS[second])
    assert verify_consistency(first, second, proof, *roots)


def test_every_proof_of_every_small_tree() -> None:
    hashes = hashes_of([str(number).encode() for number in range(35)])
    tree = Tree()
    for size in range(1, 36):
        tree.append(hashes[size - 1 : size])
        whole = root_at(size, tree)
        assert whole == naive_root(hashes[:size])
        for index in range(size):
            path = inclusion_proof(index, size, tree)
            assert path == naive_path(index, hashes[:size])
            assert verify_inclusion(hashes[index], index, size, path, whole)
            assert not verify_inclusion(hashes[index], index ^ 1, size, path, whole) or size == 1
            assert not verify_inclusion(hashes[index], index, size, [*path, whole], whole)
            assert not path or not verify_inclusion(hashes[index], index, size, path[:-1], whole)
        for first in range(1, size + 1):
            path = consistency_proof(first, size, tree)
            earlier = naive_root(hashes[:first])
            assert path == naive_consistency(first, hashes[:size])
            assert verify_consistency(first, size, path, earlier, whole)
            assert not verify_consistency(first, size, [*path, whole], earlier, whole)
            assert not verify_consistency(first - 1, size, path, earlier, whole)
            if path:
                assert not verify_consistency(first, size, path[:-1], earlier, whole)
                assert not verify_consistency(first, size, path, whole, earlier)


@given(
    leaves=st.lists(st.binary(max_size=8), min_size=1, max_size=300),
    cuts=st.lists(st.integers(0, 300)),
    data=st.data(),
)
def test_a_tree_that_grew_in_steps_is_the_naive_one(
    leaves: list[bytes], cuts: list[int], data: st.DataObject
) -> None:
    hashes = hashes_of(leaves)
    tree = Tree()
    for cut in sorted({*cuts, len(hashes)}):
        tree.append(hashes[tree.size : cut])
    size = data.draw(st.integers(1, len(hashes)))
    index = data.draw(st.integers(0, size - 1))
    first = data.draw(st.integers(1, size))
    whole, earlier = root_at(size, tree), root_at(first, tree)
    assert (whole, earlier) == (naive_root(hashes[:size]), naive_root(hashes[:first]))
    path = inclusion_proof(index, size, tree)
    grown = consistency_proof(first, size, tree)
    assert path == naive_path(index, hashes[:size])
    assert grown == naive_consistency(first, hashes[:size])
    assert verify_inclusion(hashes[index], index, size, path, whole)
    assert verify_consistency(first, size, grown, earlier, whole)

    flipped = data.draw(st.integers(0, 255))
    for proof in (path, grown):
        if not proof:
            continue
        at = data.draw(st.integers(0, len(proof) - 1))
        changed = list(proof)
        changed[at] = bytes([*changed[at][:31], changed[at][31] ^ (1 << flipped % 8)])
        if proof is path:
            assert not verify_inclusion(hashes[index], index, size, changed, whole)
        else:
            assert not verify_consistency(first, size, changed, earlier, whole)
    wrong = bytes(32)
    assert not verify_inclusion(wrong, index, size, path, whole)
    assert not verify_consistency(first, size, grown, wrong, whole)
    assert not verify_consistency(first, size, grown, earlier, wrong)


def test_work_grows_with_the_logarithm() -> None:
    tree = Tree()
    tree.append([bytes(32)] * 5_000)
    tree.reads = 0
    assert len(inclusion_proof(4_990, 5_000, tree)) <= 13
    assert tree.reads <= 26
    tree.reads = 0
    root_at(4_999, tree)
    assert tree.reads <= 13
    tree.reads = 0
    tree.append([bytes(32)] * 1_000)
    assert tree.reads <= 13


def test_what_no_tree_has_is_refused(vectors: Tree) -> None:
    for index, size in ((8, 8), (-1, 8), (0, 0)):
        with pytest.raises(ValueError, match="no leaf"):
            inclusion_proof(index, size, vectors)
        assert not verify_inclusion(bytes(32), index, size, [], EMPTY_ROOT)
    for first, second in ((9, 8), (-1, 8)):
        with pytest.raises(ValueError, match="no beginning"):
            consistency_proof(first, second, vectors)
        assert not verify_consistency(first, second, [], EMPTY_ROOT, EMPTY_ROOT)
    assert consistency_proof(0, 8, vectors) == []
    assert verify_consistency(0, 8, [], EMPTY_ROOT, bytes.fromhex(ROOTS[8]))
    assert not verify_consistency(0, 8, [], bytes(32), bytes.fromhex(ROOTS[8]))
    assert root([]) == root_at(0, vectors) == EMPTY_ROOT
    short = [b"short", *inclusion_proof(0, 8, vectors)[1:]]
    assert not verify_inclusion(hashes_of(LEAVES)[0], 0, 8, short, bytes.fromhex(ROOTS[8]))
