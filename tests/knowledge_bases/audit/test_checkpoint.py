"""Checkpoints: the published example, strictness, key ranges, and those that contradict."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge_bases.audit import checkpoint as checkpoints
from knowledge_bases.audit.checkpoint import Checkpoint, LogKey, consistent, contradictions
from knowledge_bases.audit.merkle import consistency_proof, root
from knowledge_bases.audit.note_keys import SigningKey
from rag.errors import IntegrityError, UsageError

# From the specification, c2sp.org/tlog-checkpoint.
PUBLISHED = """\
example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzG\
ku9nTo+zyWE+xeMcTOAYQ8=
"""
LOG = "grounded-rag/2f1c8f6e-4b8e-4d53-9d2f-0c8b5a8b6f10"
KEY, OTHER = SigningKey.generate(LOG), SigningKey.generate(LOG)
LEAVES = [hashlib.sha256(bytes([number])).digest() for number in range(20)]


def at(size: int) -> Checkpoint:
    return Checkpoint(LOG, size, root(LEAVES[:size]))


def test_the_published_checkpoint_is_read() -> None:
    checkpoint = checkpoints.read(PUBLISHED)
    assert checkpoint.origin == "example.com/behind-the-sofa"
    assert checkpoint.size == 20852163
    assert base64.b64encode(checkpoint.root) == b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
    assert PUBLISHED.startswith(checkpoints.format(checkpoint) + "\n")


@given(
    origin=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1),
    size=st.integers(0, 2**63 - 1),
    digest=st.binary(min_size=32, max_size=32),
    extensions=st.lists(st.from_regex(r"[a-z0-9 ]+", fullmatch=True)),
)
def test_what_is_written_is_read(origin, size, digest, extensions) -> None:
    checkpoint = Checkpoint(origin, size, digest, tuple(extensions))
    assert checkpoints.parse(checkpoints.format(checkpoint)) == checkpoint


@given(size=st.integers(0, 2**63 - 1), digest=st.binary(min_size=32, max_size=32))
def test_what_is_signed_verifies(size, digest) -> None:
    checkpoint = Checkpoint(LOG, size, digest)
    note = checkpoints.sign(checkpoint, [KEY])
    assert checkpoints.verify(note, [LogKey(KEY.verifier)]) == checkpoint
    assert checkpoints.read(note) == checkpoint


def test_no_byte_of_a_checkpoint_can_be_changed() -> None:
    whole = checkpoints.sign(at(7), [KEY]).encode()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        for content in (bytes(changed), whole[:place], whole[:place] + b"0" + whole[place:]):
            with pytest.raises(IntegrityError):
                checkpoints.verify(content, [LogKey(KEY.verifier)])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"{LOG}\n", "\n"),
        (f"{LOG}\n", ""),
        ("\n7\n", "\n07\n"),
        ("\n7\n", "\n-7\n"),
        ("\n7\n", "\n+7\n"),
        ("\n7\n", "\n7 \n"),
        ("\n7\n", "\n٧\n"),
        ("\n7\n", "\n1e3\n"),
        ("\n7\n", f"\n{2**63}\n"),
        ("\n7\n", f"\n{'9' * 1_000_000}\n"),
        ("=\n", "\n"),
        ("=\n", "==\n"),
        ("=\n", "=\n\n"),
        ("=\n", "="),
    ],
)
def test_odd_texts_are_refused_in_one_line(old, new) -> None:
    text = checkpoints.format(at(7)).replace(old, new, 1)
    with pytest.raises(IntegrityError, match="not a checkpoint") as caught:
        checkpoints.parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "wrong",
    [
        replace(at(3), origin=""),
        replace(at(3), origin="two\nlines"),
        replace(at(3), size=-1),
        replace(at(3), root=b"short"),
        replace(at(3), extensions=("",)),
    ],
)
def test_what_is_no_checkpoint_is_not_written(wrong) -> None:
    with pytest.raises(UsageError):
        checkpoints.format(wrong)


def test_a_log_is_signed_by_its_own_keys() -> None:
    stranger = SigningKey.generate("grounded-rag/another")
    with pytest.raises(UsageError, match="can't sign a checkpoint of"):
        checkpoints.sign(at(3), [stranger])
    note = str(checkpoints.notes.sign(checkpoints.format(at(3)), [stranger]))
    with pytest.raises(IntegrityError, match="another log's key"):
        checkpoints.verify(note, [LogKey(stranger.verifier)])


def test_a_retired_key_vouches_for_nothing_later() -> None:
    retired, present = LogKey(KEY.verifier, 0, 10), LogKey(OTHER.verifier, 10)
    both = [retired, present]
    assert checkpoints.verify(checkpoints.sign(at(10), [KEY]), both) == at(10)
    assert checkpoints.verify(checkpoints.sign(at(10), [OTHER]), both) == at(10)
    assert checkpoints.verify(checkpoints.sign(at(11), [KEY, OTHER]), both) == at(11)
    with pytest.raises(IntegrityError) as caught:
        checkpoints.verify(checkpoints.sign(at(11), [KEY]), both)
    assert str(caught.value) == (
        f"the checkpoint of size 11 is signed by {KEY.verifier.short}, which was retired at size 10"
    )
    with pytest.raises(IntegrityError, match="which signs from size 10 on"):
        checkpoints.verify(checkpoints.sign(at(9), [OTHER]), both)


def test_a_log_that_grew_contradicts_nothing() -> None:
    earlier = [at(size) for size in (0, 1, 5, 5, 8, 20)]
    found = contradictions(earlier, size=20, root_at=lambda size: root(LEAVES[:size]))
    assert found == []


def test_two_roots_for_one_size_contradict() -> None:
    forged = replace(at(5), root=bytes(32))
    (found,) = contradictions([at(5), at(8), forged])
    assert found.checkpoints == (at(5), forged)
    assert found.reason == "2 roots were signed for size 5"


def test_a_shortened_and_a_rewritten_log_are_found() -> None:
    rewritten = [*LEAVES[:6], bytes(32), *LEAVES[7:10]]
    found = contradictions(
        [at(6), at(8), at(12)], size=10, root_at=lambda size: root(rewritten[:size])
    )
    assert [(one.checkpoints, one.reason) for one in found] == [
        ((at(8),), "the log's first 8 records are not those whose root was signed"),
        ((at(12),), "size 12 was signed, but the log has 10 records"),
    ]


@given(st.data())
def test_consistent_is_what_the_proof_says(data) -> None:
    later = data.draw(st.integers(1, 20))
    earlier = data.draw(st.integers(1, later))
    proof = consistency_proof(
        earlier,
        later,
        lambda level, position: root(LEAVES[position << level : position + 1 << level]),
    )
    assert consistent(at(earlier), at(later), proof)
    assert not consistent(at(earlier), replace(at(later), root=bytes(32)), proof)
    assert not consistent(replace(at(earlier), origin="another"), at(later), proof)
