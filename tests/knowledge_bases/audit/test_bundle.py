"""Bundles are the same bytes wherever they are written, and none is written that would fail."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import pytest

from knowledge_bases.audit import checkpoint as checkpoints
from knowledge_bases.audit.bundle import BundleParts, bundle, cited_texts, write_bundle
from knowledge_bases.audit.checkpoint import ORIGIN, Checkpoint
from knowledge_bases.audit.keys import KeyRing
from knowledge_bases.audit.verify_bundle import pack, unpack, verify
from rag.errors import IntegrityError, StorageError


def test_a_bundle_is_written_and_verifies(sealed, tmp_path) -> None:
    path = tmp_path / "answer.zip"
    write_bundle(path, sealed.parts())
    report = verify(path)
    assert (report.index, report.size, report.citations) == (5, 11, 2)
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_parts_make_the_same_bytes(sealed) -> None:
    assert bundle(sealed.parts()) == bundle(sealed.parts()) == sealed.bundle()


def test_the_zip_is_what_another_writer_makes(sealed) -> None:
    content = bundle(sealed.parts())
    files = unpack(content)
    assert list(files) == [
        *("bundle.json", "leaf.json", "payload.json", "salt", "proof.json", "checkpoint.txt"),
        *("texts/001.json", "texts/002.json"),
    ]
    with zipfile.ZipFile(io.BytesIO(content)) as read:
        assert read.testzip() is None
        assert {name: read.read(name) for name in read.namelist()} == files
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as other:
        for name, one in files.items():
            entry = zipfile.ZipInfo(name)  # Of 1980-01-01.
            entry.external_attr = 0o100644 << 16
            other.writestr(entry, one)
    assert written.getvalue() == content == pack(files)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"salt": bytes(32)}, "payload.json is not what leaf.json commits to"),
        ({"proof": ()}, "fewer hashes"),
        ({"texts": ()}, "0 texts for 2 citations"),
        ({"payload": b"{}"}, "commits to"),
    ],
)
def test_what_would_not_verify_is_not_written(sealed, tmp_path, changes, reason) -> None:
    with pytest.raises(IntegrityError, match=reason):
        write_bundle(tmp_path / "answer.zip", replace(sealed.parts(), **changes))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_one_line(sealed, tmp_path) -> None:
    with pytest.raises(StorageError, match="can't write"):
        write_bundle(tmp_path / "none" / "answer.zip", sealed.parts())


def test_a_citation_outside_of_all_passages_is_named(sealed) -> None:
    payload = {**sealed.payload, "passages": sealed.payload["passages"][:1]}
    with pytest.raises(
        IntegrityError, match=r"citation 2 of guideline\.txt version 3 lies in none"
    ):
        cited_texts(payload, lambda *place: "")


def test_every_record_of_a_real_log_makes_a_bundle_that_verifies(kb, tmp_path) -> None:
    file = tmp_path / "dose.txt"
    file.write_text("The maximum dose of paracetamol is 4 g in 24 hours. 肝素 is kept dry. " * 5)
    kb.ingest([file])
    for question in ("What is the maximum dose of paracetamol?", "Who is the director?"):
        kb.ask(question)
    log = kb.home.store.log
    ring = KeyRing(kb.home.settings.home / "keys")
    ring.create(log.state().log_id)
    size = log.size()
    note = ring.sign(Checkpoint(ORIGIN + ring.log_id, size, log.root()))
    assert checkpoints.verify(note, ring.listed()).size == size

    def text_of(uri: str, version: int, start: int, end: int) -> str:
        return kb.home.store.documents.text(kb.row.id, uri, version)[start:end]

    citations = 0
    for sequence in range(size):
        row = log.at(sequence)
        opened = log.opened(row)
        payload = json.loads(opened.payload)
        parts = BundleParts(
            leaf=row.leaf.encode(),
            payload=opened.payload,
            salt=opened.salt,
            proof=log.inclusion_proof(sequence, size),
            checkpoint=note,
            key=ring.listed()[-1].key,
            texts=cited_texts(payload, text_of) if row.kind == "answer" else (),
        )
        report = verify(bundle(parts), ring.published())
        assert (report.answer_id, report.index, report.own_key) == (row.id, sequence, False)
        citations += report.citations
    assert citations
