"""Checks claims on the command line and over HTTP: the same verdicts, printed and as JSON."""

from __future__ import annotations

import json
import sys
from io import StringIO
from typing import Any

import pytest
from fastapi.testclient import TestClient
from rich.console import Console

from api.cli import main
from api.render import show_check
from api.verdicts import Check, Claim
from rag.types import Claim as RagClaim
from rag.types import Disagreement, EvidenceSpan, Guard, Verdict
from rag.verify.check import Checked, check_text

EVIDENCE = ["After an alarm the stock must be moved within 30 minutes. The door stays shut."]
GOOD = "The stock must be moved within 30 minutes."
BAD = "The stock must be moved within 45 minutes."
FIELDS = {"verdict", "p_supported", "p_contradicted", "evidence_span", "guards", "claims"}
JSON = {"content-type": "application/json"}


def verdict(text: str, label: str, supported: float | None, contradicted: float | None, **rest):
    span = EvidenceSpan(0, 3, 8, "alarm")
    given = {"guards": (), "evidence_span": span, **rest}
    return Verdict(RagClaim(text, ()), label, supported, contradicted, **given)  # type: ignore[arg-type]


WORST = verdict("Two.", "unsupported", 0.4, 0.1, guards=(Guard("number", ("5 g", "6 g")),))
CHECKED = Checked((verdict("One.", "supported", 0.9, 0.3), WORST), WORST)


def printed(check: Check) -> list[str]:
    out = Console(file=StringIO(), width=1_000)
    show_check(out, check)
    return out.file.getvalue().splitlines()


def test_on_the_wire_the_worst_claim_decides() -> None:
    check = Check.of(CHECKED).model_dump(mode="json")
    assert set(check) == FIELDS
    assert (check["verdict"], check["p_supported"], check["p_contradicted"]) == (
        "unsupported",
        0.4,
        0.3,
    )
    assert check["evidence_span"] == {"evidence": 0, "start": 3, "end": 8, "text": "alarm"}
    assert check["guards"] == [{"name": "number", "missing": ["5 g", "6 g"]}]
    assert [(claim["text"], claim["verdict"]) for claim in check["claims"]] == [
        ("One.", "supported"),
        ("Two.", "unsupported"),
    ]
    assert set(check["claims"][0]) == FIELDS - {"claims"} | {"text"}
    alone = verdict("One.", "unsupported", None, None, evidence_span=None)
    bare = Check.of(Checked((alone,), alone))
    assert (bare.p_supported, bare.p_contradicted, bare.evidence_span) == (None, None, None)


def test_a_disagreement_is_placed_in_its_document(passage_of) -> None:
    found = Disagreement(1, 2, 7, "other", 0.9123456789)
    own = verdict("One.", "supported", 0.9, 0.1, disagreement=found)
    passages = (passage_of("x"), passage_of("an other text", index=4, start=100))
    shown = Claim.of(own, passages).disagreement
    assert shown is not None
    assert (shown.passage, shown.document, shown.start, shown.end) == (
        1,
        "document-4.txt",
        102,
        107,
    )
    assert shown.p_contradicted == 0.912346
    assert Claim.of(WORST, passages).disagreement is None


def test_several_claims_are_printed_each() -> None:
    assert printed(Check.of(CHECKED)) == [
        "unsupported (probability 0.40) (not found: number: 5 g, 6 g)",
        "  supported (probability 0.90): One.",
        "    evidence 1, characters 3–8: alarm",
        "  unsupported (probability 0.40) (not found: number: 5 g, 6 g): Two.",
        "    evidence 1, characters 3–8: alarm",
    ]
    alone = verdict("[bold]One[/bold].", "supported", None, None)
    assert printed(Check.of(Checked((alone,), alone))) == [
        "supported (guards only; no entailment model)",
        "  evidence 1, characters 3–8: alarm",
    ]
    bare = verdict("One.", "unsupported", 0.0, 0.0, evidence_span=None)
    assert printed(Check.of(Checked((bare,), bare))) == ["unsupported (probability 0.00)"]
    twice = printed(Check.of(Checked((alone, alone), alone)))
    assert twice[1].endswith(": [bold]One[/bold].")
    assert len(twice) == 5


@pytest.fixture
def rag(monkeypatch, capsys, tmp_path):
    """Run `rag` in this process and return (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rag", *map(str, arguments)])
        monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err  # type: ignore[return-value]

    return run


def test_a_claim_is_checked_and_printed(rag) -> None:
    arguments = ["check", f"{GOOD} {BAD}", "--evidence", EVIDENCE[0], "--evidence", "It rained."]
    code, out, _ = rag(*arguments)
    worst, first, span, second, _ = out.splitlines()
    assert span == f"    evidence 1, characters 0–57: {EVIDENCE[0][:57]}"
    assert code == 0
    assert worst.startswith(("unsupported (probability 0.", "contradicted (probability 0."))
    assert "(not found: number: 45 minutes)" in worst
    assert first.endswith(f": {GOOD}")
    assert second == f"  {worst}: {BAD}"
    code, out, _ = rag(*arguments, "--json")
    check = json.loads(out)
    assert (code, set(check)) == (0, FIELDS)
    assert check["verdict"] == worst.split()[0]
    span = check["evidence_span"]
    assert EVIDENCE[span["evidence"]][span["start"] : span["end"]] == span["text"]
    assert [claim["text"] for claim in check["claims"]] == [GOOD, BAD]


def test_a_short_answer_is_checked_with_its_question(rag) -> None:
    short = ["check", "30 minutes", "--evidence", EVIDENCE[0], "--json"]
    alone = json.loads(rag(*short)[1])
    asked = json.loads(rag(*short, "--question", "Within what time must stock be moved?")[1])
    assert asked["p_supported"] != alone["p_supported"]
    assert [claim["text"] for claim in asked["claims"]] == ["30 minutes"]


def test_a_batch_is_checked_row_by_row(rag, tmp_path) -> None:
    rows = [
        {"id": 1, "claim": GOOD, "evidence": EVIDENCE},
        {"id": "b", "claim": BAD, "evidence": EVIDENCE},
        {"id": 3, "claim": GOOD, "evidence": []},
        {"id": 4, "claim": "30 minutes", "evidence": EVIDENCE, "question": "How soon?"},
        {"id": 5, "claim": "\x07 投与量", "evidence": ["\x07", "投与量"], "question": "何?"},
    ]
    path, out = tmp_path / "claims.jsonl", tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, printed_, _ = rag("check", "--batch", path, "--out", out, "--json")
    assert (code, json.loads(printed_)["rows"]) == (0, 5)
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in found] == [1, "b", 3, 4, 5]
    assert {frozenset(row) for row in found} == {frozenset({"id", *FIELDS})}
    good, bad, none, _, odd = found
    assert odd["claims"][0]["text"].strip() == "投与量"
    assert good["p_supported"] > bad["p_supported"]
    assert good["evidence_span"]["text"] in EVIDENCE[0]
    assert bad["verdict"] != "supported"
    assert bad["guards"] == [{"name": "number", "missing": ["45 minutes"]}]
    assert (none["verdict"], none["p_supported"], none["evidence_span"]) == ("unsupported", 0, None)


@pytest.mark.parametrize(
    "row",
    [
        {"id": 1, "claim": "x"},
        {"id": 1, "claim": "x", "evidence": "x"},
        {"id": 1, "claim": "x", "evidence": [1]},
        {"claim": "x", "evidence": []},
        {"id": "\ud800", "claim": "x", "evidence": []},
    ],
)
def test_a_bad_row_is_named(rag, tmp_path, row) -> None:
    path = tmp_path / "claims.jsonl"
    path.write_text(json.dumps({"id": 0, "claim": "x", "evidence": []}) + "\n" + json.dumps(row))
    code, _, err = rag("check", "--batch", path, "--out", tmp_path / "out.jsonl")
    assert (code, err.count("\n")) == (2, 1)
    assert "row 2:" in err
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("verifier", "code", "word"),
    [("/no/such/folder", 1, "/no/such/folder"), ("package:none", 2, "package:none")],
)
def test_an_unusable_verifier_is_one_line(rag, monkeypatch, verifier, code, word) -> None:
    monkeypatch.setenv("RAG_VERIFIER", verifier)
    found, out, err = rag("check", GOOD, "--evidence", EVIDENCE[0])
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert word in err


@pytest.mark.parametrize("claim", [" ", "...!?", "", "😀"])
def test_a_claim_without_words_is_refused_at_every_door(rag, client, claim) -> None:
    code, out, err = rag("check", claim, "--evidence", EVIDENCE[0])
    assert (code, out, err) == (2, "", "rag: the claim holds no words; write some\n")
    refused = client.post("/v1/check", json={"claim": claim, "evidence": EVIDENCE})
    assert refused.status_code == 422
    assert refused.json()["detail"] == "claim: holds no words; write some"


def test_broken_characters_are_refused_with_the_same_words(client: TestClient) -> None:
    for broken in ("\0", "\ud800"):
        body = json.dumps({"claim": "x", "evidence": [broken]})
        refused = client.post("/v1/check", content=body, headers=JSON)
        assert "holds NUL or broken Unicode characters; remove them" in refused.json()["detail"]


def test_other_control_characters_change_no_verdict(client: TestClient) -> None:
    plain = over_http(client, claim=GOOD, evidence=EVIDENCE)
    ringing = [EVIDENCE[0].replace(" ", "\x07")]
    found = over_http(client, claim=GOOD.replace(" ", "\x07"), evidence=ringing)
    assert found["p_supported"] == plain["p_supported"]
    span = found["evidence_span"]
    assert span["text"] == ringing[0][span["start"] : span["end"]]


def over_http(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/check", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_over_http_the_verdicts_are_the_same(client: TestClient, service_settings) -> None:
    from rag.verify.choose import Judges

    found = over_http(client, claim=f"{GOOD} {BAD}", evidence=EVIDENCE)
    expected = check_text(Judges(service_settings).verifier, f"{GOOD} {BAD}", EVIDENCE)
    assert found == Check.of(expected).model_dump(mode="json")
    assert set(found) == FIELDS


def test_over_http_a_question_counts(client: TestClient) -> None:
    question = "Within what time must stock be moved?"
    asked = over_http(client, claim="30 minutes", evidence=EVIDENCE, question=question)
    assert (
        asked["p_supported"]
        != over_http(client, claim="30 minutes", evidence=EVIDENCE)["p_supported"]
    )


def test_over_http_no_evidence_supports_nothing(client: TestClient) -> None:
    found = over_http(client, claim=GOOD, evidence=[])
    assert (found["verdict"], found["p_supported"], found["p_contradicted"]) == (
        "unsupported",
        0.0,
        0.0,
    )
    assert found["evidence_span"] is None
    assert over_http(client, claim=GOOD, evidence=["", " "])["verdict"] == "unsupported"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"claim": "", "evidence": []}, "#/claim"),
        ({"claim": " \n", "evidence": []}, "#/claim"),
        ({"claim": "...!?", "evidence": []}, "#/claim"),
        ({"claim": "x", "evidence": [], "question": "???"}, "#/question"),
        ({"claim": "x" * 10_001, "evidence": []}, "#/claim"),
        ({"claim": 3, "evidence": []}, "#/claim"),
        ({"claim": "x"}, "#/evidence"),
        ({"claim": "x", "evidence": None}, "#/evidence"),
        ({"claim": "x", "evidence": [None]}, "#/evidence/0"),
        ({"claim": "x", "evidence": ["y", "\0"]}, "#/evidence/1"),
        ({"claim": "x", "evidence": ["y"] * 1_001}, "#/evidence"),
        ({"claim": "x", "evidence": [], "question": 7}, "#/question"),
        ({"claim": "x", "evidence": [], "why": 1}, "#/why"),
    ],
)
def test_over_http_a_wrong_field_is_named(client: TestClient, body, pointer) -> None:
    refused = client.post("/v1/check", content=json.dumps(body), headers=JSON)
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]
