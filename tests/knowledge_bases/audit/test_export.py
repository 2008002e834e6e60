"""Checks that exports hold every record, stream, and give spreadsheets nothing to run."""

import csv
import hashlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge_bases.audit.export import COLUMNS, Exported, export, safe_cell

ROOT = "ab" * 32


def record(sequence: int, payload: dict | None = None, **changes) -> Exported:
    leaf = {
        "schema": "grounded-rag/leaf/1",
        "id": f"id-{sequence}",
        "sequence": sequence,
        "created_at": "2026-01-02T03:04:05.123456+00:00",
        "kind": "answer",
        "knowledge_base": "docs",
        "status": "answered",
        "commitment": "00" * 32,
        "payload_bytes": 7,
        **changes,
    }
    return Exported(leaf, f"{sequence:064x}", payload)


ANSWER = {
    "kind": "answer",
    "asker": "someone",
    "question": "How much?",
    "text": "4 g.",
    "reason": None,
    "decision": {"probability": 0.75, "threshold": 0.5},
    "verdicts": [{"label": "supported"}, {"label": "contradicted"}],
    "citations": [
        {"document": "a.txt", "version": 2, "quote": "4 g"},
        {"document": "a.txt", "version": 2, "quote": "daily"},
    ],
    "models": {"generator": "copy:1", "verifier": "v:1"},
    "settings_sha256": "cd" * 32,
    "index": {"generation": 1, "manifest_sha256": "ef" * 32},
}


def written(records, format):
    out = io.StringIO(newline="")
    manifest = export(records, out, format, log_size=9, root=ROOT)
    return out.getvalue(), manifest


def test_a_csv_row_tells_an_answer():
    text, _ = written([record(3, ANSWER)], "csv")
    (row,) = csv.DictReader(io.StringIO(text))
    assert tuple(row) == COLUMNS
    assert row["answer"] == "4 g."
    assert row["worst_verdict"] == "contradicted"
    assert row["documents"] == "a.txt v2"
    assert row["quotes"] == "4 g … daily"
    assert (row["probability"], row["sequence"]) == ("0.75", "3")


def test_a_jsonl_line_holds_leaf_and_payload():
    text, _ = written([record(3, ANSWER), record(4)], "jsonl")
    first, second = map(json.loads, text.splitlines())
    assert first["payload"] == ANSWER
    assert first["leaf"]["id"] == "id-3"
    assert second["payload"] is None


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_the_manifest_says_what_is_in_the_file(format):
    text, manifest = written([record(2, ANSWER), record(3), record(6, ANSWER)], format)
    assert (manifest.records, manifest.first, manifest.last) == (3, 2, 6)
    assert (manifest.gaps, manifest.erased) == (2, 1)
    assert (manifest.log_size, manifest.root) == (9, ROOT)
    assert manifest.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert json.loads(manifest.canonical())["schema"] == "grounded-rag/export/1"


def test_an_empty_export_has_a_manifest():
    text, manifest = written([], "jsonl")
    assert (text, manifest.records, manifest.first, manifest.last) == ("", 0, None, None)


def test_records_are_written_as_they_come():
    out = io.StringIO(newline="")
    seen = []

    def records():
        for sequence in range(3):
            seen.append(out.getvalue().count("\n"))
            yield record(sequence, ANSWER)

    export(records(), out, "jsonl", log_size=3, root=ROOT)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(
    "payload",
    [
        {"kind": "deletion", "actor": "=cmd|' /C calc'!A0", "document": "a"},
        {"kind": "check", "verdicts": [], "question": None, "models": {}},
    ],
)
def test_other_kinds_leave_cells_empty(payload):
    text, _ = written([record(0, payload, knowledge_base=None, status=None)], "csv")
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["answer"] == ""
    assert not row["asker"].startswith("=")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "＝", "＠"])
def test_no_cell_begins_like_a_formula(start):
    hostile = {**ANSWER, "question": f"{start}HYPERLINK(1)", "asker": f"{start}1"}
    text, _ = written([record(0, hostile)], "csv")
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row["question"] == f"'{start}HYPERLINK(1)"
    assert row["asker"] == f"'{start}1"


def test_huge_cells_are_cut_and_say_so():
    cell = safe_cell("x" * 1_000_000)
    assert isinstance(cell, str)
    assert len(cell) < 32_767
    assert cell.endswith("… (1,000,000 characters)")


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_any_text_is_one_cell(questions):
    records = [record(n, {**ANSWER, "question": q}) for n, q in enumerate(questions)]
    text, manifest = written(records, "csv")
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert len(rows) == manifest.records == len(questions)
    assert [row["question"] for row in rows] == [safe_cell(question) for question in questions]
    assert all(row["question"][:1] not in set("=+-@\t\r") for row in rows if row["question"])
