"""Signed notes against the reference implementation's vectors (golang.org/x/mod/sumdb/note)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge_bases.audit import note as notes
from knowledge_bases.audit.note import Note
from knowledge_bases.audit.note_keys import SigningKey, VerifierKey
from rag.errors import IntegrityError, UsageError

PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETERS = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6"
    "KE6RyyBwJnAM=\n"
)
ENOCHS = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WW"
    "d1RvMc+QQ=\n"
)
NOTE = f"{TEXT}\n{PETERS}"

peter, enoch = VerifierKey.parse(PETER), VerifierKey.parse(ENOCH)
names = st.text(st.characters(codec="utf-8", exclude_categories=["Zs", "Zl", "Zp", "Cc"])).filter(
    lambda name: name and "+" not in name
)
texts = st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]))).map(
    lambda lines: "".join(f"{line}\n" for line in ["first", *lines])
)


def test_the_published_note_verifies_and_is_what_signing_makes() -> None:
    assert notes.verify(notes.parse(NOTE), [peter]) == (peter,)
    key = SigningKey.parse(PETER_SECRET)
    assert str(notes.sign(TEXT, [key])) == NOTE
    assert (str(key.verifier), key.secret) == (PETER, PETER_SECRET)
    assert "EKFALV" not in repr(key)


def test_signatures_by_unknown_keys_are_ignored() -> None:
    both = notes.parse(f"{NOTE}{ENOCHS}")
    assert notes.verify(both, [peter]) == (peter,)
    assert notes.verify(both, [enoch]) == (enoch,)
    assert notes.verify(both, [enoch, peter]) == (peter, enoch)
    with pytest.raises(
        IntegrityError, match=r"not signed by no key, but by PeterNeumann\+c74f20a3"
    ):
        notes.verify(both, [])
    with pytest.raises(IntegrityError, match="not signed by EnochRoot"):
        notes.verify(notes.parse(NOTE), [enoch])


def test_one_bad_signature_by_a_known_key_refuses_the_note() -> None:
    bad = notes.parse(f"{NOTE}{ENOCHS.replace('rwz+eBzm', 'rwz+eBzn')}")
    assert notes.verify(bad, [peter]) == (peter,)
    with pytest.raises(IntegrityError, match=r"EnochRoot.*does not fit"):
        notes.verify(bad, [peter, enoch])


@pytest.mark.parametrize(
    "bad",
    [
        "",
        TEXT,
        f"{TEXT}\n",
        NOTE[:-1],
        f"\x01{NOTE}",
        NOTE.replace("\n", "\r\n"),
        f"{NOTE}Unexpected line.\n",
        f"{NOTE}\n",
        f"\n{PETERS}",
        f"{TEXT}\n{PETERS.replace('PeterNeumann', 'Bad Name')}",
        f"{TEXT}\n{PETERS.replace('PeterNeumann', 'Bad+Name')}",
        NOTE.replace("— PeterNeumann", "— Peter\u00a0Neumann"),
        f"{TEXT}\n{PETERS.replace('—', '--')}",
        f"{TEXT}\n{PETERS.replace('— ', '—  ')}",
        f"{TEXT}\n{PETERS.replace('AM=', 'AN=')}",
        f"{TEXT}\n{PETERS.replace('AM=', 'AM')}",
        f"{TEXT}\n— PeterNeumann x08goA==\n",
        f"{TEXT}\n{PETERS * 101}",
        f"{'x' * 2**20}\n{NOTE}",
        b"\xff" + NOTE.encode(),
    ],
)
def test_what_is_no_note_is_refused_in_one_line(bad) -> None:
    with pytest.raises(IntegrityError, match=r"^not a signed note: .") as caught:
        notes.verify(notes.parse(bad), [peter])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_hundred_signatures_are_read() -> None:
    assert notes.verify(notes.parse(f"{TEXT}\n{PETERS * 100}"), [peter]) == (peter,)


def test_no_byte_of_a_note_can_be_changed() -> None:
    whole = NOTE.encode()
    for place in range(len(whole)):
        for flip in (1, 4, 32, 128):
            changed = bytearray(whole)
            changed[place] ^= flip
            with pytest.raises(IntegrityError):
                notes.verify(notes.parse(bytes(changed)), [peter])
        with pytest.raises(IntegrityError):
            notes.verify(notes.parse(whole[:place] + whole[place + 1 :]), [peter])
        with pytest.raises(IntegrityError):
            notes.verify(notes.parse(whole[:place] + b"A" + whole[place:]), [peter])


@pytest.mark.parametrize("whole", [PETER, PETER_SECRET])
def test_no_part_of_a_key_is_a_key(whole) -> None:
    parse = SigningKey.parse if whole == PETER_SECRET else VerifierKey.parse
    parts = {whole[i:j] for i in range(len(whole)) for j in range(i + 1, len(whole) + 1)}
    changed = {
        whole[:i] + chr(ord(whole[i]) + step) + whole[i + 1 :]
        for i in range(len(whole))
        for step in (1, -1)
    }
    for text in (parts | changed) - {whole}:
        with pytest.raises(UsageError) as caught:
            parse(text)
        if whole == PETER_SECRET:
            assert "EKFALV" not in f"{caught.value}{caught.value.__cause__}"


@pytest.mark.parametrize(
    "key",
    [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        PETER.upper(),
        f"{PETER}\n",
        "",
    ],
)
def test_odd_keys_are_refused(key) -> None:
    with pytest.raises(UsageError, match="is not a verifier key"):
        VerifierKey.parse(key)


@given(text=texts, names=st.lists(names, min_size=1, max_size=3, unique=True))
def test_what_was_signed_is_read_back(text, names) -> None:
    keys = [SigningKey.generate(name) for name in names]
    note = notes.sign(text, keys)
    read = notes.parse(str(note).encode())
    assert (read, read.text) == (note, text)
    assert notes.verify(read, [key.verifier for key in keys]) == tuple(k.verifier for k in keys)
    for key in keys:
        assert SigningKey.parse(key.secret) == key
        assert VerifierKey.parse(str(key.verifier)) == key.verifier


@given(text=texts, other=texts)
def test_a_signature_fits_no_other_text(text, other) -> None:
    key = SigningKey.generate("key")
    moved = Note(other, notes.sign(text, [key]).signatures)
    if text != other:
        with pytest.raises(IntegrityError):
            notes.verify(moved, [key.verifier])


@given(st.binary())
def test_any_bytes_are_a_note_or_refused(content) -> None:
    with contextlib.suppress(IntegrityError):
        assert str(notes.parse(content)).encode() == content


@pytest.mark.parametrize("text", ["", "abc", "a\x00b\n", "\ud800\n", "a\rb\n"])
def test_what_can_not_be_a_notes_text_is_not_signed(text) -> None:
    with pytest.raises(UsageError, match="can't be signed"):
        notes.sign(text, [SigningKey.generate("key")])


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u2003b"])
def test_names_that_no_key_can_have(name) -> None:
    with pytest.raises(UsageError, match="can't name a key"):
        SigningKey.generate(name)
