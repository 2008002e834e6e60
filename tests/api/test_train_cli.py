"""Checks `rag train` as a user calls it."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BartConfig, BartForConditionalGeneration

from api.cli import main
from rag.generate.saved import load_generator
from rag.training.stop import Stop
from rag.verify.saved import load_verifier

WORDS = "ada bela was born in aachen bremen celle where and who sang there 19 20 ? .".split()


@pytest.fixture
def rag(monkeypatch, capsys):
    """Run `rag` in this process and return (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["rag", *map(str, arguments)])
        capsys.readouterr()  # what fixtures printed
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    rows = []
    for i in range(12):
        context = f"Ada was born in {('Aachen', 'Bremen', 'Celle')[i % 3]} . Bela sang there ."
        answers = [{"text": context[16:22].strip(), "start": 16}] if i % 4 else []
        rows.append(
            {
                "id": str(i),
                "title": str(i % 4),
                "question": "Where was Ada born?",
                "context": context,
                "answers": answers,
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def statements(tmp_path: Path) -> Path:
    path = tmp_path / "statements.jsonl"
    rows = []
    for year in range(1900, 1920):
        premise = f"Ada was born in {year}."
        for label, hypothesis in (
            ("entailment", f"In {year} Ada was born."),
            ("neutral", "Bela sang."),
            ("contradiction", "Ada was never born."),
        ):
            rows.append({"premise": premise, "hypothesis": hypothesis, "label": label})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def bart(tmp_path: Path) -> Path:
    names = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    network = BartForConditionalGeneration(
        BartConfig(
            vocab_size=len(names),
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            max_position_embeddings=160,
            pad_token_id=0,
            bos_token_id=3,
            eos_token_id=4,
            decoder_start_token_id=3,
            forced_eos_token_id=None,
        )
    )
    network.save_pretrained(tmp_path / "bart")
    tokenizer.save(str(tmp_path / "bart" / "tokenizer.json"))
    return tmp_path / "bart"


def test_a_run_is_exported_and_gone_on_with(rag, questions, bart, tmp_path) -> None:
    call = ["train", "generator", "--train", questions, "--dev", questions, "--base", bart]
    call += ["--out", tmp_path / "run", "--precision", "no", "--curriculum", "answer"]
    call += ["--held-out", "3", "--typos", "0.5", "--distractors", "1", "--negatives", "0"]
    code, out, err = rag(*call, "--examples", "20", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert "step 1  examples " in err
    assert "going on" not in err
    assert report["examples"] >= 20
    assert report["settings"]["held_out"] == ["3"]
    mix, plan = report["settings"]["mix"], report["settings"]["plan"]
    assert (mix["typo"], mix["several"], mix["negative"]) == (0.5, 1.0, 0.0)
    assert (plan["easy_examples"], plan["ordered_examples"]) == (0, 15_000)
    assert "own_f1" in report["dev"]
    assert load_generator(report["generator"]).digest == report["digest"]
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {
        "generator",
        "report.json",
        "metrics.jsonl",
    }

    code, out, err = rag(*call, "--examples", "40")
    assert code == 0, err
    assert "going on with the run in" in err
    assert "sha256 " in out
    assert "report.json" in out


def test_wrong_calls_are_one_line(rag, questions, bart, tmp_path) -> None:
    def call(*options):
        code, out, err = rag("train", "generator", *options)
        assert out == ""
        assert "Traceback" not in err
        return code, err

    out = ["--out", tmp_path / "run", "--base", bart]
    code, err = call("--train", tmp_path / "none.jsonl", *out)
    assert code == 3
    assert "no file" in err
    assert err.count("\n") == 1
    code, err = call("--train", questions, "--out", tmp_path, "--base", bart)
    assert code == 2
    assert "is not empty and no training run" in err
    code, err = call("--train", questions, *out, "--frozen-heads")
    assert (code, "--frozen-heads needs --lora-rank" in err) == (2, True)
    code, err = call("--train", questions, "--out", tmp_path / "run", "--base", tmp_path / "no")
    assert (code, "no model folder" in err) == (1, True)
    code, err = call("--train", questions, *out, "--curriculum", "random")
    assert code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["generator", "verifier"])
def test_what_the_machine_has_not_is_one_line(
    rag, questions, bart, tmp_path, monkeypatch, command: str
) -> None:
    call = ["train", command, "--train", questions, "--out", tmp_path / "run", "--base", bart]
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, out, err = rag(*call, "--precision", "fp16")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "fp16 needs a GPU" in err
    for module, package in (("sklearn.linear_model", "scikit-learn"), ("matplotlib", "matplotlib")):
        with monkeypatch.context() as patched:
            for name in [name for name in sys.modules if name.startswith("rag.training.")]:
                patched.delitem(sys.modules, name)
            patched.setitem(sys.modules, module, None)
            code, out, err = rag(*call, "--precision", "no")
        assert (code, out) == (1, "")
        assert f"{package}: pip install 'grounded-rag[train]'" in err
        assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_mistyped_titles_are_named(rag, questions, bart, tmp_path) -> None:
    call = ["train", "generator", "--train", questions, "--out", tmp_path / "run", "--base", bart]
    code, out, err = rag(*call, "--precision", "no", "--held-out", "tpyo")
    assert (code, out) == (2, "")
    assert "has the title 'tpyo': correct --held-out" in err
    assert not (tmp_path / "run").exists()


def test_bad_rows_are_named_a_line_each(rag, questions, bart, tmp_path) -> None:
    with questions.open("a") as file:
        file.write('{"id": "x"}\n{"id": "y", "question": "Who?", "context": "C", "answers": 3}\n')
    call = ["--train", questions, "--out", tmp_path / "run", "--base", bart]
    code, out, err = rag("train", "generator", *call, "--precision", "no")
    assert (code, out) == (2, ""), err
    lines = err.splitlines()
    assert any("row 13: 'context' must be text" in line for line in lines)
    assert any("row 14: 'answers' must be a list" in line for line in lines)


def test_a_verifier_is_trained_saved_and_gone_on_with(rag, questions, statements, tmp_path) -> None:
    call = ["train", "verifier", "--train", questions, "--statements", statements]
    call += ["--out", tmp_path / "run", "--base", "embedded", "--precision", "no"]
    call += ["--held-out", "3", "--validation", "0.5", "--padded-tokens", "200", "--rate", "2e-4"]
    code, out, err = rag(*call, "--examples", "20", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert "step 1  examples " in err
    assert "going on" not in err
    assert report["examples"] >= 20
    settings = report["settings"]
    assert (settings["held_out"], settings["validation"], settings["rate"]) == (["3"], 0.5, 2e-4)
    assert report["serves"] is True
    saved = load_verifier(report["verifier"])
    assert saved.digest == report["digest"]
    assert saved.manifest.verdicts is not None
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {
        "verifier",
        "report.json",
        "metrics.jsonl",
    }

    code, out, err = rag(*call, "--examples", "40")
    assert code == 0, err
    assert "going on with the run in" in err
    for part in ("sha256 ", "report.json", "supported_precision", "verifier: "):
        assert part in out

    code, out, err = rag(*call, "--examples", "60", "--seed", "1")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "was started with seed 0, not 1: give the same, or another --out" in err


def test_wrong_calls_for_a_verifier_are_one_line(
    rag, questions, statements, bart, tmp_path
) -> None:
    run = tmp_path / "run"
    given = ["--train", questions, "--out", run, "--precision", "no"]
    for options, expected, complaint in (
        (["--statements", tmp_path / "none.jsonl"], 3, "there is no file"),
        (["--base", tmp_path / "nowhere"], 1, "no model folder"),
        (["--base", bart], 2, "give embedded or a saved verifier or generator"),
        (["--base", "embedded", "--held-out", "tpyo"], 2, "has the title 'tpyo'"),
        (["--base", "embedded", *(w for t in range(4) for w in ("--held-out", t))], 2, "nothing"),
        (["--out", tmp_path], 2, "is not empty and no training run"),
    ):
        code, out, err = rag("train", "verifier", *given, *options)
        assert (code, out, err.count("\n")) == (expected, "", 1), err
        assert complaint in err
    assert not run.exists()
    code, out, err = rag("train", "verifier", *given, "--validation", "0.9")
    assert (code, out) == (2, "")
    assert "--validation" in err


def test_bad_statements_are_named_a_line_each(rag, questions, statements, tmp_path) -> None:
    with statements.open("a") as file:
        file.write('{"premise": "x"}\n{"premise": "y", "hypothesis": "z", "label": "maybe"}\n')
    call = ["--train", questions, "--statements", statements, "--out", tmp_path / "run"]
    code, out, err = rag("train", "verifier", *call, "--base", "embedded", "--precision", "no")
    assert (code, out) == (2, ""), err
    lines = err.splitlines()
    assert any("row 61: 'hypothesis' must be text" in line for line in lines)
    assert any("row 62: 'label' must be one of entailment" in line for line in lines)


def test_ctrl_c_stops_after_the_step_and_says_how_to_go_on(
    rag, questions, statements, tmp_path, monkeypatch
) -> None:
    from api.commands import training_runs

    class Asking(Stop):
        """As if Ctrl-C had been pressed in the first step."""

        def __enter__(self):
            super().__enter__()
            os.kill(os.getpid(), signal.SIGINT)
            return self

    monkeypatch.setattr("rag.training.run.Stop", Asking)
    monkeypatch.setattr(training_runs, "LINE_SECONDS", 0.0)
    call = ["train", "verifier", "--train", questions, "--statements", statements]
    call += ["--out", tmp_path / "run", "--base", "embedded", "--precision", "no"]
    code, out, err = rag(*call, "--padded-tokens", "200")
    assert code == 0, err
    assert "in 1 steps" in out
    assert "stopped; the same command goes on" in out
    assert not (tmp_path / "run" / "verifier").exists()


def test_questions_are_made_from_text(rag, tmp_path) -> None:
    text = tmp_path / "ada.txt"
    text.write_text("Ada Lovelace was born in London in 1815. The engine had 25,000 parts.")
    made = tmp_path / "made.jsonl"
    code, out, _ = rag("train", "questions", text, "--out", made, "--json")
    assert code == 0
    rows = [json.loads(line) for line in made.read_text().splitlines()]
    assert json.loads(out) == {"rows": len(rows), "out": str(made)}
    assert rows
    for row in rows:
        answer = row["answers"][0]
        assert row["context"][answer["start"] :].startswith(answer["text"])
        assert "entailed" not in row
        assert answer["text"] not in row["question"]


def test_texts_that_give_no_questions_are_refused(rag, tmp_path) -> None:
    text = tmp_path / "list.txt"
    text.write_text("one two three")
    code, _, err = rag("train", "questions", text, "--out", tmp_path / "made.jsonl")
    assert code == 2
    assert "give whole sentences" in err
    code, _, err = rag("train", "questions", tmp_path / "gone.txt", "--out", tmp_path / "m.jsonl")
    assert code == 3
    assert "there is no file" in err
