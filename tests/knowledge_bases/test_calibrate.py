"""Checks that a decision fitted on a user's own questions is the one that serves answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from knowledge_bases.calibrate import LEAST, Tried, calibrate, read_rows, with_decisions
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase
from rag.calibration import BUNDLED, SECOND, WRITTEN, Calibration
from rag.decide import FEATURES, VERIFIED
from rag.errors import DigestMismatch, NotFound, TrainingDataError, UsageError
from rag.settings import Settings
from rag.training.decision import ANSWERABLE
from rag.types import Answer, Decision, Draft, Token

WARDS = [
    f"{first}{second}"
    for first in ("Ash", "Birch", "Cedar", "Elm", "Fern", "Hazel")
    for second in ("field", "moor", "ton", "wick", "by", "holm", "stead", "dale", "ford", "ley")
]


def write_documents(path: Path) -> Path:
    """Sixty documents, the rows of one file."""
    rows = [
        {
            "id": ward,
            "text": f"The nurse in charge of ward {ward} is on bleep {1000 + i}. It was painted.",
        }
        for i, ward in enumerate(WARDS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def question_rows(answerable: int = 60, others: int = 30) -> list[dict[str, object]]:
    asked = [
        {
            "question": f"On which bleep is the nurse in charge of ward {ward}?",
            "answers": [f"bleep {1000 + i}"],
        }
        for i, ward in enumerate(WARDS[:answerable])
    ]
    return asked + [
        {"question": f"Who won the {1900 + i} football championship?", "answers": []}
        for i in range(others)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("calibrate")


@pytest.fixture(scope="module")
def questions(folder: Path) -> Path:
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in question_rows()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def embedder(word_embedder):
    return word_embedder()


@pytest.fixture(scope="module")
def home(folder: Path, word_calibration: Path, embedder) -> Iterator[Home]:
    settings = Settings(
        home=folder / "home",
        calibration=word_calibration,
        generator="extractive",
        verifier="guards",
        reranker="none",
    )
    with Home(settings, embedder=embedder) as opened:
        yield opened


@pytest.fixture(scope="module")
def wards(home: Home, folder: Path) -> KnowledgeBase:
    base = home.create("wards")
    assert base.ingest([write_documents(folder / "wards.jsonl")]).added == len(WARDS)
    return base


def test_it_fits_a_file_that_then_decides(wards, home, embedder, questions, tmp_path) -> None:
    out = tmp_path / "own.json"
    seen: list[tuple[int, int]] = []
    report = calibrate(
        wards, questions, out, precision=0.9, progress=lambda *counts: seen.append(counts)
    )
    (row,) = home.store.log.all()
    assert row.kind == "calibration", "trials are no answers"
    logged = home.store.log.payload(row)
    assert logged["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert seen == [(i, 90) for i in range(1, 91)]
    ((digest, own),) = report["writers"].items()
    assert digest.startswith("extractive:")
    assert (report["questions"], report["precision"], report["out"]) == (90, 0.9, str(out))
    assert own["right"] >= 50
    assert own["served"] == report["served"] >= 0.8 * own["right"]
    assert report["served_wrong"] <= 0.15 * report["served"]

    fitted = Calibration.load(out)
    fitted.check_judged_by(None)
    fitted.check_fits(embedder.digest)
    content = json.loads(out.read_bytes())
    assert content["data"] == {
        "file": "questions.jsonl",
        "sha256": hashlib.sha256(questions.read_bytes()).hexdigest(),
        "questions": 90,
        "command": "rag calibrate",
    }
    weights = dict(zip(FEATURES, fitted.model("decide", FEATURES).weights, strict=True))
    assert all(weights[name] == 0.0 for name in VERIFIED), "guards give no such evidence"

    settings = home.settings.model_copy(update={"calibration": out})
    with Home(settings, embedder=embedder) as after:
        base = after.open("wards")
        rows = question_rows()
        answered = [base.ask(row["question"]).answer for row in (*rows[:20], *rows[60:80])]
        assert {answer.decision.threshold for answer in answered} == {report["threshold"]}
        assert {answer.models["decider"] for answer in answered} == {f"calibration:{fitted.digest}"}
        served = [answer.status == "answered" for answer in answered]
        assert sum(served[:20]) >= 15
        assert not any(served[20:])


def test_the_same_questions_give_the_same_file(wards, questions, tmp_path) -> None:
    for name in ("one.json", "two.json"):
        calibrate(wards, questions, tmp_path / name, precision=0.9)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_it_fits_for_a_verifier_that_the_calibration_is_not_of(
    wards, home, embedder, questions, tmp_path
) -> None:
    others = tmp_path / "others.json"
    content = json.loads(home.settings.calibration.read_bytes())
    others.write_text(json.dumps({**content, "verifier_sha256": "a" * 64}))
    settings = home.settings.model_copy(update={"calibration": others})
    out = tmp_path / "own.json"
    with Home(settings, embedder=embedder) as other:
        with pytest.raises(DigestMismatch, match="rag calibrate"):
            other.open("wards").ask("On which bleep?")
        calibrate(other.open("wards"), questions, out, precision=0.9)
        with pytest.raises(DigestMismatch, match="rag calibrate"):
            other.open("wards").ask("On which bleep?")
    fitted = Calibration.load(out)
    assert (fitted.verifier, fitted.reranker) == (None, "a" * 64)
    with Home(settings.model_copy(update={"calibration": out}), embedder=embedder) as after:
        assert after.open("wards").ask("On which bleep?").answer


def test_too_few_of_either_kind_are_refused(wards, tmp_path) -> None:
    path, out = tmp_path / "few.jsonl", tmp_path / "own.json"
    for answerable, others in ((25, 5), (10, 21)):
        rows = question_rows(answerable, others)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(UsageError, match=rf"extractive: \d+ right, \d+ wrong .* {LEAST} of"):
            calibrate(wards, path, out, precision=0.9)
    assert not out.exists()


def test_answers_are_text_or_as_in_training_files(tmp_path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(
        '{"question": "Who?", "answers": ["Ada", {"text": "Bela", "start": 3}], "id": 7}\n'
        '{"question": "What?", "answers": []}\n'
    )
    rows = [(row.question, row.answers) for row in read_rows(path)]
    assert rows == [("Who?", ["Ada", "Bela"]), ("What?", [])]


def test_questions_on_one_document_stay_together(tmp_path) -> None:
    path = tmp_path / "questions.jsonl"
    rows = [
        {"question": "A?", "answers": [], "document": "d.pdf", "context": "Text."},
        {"question": "B?", "answers": [], "document": "d.pdf"},
        {"question": "C?", "answers": [], "context": "Text."},
        {"question": "D?", "answers": []},
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert [row.group for row in read_rows(path)] == ["d.pdf", "d.pdf", "Text.", "D?"]


def test_bad_rows_are_named(tmp_path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(
        "\n".join(
            [
                '{"question": "Who?", "answers": []}',
                '{"question": "", "answers": []}',
                '{"question": "Who?"}',
                '{"question": "Who?", "answers": "Ada"}',
                '{"question": "Who?", "answers": [3]}',
                '{"question": "Who?", "answers": [{"start": 3}]}',
                "not JSON",
                "[]",
            ]
        )
    )
    with pytest.raises(TrainingDataError) as refused:
        read_rows(path)
    message = str(refused.value)
    assert [n for n in range(1, 9) if f"row {n}:" in message] == list(range(2, 9))


def test_a_file_without_rows_or_no_file_is_named(tmp_path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(TrainingDataError, match=r"empty\.jsonl: no rows"):
        read_rows(tmp_path / "empty.jsonl")
    with pytest.raises(NotFound, match=r"none\.jsonl"):
        read_rows(tmp_path / "none.jsonl")


def test_a_question_that_can_t_be_asked_is_named(wards, tmp_path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"question": "why " * 2_000, "answers": []}) + "\n")
    with pytest.raises(TrainingDataError, match=r"why why .*ask with at most 4,000"):
        calibrate(wards, path, tmp_path / "own.json", precision=0.9)


def test_an_adapter_s_decision_is_its_own(wards, home, embedder, questions, tmp_path) -> None:
    settings = home.settings.model_copy(update={"adapters": {"wards": tmp_path / "adapter"}})
    with (
        Home(settings, embedder=embedder) as adapted,
        pytest.raises(UsageError, match="its decision is its own"),
    ):
        calibrate(adapted.open("wards"), questions, tmp_path / "own.json", precision=0.9)


def tried(count: int, *writers: str) -> list[Tried]:
    """Answers that are right where their evidence says so; the second writer's are surer."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(count):
        answerable = i % 2 == 0
        answers = []
        for place, writer in enumerate(writers):
            right = answerable and rng.random() < 0.8
            evidence = (1.0 if right else -1.0) * (1 + place) + rng.normal()
            features = {"coverage": evidence, "sentence_coverage": evidence, "agrees": evidence}
            token = Token("Ada" if right else "Bela", 0.9, 0.0, None)
            answers.append(
                Answer(
                    question="Who?",
                    status="answered",
                    text=token.text,
                    segments=(),
                    citations=(),
                    verdicts=(),
                    decision=Decision("answered", 0.5, 0.0, None),
                    passages=(),
                    draft=Draft((token,), 0.9, writer, features),
                    models={"generator": writer},
                    timings_ms={},
                )
            )
        golds, kind = (["Ada"], ANSWERABLE) if answerable else ([], "withdrawn")
        made.append(Tried(answers, golds, kind, str(i)))
    return made


def test_a_generator_and_what_is_quoted_after_it_share_a_threshold(home) -> None:
    content = json.loads(BUNDLED.read_bytes())
    changed, report = with_decisions(
        content, tried(600, "copy:a", "extractive:b"), home, precision=0.9
    )
    assert changed[WRITTEN]["threshold"] == changed[SECOND]["threshold"] == report["threshold"]
    assert {changed[name]["generator"] for name in (WRITTEN, SECOND)} == {"copy:a"}
    assert "agrees" in changed[SECOND]["features"]
    assert changed["models"]["decide"] != content["models"]["decide"]
    assert report["served"] == sum(own["served"] for own in report["writers"].values()) > 100
    assert 0 < report["served_wrong"] < 0.15 * report["served"]
    assert report["writers"]["extractive:b"]["served"] > 0


def test_what_was_fitted_with_another_verifier_does_not_stay(home) -> None:
    content = {**json.loads(BUNDLED.read_bytes()), "verifier_sha256": "a" * 64}
    changed, _ = with_decisions(content, tried(300, "copy:a"), home, precision=0.9)
    assert changed["verifier_sha256"] is None
    assert SECOND not in changed
    assert "decide" not in changed["models"]
    del content["verifier_sha256"]
    again, _ = with_decisions(content, tried(300, "copy:a"), home, precision=0.9)
    assert "decide" in again["models"], "those were guards too"
