"""Checks that `rag audit` replays answers, judges them by new versions, finds what they cite."""

import csv
import io
import json

import pytest


def one_line(text):
    return text.startswith("rag: ") and text.count("\n") == 1 and "Traceback" not in text


def as_json(rag, *arguments):
    code, out, err = rag(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def write(rag, tmp_path):
    """Store a new version of a document."""

    def written(name, text):
        folder = tmp_path / "newer"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        assert rag("ingest", "docs", folder / name, "--replace")[0] == 0

    return written


def reads(rag):
    """What was read how, newest first."""
    records = as_json(rag, "audit", "list", "--kind", "read")["records"]
    return [record["status"] for record in records]


def test_answers_come_out_the_same(rag, asked):
    report = as_json(rag, "audit", "replay", "--all")
    assert (report["identical"], report["changed"], report["failed"]) == (2, 0, 0)
    assert {one["answer_id"] for one in report["replays"]} == set(asked)
    assert reads(rag) == ["replay"], "one record names all that were read"
    code, out, _ = rag("audit", "replay", asked[0][:9])
    assert code == 0
    assert out.startswith(f"identical  {asked[0]}\n")
    assert as_json(rag, "audit", "replay", "--sample", 1, "--kb", "docs")["identical"] == 1
    assert as_json(rag, "audit", "replay", *asked)["identical"] == 2


def test_a_changed_answer_is_shown_and_has_an_exit_code(rag, asked, monkeypatch):
    monkeypatch.setenv("RAG_ANSWER_THRESHOLD", "1")
    code, out, _ = rag("audit", "replay", *asked)
    assert code == 4
    assert f"changed  {asked[0]}" in out
    assert "setting answer_threshold: was 0" in out
    assert '-status: "answered"' in out
    assert '+status: "abstained"' in out
    assert "0 identical, 0 same verdict, 2 changed, 0 erased, 0 failed" in out
    code, out, _ = rag("audit", "replay", "--all", "--json")
    assert (code, json.loads(out)["changed"]) == (4, 2)


def test_what_cant_be_replayed_is_counted_and_named(rag, asked):
    rag("audit", "erase", "--answer", asked[1], "--yes")
    assert as_json(rag, "audit", "replay", "--all")["erased"] == 1
    rag("kb", "delete", "docs")
    code, out, _ = rag("audit", "replay", "--all")
    assert code == 1
    assert f"not replayed  {asked[0]}: " in out
    code, _, err = rag("audit", "replay", asked[0])
    assert (code, one_line(err)) == (3, True)


@pytest.mark.parametrize(
    "arguments", [[], ["x", "--all"], ["--all", "--sample", 2], ["x", "--kb", "docs"]]
)
def test_it_must_be_said_what_to_replay(rag, asked, arguments):
    code, _, err = rag("audit", "replay", *arguments)
    assert (code, one_line(err)) == (2, True)


def test_only_answers_are_replayed_and_resolved(rag, asked):
    rag("audit", "show", asked[0])
    (read,) = as_json(rag, "audit", "list", "--kind", "read")["records"]
    for command in ("replay", "resolve"):
        code, _, err = rag("audit", command, read["id"])
        assert (code, one_line(err)) == (2, True)
    assert reads(rag) == ["show"], "nothing was opened for that"


def test_an_empty_log_has_nothing_to_replay(rag, quick):
    rag("kb", "create", "docs")
    code, _, err = rag("audit", "replay", "--all")
    assert (code, one_line(err)) == (3, True)


def test_answers_are_judged_by_the_new_version(rag, asked, write, tmp_path):
    report = as_json(rag, "audit", "impact", "dose.txt")
    assert report["summary"] == {"answers": 1, "stand": 1, "affected": 0, "erased": 0}
    write("dose.txt", "The maximum dose of paracetamol is 3 g in 24 hours. Keep it dry.")
    report = as_json(rag, "audit", "impact", "dose.txt", "--kb", "docs", "--version", 1)
    assert report["summary"] == {"answers": 1, "stand": 0, "affected": 1, "erased": 0}
    (answer,) = report["answers"]
    (claim,) = answer["claims"]
    assert (answer["answer_id"], report["current_version"]) == (asked[0], 2)
    assert (claim["found"], claim["label_then"], claim["label_now"]) == (
        "lost",
        "supported",
        "unsupported",
    )
    assert reads(rag) == ["impact", "impact"]
    code, out, _ = rag("audit", "impact", "dose.txt")
    assert code == 0
    assert asked[0][:8] in out
    assert "judged by its version 2: 0 stand, 1 do not" in out
    assert "no answer cites version 2" not in out
    assert "no answer cites version 2" in rag("audit", "impact", "dose.txt", "--version", 2)[1]


def test_the_report_is_written_as_asked(rag, asked, tmp_path):
    code, out, _ = rag("audit", "impact", "dose.txt", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert (code, row["answer_id"], row["stands"]) == (0, asked[0], "yes")
    for format in ("csv", "json", "table"):
        file = tmp_path / f"impact.{format}"
        summary = as_json(rag, "audit", "impact", "dose.txt", "--format", format, "--out", file)
        assert (summary["answers"], summary["file"]) == (1, str(file))
        assert asked[0][:8] in file.read_text()
    assert json.loads((tmp_path / "impact.json").read_text())["summary"]["stand"] == 1
    for wrong in (["--format", "xml"], ["--format", "csv", "--json"], ["--out", tmp_path]):
        code, _, err = rag("audit", "impact", "dose.txt", *wrong)
        assert (code, one_line(err)) == (2, True)


def test_the_document_must_be_one(rag, asked, write, tmp_path):
    code, _, err = rag("audit", "impact", "absent.txt")
    assert (code, one_line(err)) == (3, True)
    code, _, err = rag("audit", "impact", "dose.txt", "--kb", "nope")
    assert (code, one_line(err)) == (3, True)
    rag("kb", "create", "more")
    (tmp_path / "dose.txt").write_text("Another dose.")
    rag("ingest", "more", tmp_path / "dose.txt")
    code, _, err = rag("audit", "impact", "dose.txt")
    assert (code, one_line(err)) == (2, True)
    assert "--kb" in err


def test_a_withdrawn_document_bears_no_answer_out(rag, asked):
    rag("doc", "delete", "docs", "dose.txt")
    report = as_json(rag, "audit", "impact", "dose.txt")
    assert (report["current_version"], report["summary"]["affected"]) == (None, 1)
    assert rag("audit", "resolve", asked[0])[1].startswith("withdrawn  [1] dose.txt v1")
    rag("kb", "delete", "docs")
    report = as_json(rag, "audit", "impact", "dose.txt", "--kb", "docs")
    assert report["summary"]["affected"] == 1


def test_citations_are_found_in_the_new_version(rag, asked, write):
    (before,) = as_json(rag, "audit", "resolve", asked[0])["citations"]
    assert before["state"] == "resolved"
    quote = before["quote"]
    text = f"Read this first.\n\nKeep it dry. {quote} Ask a nurse."
    write("dose.txt", text)
    (now,) = as_json(rag, "audit", "resolve", asked[0])["citations"]
    assert (now["state"], now["current_version"]) == ("moved", 2)
    assert text[now["current_start"] : now["current_end"]] == quote
    write("dose.txt", "The maximum dose of paracetamol is 3 g in 24 hours.")
    code, out, _ = rag("audit", "resolve", asked[0])
    assert code == 0
    assert out.startswith("lost       [1] dose.txt v1, characters")
    assert "3 g in 24 hours" in out, "what is most like it is named"
    assert reads(rag) == ["resolve", "resolve", "resolve"]
