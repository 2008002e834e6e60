import itertools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from api.cli import EXIT_CODES, main
from rag import errors
from rag.calibration import BUNDLED


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
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert json.loads(out)["records"] == len(rows)
    kinds = [row["leaf"]["kind"] for row in rows if row["leaf"]["kind"] != "key"]
    assert kinds == ["answer", "read"], "that it was shown is recorded"

    questions = tmp_path / "questions.jsonl"
    questions.write_text(
        '{"id": 1, "question": "What is the dose?"}\n{"id": "b", "question": ""}\n'
    )
    code, out, _ = rag(
        "ask", "docs", "--batch", questions, "--out", tmp_path / "answers.jsonl", "--json"
    )
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert (code, [row["id"] for row in rows]) == (1, [1, "b"])
    assert rows[0]["answer_id"]
    assert rows[1]["error"] == "the question holds no words; write some"

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
        json.dumps(
            {
                "id": "x",
                "question": "What is the maximum dose of paracetamol?",
                "passages": passages,
            }
        )
        + "\n"
        + json.dumps(
            {"id": "y", "question": "What is the maximum dose of paracetamol?", "passages": []}
        )
        + "\n"
    )
    code, _, _ = rag("read", "--batch", rows, "--out", tmp_path / "out.jsonl", "--json")
    first, second = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert code == 0
    assert first["status"] == "answered"
    assert first["citations"][0]["document"]["uri"] == "passage:1"
    assert "answer_id" not in first
    assert (second["status"], second["reason"]) == ("abstained", "no passages were given")
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
    assert verdicts[0]["verdict"] == "supported"
    assert verdicts[1]["verdict"] in ("unsupported", "contradicted")
    assert verdicts[1]["guards"] == [{"name": "number", "missing": ["5 g a day"]}]
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


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["no-such-command"], "rag"),
        (["ask", "--json"], "rag ask"),
        (["ask", "docs", "q", "--no-such-option", "--json"], "rag ask"),
        (["search", "docs", "q", "--since", "yesterday", "--json"], "rag search"),
        (["doc", "show", "docs", "a.txt", "--version", "0", "--json"], "rag doc show"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_help(rag, arguments, command):
    code, out, err = rag(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("rag: usage: ")
    assert err.endswith(f"; see {command} --help\n")
    assert err.count("\n") == 1


def test_a_group_alone_shows_its_help(rag):
    code, out, err = rag("kb")
    assert code == 2
    assert "create" in out + err


def test_a_mistyped_home_is_not_made(rag, tmp_path):
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").write_bytes(b"cat")
    for home in (tmp_path / "mistyped", other):
        for arguments in (
            ["ask", "docs", "What?"],
            ["search", "docs", "q"],
            ["ingest", "docs", "."],
            ["doc", "list", "docs"],
            ["doc", "delete", "docs", "a.txt"],
            ["kb", "list"],
            ["kb", "show", "docs"],
            ["kb", "delete", "docs"],
            ["audit", "list"],
            ["doctor"],
        ):
            code, out, err = rag(*arguments, "--home", home, "--json")
            assert (code, out) == (3, ""), arguments
            assert one_line(err)
            assert f"there is no home in {home}" in err
    assert not (tmp_path / "mistyped").exists()
    assert [path.name for path in other.iterdir()] == ["cat.jpg"]
    assert rag("kb", "create", "docs", "--home", tmp_path / "mistyped")[0] == 0
    assert rag("kb", "list", "--home", tmp_path / "mistyped")[0] == 0


def test_a_filter_that_names_no_document_is_not_found(rag, file, tmp_path):
    rag("kb", "create", "docs")
    rag("ingest", "docs", file)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": 0, "question": "What?"}\n')
    batch = ["--batch", rows, "--out", tmp_path / "out.jsonl"]
    for arguments in (
        ["search", "docs", "dose"],
        ["ask", "docs", "dose?"],
        ["ask", "docs", *batch],
    ):
        code, out, err = rag(*arguments, "--document", "dose.txt", "--document", "doze.txt")
        assert (code, out) == (3, "")
        assert one_line(err)
        assert "'doze.txt'" in err
    assert not list(tmp_path.glob("*out.jsonl*"))
    assert "dose.txt" in rag("search", "docs", "dose", "--document", "dose.txt")[1]


@pytest.mark.parametrize("command", ["ask", "read", "check"])
def test_a_batch_file_is_never_overwritten(rag, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    row = b'{"id": 0, "question": "Q?", "passages": [], "claim": "c", "evidence": []}\n'
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(row)
    (tmp_path / "link.jsonl").symlink_to(rows)
    (tmp_path / "hard.jsonl").hardlink_to(rows)
    (tmp_path / ".out.jsonl.partial").hardlink_to(rows)
    knowledge_base = ["docs"] if command == "ask" else []
    for out in (
        rows,
        "rows.jsonl",
        "folder/../rows.jsonl",
        "link.jsonl",
        "hard.jsonl",
        "out.jsonl",
    ):
        code, _, err = rag(command, *knowledge_base, "--batch", rows, "--out", out)
        assert code == 2, out
        assert one_line(err)
        assert "would overwrite --batch" in err
    assert rows.read_bytes() == row
    assert not (tmp_path / "home").exists()


def test_the_beginning_of_an_audit_id_will_do(rag, tmp_path):
    rag("kb", "create", "docs")
    rows = tmp_path / "rows.jsonl"
    # Two of so many ids begin with the same digit.
    asked = [{"id": own, "question": "What is the dose?"} for own in range(17)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in asked))
    rag("ask", "docs", "--batch", rows, "--out", tmp_path / "out.jsonl")
    records = json.loads(rag("audit", "list", "--json")[1])["records"]
    ids = sorted(record["id"] for record in records)
    code, out, _ = rag("audit", "show", ids[0][:13], "--json")
    assert (code, json.loads(out)["id"]) == (0, ids[0])
    twice = next(a[0] for a, b in itertools.pairwise(ids) if a[0] == b[0])
    code, _, err = rag("audit", "show", twice)
    assert (code, one_line(err)) == (2, True)
    assert rag("audit", "show", "%")[0] == 3
    assert rag("audit", "show", "")[0] == 3


def test_verdicts_say_that_only_guards_judged(rag, file, tmp_path, monkeypatch):
    claim = ["check", "The maximum is 4 g.", "--evidence", "The maximum is 4 g."]
    assert rag(*claim)[1].startswith("supported (probability ")
    monkeypatch.setenv("RAG_VERIFIER", "guards")
    assert rag(*claim)[1] == (
        "supported (guards only; no entailment model)\n"
        "  evidence 1, characters 0–19: The maximum is 4 g.\n"
    )
    verdict = json.loads(rag(*claim, "--json")[1])
    assert (verdict["verdict"], verdict["p_supported"]) == ("supported", None)
    rag("kb", "create", "docs")
    rag("ingest", "docs", file)
    question = ["ask", "docs", "What is the maximum dose of paracetamol?"]
    code, _, err = rag(*question)
    assert (code, one_line(err)) == (4, True), "the decisions weigh the verdicts of a model"
    assert "set RAG_VERIFIER back" in err
    content = {**json.loads(BUNDLED.read_bytes()), "verifier_sha256": None}
    (tmp_path / "guards.json").write_text(json.dumps(content))
    monkeypatch.setenv("RAG_CALIBRATION", str(tmp_path / "guards.json"))
    monkeypatch.setenv("RAG_GENERATOR", "extractive")
    monkeypatch.setenv("RAG_ANSWER_THRESHOLD", "0.1")
    out = rag(*question)[1]
    assert "supported (guards only; no entailment model)  confidence" in out


def test_listings_are_not_cut_when_piped(rag, tmp_path):
    name = f"{'long-' * 30}name.txt"
    (tmp_path / name).write_text("Some text.")
    rag("kb", "create", "docs")
    rag("ingest", "docs", tmp_path / name)
    assert name in rag("doc", "list", "docs")[1]


def test_a_path_that_is_not_there_is_3_only_if_nothing_else_was_given(rag, file, tmp_path):
    gone = tmp_path / "gone.txt"
    (tmp_path / "empty.txt").write_text("")
    rag("kb", "create", "docs")
    assert rag("ingest", "docs", gone, tmp_path / "gone" / "too")[0] == 3
    assert rag("ingest", "docs", gone, tmp_path / "empty.txt")[0] == 1
    code, out, _ = rag("ingest", "docs", gone, file, "--json")
    assert (code, [f["path"] for f in json.loads(out)["failed"]]) == (0, ["gone.txt"])
    assert rag("ingest", "docs", gone, file, "--strict")[0] == 1


@pytest.fixture
def two_folders(rag, tmp_path):
    for name, dose in (("left", "4 g"), ("right", "3 g")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dose.txt").write_text(f"The dose is {dose}.")
        (tmp_path / name / "same.txt").write_text("The same everywhere.")
    rag("kb", "create", "docs")
    assert rag("ingest", "docs", tmp_path / "left")[0] == 0
    return tmp_path / "left", tmp_path / "right"


def test_a_file_of_another_folder_is_no_new_version(rag, two_folders):
    left, right = two_folders
    code, out, _ = rag("ingest", "docs", right, "--json")
    report = json.loads(out)
    assert (code, report["unchanged"], report["updated"]) == (0, 1, 0)
    ((path, reason),) = [(f["path"], f["reason"]) for f in report["failed"]]
    assert path == "dose.txt"
    assert str(left / "dose.txt") in reason
    assert "--replace" in reason
    assert rag("doc", "show", "docs", "dose.txt")[1] == "The dose is 4 g.\n"
    # By its name alone it is the same file of the same place.
    (left / "dose.txt").write_text("The dose is 5 g.")
    assert json.loads(rag("ingest", "docs", left / "dose.txt", "--json")[1])["updated"] == 1


def test_a_moved_folder_is_taken_over_with_an_option(rag, two_folders):
    left, right = two_folders
    report = json.loads(rag("ingest", "docs", right, "--replace", "--json")[1])
    assert (report["updated"], report["unchanged"], report["failed"]) == (1, 1, [])
    assert rag("doc", "show", "docs", "dose.txt")[1] == "The dose is 3 g.\n"
    # From now on they are that folder's, unchanged ones too.
    for file in right.iterdir():
        file.write_text("New text.")
    assert json.loads(rag("ingest", "docs", right, "--json")[1])["updated"] == 2
    assert len(json.loads(rag("ingest", "docs", left, "--json")[1])["failed"]) == 2


def test_rows_and_archives_of_another_place_are_no_new_versions(rag, tmp_path):
    import zipfile

    rag("kb", "create", "docs")
    for name in ("left", "right"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.jsonl").write_text(json.dumps({"id": 1, "text": f"Row of {name}."}))
        with zipfile.ZipFile(folder / "all.zip", "w") as archive:
            archive.writestr("a.txt", f"Member of {name}.")
    assert json.loads(rag("ingest", "docs", tmp_path / "left", "--json")[1])["added"] == 2
    report = json.loads(rag("ingest", "docs", tmp_path / "right", "--json")[1])
    assert sorted(failure["path"] for failure in report["failed"]) == ["1", "all.zip/a.txt"]
    (tmp_path / "left" / "left.jsonl").write_text('{"id": 1, "text": "Corrected row."}')
    assert json.loads(rag("ingest", "docs", tmp_path / "left", "--json")[1])["updated"] == 1


def test_documents_that_are_gone_are_named_and_withdrawn_only_on_demand(rag, tmp_path):
    folder, elsewhere = tmp_path / "files", tmp_path / "else"
    (folder / "sub").mkdir(parents=True)
    elsewhere.mkdir()
    for path in (folder / "a.txt", folder / "sub" / "b.txt", elsewhere / "c.txt"):
        path.write_text(f"Text of {path.name}.")
    (folder / "rows.jsonl").write_text('{"id": "r1", "text": "One."}\n{"id": "r2", "text": "Two."}')
    rag("kb", "create", "docs")
    rag("ingest", "docs", folder, elsewhere)
    (folder / "sub" / "b.txt").unlink()
    (folder / "a.txt").write_bytes(b"")  # There, but unreadable.
    (folder / "rows.jsonl").write_text('{"id": "r1", "text": "One."}')
    (elsewhere / "c.txt").unlink()
    report = json.loads(rag("ingest", "docs", folder, "--json")[1])
    assert (report["missing"], report["withdrawn"]) == (["r2", "sub/b.txt"], 0)
    assert "sub/b.txt" in rag("search", "docs", "text of b")[1]
    out = rag("ingest", "docs", folder)[1]
    assert "2 no longer in the folder" in out
    assert "--prune" in out
    report = json.loads(rag("ingest", "docs", folder, "--prune", "--json")[1])
    assert (report["missing"], report["withdrawn"]) == (["r2", "sub/b.txt"], 2)
    listed = json.loads(rag("doc", "list", "docs", "--json")[1])["documents"]
    assert [entry["document"]["uri"] for entry in listed] == ["a.txt", "c.txt", "r1"]
    assert json.loads(rag("ingest", "docs", folder, "--json")[1])["missing"] == []
    code, _, err = rag("ingest", "docs", folder / "rows.jsonl", "--prune")
    assert (code, one_line(err)) == (2, True)


ENDLESS = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell's background jobs ignore it.
sys.path.insert(0, {tests!r})
from conftest import WordEmbedder
import knowledge_bases.ingest as ingest
import knowledge_bases.knowledge_base as knowledge_base
from indexer.load.sandbox import Sandbox

def load(self, path, name):
    self.start()
    while name == "b.txt" and self._helper.poll() is None:
        time.sleep(0.05)
    return finite(self, path, name)

finite, Sandbox.load = Sandbox.load, load
ingest._FLUSH_SECONDS = 0.1
knowledge_base.SentenceEmbedder = lambda *args, **kwargs: WordEmbedder()
from api.cli import main
main()
"""
"""The command, but parsing b.txt takes as long as the process that parses lives."""


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_ingest_says_what_it_kept(rag, tmp_path, kind):
    files = tmp_path / "files"
    files.mkdir()
    for name in ("a.txt", "b.txt"):
        (files / name).write_text(f"Text of {name}.")
    script = ENDLESS.format(tests=str(Path(__file__).parents[1]))
    command = [sys.executable, "-c", script]
    home = ["--home", str(tmp_path / "home")]
    subprocess.run([*command, "kb", "create", "docs", *home], check=True)
    with subprocess.Popen(
        [*command, "ingest", "docs", files, "--verbose", *home],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while process.poll() is None and process.stderr.readline() != "added a.txt\n":
                pass
            process.send_signal(kind)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out) == (130, "")
    last = err.splitlines()[-1]
    assert last == "interrupted: 1 documents kept; run the same command again to go on"
    listed = json.loads(rag("doc", "list", "docs", "--json")[1])["documents"]
    assert [entry["document"]["uri"] for entry in listed] == ["a.txt"]


def test_progress_is_lines_where_there_is_no_terminal(monkeypatch, capsys):
    from api.commands import shared

    monkeypatch.setattr(shared, "_LINE_SECONDS", 0.05)
    with shared.progress_bar("asking", 7) as bar:
        bar.advance(bar.task_ids[0])
        time.sleep(0.3)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("asking: 1 of 7 done after 0 s\n")


def test_a_file_that_is_not_there_is_reported(rag, tmp_path):
    rag("kb", "create", "docs")
    code, out, err = rag("ingest", "docs", tmp_path / "gone.txt", "--json")
    (failure,) = json.loads(out)["failed"]
    assert (code, failure["path"]) == (3, "gone.txt")
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
        ('{"id": 1}', "row 2: 'question' is missing"),
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
    monkeypatch.delenv("RAG_PASSAGES")
    monkeypatch.setenv("RAG_ADAPTERS", "nonsense")
    code, _, err = rag("kb", "list")
    assert (code, one_line(err)) == (2, True)
    assert "RAG_ADAPTERS: give JSON" in err


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


def test_the_cited_characters_can_be_shown(rag, file):
    rag("kb", "create", "docs")
    rag("ingest", "docs", file)
    show = ["doc", "show", "docs", "dose.txt"]
    assert rag(*show, "--start", "35", "--end", "38")[1] == "4 g\n"
    assert json.loads(rag(*show, "--start", "52", "--json")[1])["text"] == "Keep it dry."
    for wrong in (["--start", "5", "--end", "5"], ["--end", "1000"], ["--start", "64"]):
        code, out, err = rag(*show, *wrong)
        assert (code, out, one_line(err)) == (2, "", True)
        assert "the text has 64" in err


@pytest.mark.parametrize("command", ["ask", "search"])
def test_a_question_without_words_is_one_line(rag, file, command):
    rag("kb", "create", "docs")
    rag("ingest", "docs", file)
    name = {"ask": "question", "search": "query"}[command]
    code, out, err = rag(command, "docs", "???")
    assert (code, out, err) == (2, "", f"rag: the {name} holds no words; write some\n")


def test_every_error_class_has_an_exit_code():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    for kind in kinds:
        assert any(issubclass(kind, known) for known, _ in EXIT_CODES)


def test_the_installed_command_runs():
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("grounded-rag ")
