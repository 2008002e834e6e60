from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge_bases.audit.leaf import commitment
from knowledge_bases.audit.seal import seal, unseal
from rag.errors import DigestMismatch

ID = "0b7f8c8e-3f5e-4b0e-9a0c-0d2f5a1c7e11"


@given(st.binary(max_size=300))
def test_what_is_sealed_is_opened_again(payload: bytes) -> None:
    sealed = seal(payload, ID)
    assert unseal(sealed, ID) == payload
    assert (len(sealed.key), len(sealed.salt), len(sealed.nonce)) == (32, 32, 12)
    assert sealed.commitment == commitment(sealed.salt, payload)


def test_nothing_of_the_payload_or_of_another_seal_shows() -> None:
    one, other = seal(b"the subject's name", ID), seal(b"the subject's name", ID)
    assert b"name" not in one.ciphertext
    for field in ("nonce", "ciphertext", "key", "salt", "commitment"):
        assert getattr(one, field) != getattr(other, field)


@pytest.mark.parametrize("field", ["nonce", "ciphertext", "key", "salt"])
def test_any_changed_byte_is_refused(field: str) -> None:
    sealed = seal(b'{"a":1}', ID)
    own = getattr(sealed, field)
    for at in range(len(own)):
        other = own[:at] + bytes([own[at] ^ 1]) + own[at + 1 :]
        with pytest.raises(DigestMismatch, match=ID):
            unseal(replace(sealed, **{field: other}), ID)
    with pytest.raises(DigestMismatch, match=ID):
        unseal(replace(sealed, **{field: own[:5]}), ID)


def test_a_payload_opens_for_its_own_record_only() -> None:
    sealed = seal(b"{}", ID)
    with pytest.raises(DigestMismatch, match="can't be decrypted"):
        unseal(sealed, "another")
    with pytest.raises(DigestMismatch, match="not the one that its leaf commits to"):
        unseal(replace(sealed, commitment="0" * 64), ID)
