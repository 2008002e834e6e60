"""Signing keys on disk: closed to others, rotated with both signatures, damage named."""

from __future__ import annotations

import json
import os
import stat
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from knowledge_bases.audit import checkpoint as checkpoints
from knowledge_bases.audit import note as notes
from knowledge_bases.audit.checkpoint import Checkpoint
from knowledge_bases.audit.key_list import parse_list
from knowledge_bases.audit.keys import KeyRing
from knowledge_bases.audit.note_keys import SigningKey, VerifierKey
from rag.errors import AlreadyExists, IntegrityError, NotFound, StorageError, UsageError

LOG = str(uuid.UUID(int=7))


def at(size: int) -> Checkpoint:
    return Checkpoint(f"grounded-rag/{LOG}", size, bytes(32))


def signers(ring: KeyRing, note: str) -> set[VerifierKey]:
    return set(notes.verify(notes.parse(note), [key.key for key in ring.listed()]))


def secrets(ring: KeyRing) -> list[str]:
    return sorted(path.name for path in ring.folder.glob("*.key"))


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    ring = KeyRing(tmp_path / "home" / "keys")
    ring.create(LOG)
    return ring


def test_new_keys_are_closed_to_others(tmp_path) -> None:
    ring = KeyRing(tmp_path / "keys")
    assert not ring.exists
    before = os.umask(0)
    try:
        key = ring.create(LOG)
    finally:
        os.umask(before)
    assert (ring.exists, ring.log_id, key.name) == (True, LOG, f"grounded-rag/{LOG}")
    assert stat.S_IMODE(ring.folder.stat().st_mode) == 0o700
    assert {path.name for path in ring.folder.iterdir()} >= {f"{key.key_id.hex()}.key", "keys.json"}
    for path in ring.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    with pytest.raises(AlreadyExists, match="has keys already"):
        ring.create(LOG)


def test_a_signed_checkpoint_verifies_with_the_listed_keys(ring) -> None:
    note = ring.sign(at(5))
    assert checkpoints.verify(note, ring.listed()) == at(5)
    assert ring.settle(5) == []
    assert checkpoints.verify(ring.sign(at(5)), KeyRing(ring.folder).listed()) == at(5)


def test_the_published_list_has_no_secret(ring) -> None:
    (secret,) = ring.folder.glob("*.key")
    seed = SigningKey.parse(secret.read_text().strip()).secret.split("+", 4)[4]
    log_id, keys = parse_list(ring.published())
    assert (log_id, keys) == (LOG, ring.listed())
    assert seed not in ring.published()
    (listed,) = json.loads(ring.published())["keys"]
    assert (listed["key"], listed["from"], listed["until"]) == (str(keys[0].key), 0, None)


def test_after_a_rotation_both_keys_sign_until_it_is_settled(ring) -> None:
    (first,) = ring.listed()
    new = ring.rotate(10)
    for size in (10, 12):  # The checkpoint of size 10 was lost in a crash, say.
        assert signers(ring, ring.sign(at(size))) == {first.key, new}
    assert ring.settle(12) == [first.key]
    assert signers(ring, ring.sign(at(13))) == {new}
    retired, present = ring.listed()
    assert (retired.key, retired.since, retired.until) == (first.key, 0, 12)
    assert (present.key, present.since, present.until) == (new, 10, None)
    assert secrets(ring) == [f"{new.key_id.hex()}.key"]


def test_a_retired_key_alone_is_refused_by_name(ring) -> None:
    (secret,) = ring.folder.glob("*.key")
    stolen = SigningKey.parse(secret.read_text().strip())
    ring.rotate(10)
    ring.settle(10)
    forged = checkpoints.sign(at(11), [stolen])
    with pytest.raises(IntegrityError) as caught:
        checkpoints.verify(forged, ring.listed())
    assert stolen.verifier.short in str(caught.value)
    assert "was retired at size 10" in str(caught.value)
    assert checkpoints.verify(checkpoints.sign(at(10), [stolen]), ring.listed()) == at(10)


def test_a_checkpoint_from_before_a_rotation_settles_nothing(ring) -> None:
    ring.rotate(10)
    assert signers(ring, ring.sign(at(9))) == {ring.listed()[0].key}
    assert ring.settle(9) == []
    assert [key.until for key in ring.listed()] == [None, None]


def test_three_rotations_in_a_row(ring) -> None:
    for size in (3, 3, 8):
        ring.rotate(size)
    assert len(signers(ring, ring.sign(at(8)))) == 4
    assert len(ring.settle(8)) == 3
    assert [key.until for key in ring.listed()] == [8, 8, 8, None]
    assert len(secrets(ring)) == 1


def test_a_lost_key_is_replaced_at_once(ring) -> None:
    for path in ring.folder.glob("*.key"):
        path.unlink()
    with pytest.raises(IntegrityError, match="is missing; restore it from a backup"):
        ring.sign(at(5))
    with pytest.raises(IntegrityError, match="is missing"):
        ring.rotate(5)
    assert len(ring.listed()) == 1
    new = ring.rotate(5, lost=True)
    assert signers(ring, ring.sign(at(6))) == {new}
    assert [key.until for key in ring.listed()] == [5, None]


def test_a_log_that_shrank_is_not_signed(ring) -> None:
    ring.rotate(10)
    ring.settle(10)
    with pytest.raises(IntegrityError, match="the log is shorter than it was"):
        ring.sign(at(9))
    with pytest.raises(UsageError, match="its key begins at 10"):
        ring.rotate(9)


def test_a_key_can_be_rotated_while_others_sign(ring) -> None:
    def sign(size: int) -> None:
        note = KeyRing(ring.folder).sign(at(size))
        checkpoints.verify(note, ring.listed())
        ring.settle(size)

    with ThreadPoolExecutor(4) as pool:
        signing = [pool.submit(sign, 10) for _ in range(40)]
        for _ in range(5):
            ring.rotate(10)
        for one in signing:
            one.result()
    ring.settle(10)
    assert [key.until for key in ring.listed()] == [10] * 5 + [None]
    assert len(secrets(ring)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o700])
def test_a_key_that_others_may_read_is_not_used(ring, mode) -> None:
    (path,) = ring.folder.glob("*.key")
    path.chmod(mode)
    with pytest.raises(StorageError, match=f"mode {mode:04o}.*chmod 600"):
        ring.sign(at(1))


def test_a_folder_that_others_may_read_is_not_used(ring) -> None:
    ring.folder.chmod(0o750)
    with pytest.raises(StorageError, match="mode 0750"):
        ring.sign(at(1))
    assert len(ring.listed()) == 1  # The public halves may be read.


def test_every_damage_to_a_key_file_is_one_line(ring) -> None:
    (path,) = ring.folder.glob("*.key")
    whole = path.read_bytes()
    damaged = [whole[:place] for place in range(len(whole) - 1)]  # The last line end may lack.
    damaged += [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(len(whole))]
    damaged += [whole + b"\n", b"\xff" * 10, SigningKey.generate("other").secret.encode() + b"\n"]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(IntegrityError) as caught:
            ring.sign(at(1))
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
        assert whole[-30:-1].decode() not in str(caught.value)


def test_every_damage_to_the_list_is_one_line(ring) -> None:
    path = ring.folder / "keys.json"
    whole = path.read_bytes()
    created = whole.index(b"created_at") + 14  # A time is as good as another.
    damaged = [whole[:place] for place in range(len(whole) - 1)]  # The last line end may lack.
    damaged += [
        whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :]
        for i in range(len(whole))
        if not created <= i <= created + 24
    ]
    damaged += [b"[]", b"[" * 100_000, b"\xff", whole.replace(b'"from": 0', b'"from": null')]
    damaged += [
        whole.replace(b"keys/1", b"keys/2"),
        whole.replace(b'"until": null', b'"until": -1'),
    ]
    for content in damaged:
        path.write_bytes(content)
        if content == whole.replace(b'"from": 0', b'"from": 1'):
            continue  # A well-formed list, of a key that begins later.
        with pytest.raises(IntegrityError, match="not a list of keys") as caught:
            ring.listed()
        assert "\n" not in str(caught.value)


def test_without_keys_there_is_one_line(tmp_path) -> None:
    ring = KeyRing(tmp_path / "keys")
    for call in (ring.listed, lambda: ring.sign(at(1)), lambda: ring.rotate(1), ring.published):
        with pytest.raises(NotFound, match="there are no signing keys in"):
            call()
    assert not ring.folder.exists()


def test_a_folder_that_can_not_be_written_is_one_line(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can't write"):
        KeyRing(tmp_path / "file" / "keys").create(LOG)
