"""Bundles that hold, and every way in which one might not."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cryptography
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from knowledge_bases.audit import note as notes
from knowledge_bases.audit import verify_bundle
from knowledge_bases.audit.bundle import bundle
from knowledge_bases.audit.key_list import SCHEMA as KEYS_SCHEMA
from knowledge_bases.audit.leaf import KINDS
from knowledge_bases.audit.note_keys import SigningKey
from knowledge_bases.audit.verify_bundle import BundleError, KeyArgumentError, pack, unpack, verify

FILE = Path(verify_bundle.__file__)


@pytest.fixture
def content(sealed) -> bytes:
    return bundle(sealed.parts())


def refused(content: bytes, key: str | None = None) -> str:
    """Return the one line with which a bundle is refused."""
    with pytest.raises(BundleError) as caught:
        verify(content, key)
    reason = str(caught.value)
    assert reason
    assert "\n" not in reason
    assert reason.isprintable()
    assert len(reason) < 500
    return reason


def with_file(content: bytes, name: str, new: bytes | Callable[[bytes], bytes]) -> bytes:
    """Return a bundle with another content of one file, its zip in order."""
    files = unpack(content)
    files[name] = new if isinstance(new, bytes) else new(files[name])
    return pack(files)


def with_json(content: bytes, name: str, **changes: Any) -> bytes:
    return with_file(content, name, lambda old: rfc8785.dumps({**json.loads(old), **changes}))


# What holds.


@pytest.mark.parametrize("size", [*range(1, 10), 16, 17, 100])
def test_every_record_of_a_log_verifies(sealed, size) -> None:
    for index in {*range(min(size, 9)), size - 1}:
        one = sealed.but(index=index, size=size)
        report = verify(bundle(one.parts()))
        assert (report.index, report.size, report.log) == (index, size, sealed.log_id)
        assert report.own_key
        assert report.signed_by == (str(sealed.keys[0].verifier),)


def test_the_operators_key_vouches(sealed, content) -> None:
    report = verify(content, str(sealed.keys[0].verifier))
    assert not report.own_key


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "answer"])
def test_records_of_other_kinds_verify(sealed, kind) -> None:
    payload = {"schema": f"grounded-rag/{kind}/1", "kind": kind, "citations": "none"}
    assert verify(bundle(sealed.but(kind=kind, payload=payload).parts())).kind == kind


def test_an_answer_without_citations_verifies(sealed) -> None:
    payload = {**sealed.payload, "citations": [], "passages": []}
    assert verify(bundle(sealed.but(payload=payload).parts())).citations == 0


def test_twelve_hundred_citations_verify(sealed) -> None:
    payload = {**sealed.payload, "citations": sealed.payload["citations"] * 600}
    assert verify(bundle(sealed.but(payload=payload).parts())).citations == 1200


# Every byte.


def test_no_bit_of_any_byte_can_be_changed(content) -> None:
    rng = random.Random(5)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        refused(bytes(changed))


def test_the_file_that_was_changed_is_named(content) -> None:
    for name, one in unpack(content).items():
        place = content.index(one) + len(one) // 2
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        assert refused(changed) == f"{name} was changed: its CRC-32 does not fit"
        assert refused(content[:place]) == f"{name} is cut off"
    assert refused(content + b"x") == "it is cut off, or goes on after its end"
    encrypted = content[:6] + b"\1" + content[7:]
    assert refused(encrypted).startswith("byte 6 of the zip is not as in a bundle")


def test_no_byte_can_be_dropped_added_or_swapped(content) -> None:
    rng = random.Random(6)
    for place in range(0, len(content), 3):
        refused(content[:place] + content[place + 1 :])
        refused(content[:place] + bytes([rng.randrange(256)]) + content[place:])
        refused(content[:place])
        other = rng.randrange(len(content))
        swapped = bytearray(content)
        swapped[place], swapped[other] = swapped[other], swapped[place]
        if swapped != content:
            refused(bytes(swapped))
    for more in (b"\0", b"PK\5\6", content, b"x" * 1000):
        refused(content + more)
        refused(more + content)


def test_no_byte_of_a_file_can_be_changed_though_the_zip_is_made_anew(content) -> None:
    """Who changes a file may also correct its CRC: then the proof or the signature is broken."""
    rng = random.Random(7)
    for name, old in unpack(content).items():
        for place in range(len(old)):
            changed = bytearray(old)
            changed[place] ^= 1 << rng.randrange(8)
            refused(with_file(content, name, bytes(changed)))
        for place in range(0, len(old), 23):
            refused(with_file(content, name, old[:place] + old[place + 1 :]))
            refused(with_file(content, name, old[:place] + b"0" + old[place:]))
        refused(with_file(content, name, old + b"\n"))
        refused(with_file(content, name, old * 2))
        refused(with_file(content, name, b""))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_one_line(content) -> None:
    refused(content)
    refused(b"PK\3\4" + content)


# Keys.


def test_the_wrong_key_is_named(sealed, content) -> None:
    other = SigningKey.generate(f"grounded-rag/{sealed.log_id}").verifier
    reason = refused(content, str(other))
    assert str(other) in reason
    assert f"signed by {sealed.keys[0].verifier}" in reason


def test_the_key_of_another_log_is_named(content) -> None:
    other = SigningKey.generate("grounded-rag/" + "0" * 8 + "-0000" * 3 + "-" + "0" * 12).verifier
    assert f"{other} is not a key of grounded-rag/2f1c8f6e" in refused(content, str(other))


def test_a_bundle_that_names_another_key_than_its_signer_is_refused(sealed, content) -> None:
    other = SigningKey.generate(f"grounded-rag/{sealed.log_id}").verifier
    changed = with_json(content, "bundle.json", key=str(other))
    assert "is not signed by the bundle's key" in refused(changed)
    assert "is not signed by the bundle's key" in refused(changed, str(sealed.keys[0].verifier))


def key_list(*rows: tuple[SigningKey, int, int | None]) -> str:
    keys = [
        {"key": str(key.verifier), "created_at": "", "from": since, "until": until}
        for key, since, until in rows
    ]
    return json.dumps({"schema": KEYS_SCHEMA, "log": "", "keys": keys})


def test_a_rotated_key_vouches_only_for_its_own_time(sealed) -> None:
    (old,), new = sealed.keys, SigningKey("grounded-rag/" + sealed.log_id, b"n" * 32)
    by_old = bundle(sealed.parts())  # At size 11.
    by_new = bundle(sealed.but(keys=(new,)).parts())
    by_both = bundle(sealed.but(keys=(old, new)).parts())
    for until in (11, 12, None):
        assert not verify(by_old, key_list((old, 0, until), (new, 11, None))).own_key
    for until in (0, 10):
        reason = refused(by_old, key_list((old, 0, until), (new, 10, None)))
        assert reason.startswith("its key had expired")
        assert f"{old.verifier} signs from 0 until {until}" in reason
    assert verify(by_new, key_list((old, 0, 10), (new, 10, None))).size == 11
    assert "not yet in use" in refused(by_new, key_list((old, 0, None), (new, 12, None)))
    assert verify(by_both, key_list((old, 0, 10), (new, 10, None))).signed_by == (
        str(new.verifier),
    )
    for key in (old, new):
        assert verify(by_both, str(key.verifier)).signed_by == (str(key.verifier),)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "{}",
        "[]",
        '{"keys": []}',
        '{"keys": [{}]}',
        '{"keys": 1}',
        '{"keys": [{"key": "x", "from": 0, "until": null}]}',
        "{" * 10_000,
        "grounded-rag/x+00000000+AAAA",
        "\ud800",
    ],
)
def test_a_key_that_is_none_is_refused_as_such(content, key) -> None:
    with pytest.raises(KeyArgumentError, match="no verifier key and no list of keys"):
        verify(content, key)


def test_sizes_in_a_list_of_keys_must_be_sizes(sealed, content) -> None:
    (key,) = sealed.keys
    for since, until in (("x", None), (None, None), (0, "11"), (0, -1), (0, [])):
        with pytest.raises(KeyArgumentError):
            verify(content, key_list((key, since, until)))  # type: ignore[arg-type]


def test_signatures_by_others_are_ignored_if_well_formed(sealed, content) -> None:
    witness = SigningKey.generate("witness.example/w")
    body = unpack(content)["checkpoint.txt"].decode().partition("\n\n")[0] + "\n"
    line = str(notes.sign(body, [witness])).removeprefix(f"{body}\n").encode()
    assert verify(with_file(content, "checkpoint.txt", lambda note: note + line)).size == 11
    for odd in (b"\xff", b"\0", b"+", b"\xc2\xa0"):
        broken = line.replace(b"witness", b"wit" + odd)
        reason = refused(with_file(content, "checkpoint.txt", lambda note, b=broken: note + b))
        assert "checkpoint.txt is not a signed checkpoint" in reason
    with_many = with_file(content, "checkpoint.txt", lambda note: note + line * 100)
    assert "is not a signed checkpoint" in refused(with_many)


# The zip.


def zipped(entries: list[tuple[Any, bytes]], **options: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        for name, one in entries:
            archive.writestr(name, one)
    return file.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "extra.txt",
        "../leaf.json",
        "/etc/passwd",
        "texts/../../x.json",
        "texts/0001.json",
        "texts/003.json/",
        "texts\\003.json",
        "C:leaf.json",
        "LEAF.JSON",
        "é.json",
        "a\nb",
        "texts/",
    ],
)
def test_files_that_are_no_part_of_a_bundle_are_refused(content, name) -> None:
    reason = refused(pack({**unpack(content), name: b"x"}))
    assert "no part of a bundle" in reason or "where 'texts/003.json' belongs" in reason


def test_one_text_too_many_or_too_few_is_refused(content) -> None:
    files = unpack(content)
    more = pack({**files, "texts/003.json": files["texts/002.json"]})
    assert refused(more) == "it holds 3 texts for 2 citations"
    less = pack({name: one for name, one in files.items() if name != "texts/002.json"})
    assert refused(less) == "it holds 1 texts for 2 citations"
    gap = pack({**less_than(files, "texts/002.json"), "texts/003.json": b"{}"})
    assert refused(gap) == "it holds 'texts/003.json' where 'texts/002.json' belongs"


def less_than(files: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {other: one for other, one in files.items() if other != name}


def test_missing_and_misplaced_files_are_named(content) -> None:
    files = unpack(content)
    for name in files:
        assert name in refused(pack(less_than(files, name))) or name.startswith("texts/")
    backwards = dict(reversed(files.items()))
    assert "belongs" in refused(pack(backwards))
    assert "leaf.json, payload.json" in refused(pack({"bundle.json": files["bundle.json"]}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["leaf.json", "texts/001.json"])
def test_a_name_that_comes_twice_is_refused(content, name) -> None:
    files = unpack(content)
    entries = [(zipfile.ZipInfo(one), files[one]) for one in files]
    assert f"{name!r} twice" in refused(zipped([*entries, (zipfile.ZipInfo(name), b"{}")]))


def test_a_symlink_is_refused(content) -> None:
    entries = []
    for name, one in unpack(content).items():
        entry = zipfile.ZipInfo(name)
        entry.external_attr = (0o120777 if name == "salt" else 0o100644) << 16
        entries.append((entry, one))
    assert "the type, date, name or place of a file was changed" in refused(zipped(entries))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_files_are_refused(content, method) -> None:
    entries = [(name, one) for name, one in unpack(content).items()]
    assert "is compressed" in refused(zipped(entries, compression=method))


def test_a_zip_bomb_is_refused_at_once(content) -> None:
    files = {**unpack(content), "payload.json": b"\0" * 2**26}
    bomb = zipped(list(files.items()), compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 2**17
    began = time.monotonic()
    refused(bomb)
    assert time.monotonic() - began < 1


def test_sizes_beyond_the_limits_are_refused(content) -> None:
    assert "has 65 bytes, more than 64" in refused(with_file(content, "salt", b"0" * 65))
    large = with_file(content, "texts/001.json", b" " * (2**20 + 1))
    assert "texts/001.json has 1048577 bytes" in refused(large)
    assert "it has more than" in refused(content + bytes(verify_bundle.MAX_BYTES))


def test_other_dates_comments_and_extras_are_refused(content) -> None:
    files = unpack(content)
    dated = [(zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6)), one) for name, one in files.items()]
    refused(zipped(dated))
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = b"a comment"
    refused(file.getvalue())


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\5\6" + bytes(18), b"\x1f\x8b", b"{}"])
def test_what_is_no_bundle_at_all_is_refused(content) -> None:
    assert refused(content) == "it does not begin as a zip file does"


# The JSON.


JSON_FILES = ["bundle.json", "leaf.json", "payload.json", "proof.json", "texts/001.json"]


@pytest.fixture
def around(sealed) -> Callable[[str, bytes], bytes]:
    """A bundle with another content of one file; leaf and signature fit another payload."""

    def make(name: str, new: bytes) -> bytes:
        if name == "payload.json":
            return sealed.but(payload=new).bundle()
        return with_file(sealed.bundle(), name, new)

    return make


@pytest.mark.parametrize("name", JSON_FILES)
@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (b"", "is not JSON"),
        (b"{", "brackets do not pair"),
        (b"\xff", "is not UTF-8"),
        (b"\xef\xbb\xbf{}", "is not JSON"),
        (b"[" * 500 + b"]" * 500, "is nested more than 64 deep"),
        (b'{"a":' * 400 + b"1" + b"}" * 400, "is nested more than 64 deep"),
        (b'{"a":NaN}', "has NaN, which is not JSON"),
        (b'{"a":-Infinity}', "has -Infinity, which is not JSON"),
        (b'{"a":' + b"9" * 3000 + b"}", "has a number of 3000 characters"),
        (b'{"a":0.' + b"9" * 3000 + b"}", "has a number of"),
        (b'{"a":1,"a":1}', "names a member of an object twice"),
        (b"{} {}", "is not JSON"),
        (b"[}", "is not JSON"),
        (b"[" * 64 + b"]" * 64, "not an object"),
        (b"[" * 65 + b"]" * 65, "is nested more than 64 deep"),
        (b'["' + b"[" * 99 + b'\\"]"]', "not an object"),
        (b'{"a":"\n"}', "is not JSON"),
        (b"[]", "not an object"),
        (b"null", "not an object"),
        (b"1e999", "not an object"),
        (b"{}", "not an object"),
        (b'{"schema":null}', "not an object"),
        (b'{"schema":"grounded-rag/bundle/2"}', "not an object"),
        (b'{"\\ud800":"\\ud800"}', "not an object"),
    ],
)
def test_json_that_leaves_anything_open_is_refused(around, name, new, reason) -> None:
    found = refused(around(name, new))
    assert found.startswith(name)
    assert reason in found


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "is nested more than 64 deep"),
        (b'{"a":' * 10_000, "is nested more than 64 deep"),
        (b"[" * 2**20 + b"]" * 2**20, "is nested more than 64 deep"),
        (b'{"a":' + b"9" * 10**6 + b"}", "has a number of 1000000 characters"),
        (b'{"a":-' + b"9" * 10**6 + b"e5}", "has a number of"),
        (b'"' + b"\\" * 10**6, "is not JSON"),
        (b"[" + b"[]," * 10**6 + b"[]]", "is not an object"),
    ],
)
def test_large_nonsense_is_refused_quickly(around, new, reason) -> None:
    began = time.monotonic()
    assert reason in refused(around("payload.json", new))
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("name", ["bundle.json", "leaf.json", "proof.json", "texts/001.json"])
def test_each_field_is_needed_and_of_its_type(content, name) -> None:
    old = json.loads(unpack(content)[name])
    for field in old:
        less = {other: one for other, one in old.items() if other != field}
        assert name in refused(with_file(content, name, rfc8785.dumps(less)))
        for wrong in (None, True, 1.5, [], {}, "x", -1, 2**53 - 1):
            if wrong != old[field]:
                refused(with_json(content, name, **{field: wrong}))
        refused(with_file(content, name, rfc8785.dumps({**old, "more": 1})))
    spaced = json.dumps(old).encode()
    assert refused(with_file(content, name, spaced)) == f"{name} is not canonical JSON"
    backwards = dict(sorted(old.items(), reverse=True))
    spelled = json.dumps(backwards, ensure_ascii=False, separators=(",", ":")).encode()
    assert refused(with_file(content, name, spelled)) == f"{name} is not canonical JSON"


def test_the_salt_is_spelled_in_one_way(content) -> None:
    salt = unpack(content)["salt"]
    for odd in (salt.upper(), salt[:-1], b" " + salt[:-1], salt[:-2], b"\xff" * 64, b"g" * 64):
        assert refused(with_file(content, "salt", odd)) == "salt is not 64 hexadecimal digits"


def test_unknown_versions_of_schemas_are_refused(sealed, content) -> None:
    for name, schema in (("bundle.json", "bundle"), ("leaf.json", "leaf")):
        changed = with_json(content, name, schema=f"grounded-rag/{schema}/2")
        assert refused(changed) == f"{name} is not of the schema grounded-rag/{schema}/1"
    parts = sealed.but(payload={**sealed.payload, "schema": "grounded-rag/receipt/9"}).parts()
    changed = pack({**unpack(content), "leaf.json": parts.leaf, "payload.json": parts.payload})
    assert "payload.json is not an object of the schema grounded-rag/receipt/1" in refused(changed)


# What the parts say of each other.


def mixed(content: bytes, other: bytes, *names: str) -> bytes:
    return pack({**unpack(content), **{name: unpack(other)[name] for name in names}})


def test_parts_of_two_bundles_do_not_fit(sealed, content) -> None:
    question = {**sealed.payload, "question": "Another?"}
    other = bundle(sealed.but(payload=question, salt=b"t" * 32, index=6).parts())
    commits = "payload.json is not what leaf.json commits to"
    assert refused(mixed(content, other, "payload.json")) == commits
    assert refused(mixed(content, other, "payload.json", "salt")) == commits
    assert refused(mixed(content, other, "leaf.json")) == commits
    assert refused(mixed(content, other, "proof.json")) == "proof.json is of another record"
    root = "the proof does not lead from leaf.json to the root in checkpoint.txt"
    assert refused(mixed(content, other, "checkpoint.txt")) == root
    all_but_root = ("payload.json", "salt", "leaf.json", "proof.json")
    assert refused(mixed(content, other, *all_but_root)) == root
    assert verify(mixed(content, other, *all_but_root, "checkpoint.txt")).index == 6


def test_proofs_of_a_wrong_length_are_refused(content) -> None:
    proof = json.loads(unpack(content)["proof.json"])
    hashes = proof["hashes"]
    assert "fewer" in refused(with_json(content, "proof.json", hashes=hashes[:-1]))
    assert "too many" in refused(with_json(content, "proof.json", hashes=[*hashes, hashes[0]]))
    assert "needs so many" in refused(with_json(content, "proof.json", hashes=[hashes[0]] * 150))
    assert "bytes, more than" in refused(with_json(content, "proof.json", hashes=hashes * 10_000))
    for odd in ("", "AAAA", hashes[0] + "\n", " " + hashes[0], hashes[0][:-2] + "B=", 7, None, "é"):
        refused(with_json(content, "proof.json", hashes=[odd, *hashes[1:]]))


def test_a_place_beyond_the_log_is_refused(sealed) -> None:
    """In a log of one leaf the proof is empty, whatever place it claims."""
    one = sealed.but(size=1, index=0, leaf={"sequence": 7}).bundle()
    assert refused(with_json(one, "proof.json", index=7)) == "proof.json is of no place in a log"


def test_a_leaf_is_no_inner_node(sealed, content) -> None:
    """RFC 6962's prefixes: a proof can't present an inner node's bytes as a leaf."""
    proof = json.loads(unpack(content)["proof.json"])
    for index, size in ((5, 6), (2, 5), (4, 11), (10, 11), (5, 12)):
        refused(with_json(content, "proof.json", index=index, size=size, hashes=proof["hashes"]))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "abstained"}, "differ in status"),
        ({"knowledge_base": None}, "differ in knowledge_base"),
        ({"kind": "check"}, "differ in kind"),
        (
            {"schema": "grounded-rag/receipt/2"},
            "not an object of the schema grounded-rag/receipt/1",
        ),
        ({"citations": None}, "no list of objects"),
        ({"citations": [1, 2]}, "no list of objects"),
        ({"passages": {}}, "no list of objects"),
        ({"passages": []}, "its passage is not among those recorded"),
    ],
)
def test_an_operator_can_not_seal_what_does_not_fit(sealed, content, changes, reason) -> None:
    other = sealed.but(payload=rfc8785.dumps({**sealed.payload, **changes})).bundle()
    texts = {name: one for name, one in unpack(content).items() if name.startswith("texts/")}
    assert reason in refused(pack({**unpack(other), **texts}))


@pytest.mark.parametrize(
    ("leaf", "reason"),
    [
        ({"schema": "grounded-rag/leaf/2"}, "leaf.json is not of the schema grounded-rag/leaf/1"),
        ({"kind": "guess"}, "unknown kind"),
        ({"id": "5"}, "not a UUID"),
        ({"created_at": "\x1b[2Jnow"}, "created_at is not a time"),
        ({"sequence": 6}, "proof.json is of another record"),
        ({"payload_bytes": 1}, "another length"),
        ({"commitment": "0" * 64}, "not what leaf.json commits to"),
        ({"status": 5}, "status is of a wrong type"),
        ({"more": 5}, "not an object with the fields"),
    ],
)
def test_leaves_that_are_none_are_refused_though_signed(sealed, leaf, reason) -> None:
    assert reason in refused(sealed.but(leaf=leaf).bundle())


@pytest.mark.parametrize(
    "changes",
    [
        {"quote": "5 hours before surgery"},
        {"quote": ""},
        {"start": 0},
        {"end": 10**9},
        {"start": 50, "end": 50},
        {"start": -40},
        {"passage_start": 0},
        {"passage_start": -1},
        {"passage_text": "x"},
        {"document": "other.txt"},
        {"version": 4},
        {"text_sha256": "0" * 64},
    ],
)
def test_a_text_that_is_not_the_cited_one_is_refused(sealed, content, changes) -> None:
    assert "texts/001.json" in refused(with_json(content, "texts/001.json", **changes))
    citation, *others = sealed.payload["citations"]
    cited = {field: one for field, one in changes.items() if not field.startswith("passage")}
    payload = rfc8785.dumps({**sealed.payload, "citations": [{**citation, **cited}, *others]})
    texts = {name: one for name, one in unpack(content).items() if name.startswith("texts/")}
    forged = pack({**unpack(sealed.but(payload=payload).bundle()), **texts})
    assert "texts/001.json" in refused(with_json(forged, "texts/001.json", **changes))


def test_a_checkpoint_of_another_log_is_refused(sealed, content) -> None:
    log_id = "0" * 8 + "-0000" * 3 + "-" + "0" * 12
    other = sealed.but(log_id=log_id, keys=[SigningKey.generate(f"grounded-rag/{log_id}")]).bundle()
    assert verify(other).log == log_id
    assert refused(mixed(content, other, "bundle.json")) == "checkpoint.txt is of another log"
    assert refused(mixed(content, other, "checkpoint.txt")) == "checkpoint.txt is of another log"


# Alone, from the command line.


@pytest.fixture
def alone(tmp_path: Path, content: bytes) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a copy of the verifier where nothing of the project can be imported."""
    shutil.copy(FILE, tmp_path)
    (tmp_path / "answer.zip").write_bytes(content)
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("cryptography", "cffi", "pycparser"):
        found = Path(cryptography.__file__).parents[1] / name
        if found.exists():
            (packages / name).symlink_to(found)
    for found in Path(cryptography.__file__).parents[1].glob("_cffi_backend*"):
        (packages / found.name).symlink_to(found)
    start = (
        "import runpy, sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]; "
        f"sys.path.append({str(packages)!r}); sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                "-I",
                "-S",
                "-W",
                "error",
                "-c",
                start,
                "verify_bundle.py",
                *arguments,
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            encoding="utf-8",
            env={"PATH": os.environ["PATH"], "PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
            check=False,
        )

    return run


def test_the_verifier_runs_alone(alone, sealed) -> None:
    found = alone("answer.zip")
    assert (found.returncode, found.stderr) == (0, "")
    assert f"record 5 of the log {sealed.log_id}" in found.stdout
    key = str(sealed.keys[0].verifier)
    warning = f"signed by the key in the bundle itself; compare {key} with the one the operator"
    assert warning in found.stdout
    assert "compare" not in alone("answer.zip", "--key", key).stdout


def test_the_verifier_imports_only_the_standard_library_and_cryptography() -> None:
    imports = {
        line.split()[1].partition(".")[0]
        for line in FILE.read_text(encoding="utf-8").splitlines()
        if line.startswith(("import ", "from "))
    }
    assert imports - sys.stdlib_module_names == {"cryptography"}


def test_exit_codes_and_json(alone, sealed, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    found = alone("answer.zip", "--json", "--key", str(sealed.keys[0].verifier))
    report = json.loads(found.stdout)
    assert (found.returncode, report["ok"], report["index"]) == (0, True, 5)
    assert report["own_key"] is False
    (tmp_path / "bad.zip").write_bytes((tmp_path / "answer.zip").read_bytes()[:-1])
    (tmp_path / "empty.zip").write_bytes(b"")
    (tmp_path / "keys.json").write_text(key_list((sealed.keys[0], 0, 10)))
    other = str(SigningKey.generate(f"grounded-rag/{sealed.log_id}").verifier)
    for arguments, code in (
        (["none.zip"], 3),
        (["bad.zip"], 4),
        (["empty.zip"], 4),
        (["packages"], 4),
        (["answer.zip", "--key", other], 4),
        (["answer.zip", "--key", "keys.json"], 4),
        (["answer.zip", "--key", "none.json"], 2),
        (["answer.zip", "--key", "packages"], 2),
        (["answer.zip", "--key", "bad.zip"], 2),
        (["answer.zip", "--key", other[:-1]], 2),
        (["answer.zip", "--key", ""], 2),
        (["a" * 5000], 2),
    ):
        assert verify_bundle.main(arguments) == code, arguments
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1, err
        assert verify_bundle.main([*arguments, "--json"]) == code
        out, err = capsys.readouterr()
        report = json.loads(out)
        assert (report["ok"], err) == (False, "")
        assert report["reason"]
    found = alone("bad.zip")
    assert (found.returncode, found.stdout, found.stderr.count("\n")) == (4, "", 1)
    found = alone("--what")
    assert (found.returncode, found.stdout) == (2, "")
    assert "Traceback" not in found.stderr


def test_it_is_a_module_too(content, tmp_path) -> None:
    (tmp_path / "answer.zip").write_bytes(content)
    assert verify_bundle.main([str(tmp_path / "answer.zip")]) == 0
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "none.zip")
    with pytest.raises(BundleError, match="not a file"):
        verify(tmp_path)


def test_the_guide_gives_the_limits_and_fields(content) -> None:
    guide = (FILE.parents[2] / "docs" / "verifying-the-log.md").read_text(encoding="utf-8")
    sizes = {2**24: "16 MiB", 2**17: "128 KiB", 2**20: "1 MiB"}
    limits = {**verify_bundle.FILES, "texts/001.json": verify_bundle.MAX_TEXT_BYTES}
    for name, limit in limits.items():
        (row,) = [line for line in guide.splitlines() if line.startswith(f"| `{name}`")]
        assert (sizes.get(limit) or f"{limit:,} bytes") in row
    for name in ("bundle.json", "leaf.json", "proof.json", "texts/001.json"):
        for field in json.loads(unpack(content)[name]):
            assert f'"{field}": ' in guide, (name, field)
    for kind in KINDS:
        assert f"`{kind}`" in guide
    assert f"at most {verify_bundle.MAX_DEPTH} deep" in guide
    assert f"{verify_bundle.MAX_BYTES >> 20} MiB in all" in guide
