"""Tampers with a log straight in its SQLite file, at random, and counts what `verify` finds."""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from eval.bench.made_log import fill, sign
from knowledge_bases.audit import merkle
from knowledge_bases.audit.keys import KeyRing
from knowledge_bases.audit.verify import Verification, verify
from knowledge_bases.database import Database
from knowledge_bases.store import Store
from rag.settings import Settings

_BESIDE = ("audit_payloads", "audit_secrets", "audit_citations", "audit_subjects", "audit_verdicts")


@dataclass(frozen=True, slots=True)
class Tampering:
    """What was done.

    Attributes:
        name: of the way.
        sequence: of the first record that is not as it was; None where it is no record that was
            changed (a checkpoint).
        exact: whether a verifier can tell which one it was; else it can say between which.
    """

    name: str
    sequence: int | None
    exact: bool = True


Way = Callable[[sqlite3.Connection, random.Random, int], Tampering]


def edit_column(sql: sqlite3.Connection, chance: random.Random, size: int) -> Tampering:
    """Change one column of a record."""
    at = chance.randrange(size)
    column = chance.choice(["id", "kind", "kb_name", "status", "created_at", "leaf_hash", "leaf"])
    (value,) = _one(sql, f"SELECT {column} FROM audit_records WHERE sequence = ?", at)
    if column == "created_at":
        value = value[:-1] + str((int(value[-1]) + 1) % 10)
    else:
        place = chance.randrange(len(value))
        value = value[:place] + ("x" if value[place] != "x" else "y") + value[place + 1 :]
    sql.execute(f"UPDATE audit_records SET {column} = ? WHERE sequence = ?", (value, at))
    return Tampering(f"edit {column}", at)


def edit_type(sql: sqlite3.Connection, chance: random.Random, size: int) -> Tampering:
    """Put null or bytes that are no text where text was."""
    at = chance.randrange(size)
    column = chance.choice(["kb_name", "status", "leaf", "leaf_hash"])
    new = b"\xff\xfe" if column.startswith("leaf") else chance.choice([None, b"\xff\xfe", 5])
    sql.execute(f"UPDATE audit_records SET {column} = ? WHERE sequence = ?", (new, at))
    return Tampering("edit type", at)


def edit_payload(sql: sqlite3.Connection, chance: random.Random, size: int) -> Tampering:
    """Change one byte of a payload, its key or its salt."""
    at = chance.randrange(size)
    table, column = chance.choice(
        [
            ("payloads", "nonce"),
            ("payloads", "ciphertext"),
            ("secrets", "key"),
            ("secrets", "salt"),
        ]
    )
    (value,) = _one(sql, f"SELECT {column} FROM audit_{table} WHERE sequence = ?", at)
    place = chance.randrange(len(value))
    value = value[:place] + bytes([value[place] ^ 1 << chance.randrange(8)]) + value[place + 1 :]
    sql.execute(f"UPDATE audit_{table} SET {column} = ? WHERE sequence = ?", (value, at))
    return Tampering(f"edit {column}", at)


def edit_beside(sql: sqlite3.Connection, chance: random.Random, size: int) -> Tampering:
    """Change what finds a record by document, subject or verdict."""
    at = chance.randrange(size)
    statement = chance.choice(
        [
            "UPDATE audit_citations SET document_uri = 'b.txt' WHERE sequence = ?",
            "UPDATE audit_citations SET version = 2 WHERE sequence = ?",
            "UPDATE audit_citations SET cited = 0 WHERE sequence = ?",
            "UPDATE audit_citations SET kb_name = 'others' WHERE sequence = ?",
            "DELETE FROM audit_citations WHERE sequence = ?",
            "INSERT INTO audit_citations VALUES (?, 'c.txt', 1, 'docs', '9', 1)",
            "UPDATE audit_subjects SET subject_hash = hex(zeroblob(32)) WHERE sequence = ?",
            "DELETE FROM audit_subjects WHERE sequence = ?",
            "INSERT INTO audit_verdicts VALUES (?, 'supported', 0) ON CONFLICT (sequence) "
            "DO UPDATE SET disputed = 1 - disputed",
        ]
    )
    sql.execute(statement, (at,))
    return Tampering("edit citation, subject or verdict", at)


def edit_node(sql: sqlite3.Connection, chance: random.Random, size: int) -> Tampering:
    """Change, delete or add a node of the tree."""
    nodes = sql.execute("SELECT level, position FROM audit_nodes").fetchall()
    level, position = chance.choice(nodes)
    how = chance.choice(["edit", "delete", "add"])
    if how == "add":
        sql.execute("INSERT INTO audit_nodes VALUES (?, ?, zeroblob(32))", (level, size))
        return Tampering("add node", size)
    if how == "edit":
        change = "UPDATE audit_nodes SET hash = zeroblob(32)"
    else:
        change = "DELETE FROM audit_nodes"
    sql.execute(f"{change} WHERE level = ? AND position = ?", (level, position))
    return Tampering(f"{how} node", position << level, exact=False)


def edit_checkpoint(sql: sqlite3.Connection, chance: random.Random, size: int) -> Tampering:
    """Change a checkpoint."""
    (at,) = chance.choice(sql.execute("SELECT size FROM audit_checkpoints").fetchall())
    (note,) = _one(sql, "SELECT note FROM audit_checkpoints WHERE size = ?", at)
    place = chance.randrange(len(note))
    changed = note[:place] + chr(ord(note[place]) ^ 1) + note[place + 1 :]
    if chance.random() < 0.5:
        sql.execute("UPDATE audit_checkpoints SET note = ? WHERE size = ?", (changed, at))
    else:
        sql.execute("UPDATE audit_checkpoints SET root = ? WHERE size = ?", ("0" * 64, at))
    return Tampering("edit checkpoint", None)


def edit_leaf_and_hash(sql: sqlite3.Connection, chance: random.Random, size: int) -> Tampering:
    """Change a leaf with its hash and columns, but not the tree; status is in the payload, too."""
    at = chance.randrange(size)
    field = chance.choice(["status", "created_at"])
    _rewrite_leaf(sql, at, _changed(field))
    return Tampering(f"edit leaf and hash ({field})", at, exact=field == "status")


def leaf_and_hash_at(at: int) -> Way:
    """Change the time in the leaf of one record, with its hash and column, but not the tree."""

    def way(sql: sqlite3.Connection, chance: random.Random, size: int) -> Tampering:
        _rewrite_leaf(sql, at, _changed("created_at"))
        return Tampering("edit leaf and hash (created_at)", at, exact=False)

    return way


def edit_consistently(sql: sqlite3.Connection, chance: random.Random, size: int) -> Tampering:
    """Change a leaf, its hash and columns, and all of the tree above it."""
    at = chance.randrange(size)
    field = chance.choice(["status", "created_at"])
    _rewrite_leaf(sql, at, _changed(field))
    _new_tree(sql)
    _maybe_drop_checkpoints(sql, chance)
    return Tampering(f"edit consistently ({field})", at, exact=field == "status")


def delete(sql: sqlite3.Connection, chance: random.Random, size: int) -> Tampering:
    """Delete a record, with or without its payload, and maybe close the gap."""
    at = chance.randrange(size - 1)
    sql.execute("DELETE FROM audit_records WHERE sequence = ?", (at,))
    if chance.random() < 0.5:
        return Tampering("delete", at)
    for table in _BESIDE:
        sql.execute(f"DELETE FROM {table} WHERE sequence = ?", (at,))
    if chance.random() < 0.5:
        return Tampering("delete with payload", at)
    _shift(sql, at + 1, -1)
    return Tampering("delete and close the gap", at)


def delete_consistently(sql: sqlite3.Connection, chance: random.Random, size: int) -> Tampering:
    """Delete a record and make all that follows and the tree as if it had never been."""
    at = chance.randrange(size - 1)
    for table in ("audit_records", *_BESIDE):
        sql.execute(f"DELETE FROM {table} WHERE sequence = ?", (at,))
    _shift(sql, at + 1, -1)
    for sequence in range(at, size - 1):
        _rewrite_leaf(sql, sequence, lambda leaf, own=sequence: {**leaf, "sequence": own})
    _new_tree(sql)
    _maybe_drop_checkpoints(sql, chance)
    return Tampering("delete consistently", at, exact=False)


def erase_unsaid(sql: sqlite3.Connection, chance: random.Random, size: int) -> Tampering:
    """Erase a payload without a record of it, or half of it."""
    at = chance.randrange(size)
    tables = chance.choice([_BESIDE, ("audit_payloads",), ("audit_secrets",)])
    for table in tables:
        sql.execute(f"DELETE FROM {table} WHERE sequence = ?", (at,))
    return Tampering("erase unsaid", at)


def insert(sql: sqlite3.Connection, chance: random.Random, size: int) -> Tampering:
    """Insert a record that looks right, in the middle or at the end."""
    at = chance.randrange(size + 1)
    if at < size:
        _shift(sql, at, 1)
    source = 0 if at else 1
    _copy(sql, source, at)
    return Tampering("insert", at)


def insert_consistently(sql: sqlite3.Connection, chance: random.Random, size: int) -> Tampering:
    """Insert a record in the middle and make all that follows and the tree fit it."""
    at = chance.randrange(size)
    _shift(sql, at, 1)
    _copy(sql, at + 1, at)
    for sequence in range(at, size + 1):
        _rewrite_leaf(sql, sequence, lambda leaf, own=sequence: {**leaf, "sequence": own})
    _new_tree(sql)
    _maybe_drop_checkpoints(sql, chance)
    return Tampering("insert consistently", at)


def swap(sql: sqlite3.Connection, chance: random.Random, size: int) -> Tampering:
    """Swap two records, or what is kept beside them."""
    first, second = sorted(chance.sample(range(size), 2))
    tables = chance.choice(
        [("audit_records",), ("audit_payloads",), ("audit_secrets",), ("audit_records", *_BESIDE)]
    )
    _swap(sql, tables, first, second)
    return Tampering("swap", first)


def swap_consistently(sql: sqlite3.Connection, chance: random.Random, size: int) -> Tampering:
    """Swap two records and make leaves and tree fit their new places."""
    first, second = sorted(chance.sample(range(size), 2))
    _swap(sql, ("audit_records", *_BESIDE), first, second)
    for sequence in (first, second):
        _rewrite_leaf(sql, sequence, lambda leaf, own=sequence: {**leaf, "sequence": own})
    _new_tree(sql)
    _maybe_drop_checkpoints(sql, chance)
    return Tampering("swap consistently", first, exact=False)


def truncate(sql: sqlite3.Connection, chance: random.Random, size: int) -> Tampering:
    """Cut the log off, with ever more of what would show it."""
    left = size - chance.randint(1, min(size, 50))
    sql.execute("DELETE FROM audit_records WHERE sequence >= ?", (left,))
    thorough = chance.randrange(4)
    if thorough >= 1:
        for table in _BESIDE:
            sql.execute(f"DELETE FROM {table} WHERE sequence >= ?", (left,))
    if thorough >= 2:
        _new_tree(sql)
    if thorough >= 3:
        sql.execute("DELETE FROM audit_checkpoints WHERE size > ?", (left,))
    return Tampering(f"truncate {thorough}", left, exact=thorough < 2)


WAYS: tuple[Way, ...] = (
    edit_column,
    edit_type,
    edit_payload,
    edit_beside,
    edit_node,
    edit_checkpoint,
    edit_leaf_and_hash,
    edit_consistently,
    delete,
    delete_consistently,
    erase_unsaid,
    insert,
    insert_consistently,
    swap,
    swap_consistently,
    truncate,
)


class Tampered:
    """A signed log in a folder, to be tampered with and put back as often as one likes.

    Args:
        folder: for it.
        records: how many it has; a checkpoint is kept in it for each sixth of them, and one of
            the first half and the last one outside.
    """

    def __init__(self, folder: Path, records: int) -> None:
        self.records = records
        self.database = Database(Settings(home=folder / "home"))
        self.log = Store.on(self.database).log
        self.keys = KeyRing(folder / "home" / "keys")
        self.keys.create(self.log.state().log_id)
        fill(self.log, records)
        notes = {
            size: sign(self.log, self.keys, size)
            for size in sorted({records * part // 6 for part in range(1, 7)})
        }
        self.outside = {"kept 1": notes[records // 2], "kept 2": notes[records]}
        self._file = folder / "home" / "rag.sqlite3"
        self._pristine = sqlite3.connect(folder / "pristine.sqlite3")
        with closing(sqlite3.connect(self._file)) as live:
            live.backup(self._pristine)

    def verify(self) -> Verification:
        """Verify it as it is, against its own checkpoints and those outside."""
        return verify(
            self.database,
            keys=self.keys.listed(),
            notes=self.outside,
            subject_hash=self.log.subject_hash,
        )

    def tamper(self, way: Way, chance: random.Random) -> Tampering:
        """Tamper with it in its file."""
        with closing(sqlite3.connect(self._file)) as sql, sql:
            return way(sql, chance, self.records)

    def restore(self) -> None:
        """Put it back as it was."""
        with closing(sqlite3.connect(self._file)) as live:
            self._pristine.backup(live)

    def close(self) -> None:
        """Close its files."""
        self._pristine.close()
        self.database.close()


def is_named(found: Verification, done: Tampering) -> bool:
    """Say whether the first bad record is named, exactly where that can be told."""
    first = found.first_bad
    if done.sequence is None:
        return bool(found.problems)
    if first is None or first.sequence is None:
        return False
    if done.exact:
        return first.sequence == done.sequence and first.last is None
    return first.sequence <= done.sequence <= (first.last or first.sequence)


def measure(records: int, tamperings: int, seed: int, folder: Path) -> dict[str, Any]:
    """Tamper again and again, each time with the log as it was.

    The log is also verified untouched: as it was made, after its file was rewritten without what
    was deleted from it (VACUUM), and after all that was put back.

    Returns:
        how many were found, and in how many the first bad record was named; by way; the misses.
    """
    chance = random.Random(seed)
    log = Tampered(folder, records)
    counts: Counter[str] = Counter()
    misses, seconds = [], 0.0
    alarms = log.verify().problem_count
    log.database.compact()
    alarms += log.verify().problem_count
    for number in range(tamperings):
        way = WAYS[number % len(WAYS)]
        done = log.tamper(way, chance)
        started = time.perf_counter()
        found = log.verify()
        seconds += time.perf_counter() - started
        counts[way.__name__] += 1
        counts["found"] += not found.ok
        named = is_named(found, done)
        counts["named"] += named
        if found.ok or not named:
            misses.append({"done": str(done), "first": str(found.first_bad)})
        log.restore()
    alarms += log.verify().problem_count
    log.close()
    return {
        "records": records,
        "tamperings": tamperings,
        "seeds": [seed],
        "found": counts.pop("found", 0),
        "first_bad_named": counts.pop("named", 0),
        "verified_untouched": 3,
        "false_alarms": alarms,
        "verify_seconds": round(seconds / max(1, tamperings), 3),
        "ways": dict(counts),
        "misses": misses,
    }


def merged(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what several measurements found together."""
    ways: Counter[str] = Counter()
    for result in results:
        ways.update(result["ways"])
    seconds = sum(result["verify_seconds"] * result["tamperings"] for result in results)
    added = ("tamperings", "found", "first_bad_named", "verified_untouched", "false_alarms")
    sums = {name: sum(result[name] for result in results) for name in added}
    return {
        "records": results[0]["records"],
        "seeds": [seed for result in results for seed in result["seeds"]],
        **sums,
        "verify_seconds": round(seconds / max(1, sums["tamperings"]), 3),
        "ways": dict(ways),
        "misses": [miss for result in results for miss in result["misses"]],
    }


def _one(sql: sqlite3.Connection, query: str, at: int) -> tuple[Any, ...]:
    found: tuple[Any, ...] = sql.execute(query, (at,)).fetchone()
    return found


def _changed(field: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    value = "abstained" if field == "status" else "2020-01-01T00:00:00.000000+00:00"
    return lambda leaf: {**leaf, field: value}


def _rewrite_leaf(
    sql: sqlite3.Connection, at: int, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Change a leaf with its hash and the columns that repeat it."""
    (text,) = _one(sql, "SELECT leaf FROM audit_records WHERE sequence = ?", at)
    leaf = change(json.loads(text))
    new = rfc8785.dumps(leaf)
    sql.execute(
        "UPDATE audit_records SET leaf = ?, leaf_hash = ?, status = ?, created_at = ? "
        "WHERE sequence = ?",
        (
            new.decode(),
            merkle.leaf_hash(new),
            leaf["status"],
            leaf["created_at"].replace("T", " ").removesuffix("+00:00"),
            at,
        ),
    )


def _new_tree(sql: sqlite3.Connection) -> None:
    """Make all nodes anew from the leaf hashes that are there."""
    rows = sql.execute("SELECT leaf_hash FROM audit_records ORDER BY sequence")
    hashes = [bytes.fromhex(row[0]) for row in rows]
    sql.execute("DELETE FROM audit_nodes")
    nodes = merkle.new_nodes(0, hashes, lambda level, position: hashes[position])
    sql.executemany("INSERT INTO audit_nodes VALUES (?, ?, ?)", nodes)


def _maybe_drop_checkpoints(sql: sqlite3.Connection, chance: random.Random) -> None:
    if chance.random() < 0.5:
        sql.execute("DELETE FROM audit_checkpoints")


def _shift(sql: sqlite3.Connection, start: int, by: int) -> None:
    """Move records and what is beside them."""
    for table in ("audit_records", *_BESIDE):
        # Through negative numbers, so that no two rows meet on the way.
        sql.execute(f"UPDATE {table} SET sequence = -sequence - 10 WHERE sequence >= ?", (start,))
        sql.execute(f"UPDATE {table} SET sequence = -(sequence + 10) + ? WHERE sequence < 0", (by,))


def _copy(sql: sqlite3.Connection, source: int, at: int) -> None:
    """Put a copy of a record under another id and its own number."""
    (text,) = _one(sql, "SELECT leaf FROM audit_records WHERE sequence = ?", source)
    leaf = {**json.loads(text), "id": str(uuid.UUID(int=at)), "sequence": at}
    new = rfc8785.dumps(leaf)
    sql.execute(
        "INSERT INTO audit_records SELECT ?, ?, kind, kb_name, status, created_at, ?, ? "
        "FROM audit_records WHERE sequence = ?",
        (at, leaf["id"], merkle.leaf_hash(new), new.decode(), source),
    )
    for table, columns in (
        ("audit_payloads", "nonce, ciphertext"),
        ("audit_secrets", "key, salt"),
        ("audit_citations", "document_uri, version, kb_name, document_id, cited"),
        ("audit_subjects", "subject_hash"),
        ("audit_verdicts", "label, disputed"),
    ):
        sql.execute(
            f"INSERT INTO {table} (sequence, {columns}) SELECT ?, {columns} FROM {table} "
            "WHERE sequence = ?",
            (at, source),
        )


def _swap(sql: sqlite3.Connection, tables: tuple[str, ...], first: int, second: int) -> None:
    for table in tables:
        for old, new in ((first, -1), (second, first), (-1, second)):
            sql.execute(f"UPDATE {table} SET sequence = ? WHERE sequence = ?", (new, old))


def main() -> None:
    """Run from a checkout: ``python -m eval.bench.tamper``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--tamperings", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first process")
    parser.add_argument("--processes", type=int, default=1, help="each with a log of its own")
    arguments = parser.parse_args()
    count = arguments.processes
    shares = [
        arguments.tamperings // count + (number < arguments.tamperings % count)
        for number in range(count)
    ]
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(count) as pool:
        running = [
            pool.submit(
                measure,
                arguments.records,
                share,
                arguments.seed + number,
                Path(folder) / str(number),
            )
            for number, share in enumerate(shares)
        ]
        result = merged([process.result() for process in running])
    print(json.dumps(result, indent=1))
    sys.exit(1 if result["misses"] or result["false_alarms"] else 0)


if __name__ == "__main__":
    main()
