import json
import subprocess
import sys

import pytest

from api.cli import EXIT_CODES, main
from rag import errors


@pytest.fixture
def rag(monkeypatch, capsys, tmp_path):
    """Run `rag` in this process and return (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["rag", *map(str, arguments)])
        monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "dose.txt"
    path.write_text("The maximum dose of paracetamol is 4 g in 24 hours. Keep it dry.")
    return path


def one_line(text):
    return text.startswith("rag: ") and text.count("\n") == 1 and "Traceback" not in text


def test_from_files_to_a_recorded_answer(rag, file, tmp_path):
    code, out, _ = rag("kb", "create", "docs", "--json")
    assert (code, json.loads(out)["name"]) == (0, "docs")
    code, out, _ = rag("ingest", "docs", file, "--json")
    report = json.loads(out)
    assert (code, report["added"], report["failed"]) == (0, 1, [])

    code, out, _ = rag("search", "docs", "paracetamol dose", "--k", "3", "--json")
    (hit,) = json.loads(out)["hits"]
    assert hit["document"]["uri"] == "dose.txt"
    text = file.read_text()
    assert text[hit["start"] : hit["end"]] == hit["text"]

    code, out, _ = rag("ask", "docs", "What is the maximum dose of paracetamol?", "--json")
    answer = json.loads(out)
    assert (code, answer["status"]) == (0, "answered")
    (citation,) = answer["citations"]
    assert text[citation["start"] : citation["end"]] == citation["quote"]
    assert [s["type"] for s in citation["selectors"]] == [
        "TextPositionSelector",
        "TextQuoteSelector",
    ]
    assert answer["segments"][0]["origin"] == "copied"
    assert answer["receipt"]["log_size"] == 1

    code, out, _ = rag("audit", "show", answer["answer_id"], "--json")
    assert json.loads(out)["leaf_hash"] == answer["receipt"]["leaf_hash"]
    code, out, _ = rag("audit", "export", tmp_path / "log.jsonl", "--json")
    assert json.loads(out)["records"] == 1
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1

    questions = tmp_path / "questions.jsonl"
    questions.write_text(
        '{"id": 1, "question": "What is the dose?"}\n{"id": "b", "question": ""}\n'
    )
    code, out, _ = rag(
        "ask", "docs", "--batch", questions, "--out", tmp_path / "answers.jsonl", "--json"
    )
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert (code, [row["id"] for row in rows]) == (0, [1, "b"])
    assert rows[0]["answer_id"]
    assert "empty" in rows[1]["error"]

    code, out, _ = rag("doctor", "--json")
    assert (code, json.loads(out)["healthy"]) == (0, True)
    code, out, _ = rag("doc", "delete", "docs", "dose.txt", "--json")
    assert code == 0
    code, out, _ = rag("search", "docs", "paracetamol", "--json")
    assert json.loads(out) == {"hits": []}


def test_read_answers_from_given_passages_only(rag, tmp_path):
    rows = tmp_path / "rows.jsonl"
    passages = ["Keep it dry.", "The maximum dose of paracetamol is 4 g in 24 hours."]
    rows.write_text(
        json.dumps({"id": "x", "question": "What is the maximum dose?", "passages": passages})
        + "\n"
        + json.dumps({"id": "y", "question": "What is the maximum dose?", "passages": []})
        + "\n"
    )
    code, _, _ = rag("read", "--batch", rows, "--out", tmp_path / "out.jsonl", "--json")
    first, second = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert code == 0
    assert first["status"] == "answered"
    assert first["citations"][0]["document"]["uri"] == "passage:1"
    assert "answer_id" not in first
    assert second["status"] == "abstained"
    assert rag("audit", "list", "--json")[1] == '{"records": []}\n'


def test_check_judges_claims_against_evidence(rag, tmp_path):
    evidence = ["The maximum is 4 g a day."]
    rows = tmp_path / "claims.jsonl"
    rows.write_text(
        "".join(
            json.dumps({"id": i, "claim": claim, "evidence": evidence}) + "\n"
            for i, claim in enumerate(["The maximum is 4 g a day.", "The maximum is 5 g a day."])
        )
    )
    code, _, _ = rag("check", "--batch", rows, "--out", tmp_path / "out.jsonl")
    verdicts = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert code == 0
    assert [v["verdict"] for v in verdicts] == ["supported", "unsupported"]
    assert verdicts[1]["guards"] == [{"name": "number", "missing": ["5 g"]}]
    assert verdicts[0]["evidence_span"]["text"] == evidence[0]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["kb", "show", "nowhere"], 3),
        (["ask", "nowhere", "What?"], 3),
        (["ingest", "nowhere", "."], 3),
        (["kb", "create", "../x"], 2),
        (["audit", "show", "no-such-id"], 3),
        (["ask", "docs", ""], 2),
        (["ask", "docs", "x" * 100_000], 2),
        (["ask", "docs"], 2),
        (["ask", "docs", "--batch", "no-such-file", "--out", "out"], 3),
        (["search", "docs", "q", "--k", "0"], 2),
        (["search", "docs", "q", "--k", "1000000000"], 2),
        (["doc", "show", "docs", "no-such-file"], 3),
        (["doc", "delete", "docs", "no-such-file"], 3),
        (["eval", "no-such-suite"], 2),
        (["check"], 2),
    ],
)
def test_errors_are_one_line_with_their_exit_code(rag, arguments, code):
    rag("kb", "create", "docs")
    found, out, err = rag(*arguments, "--json")
    assert (found, out) == (code, "")
    assert one_line(err), err


def test_wrong_usage_is_exit_code_2(rag):
    assert rag("no-such-command")[0] == 2
    assert rag("search", "docs", "q", "--since", "yesterday")[0] == 2


def test_a_file_that_is_not_there_is_reported(rag, tmp_path):
    rag("kb", "create", "docs")
    code, out, err = rag("ingest", "docs", tmp_path / "gone.txt", "--json")
    (failure,) = json.loads(out)["failed"]
    assert (code, failure["path"]) == (1, "gone.txt")
    assert "gone.txt" in err


def test_one_bad_file_among_good_ones(rag, file, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    rag("kb", "create", "docs")
    code, out, err = rag("ingest", "docs", file, tmp_path / "empty.txt", "--json")
    assert (code, json.loads(out)["added"]) == (0, 1)
    assert "empty.txt" in err
    assert rag("ingest", "docs", file, tmp_path / "empty.txt", "--strict")[0] == 1


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "row 2: not JSON"),
        ('{"id": 1}', "row 2: question"),
        ("[1]", "row 2"),
        ('"x"', "row 2"),
    ],
)
def test_a_bad_batch_row_is_named_before_work_starts(rag, tmp_path, line, why):
    rag("kb", "create", "docs")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": 0, "question": "What?"}\n' + line + "\n")
    code, _, err = rag("ask", "docs", "--batch", rows, "--out", tmp_path / "out.jsonl")
    assert code == 2
    assert one_line(err)
    assert why in err
    assert not (tmp_path / "out.jsonl").exists()


def test_a_wrong_setting_is_named(rag, monkeypatch):
    monkeypatch.setenv("RAG_PASSAGES", "many")
    code, _, err = rag("kb", "list")
    assert code == 2
    assert one_line(err)
    assert "RAG_PASSAGES" in err


def test_hostile_arguments_are_one_line(rag, monkeypatch, tmp_path):
    assert rag("kb", "show", "\udcff")[0] == 2
    for arguments in (["kb", "list", "--home", "~nosuchuser/x"], ["audit", "export", "/"]):
        code, _, err = rag(*arguments)
        assert code == 2
        assert one_line(err), err
    monkeypatch.setenv("RAG_DATABASE_URL", "nonsense")
    code, _, err = rag("kb", "list")
    assert (code, one_line(err)) == (2, True)


def test_a_setting_that_is_refused_does_not_show_the_others(rag, monkeypatch):
    monkeypatch.setenv("RAG_DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("RAG_CHUNK_OVERLAP_TOKENS", "200")
    code, _, err = rag("kb", "list")
    assert (code, one_line(err)) == (2, True)
    assert "secret" not in err


def test_a_full_standard_output_is_one_line(tmp_path):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "api.cli", "kb", "list", "--json", "--home", str(tmp_path)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert one_line(done.stderr), done.stderr


def test_a_quote_is_printed_as_it_is(rag, tmp_path):
    (tmp_path / "dilution.txt").write_text("The maximum dilution of the paint is 1:100:1000 :x:.")
    rag("kb", "create", "docs")
    rag("ingest", "docs", tmp_path / "dilution.txt")
    _, out, _ = rag("search", "docs", "maximum dilution of paint")
    assert "1:100:1000 :x:" in out


def test_every_error_class_has_an_exit_code():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    for kind in kinds:
        assert any(issubclass(kind, known) for known, _ in EXIT_CODES)


def test_the_installed_command_runs():
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("grounded-rag ")
