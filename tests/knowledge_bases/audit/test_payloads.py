"""The shapes that are checked on write, and the JSON Schemas that are published of them."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import jsonschema
import pytest

from knowledge_bases import recording
from knowledge_bases.audit import acts
from knowledge_bases.audit.leaf import KINDS
from knowledge_bases.audit.payloads import SHAPES, checked, schemas
from knowledge_bases.store.log import NewRecord
from rag.errors import RecordError

PUBLISHED = Path(__file__).parents[3] / "docs" / "schemas"
REVIEW = {
    "schema": "grounded-rag/review/1",
    "kind": "review",
    "software": "grounded-rag 0.1.0",
    "actor": "someone",
}
DELETION = {
    "schema": "grounded-rag/deletion/1",
    "kind": "deletion",
    "software": "grounded-rag 0.1.0",
    "actor": "someone",
    "what": "knowledge base",
    "knowledge_base": "docs",
    "documents": 1,
    "versions": 2,
    "chunks": 3,
    "versions_kept": 0,
    "checked": {"documents": 0, "chunks": 0, "index_folder": 0, "open_here": 0},
}


def test_every_kind_has_a_shape() -> None:
    assert set(SHAPES) == set(KINDS)


def test_the_published_schemas_are_those_in_use() -> None:
    found = {path.name: json.loads(path.read_text()) for path in PUBLISHED.iterdir()}
    assert found == schemas(), "run: python -m knowledge_bases.audit.payloads docs/schemas"
    for schema in found.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_a_payload_is_canonical_json() -> None:
    assert checked("review", {**REVIEW, "z": 1.0, "a": ["é"]}).decode() == (
        '{"a":["é"],"actor":"someone","kind":"review","schema":"grounded-rag/review/1",'
        '"software":"grounded-rag 0.1.0","z":1}'
    )


def written() -> list[NewRecord]:
    """A record of each kind of act, as whoever acts writes it."""
    now = datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC)
    return [
        acts.key_change("created", "log+1+k", since=0, actor="a"),
        acts.key_change("rotated", "log+2+k", since=9, replaces="log+1+k", actor="a"),
        acts.erasure(["1"], what="record", kinds={"answer": 1}, actor="a"),
        acts.erasure([], what="subject", kinds={}, subject_hmac="0" * 64, actor="a"),
        acts.erasure([], what="document", kinds={}, knowledge_base="docs", versions=2, actor="a"),
        acts.retention(None, actor="a"),
        acts.retention(200, actor="a"),
        acts.legal_hold(True, "court", actor="a"),
        acts.pruning(now, days=200, kinds={"answer": 1}, actor="a"),
        recording.reading(["1"], how="show", actor="a"),
        recording.reading([], how="export", actor="a", log_size=3),
        recording.settings_change({"passages": 5}, "0" * 64, "1" * 64),
        recording.calibration(
            "docs",
            file="c.json",
            sha256="0" * 64,
            report={"questions": 1},
            questions={"file": "q", "sha256": "0" * 64, "questions": 1, "command": "rag calibrate"},
        ),
    ]


@pytest.mark.parametrize("new", written(), ids=lambda new: f"{new.kind} {new.status}")
def test_acts_are_written_with_exact_fields(new: NewRecord) -> None:
    assert json.loads(checked(new.kind, new.payload)) == new.payload
    jsonschema.validate(dict(new.payload), schemas()[f"{new.kind}-1.json"])
    with pytest.raises(RecordError, match="more"):
        checked(new.kind, {**new.payload, "more": 1})
    for name in new.payload:
        lacking = {key: value for key, value in new.payload.items() if key != name}
        with pytest.raises(RecordError, match=name):
            checked(new.kind, lacking)


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("kind", "payload", "why"),
    [
        ("review", {**REVIEW, "kind": "answer"}, "kind"),
        ("review", {**REVIEW, "schema": "grounded-rag/review/2"}, "schema"),
        ("review", {k: v for k, v in REVIEW.items() if k != "actor"}, "actor"),
        ("review", {**REVIEW, "more": float("nan")}, "not representable"),
        ("review", {**REVIEW, "more": float("inf")}, "not representable"),
        ("review", {**REVIEW, "more": 2**53}, "exceeds"),
        ("review", {**REVIEW, "more": "\ud800"}, "surrogates"),
        ("review", {**REVIEW, "\ud800": 1}, "surrogates"),
        ("review", {**REVIEW, "more": object()}, "unsupported"),
        ("review", {**REVIEW, "more": deep(100_000)}, "nested too deeply"),
        ("other", REVIEW, "other"),
        ("answer", REVIEW, "schema"),
        ("deletion", {**DELETION, "documents": -1}, "documents"),
        ("deletion", {**DELETION, "documents": "1"}, "documents"),
        ("deletion", {**DELETION, "documents": True}, "documents"),
        ("deletion", {**DELETION, "more": 1}, "more"),
        ("deletion", {**DELETION, "what": "something"}, "what"),
        ("deletion", {**DELETION, "checked": {**DELETION["checked"], "chunks": 1}}, "chunks"),
    ],
)
def test_what_has_not_the_shape_of_its_kind_is_refused(kind, payload, why) -> None:
    with pytest.raises(RecordError, match=why) as raised:
        checked(kind, payload)
    assert "\n" not in str(raised.value)


def test_a_published_schema_refuses_what_the_log_refuses() -> None:
    schema = schemas()["deletion-1.json"]
    jsonschema.validate(json.loads(checked("deletion", DELETION)), schema)
    for wrong in ({"documents": -1}, {"more": 1}, {"what": "something"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**DELETION, **wrong}, schema)
