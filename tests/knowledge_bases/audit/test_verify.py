"""Whatever is done to a log in its file is found, the first bad record named; nothing else is."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from eval.bench.kill_log import measure as kill
from eval.bench.made_log import answer, sign
from eval.bench.tamper import WAYS, Tampered, Way, is_named, leaf_and_hash_at
from knowledge_bases.audit import acts, verify_walk
from knowledge_bases.audit.checkpoint import ORIGIN, Checkpoint
from knowledge_bases.audit.frontier import Frontier
from knowledge_bases.audit.keys import KeyRing
from knowledge_bases.audit.merkle import root
from knowledge_bases.audit.verify import verify
from knowledge_bases.audit.verify_signed import read_keys, read_notes
from rag.errors import NotFound, UsageError

RECORDS = 300
TAMPERINGS = 1_008


@pytest.fixture(scope="module")
def tampered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tampered]:
    log = Tampered(tmp_path_factory.mktemp("tampered"), RECORDS)
    yield log
    log.close()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_tampering_is_found_and_the_first_bad_record_named(
    tampered: Tampered, way: Way
) -> None:
    chance = random.Random(way.__name__)
    assert tampered.verify().ok
    try:
        for _ in range(TAMPERINGS // len(WAYS)):
            done = tampered.tamper(way, chance)
            found = tampered.verify()
            assert not found.ok, done
            assert is_named(found, done), (done, found.problems)
            tampered.restore()
    finally:
        tampered.restore()
    assert tampered.verify().problems == ()


def test_a_record_before_an_odd_checkpoint_is_not_taken_for_its_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node covers two records: which of them was changed can't be told."""
    monkeypatch.setattr(verify_walk, "_NODES_AT_ONCE", 2)  # As if the log were long.
    log = Tampered(tmp_path, 66)
    try:
        for at in range(66):
            done = log.tamper(leaf_and_hash_at(at), random.Random(at))
            first = log.verify().first_bad
            assert first is not None
            last = first.sequence if first.last is None else first.last
            assert first.sequence <= done.sequence <= last, (done, first)
            assert last - first.sequence < 11, first  # There is a checkpoint every eleven.
            log.restore()
    finally:
        log.close()


def test_an_untouched_log_has_no_problem(tampered: Tampered) -> None:
    tampered.database.compact()
    found = tampered.verify()
    assert found.problems == ()
    assert (found.size, found.records, found.payloads) == (RECORDS, RECORDS, RECORDS)
    assert found.root == tampered.log.root().hex()
    assert (found.signed_size, found.checkpoints, found.erased) == (RECORDS, 8, 0)


def test_a_range_and_one_record(tampered: Tampered) -> None:
    def part(start: int, stop: int):
        return verify(tampered.database, keys=tampered.keys.listed(), start=start, stop=stop)

    for start, stop in ((0, 1), (7, 8), (299, 300), (0, 300), (33, 160), (128, 256)):
        found = part(start, stop)
        assert found.ok, (start, stop, found.problems)
        assert (found.records, found.root) == (stop - start, None)
        assert found.signed_size >= stop
    for start, stop in ((300, 301), (5, 5), (9, 3), (-1, 2)):
        with pytest.raises(UsageError):
            part(start, stop)
    with closing(sqlite3.connect(tampered.database.home / "rag.sqlite3")) as sql, sql:
        sql.execute("UPDATE audit_records SET status = 'abstained' WHERE sequence = 40")
    assert part(41, 300).ok
    first = part(40, 41).first_bad
    assert first is not None
    assert first.sequence == 40
    tampered.restore()


def test_whoever_rewrites_the_log_with_its_key_is_found_by_a_checkpoint_kept_outside(
    tampered: Tampered,
) -> None:
    chance = random.Random(1)
    done = tampered.tamper(WAYS[7], chance)
    assert done.name.startswith("edit consistently")
    with closing(sqlite3.connect(tampered.database.home / "rag.sqlite3")) as sql, sql:
        sql.execute("DELETE FROM audit_checkpoints")
    sign(tampered.log, tampered.keys)
    found = tampered.verify()
    lines = [problem.line for problem in found.problems]
    assert any("2 roots were signed for size 300" in line and "kept 2" in line for line in lines)
    inside = verify(tampered.database, keys=tampered.keys.listed())
    assert done.exact or inside.ok, "without a copy outside nobody could tell"
    tampered.restore()


def test_signatures_by_others_and_out_of_their_time(tampered: Tampered, tmp_path: Path) -> None:
    other = KeyRing(tmp_path / "keys")
    other.create(tampered.log.state().log_id)
    size = tampered.log.size()
    forged = other.sign(Checkpoint(ORIGIN + tampered.log.state().log_id, size, tampered.log.root()))
    keys = tampered.keys.listed()
    found = verify(tampered.database, keys=keys, notes={"forged": forged})
    assert [one.line.split(":")[0] for one in found.problems] == ["forged"]
    assert found.first_bad is None
    late = [type(keys[0])(keys[0].key, 0, 100)]
    lines = [one.line for one in verify(tampered.database, keys=late).problems]
    assert len(lines) == 4
    assert all("was retired at size 100" in line for line in lines)
    assert len(verify(tampered.database).problems) == 6, "no key, no checkpoint that counts"


def test_files_of_keys_and_checkpoints(tampered: Tampered, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(tampered.keys.published())
    (tmp_path / "key").write_text(f"{tampered.keys.listed()[0].key}\n")
    folder = tmp_path / "kept" / "log"
    folder.mkdir(parents=True)
    for name, note in tampered.outside.items():
        (folder / f"{name}.txt").write_text(note, encoding="utf-8")
    notes = read_notes([tmp_path / "kept", folder / "kept 1.txt"])
    assert set(notes.values()) == set(tampered.outside.values())
    for keys in (read_keys(tmp_path / "keys.json"), read_keys(tmp_path / "key")):
        assert verify(tampered.database, keys=keys, notes=notes).ok
    for missing in (tmp_path / "none", tmp_path / "none.txt"):
        with pytest.raises(NotFound):
            read_notes([missing])
        with pytest.raises(NotFound):
            read_keys(missing)


def test_erased_payloads_need_a_record_that_says_so(tampered: Tampered) -> None:
    log = tampered.log
    ids = [log.at(number).id for number in (3, 4)]
    log.append(acts.erasure(ids, what="record", kinds={"answer": 2}, actor="someone"))
    assert tampered.verify().pending == 2
    log.erase([3, 4])
    found = tampered.verify()
    assert (found.problems, found.erased, found.pending) == ((), 2, 0)
    log.erase([9])
    first = tampered.verify().first_bad
    assert first is not None
    assert (first.sequence, "no record says" in first.line) == (9, True)
    log.erase([RECORDS])  # The record that says it.
    assert [one.sequence for one in tampered.verify().problems] == [RECORDS, RECORDS]
    tampered.restore()


def test_what_is_appended_while_it_is_verified_is_no_problem(tampered: Tampered) -> None:
    def append(done: int, total: int) -> None:
        tampered.log.append(answer(done))

    for _ in range(3):
        found = verify(tampered.database, keys=tampered.keys.listed(), progress=append)
        assert found.ok
    tampered.restore()


def test_a_kill_leaves_no_problem_and_loses_nothing(tmp_path: Path) -> None:
    result = kill(5, 1, tmp_path)
    assert result["kills"] == 5
    assert result["acknowledged"] > 5
    assert result["violations"] == []


def test_a_frontier_has_the_roots_of_the_tree() -> None:
    hashes = [bytes([number]) * 32 for number in range(70)]
    one_by_one = Frontier()
    for size in range(70):
        assert one_by_one.root() == root(hashes[:size])
        one_by_one.append(hashes[size])
    chance = random.Random(5)
    for _ in range(50):
        size, stop = 0, chance.randint(1, 70)
        by_parts = Frontier()
        while size < stop:
            level = by_parts.next_level(stop)
            by_parts.append(root(hashes[size : size + (1 << level)]), level)
            size += 1 << level
        assert by_parts.root() == root(hashes[:stop])
    with pytest.raises(ValueError, match="no subtree"):
        one_by_one.append(hashes[0], 3)
