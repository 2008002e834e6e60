from __future__ import annotations

import datetime
import hashlib
import hmac
import json
from dataclasses import asdict, replace

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from knowledge_bases.audit.leaf import KINDS, Leaf, commitment, parse
from rag.errors import DigestMismatch

LEAF = Leaf(
    id="0b7f8c8e-3f5e-4b0e-9a0c-0d2f5a1c7e11",
    sequence=7,
    created_at=datetime.datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=datetime.UTC),
    kind="answer",
    knowledge_base="docs",
    status="answered",
    commitment="ab" * 32,
    payload_bytes=812,
)
names = st.none() | st.text(st.characters(exclude_categories=("Cs",)), max_size=200)


def test_the_bytes_are_those_of_the_published_form() -> None:
    assert LEAF.canonical().decode() == (
        '{"commitment":"' + "ab" * 32 + '","created_at":"2026-01-02T03:04:05.123456+00:00",'
        '"id":"0b7f8c8e-3f5e-4b0e-9a0c-0d2f5a1c7e11","kind":"answer","knowledge_base":"docs",'
        '"payload_bytes":812,"schema":"grounded-rag/leaf/1","sequence":7,"status":"answered"}'
    )
    assert LEAF.hash() == hashlib.sha256(b"\0" + LEAF.canonical()).hexdigest()


@given(
    sequence=st.integers(0, 2**53 - 1),
    kind=st.sampled_from(KINDS),
    knowledge_base=names,
    status=names,
    created_at=st.datetimes(datetime.datetime(1970, 1, 1), timezones=st.just(datetime.UTC)),
)
def test_what_is_written_is_read_again(**fields: object) -> None:
    leaf = replace(LEAF, **fields)
    assert parse(leaf.canonical()) == leaf
    content = {**asdict(leaf), "schema": "grounded-rag/leaf/1"}
    content["created_at"] = leaf.created_at.isoformat(timespec="microseconds")
    assert leaf.canonical() == rfc8785.dumps(content)


def changed(**fields: object) -> bytes:
    content = {**json.loads(LEAF.canonical()), **fields}
    return json.dumps(content, separators=(",", ":"), sort_keys=True).encode()


@pytest.mark.parametrize(
    "leaf",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 5_000,
        b"[" * 4_000,
        LEAF.canonical() + b" ",
        LEAF.canonical().replace(b'"sequence":7', b'"sequence":7,"sequence":7'),
        json.dumps(json.loads(LEAF.canonical())).encode(),
        changed(schema="grounded-rag/leaf/2"),
        changed(more=1),
        changed(kind="other"),
        changed(id="x"),
        changed(id=7),
        changed(sequence=-1),
        changed(sequence=True),
        changed(sequence=2**53),
        changed(payload_bytes="812"),
        changed(created_at="2026-01-02T03:04:05+00:00"),
        changed(created_at="2026-13-02T03:04:05.123456+00:00"),
        changed(created_at=None),
        changed(commitment="AB" * 32),
        changed(status=1),
        changed(knowledge_base=["docs"]),
    ],
)
def test_anything_else_is_refused(leaf: bytes) -> None:
    with pytest.raises(DigestMismatch, match="no leaf of a log"):
        parse(leaf)


def test_every_changed_byte_gives_another_leaf_or_none() -> None:
    own = LEAF.canonical()
    for at in range(len(own)):
        other = own[:at] + bytes([own[at] ^ 1]) + own[at + 1 :]
        try:
            assert parse(other) != LEAF
        except DigestMismatch:
            continue


def test_a_commitment_is_an_hmac() -> None:
    assert commitment(b"salt" * 8, b"{}") == hmac.digest(b"salt" * 8, b"{}", "sha256").hex()
