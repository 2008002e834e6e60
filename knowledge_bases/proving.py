"""Proves what is in the log, and that it only grew, against the checkpoints that were signed."""

from __future__ import annotations

from dataclasses import dataclass

from knowledge_bases.audit import checkpoint as checkpoints
from knowledge_bases.audit import merkle
from knowledge_bases.bundling import newest_note
from knowledge_bases.home import Home
from knowledge_bases.tables import AuditCheckpointRow, AuditRow
from rag.errors import DigestMismatch, NotFound


@dataclass(frozen=True, slots=True)
class Inclusion:
    """That a record is in the log.

    Attributes:
        size: records in the tree that it is proven in.
        root: of that tree, 32 bytes.
        hashes: the path from the leaf to the root.
        note: the signed checkpoint of that size; None where none was signed.
    """

    size: int
    root: bytes
    hashes: list[bytes]
    note: str | None


@dataclass(frozen=True, slots=True)
class Consistency:
    """That the log at one size is the beginning of it at another.

    Attributes:
        hashes: see `merkle.consistency_proof`.
        first_note, second_note: the signed checkpoints; None where none was signed of a size.
    """

    first: int
    second: int
    first_root: bytes
    second_root: bytes
    hashes: list[bytes]
    first_note: str | None
    second_note: str | None


def prove_inclusion(home: Home, row: AuditRow, size: int | None = None) -> Inclusion:
    """Prove that a record is in the log.

    Args:
        home: whose log it is.
        row: the record.
        size: of the tree; None for the newest checkpoint that has the record, which is signed now
            if there is none.

    Raises:
        UsageError: the log has fewer records than that, or the record came later.
        DigestMismatch: the record is not what is in the tree, or the tree contradicts a checkpoint.
        IntegrityError: a key is damaged or missing.
        StorageError: keys or database can't be used.
    """
    log = home.store.log
    if size is None:
        size = checkpoints.read(newest_note(home, row.sequence)).size
    hashes = log.inclusion_proof(row.sequence, size)
    note, root = _signed(home, size)
    leaf_hash = bytes.fromhex(merkle.leaf_hash(row.leaf.encode()))
    if not merkle.verify_inclusion(leaf_hash, row.sequence, size, hashes, root):
        raise DigestMismatch(
            f"record {row.sequence} is not what is in the log's tree; run `rag audit verify`"
        )
    return Inclusion(size, root, hashes, note)


def prove_consistency(home: Home, first: int, second: int | None = None) -> Consistency:
    """Prove that the log only grew from one size to another.

    Args:
        home: whose log it is.
        first: the smaller size.
        second: the larger; None for that of the newest checkpoint.

    Raises:
        NotFound: no second size was given and no checkpoint was signed yet.
        UsageError: the log has fewer records than that, or the first size is the larger one.
        DigestMismatch: the tree is damaged, or contradicts a checkpoint.
    """
    log = home.store.log
    if second is None:
        second = newest_checkpoint(home).size
    hashes = log.consistency_proof(first, second)
    first_note, first_root = _signed(home, first)
    second_note, second_root = _signed(home, second)
    if not merkle.verify_consistency(first, second, hashes, first_root, second_root):
        raise DigestMismatch(
            f"the log's first {first} records are not the beginning of its first {second}; run "
            "`rag audit verify`"
        )
    return Consistency(first, second, first_root, second_root, hashes, first_note, second_note)


def newest_checkpoint(home: Home) -> AuditCheckpointRow:
    """Return the newest checkpoint.

    Raises:
        NotFound: none was signed yet.
    """
    newest = next(iter(home.store.log.checkpoints(limit=1, newest_first=True)), None)
    if newest is None:
        raise NotFound("no checkpoint was signed yet; `rag audit checkpoint` signs one")
    return newest


def _signed(home: Home, size: int) -> tuple[str | None, bytes]:
    """Return the checkpoint of a size, if one was signed, and the log's root at it.

    Raises:
        DigestMismatch: they differ.
    """
    root = home.store.log.root(size)
    row = home.store.log.checkpoint(size)
    if row is None:
        return None, root
    if checkpoints.read(row.note).root != root:
        raise DigestMismatch(
            f"CONTRADICTION: the log's first {size} records are not those whose root was signed; "
            "run `rag audit verify`"
        )
    return row.note, root
