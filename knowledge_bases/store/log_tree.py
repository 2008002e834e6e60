"""The log's Merkle tree as the database keeps it: roots, proofs, and the checkpoints signed."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Select, bindparam, func, insert, select
from sqlalchemy.exc import IntegrityError as SqlIntegrityError
from sqlalchemy.orm import Session

from knowledge_bases.audit import merkle
from knowledge_bases.database import Database
from knowledge_bases.store.shared import now
from knowledge_bases.tables import AuditCheckpointRow, AuditNodeRow, AuditRow
from rag.errors import DigestMismatch, NotFound, UsageError


class LogTree:
    """Reads of the tree, each at most a few dozen rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def size(self) -> int:
        """Return how many records the log has."""
        with self._database.read() as session:
            return size_of(session)

    def leaf_hashes(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Stream the leaf hashes [start, stop), 32 bytes each; a gap ends in an error.

        Raises:
            DigestMismatch: a record is missing, or what stands for a hash is none.
        """
        query = (
            select(AuditRow.sequence, AuditRow.leaf_hash)
            .where(AuditRow.sequence >= start)
            .order_by(AuditRow.sequence)
        )
        if stop is not None:
            query = query.where(AuditRow.sequence < stop)
        expected = start
        with self._database.read() as session:
            for sequence, leaf_hash in session.execute(query.execution_options(yield_per=2_000)):
                if sequence != expected:
                    raise DigestMismatch(f"record {expected} of the log is missing")
                yield _hash(leaf_hash, f"record {sequence}")
                expected += 1
        if stop is not None and expected < stop:
            raise DigestMismatch(f"record {expected} of the log is missing")

    def nodes(self) -> merkle.Nodes:
        """Return what reads the tree's complete subtrees; it raises `DigestMismatch` of a gap."""

        def node(level: int, position: int) -> bytes:
            with self._database.read() as session:
                return Nodes(session)(level, position)

        return node

    def all_nodes(self) -> Iterator[tuple[int, int, bytes]]:
        """Stream all nodes kept, (level, position, hash), by level and position."""
        query = select(AuditNodeRow.level, AuditNodeRow.position, AuditNodeRow.hash).order_by(
            AuditNodeRow.level, AuditNodeRow.position
        )
        with self._database.read() as session:
            rows = session.execute(query.execution_options(yield_per=2_000))
            yield from ((row.level, row.position, row.hash) for row in rows)

    def root(self, size: int | None = None) -> bytes:
        """Return the root over the first records, by default over all; 32 bytes.

        Raises:
            UsageError: the log has fewer.
            DigestMismatch: the tree is damaged.
        """
        with self._database.read() as session:
            return merkle.root_at(_checked_size(session, size), Nodes(session))

    def inclusion_proof(self, record: str | int, size: int | None = None) -> list[bytes]:
        """Return the audit path of a record into the log's root at a size.

        Args:
            record: its id or sequence number.
            size: by default the log's.

        Raises:
            NotFound: there is no such record.
            UsageError: the log has fewer records than that, or the record came later.
            DigestMismatch: the tree is damaged.
        """
        with self._database.read() as session:
            size = _checked_size(session, size)
            key = AuditRow.id if isinstance(record, str) else AuditRow.sequence
            index = session.scalar(select(AuditRow.sequence).where(key == record))
            if index is None:
                raise NotFound(f"there is no record {record!r}; `rag audit list` shows them")
            if index >= size:
                raise UsageError(f"record {index} came after the log's first {size}; give a size")
            return merkle.inclusion_proof(index, size, Nodes(session))

    def consistency_proof(self, first: int, second: int | None = None) -> list[bytes]:
        """Return the proof that the log at one size is the beginning of it at another.

        Raises:
            UsageError: the log has fewer records than that, or the first size is the larger one.
            DigestMismatch: the tree is damaged.
        """
        with self._database.read() as session:
            second = _checked_size(session, second)
            if not 0 <= first <= second:
                raise UsageError(f"{first} records are no beginning of {second}; swap the sizes")
            return merkle.consistency_proof(first, second, Nodes(session))

    def add_checkpoint(self, size: int, root: bytes, note: str) -> bool:
        """Keep a signed checkpoint; whoever signs a size first is kept.

        Returns:
            Whether it was kept: False where there is one of that size and root already.

        Raises:
            DigestMismatch: there is one of that size with another root.
        """
        row = {"size": size, "root": root.hex(), "note": note, "created_at": now()}
        try:
            with self._database.write() as session:
                known = session.scalar(_checkpoints().where(AuditCheckpointRow.size == size))
                if known is None:
                    session.execute(insert(AuditCheckpointRow), [row])
                    return True
        except SqlIntegrityError:
            known = self.checkpoint(size)
        if known is None or known.root != root.hex():
            raise DigestMismatch(
                f"a checkpoint of {size} records with another root was signed before: the log was "
                "rewritten; run `rag audit verify`"
            )
        return False

    def checkpoint(self, size: int) -> AuditCheckpointRow | None:
        """Return the checkpoint of a size, if one was signed."""
        with self._database.read() as session:
            return session.scalar(_checkpoints().where(AuditCheckpointRow.size == size))

    def checkpoints(
        self, *, limit: int | None = None, newest_first: bool = False, covering: int | None = None
    ) -> list[AuditCheckpointRow]:
        """Return the checkpoints signed, by size.

        Args:
            limit: at most so many.
            newest_first: the largest first.
            covering: only those that hold the record with this sequence number.
        """
        order = AuditCheckpointRow.size.desc() if newest_first else AuditCheckpointRow.size
        query = _checkpoints().order_by(order).limit(limit)
        if covering is not None:
            query = query.where(AuditCheckpointRow.size > covering)
        with self._database.read() as session:
            return list(session.scalars(query))


class Nodes:
    """The tree's complete subtrees in a session; a `merkle.Nodes`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __call__(self, level: int, position: int) -> bytes:
        """Return a subtree's hash.

        Raises:
            DigestMismatch: the log lacks it.
        """
        if level == 0:
            leaf_hash = self._session.execute(_LEAF_HASH, {"sequence": position}).scalar()
            return _hash(leaf_hash, f"record {position}")
        found = self._session.execute(_NODE, {"level": level, "position": position}).scalar()
        if found is None or len(found) != 32:
            raise DigestMismatch(
                f"node {position} of level {level} of the log's tree is missing or damaged; run "
                "`rag audit verify`"
            )
        return found


def size_of(session: Session) -> int:
    """Return how many records the log has, in a session of the caller's."""
    last = session.execute(_LAST).scalar()
    return 0 if last is None else last + 1


def _checked_size(session: Session, size: int | None) -> int:
    held = size_of(session)
    if size is not None and not 0 <= size <= held:
        raise UsageError(f"the log has {held} records, not {size}; give a size up to that")
    return held if size is None else size


def _hash(leaf_hash: str | None, record: str) -> bytes:
    try:
        found = bytes.fromhex(leaf_hash or "")
    except ValueError:
        found = b""
    if len(found) != 32:
        raise DigestMismatch(
            f"the leaf hash of {record} of the log is missing or damaged; run `rag audit verify`"
        )
    return found


def _checkpoints() -> Select[AuditCheckpointRow]:
    return select(AuditCheckpointRow)


_LAST = select(func.max(AuditRow.sequence))
_LEAF_HASH = select(AuditRow.leaf_hash).where(AuditRow.sequence == bindparam("sequence"))
_NODE = select(AuditNodeRow.hash).where(
    AuditNodeRow.level == bindparam("level"), AuditNodeRow.position == bindparam("position")
)
