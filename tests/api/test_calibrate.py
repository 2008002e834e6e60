"""Checks `rag calibrate` as a user calls it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from api.cli import main

WARDS = [
    f"{first}{second}"
    for first in ("Ash", "Birch", "Cedar", "Elm", "Fern")
    for second in ("by", "moor", "ton", "wick", "ley", "dale")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calibrate")


@pytest.fixture
def rag(monkeypatch, capsys, folder, word_embedder, word_calibration):
    """Run `rag` in this process, quoting sentences, and return (exit code, stdout, stderr)."""
    monkeypatch.setenv("RAG_HOME", str(folder / "home"))
    for name, value in (("GENERATOR", "extractive"), ("VERIFIER", "guards"), ("RERANKER", "none")):
        monkeypatch.setenv(f"RAG_{name}", value)
    monkeypatch.setenv("RAG_CALIBRATION", str(word_calibration))
    monkeypatch.setattr("knowledge_bases.home.SentenceEmbedder", lambda *_, **__: word_embedder())

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rag", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err  # type: ignore[return-value]

    return run


@pytest.fixture
def questions(folder: Path) -> Path:
    path = folder / "questions.jsonl"
    rows = [
        {
            "question": f"On which bleep is the nurse in charge of ward {ward}?",
            "answers": [f"bleep {1000 + i}"],
        }
        for i, ward in enumerate(WARDS)
    ]
    rows += [
        {"question": f"Who won the {1900 + i} football championship?", "answers": []}
        for i in range(25)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def wards(rag, folder: Path) -> str:
    """A knowledge base, made once."""
    if not (folder / "wards.jsonl").exists():
        rows = [
            {"id": w, "text": f"The nurse in charge of ward {w} is on bleep {1000 + i}."}
            for i, w in enumerate(WARDS)
        ]
        (folder / "wards.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert rag("kb", "create", "wards")[0] == 0
        assert rag("ingest", "wards", folder / "wards.jsonl")[0] == 0
    return "wards"


def test_from_questions_to_answers_that_the_file_decides_on(
    rag, wards, questions, folder, word_calibration, monkeypatch
) -> None:
    out, others = folder / "own.json", folder / "others.json"
    content = json.loads(word_calibration.read_bytes())
    others.write_text(json.dumps({**content, "verifier_sha256": "a" * 64}))
    monkeypatch.setenv("RAG_CALIBRATION", str(others))
    asked = ["ask", wards, "On which bleep is the nurse in charge of ward Elmton?", "--json"]
    code, _, err = rag(*asked)
    assert (code, err.count("\n")) == (4, 1), "that file is of another verifier"
    assert "rag calibrate" in err

    code, said, err = rag("calibrate", wards, "--questions", questions, "--out", out, "--json")
    assert code == 0, err
    report = json.loads(said)
    ((digest, own),) = report["writers"].items()
    assert digest.startswith("extractive:")
    assert (report["questions"], report["precision"], report["out"]) == (55, 0.9, str(out))
    assert 0 < report["served_wrong"] + own["served"] <= 55
    records = json.loads(rag("audit", "list", "--json")[1])["records"]
    kinds = [record["kind"] for record in records if record["kind"] != "key"]
    assert kinds == ["calibration", "refusal"]

    monkeypatch.setenv("RAG_CALIBRATION", str(out))
    code, said, _ = rag(*asked)
    answer = json.loads(said)
    assert (code, answer["status"]) == (0, "answered")
    assert "bleep 1020" in answer["text"]
    code, said, _ = rag("ask", wards, "Who won the 1907 football championship?", "--json")
    assert json.loads(said)["status"] == "abstained"

    code, said, _ = rag(
        "calibrate", wards, "--questions", questions, "--out", out, "--precision", "0.95"
    )
    first, second, last = said.splitlines()
    assert first.startswith("from probability 0.")
    assert " of 55 served, " in first
    assert second.startswith("extractive: ")
    assert " answers right, " in second
    assert last == f"set RAG_CALIBRATION={out} to use it"


def test_bad_rows_are_named_each(rag, wards, folder) -> None:
    path = folder / "bad.jsonl"
    path.write_text('{"question": "Who?", "answers": []}\n{"question": 3}\n{\n')
    code, out, err = rag("calibrate", wards, "--questions", path, "--out", folder / "no.json")
    assert (code, out) == (2, "")
    assert "row 2: " in err
    assert "row 3: " in err
    assert "row 1: " not in err
    assert "Traceback" not in err
    assert not (folder / "no.json").exists()


def test_too_few_answers_are_refused(rag, wards, questions, folder) -> None:
    few = folder / "few.jsonl"
    few.write_text("".join(questions.read_text().splitlines(keepends=True)[-10:]))
    code, _, err = rag("calibrate", wards, "--questions", few, "--out", folder / "no.json")
    assert (code, err.count("\n")) == (2, 1)
    assert "until there are 20 of each" in err
    assert not (folder / "no.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["wards", "--questions", "none.jsonl", "--out", "no.json"], 3, "none.jsonl"),
        (["nowhere", "--questions", "questions.jsonl", "--out", "no.json"], 3, "nowhere"),
        (["wards", "--questions", "questions.jsonl", "--out", "questions.jsonl"], 2, "overwrite"),
        (["wards", "--questions", "questions.jsonl", "--out", "."], 2, "name a file"),
        (["wards", "--questions", "questions.jsonl"], 2, "--out"),
        (
            ["wards", "--questions", "questions.jsonl", "--out", "no.json", "--precision", "1.5"],
            2,
            "--precision",
        ),
    ],
)
def test_wrong_usage_is_one_line(
    rag, wards, questions, folder, monkeypatch, arguments, code, word
) -> None:
    monkeypatch.chdir(folder)
    found, out, err = rag("calibrate", *arguments)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert word in err
    assert questions.read_text().count("\n") == 55
