"""Checks batch files: how bad rows are named, how failed rows end, what an interruption leaves."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from api.batch import CheckRow, QuestionRow, ReadRow, rows
from api.cli import main
from api.output import Output
from rag.errors import StorageError, UsageError

GOOD = {"id": 0, "claim": "Cold.", "evidence": ["Cold."]}


@pytest.fixture
def rag(monkeypatch, capsys, tmp_path):
    """Run `rag` in this process, claims with the guards alone: (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rag", *map(str, arguments)])
        monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
        if arguments[0] == "check":
            monkeypatch.setenv("RAG_VERIFIER", "guards")
        else:
            monkeypatch.delenv("RAG_VERIFIER", raising=False)
        monkeypatch.setenv("RAG_GENERATOR", "extractive")
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err  # type: ignore[return-value]

    return run


def written(path: Path, *content: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


READ = {"id": 1, "question": "Q?", "passages": ["a"]}
CHECK = {"id": 1, "claim": "c", "evidence": []}


@pytest.mark.parametrize(
    ("kind", "row", "told"),
    [
        (ReadRow, {"id": 1, "question": "Q?"}, "'passages' is missing: give a list of texts"),
        (QuestionRow, {"id": 1}, "'question' is missing: give a text"),
        (ReadRow, READ | {"id": None}, "'id' must be a text or a whole number"),
        (ReadRow, READ | {"id": 1.5}, "'id' must be a text or a whole number"),
        (ReadRow, READ | {"passages": "a"}, "'passages' must be a list of texts"),
        (ReadRow, READ | {"passages": ["a", 3]}, "'passages'[1] must be a text"),
        (CheckRow, CHECK | {"question": 7}, "'question' must be a text"),
        (
            CheckRow,
            CHECK | {"id": "\ud800"},
            "'id' holds NUL or broken Unicode characters; remove them",
        ),
        (
            ReadRow,
            {"id": 1, "question": "Q?", "pasages": []},
            "'pasages' is not known: write 'passages'",
        ),
        (CheckRow, CHECK | {"Question": "Q?"}, "'Question' is not known: write 'question'"),
        (QuestionRow, [1], 'is not an object; write {"id": …, "question": …}'),
        (QuestionRow, "x", 'is not an object; write {"id": …, "question": …}'),
    ],
)
def test_what_is_wrong_with_a_row_is_said_in_words(tmp_path, kind, row, told) -> None:
    path = written(tmp_path / "rows.jsonl", row)
    with pytest.raises(UsageError) as refused:
        rows(path, kind)
    assert str(refused.value) == f"{path}, row 1: {told}"


def test_all_bad_rows_are_named_up_to_ten(tmp_path) -> None:
    path = written(tmp_path / "rows.jsonl", READ, *([{"id": 1}] * 12))
    with pytest.raises(UsageError) as refused:
        rows(path, QuestionRow)
    told = str(refused.value)
    assert [f"row {number}:" in told for number in (1, 2, 11, 12)] == [False, True, True, False]
    assert told.endswith("; and 2 more")
    path = written(tmp_path / "rows.jsonl", *([{"id": 1}] * 10))
    with pytest.raises(UsageError, match=r"row 10: 'question' is missing: give a text$"):
        rows(path, QuestionRow)


def test_an_id_that_is_there_twice_is_refused_with_both_rows(tmp_path) -> None:
    asked = [{"id": own, "question": "Q?"} for own in ("x", 1, "1", "x")]
    path = written(tmp_path / "rows.jsonl", *asked)
    with pytest.raises(UsageError, match=r'row 4: its id "x" is that of row 1 too'):
        rows(path, QuestionRow)
    assert [row.id for row in rows(written(path, *asked[:3]), QuestionRow).rows] == ["x", 1, "1"]


def test_fields_of_the_askers_own_are_left_alone_and_named(rag, tmp_path) -> None:
    path = written(tmp_path / "rows.jsonl", GOOD | {"question_id": 7, "gold": "x"})
    code, _, err = rag("check", "--batch", path, "--out", tmp_path / "out.jsonl")
    assert code == 0
    assert err == f"rag: {path}: fields that are not read: question_id, gold\n"


def test_a_failed_row_costs_the_exit_code_and_nothing_else(rag, tmp_path) -> None:
    out = tmp_path / "out.jsonl"
    claims = ["...!?", "a\ud800b", "Cold.", ""]
    given = [GOOD | {"id": i, "claim": claim} for i, claim in enumerate(claims)]
    path = written(tmp_path / "rows.jsonl", *given, GOOD | {"id": 4, "evidence": ["x\0"]})
    code, report, err = rag("check", "--batch", path, "--out", out, "--json")
    assert (code, err) == (1, f"rag: 4 of 5 rows failed; the 'error' of each in {out} says why\n")
    counts = json.loads(report)
    assert (counts["rows"], counts["failed"]) == (5, 4)
    found = read(out)
    assert [row["id"] for row in found] == [0, 1, 2, 3, 4]
    assert found[2]["verdict"] == "supported"
    assert [row.get("error") for row in found] == [
        "the claim holds no words; write some",
        "the claim holds NUL or broken Unicode characters; remove them",
        None,
        "the claim holds no words; write some",
        "evidence[0] holds NUL or broken Unicode characters; remove them",
    ]


def test_too_much_to_read_fails_alone(rag, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RAG_MAX_PASSAGE_CHARS", "1000")
    monkeypatch.setenv("RAG_MAX_EVIDENCE_CHARS", "1000")
    long = ["Keep it cold. " * 50] * 2
    asked = [
        {"id": 1, "question": "How?", "passages": long},
        {"id": 2, "question": "How?", "passages": []},
        {"id": 3, "question": "???", "passages": []},
    ]
    out = tmp_path / "out.jsonl"
    path = written(tmp_path / "rows.jsonl", *asked)
    code, report, _ = rag("read", "--batch", path, "--out", out, "--json")
    assert (code, json.loads(report)["failed"], json.loads(report)["abstained"]) == (1, 2, 1)
    long_row, empty, wordless = read(out)
    assert long_row["error"] == "there are 1,400 characters of passages; give at most 1,000"
    assert empty["reason"] == "no passages were given"
    assert wordless["error"] == "the question holds no words; write some"
    path = written(path, GOOD | {"evidence": long})
    code, _, _ = rag("check", "--batch", path, "--out", out)
    assert (code, read(out)[0]["error"]) == (
        1,
        "there are 1,400 characters of evidence; give at most 1,000",
    )


@pytest.mark.parametrize("done", [0, 2])
def test_an_interruption_says_what_is_done_and_where(rag, tmp_path, monkeypatch, done) -> None:
    import rag.verify.check as checking

    judge, judged = checking.check_text, []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if len(judged) == done:
            raise KeyboardInterrupt
        judged.append(args)
        return judge(*args, **kwargs)

    path = written(tmp_path / "rows.jsonl", *(GOOD | {"id": i} for i in range(3)))
    out, kept = tmp_path / "out.jsonl", tmp_path / "out.partial.jsonl"
    out.write_text("of an earlier run\n")
    command = ["check", "--batch", path, "--out", out]
    with monkeypatch.context() as patched:
        patched.setattr(checking, "check_text", interrupted)
        code, _, err = rag(*command)
    assert code == 130
    assert out.read_text() == "of an earlier run\n"
    if done:
        assert err == (
            f"rag: interrupted: 2 of 3 rows are done, in {kept}; "
            "the same command begins again and leaves that file\n"
        )
        assert [row["id"] for row in read(kept)] == [0, 1]
    else:
        assert err == "rag: interrupted: none of 3 rows was done\n"
    assert rag(*command)[0] == 0
    assert [row["id"] for row in read(out)] == [0, 1, 2]
    names = {"out.jsonl", "rows.jsonl"} | ({"out.partial.jsonl"} if done else set())
    assert {found.name for found in tmp_path.iterdir() if found.is_file()} == names


def test_what_stops_a_batch_says_what_is_done(rag, tmp_path, monkeypatch) -> None:
    write = Output.write

    def full(self: Output, row: dict[str, Any]) -> None:
        if self.written == 1:
            raise StorageError("the disk is full")
        write(self, row)

    monkeypatch.setattr(Output, "write", full)
    path = written(tmp_path / "rows.jsonl", GOOD, GOOD | {"id": 1})
    code, _, err = rag("check", "--batch", path, "--out", tmp_path / "out.jsonl")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("rag: the disk is full; 1 of 2 rows are done, in ")


def test_rows_are_never_overwritten(tmp_path) -> None:
    out = tmp_path / "out.jsonl"
    for number in range(3):
        output = Output(out)
        output.write({"id": number})
        output.__exit__(KeyError)
    (tmp_path / ".out.jsonl.partial").write_text('{"id": 3}\n')  # Of a killed process.
    with Output(out) as output:
        assert output.left_over == tmp_path / "out.partial-4.jsonl"
    kept = ["out.partial.jsonl", "out.partial-2.jsonl", "out.partial-3.jsonl"]
    found = [read(tmp_path / name) for name in [*kept, "out.partial-4.jsonl"]]
    assert found == [[{"id": number}] for number in range(4)]
    assert {path.name for path in tmp_path.glob(".*")} == set()
