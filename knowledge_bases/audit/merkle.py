"""The Merkle tree of RFC 6962: roots, proofs that a leaf is in it, proofs that it only grew.

Hashes are 32 bytes everywhere here, but for `leaf_hash`, which is hexadecimal as records show it.
A tree is read through `Nodes`: the hash of the complete subtree at a level (0: the leaves) and
position, which covers the leaves [position << level, position + 1 << level).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

Nodes = Callable[[int, int], bytes]
"""(level, position) of a complete subtree -> its hash."""

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of a tree without leaves (RFC 6962, section 2.1)."""


def leaf_hash(leaf: bytes) -> str:
    """Return the hash of a leaf, hexadecimal (RFC 6962, section 2.1).

    >>> leaf_hash(b"")[:16]
    '6e340b9cffb37a98'
    """
    return hashlib.sha256(b"\x00" + leaf).hexdigest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node from those of its two children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes that are all at hand."""
    if not leaf_hashes:
        return EMPTY_ROOT
    row = list(leaf_hashes)
    while len(row) > 1:
        above = [node_hash(*pair) for pair in zip(row[::2], row[1::2], strict=False)]
        # The odd one out is its own subtree's root until it finds a right-hand neighbour.
        row = above + row[len(above) * 2 :]
    return row[0]


def root_at(size: int, nodes: Nodes) -> bytes:
    """Return the root of the tree's first leaves, with at most log2(size) + 1 reads.

    Args:
        size: how many leaves.
        nodes: the tree's complete subtrees.
    """
    return _subtree(0, size, nodes) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """Return the audit path of a leaf, from the leaf upwards (RFC 6962, section 2.1.1).

    Args:
        index: the leaf's, from 0.
        size: of the tree that it is to be proven into.
        nodes: the tree's complete subtrees.

    Raises:
        ValueError: that tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    path = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _left_width(stop - start)
        if index < middle:
            path.append(_subtree(middle, stop, nodes))
            stop = middle
        else:
            path.append(_subtree(start, middle, nodes))
            start = middle
    return path[::-1]


def consistency_proof(first: int, second: int, nodes: Nodes) -> list[bytes]:
    """Return the proof that a tree is the beginning of a later one (RFC 6962, section 2.1.2).

    Args:
        first: size of the earlier tree.
        second: size of the later one.
        nodes: the later tree's complete subtrees.

    Raises:
        ValueError: the earlier tree is larger than the later one.
    """
    if not 0 <= first <= second:
        raise ValueError(f"a tree of {first} leaves is no beginning of one of {second}")
    if first in (0, second):
        return []
    path = []
    start, stop = 0, second
    while first != stop:
        middle = start + _left_width(stop - start)
        if first <= middle:
            path.append(_subtree(middle, stop, nodes))
            stop = middle
        else:
            path.append(_subtree(start, middle, nodes))
            start = middle
    if start:  # Else the verifier has this hash already: it is the earlier root.
        path.append(_subtree(start, stop, nodes))
    return path[::-1]


def verify_inclusion(
    leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Say whether a proof leads from a leaf to a root (RFC 9162, section 2.1.3.2).

    Args:
        leaf_hash: the leaf's hash, 32 bytes.
        index: its place in the tree.
        size: of the tree.
        proof: the audit path, from the leaf upwards.
        root: the tree's.
    """
    if not 0 <= index < size:
        return False
    node, last, found = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0 or len(sibling) != 32:
            return False
        if node % 2 or node == last:
            found = node_hash(sibling, found)
            while not node % 2 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(
    first: int, second: int, proof: Sequence[bytes], first_root: bytes, second_root: bytes
) -> bool:
    """Say whether a proof shows that a tree only grew (RFC 9162, section 2.1.4.2).

    Args:
        first: size of the earlier tree.
        second: size of the later one.
        proof: as `consistency_proof` makes it.
        first_root: the earlier tree's root.
        second_root: the later tree's root.
    """
    if not 0 <= first <= second:
        return False
    if first == second:
        return not proof and first_root == second_root
    if first == 0:
        return not proof and first_root == EMPTY_ROOT
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path or any(len(sibling) != 32 for sibling in path):
        return False
    node, last = first - 1, second - 1
    while node % 2:
        node, last = node >> 1, last >> 1
    earlier = later = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node % 2 or node == last:
            earlier, later = node_hash(sibling, earlier), node_hash(sibling, later)
            while not node % 2 and node:
                node, last = node >> 1, last >> 1
        else:
            later = node_hash(later, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and earlier == first_root and later == second_root


def new_nodes(
    size: int, leaf_hashes: Sequence[bytes], nodes: Nodes
) -> Iterator[tuple[int, int, bytes]]:
    """Yield (level, position, hash) of the complete subtrees that an append creates.

    All are of level 1 or more; n leaves create fewer than n + log2(size) of them, and reading
    what was there before takes at most log2(size) reads, whatever n is.

    Args:
        size: of the tree before.
        leaf_hashes: of the leaves appended, 32 bytes each.
        nodes: the tree's complete subtrees before.
    """
    created: dict[tuple[int, int], bytes] = {}
    for position, found in enumerate(leaf_hashes, start=size):
        level = 0
        created[level, position] = found
        while position % 2:
            left = created.pop((level, position - 1), None) or nodes(level, position - 1)
            del created[level, position]
            found = node_hash(left, found)
            level, position = level + 1, position >> 1
            created[level, position] = found
            yield level, position, found


def _left_width(width: int) -> int:
    """Return the largest power of two below a width of 2 or more."""
    return 1 << (width - 1).bit_length() - 1


def _subtree(start: int, stop: int, nodes: Nodes) -> bytes:
    """Return the hash over leaves [start, stop), where start is a multiple of its left width."""
    width = stop - start
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return nodes(level, start >> level)
    middle = start + _left_width(width)
    return node_hash(_subtree(start, middle, nodes), _subtree(middle, stop, nodes))
