"""The log over HTTP: proofs, bundles, replay, checkpoints, erasure, retention, impact."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from knowledge_bases.audit import merkle
from knowledge_bases.audit.checkpoint import verify as verified_note
from knowledge_bases.audit.key_list import parse_list
from knowledge_bases.audit.verify_bundle import BundleError
from knowledge_bases.audit.verify_bundle import verify as verify_bundle
from knowledge_bases.home import Home
from knowledge_bases.store.log import Log
from rag.errors import StorageError
from rag.settings import Settings

TEXT = "The maximum dose of paracetamol is 4 g in 24 hours. Keep it dry and cool at all times."
QUESTION = "What is the maximum dose of paracetamol?"
KB = "/v1/knowledge-bases/docs"
UNKNOWN = "5f0c1a52-6c3e-4a57-9e0f-7c1b1f0c9d2e"

Serve = Callable[..., TestClient]


@pytest.fixture
def own(settings: Settings, embedder: Any, serve: Serve) -> Iterator[TestClient]:
    """A service of the test's own, with an empty log."""
    always = settings.model_copy(update={"answer_threshold": 0.0})
    with serve(always, embedder) as client:
        yield client


@pytest.fixture
def filled(own: TestClient) -> TestClient:
    """The same with a key, a first checkpoint, and a knowledge base of one document."""
    assert own.post("/v1/audit/checkpoint").status_code == 200
    assert own.post("/v1/knowledge-bases", json={"name": "docs"}).status_code == 201
    add(own, TEXT)
    return own


def add(client: TestClient, text: str, uri: str = "dose.txt") -> None:
    accepted = client.post(f"{KB}/documents", json={"uri": uri, "text": text})
    client.get(f"{accepted.headers['location']}/events")  # Ends with the job.
    assert client.get(accepted.headers["location"]).json()["progress"]["failed"] == []


def ask(client: TestClient, question: str = QUESTION) -> dict[str, Any]:
    answer: dict[str, Any] = client.post(f"{KB}/answers", json={"question": question}).json()
    assert answer["status"] == "answered"
    return answer


def hashes(proof: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(one) for one in proof["hashes"]]


def newest(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/v1/audit", params={"limit": 1}).json()["records"][0]
    return found


def test_a_record_is_proven_under_a_signed_checkpoint(filled: TestClient) -> None:
    answer = ask(filled)
    before = newest(filled)["sequence"]
    proof = filled.get(f"/v1/audit/{answer['answer_id']}/proof").json()
    leaf_hash = bytes.fromhex(merkle.leaf_hash(proof["leaf"].encode()))
    assert leaf_hash.hex() == proof["leaf_hash"] == answer["receipt"]["leaf_hash"]
    root = bytes.fromhex(proof["root"])
    assert merkle.verify_inclusion(leaf_hash, proof["index"], proof["size"], hashes(proof), root)
    _, keys = parse_list(filled.get("/v1/audit/keys").text)
    note = verified_note(proof["checkpoint"], keys)
    assert (note.size, note.root) == (proof["size"], root)
    assert "read" not in kinds_since(filled, before)


def kinds_since(client: TestClient, sequence: int) -> list[str]:
    records = client.get("/v1/audit").json()["records"]
    return [one["kind"] for one in records if one["sequence"] > sequence]


def test_a_proof_at_a_size_of_one_s_own(filled: TestClient) -> None:
    ids = [ask(filled)["answer_id"] for _ in range(5)]
    index = filled.get(f"/v1/audit/{ids[2]}/proof").json()["index"]
    proof = filled.get(f"/v1/audit/{ids[2]}/proof", params={"size": index + 1}).json()
    root = bytes.fromhex(proof["root"])
    leaf_hash = bytes.fromhex(proof["leaf_hash"])
    assert merkle.verify_inclusion(leaf_hash, index, index + 1, hashes(proof), root)
    path = f"/v1/audit/{ids[2]}/proof"
    for size in (0, index, 10**6, 2**63 - 1):
        refused = filled.get(path, params={"size": size})
        assert refused.status_code == 422, size
        assert "size" in refused.json()["detail"]
    for size in (-1, 2**63, "9" * 400, "x", "", "1.5", "NaN"):
        assert filled.get(path, params={"size": size}).status_code == 422


def test_the_log_is_shown_to_have_only_grown(filled: TestClient) -> None:
    ask(filled)
    first = filled.post("/v1/audit/checkpoint").json()
    ask(filled)
    second = filled.post("/v1/audit/checkpoint").json()
    assert second["size"] > first["size"]
    proof = filled.get("/v1/audit/consistency", params={"first": first["size"]}).json()
    assert (proof["first"], proof["second"]) == (first["size"], second["size"])
    assert (proof["first_checkpoint"], proof["second_checkpoint"]) == (
        first["note"],
        second["note"],
    )
    roots = bytes.fromhex(first["root"]), bytes.fromhex(second["root"])
    assert merkle.verify_consistency(first["size"], second["size"], hashes(proof), *roots)
    for params in (
        {},
        {"first": 2, "second": 1},
        {"first": 1, "second": 10**9},
        {"first": 2**63},
        {"first": -1},
        {"first": "x"},
    ):
        assert filled.get("/v1/audit/consistency", params=params).status_code == 422, params


def test_an_empty_log_has_no_key_and_no_checkpoint_until_one_is_signed(own: TestClient) -> None:
    for path in ("checkpoint", "keys", "consistency?first=0"):
        missing = own.get(f"/v1/audit/{path}")
        assert missing.status_code == 404
        assert "checkpoint" in missing.json()["detail"]
    signed = own.post("/v1/audit/checkpoint").json()
    assert (signed["size"], signed["log_size"]) == (1, 1)  # That the key was made.
    log, keys = parse_list(own.get("/v1/audit/keys").content)
    assert signed["origin"] == f"grounded-rag/{log}"
    assert verified_note(signed["note"], keys).size == 1
    assert own.get("/v1/audit/checkpoint").json() == signed
    assert own.post("/v1/audit/checkpoint").json() == signed
    for accept, kind in (
        ("text/plain", "text/plain"),
        ("text/plain;q=0.9, */*", "text/plain"),
        ("*/*", "application/json"),
        ("application/json, text/plain", "application/json"),
    ):
        shown = own.get("/v1/audit/checkpoint", headers={"accept": accept})
        assert shown.headers["content-type"].partition(";")[0] == kind
    assert own.get("/v1/audit/checkpoint", headers={"accept": "text/plain"}).text == signed["note"]


def test_a_bundle_is_what_the_verifier_takes(filled: TestClient, tmp_path: Path) -> None:
    answer = ask(filled)
    got = filled.get(f"/v1/audit/{answer['answer_id']}/bundle")
    assert got.headers["content-type"] == "application/zip"
    name = f'attachment; filename="answer-{answer["answer_id"]}.zip"'
    assert got.headers["content-disposition"] == name
    _, keys = parse_list(filled.get("/v1/audit/keys").text)
    verify_bundle(got.content, str(keys[0].key))
    assert (newest(filled)["kind"], newest(filled)["status"]) == ("read", "bundle")
    changed = bytearray(got.content)
    changed[len(changed) // 2] ^= 1
    with pytest.raises(BundleError):
        verify_bundle(bytes(changed), str(keys[0].key))


def test_an_answer_is_replayed(filled: TestClient) -> None:
    answer = ask(filled)
    filled.post("/v1/audit/checkpoint")
    before = newest(filled)["sequence"]
    replay = filled.post(f"/v1/audit/{answer['answer_id']}/replay").json()
    assert replay["outcome"] == "identical"
    assert (replay["retrieved_again"], replay["differences"], replay["diff"]) == (True, [], [])
    assert kinds_since(filled, before) == ["read"]


def test_citations_follow_their_document(filled: TestClient) -> None:
    answer = ask(filled)
    path = f"/v1/audit/{answer['answer_id']}/citations"
    (citation,) = filled.get(path).json()["citations"]
    assert (citation["state"], citation["quote"]) == ("resolved", answer["citations"][0]["quote"])
    added = "Read this leaflet first, all of it, before you take anything. "
    add(filled, f"{added}{TEXT.replace('Keep it dry', 'Store it dry')}")
    (moved,) = filled.get(path).json()["citations"]
    text = filled.get(f"{KB}/documents/{doc_id(filled)}").json()["text"]
    assert moved["state"] == "moved"
    assert text[moved["current_start"] : moved["current_end"]] == moved["quote"]
    assert (moved["version"], moved["current_version"]) == (1, 2)
    add(filled, "Bread is baked from flour.")
    (lost,) = filled.get(path).json()["citations"]
    assert (lost["state"], lost["current_start"], lost["current_version"]) == ("lost", None, 3)
    assert filled.delete(f"{KB}/documents/{doc_id(filled)}").status_code == 204
    (gone,) = filled.get(path).json()["citations"]
    assert (gone["state"], gone["current_version"]) == ("withdrawn", None)


def doc_id(client: TestClient) -> str:
    found: str = client.get(f"{KB}/documents").json()["documents"][0]["document"]["id"]
    return found


@pytest.mark.parametrize("what", ["", "/proof", "/bundle", "/citations", "/replay"])
def test_hostile_ids(client: TestClient, what: str) -> None:
    method = "POST" if what == "/replay" else "GET"
    for record_id in (UNKNOWN, "0", "1" * 5_000, "%00", "%2e%2e", "%ff", "'; DROP", "%25", "_"):
        assert client.request(method, f"/v1/audit/{record_id}{what}").status_code == 404, record_id


@pytest.mark.parametrize("what", ["/citations", "/replay"])
def test_only_answers_have_citations_and_replays(filled: TestClient, what: str) -> None:
    filled.post("/v1/check", json={"claim": "It is 4 g.", "evidence": ["It is 4 g."]})
    check = filled.get("/v1/audit", params={"kind": "check"}).json()["records"][0]
    method = "POST" if what == "/replay" else "GET"
    size = newest(filled)["sequence"]
    refused = filled.request(method, f"/v1/audit/{check['id']}{what}")
    assert refused.status_code == 422
    assert "'check'" in refused.json()["detail"]
    assert newest(filled)["sequence"] == size  # It stayed closed.


def test_an_erased_answer_is_still_proven_but_no_longer_opened(filled: TestClient) -> None:
    answer = ask(filled)
    path = f"/v1/audit/{answer['answer_id']}"
    erased = filled.post("/v1/audit/erasures", json={"record": answer["answer_id"]}).json()
    assert (erased["records"], erased["kinds"]) == (1, {"answer": 1})
    assert filled.get(f"/v1/audit/{erased['recorded_as'][0]}").json()["kind"] == "erasure"
    shown = filled.get(path).json()
    assert (shown["receipt"], shown["salt"]) == (None, None)
    assert filled.get(f"{path}/proof").json()["leaf_hash"] == answer["receipt"]["leaf_hash"]
    for response in (
        filled.get(f"{path}/bundle"),
        filled.get(f"{path}/citations"),
        filled.post(f"{path}/replay"),
    ):
        assert response.status_code == 404
        assert "erased" in response.json()["detail"]
    again = filled.post("/v1/audit/erasures", json={"record": answer["answer_id"]}).json()
    assert (again["records"], again["recorded_as"]) == (0, [])


def test_a_subject_and_a_document_are_erased(filled: TestClient, settings: Settings) -> None:
    secret = "Xylophonists take 7 mg of zopiclone in the evening, never more."
    add(filled, secret, "secret.txt")
    ask(filled, "What do xylophonists take in the evening?")
    body = {"document": {"knowledge_base": "docs", "uri": "secret.txt"}}
    erased = filled.post("/v1/audit/erasures", json=body).json()
    assert erased["versions"] == 1
    assert erased["kinds"].get("answer") == 1
    assert filled.post("/v1/audit/erasures", json=body).status_code == 404
    found = filled.post(f"{KB}/search", json={"query": "xylophonists"}).json()["hits"]
    assert all("ylophonist" not in hit["text"] for hit in found)
    ask(filled)
    erased = filled.post("/v1/audit/erasures", json={"subject": "local"}).json()
    assert erased["kinds"].get("answer") == 1
    nobody = filled.post("/v1/audit/erasures", json={"subject": "nobody"}).json()
    assert (nobody["records"], nobody["recorded_as"]) == (0, [])
    raw = b"".join(one.read_bytes() for one in settings.home.rglob("*") if one.is_file())
    assert b"zopiclone" not in raw


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"subject": None}, 422),
        ({"subject": ""}, 422),
        ({"subject": "a", "record": UNKNOWN}, 422),
        ({"document": "a.txt"}, 422),
        ({"document": {"uri": "a.txt"}}, 422),
        ({"document": {"knowledge_base": "none", "uri": "a.txt"}}, 404),
        ({"record": UNKNOWN}, 404),
        ({"record": "5"}, 404),
        ({"record": 5}, 422),
        ({"subject": "a" * 2_001}, 422),
        ({"subject": "a\0"}, 422),
        ({"subject": "a", "all": True}, 422),
        ([], 422),
    ],
)
def test_erasures_that_are_none(client: TestClient, body: Any, status: int) -> None:
    assert client.post("/v1/audit/erasures", json=body).status_code == status


def test_a_beginning_of_an_id_erases_nothing(filled: TestClient) -> None:
    answer = ask(filled)["answer_id"]
    refused = filled.post("/v1/audit/erasures", json={"record": answer[:8]})
    assert refused.status_code == 404
    assert filled.get(f"/v1/audit/{answer}").json()["receipt"] is not None


def test_under_a_legal_hold_nothing_is_erased(filled: TestClient) -> None:
    answer = ask(filled)["answer_id"]
    held = filled.put("/v1/audit/legal-hold", json={"on": True, "reason": "14 O 233/25"})
    assert held.json()["legal_hold"] is True
    assert newest(filled)["status"] == "hold on"
    for response in (
        filled.post("/v1/audit/erasures", json={"record": answer}),
        filled.post("/v1/audit/erasures", json={"subject": "local"}),
        filled.post("/v1/audit/retention/prune"),
    ):
        assert response.status_code == 409
        assert response.json()["type"].endswith(":legal-hold")
    assert filled.put("/v1/audit/legal-hold", json={"on": True}).status_code == 422
    assert filled.get(f"/v1/audit/{answer}").json()["receipt"] is not None
    assert filled.put("/v1/audit/legal-hold", json={"on": False}).json()["legal_hold"] is False
    assert filled.post("/v1/audit/erasures", json={"record": answer}).json()["records"] == 1


def test_retention_is_set_and_old_payloads_are_dropped(
    filled: TestClient, settings: Settings
) -> None:
    answer = ask(filled)["answer_id"]
    shown = filled.get("/v1/audit/retention").json()
    assert (shown["retention_days"], shown["floor_days"], shown["due"]) == (None, 183, 0)
    assert filled.post("/v1/audit/retention/prune").status_code == 422
    for days in (182, 0, -1, 10**9, 10**30, "200", 200.5, True):
        refused = filled.put("/v1/audit/retention", json={"retention_days": days})
        assert refused.status_code == 422, days
    assert filled.put("/v1/audit/retention", json={}).status_code == 422
    assert filled.get("/v1/audit/retention").json() == shown
    kept = filled.put("/v1/audit/retention", json={"retention_days": 200}).json()
    assert (kept["retention_days"], kept["due"]) == (200, 0)
    with sqlite3.connect(settings.home / "rag.sqlite3") as database:
        database.execute(
            "UPDATE audit_records SET created_at = '2020-01-01 00:00:00.000000' WHERE id = ?",
            (answer,),
        )
    database.close()
    assert filled.get("/v1/audit/retention").json()["due"] == 1
    dropped = filled.post("/v1/audit/retention/prune").json()
    assert (dropped["records"], dropped["kinds"]) == (1, {"answer": 1})
    assert filled.get(f"/v1/audit/{answer}").json()["receipt"] is None
    assert filled.post("/v1/audit/retention/prune").json()["recorded_as"] is None
    for_good = filled.put("/v1/audit/retention", json={"retention_days": None}).json()
    assert for_good["retention_days"] is None


def test_what_can_t_be_logged_is_not_changed(
    filled: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = ask(filled)["answer_id"]

    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Log, "append", full)
        patch.setattr(Log, "append_all", full)
        for response in (
            filled.get(f"/v1/audit/{answer}/bundle"),
            filled.get(f"/v1/audit/{answer}/citations"),
            filled.post(f"/v1/audit/{answer}/replay"),
            filled.post("/v1/audit/erasures", json={"record": answer}),
            filled.put("/v1/audit/retention", json={"retention_days": 200}),
            filled.put("/v1/audit/legal-hold", json={"on": True}),
        ):
            assert response.status_code == 507
            assert response.json()["type"].endswith(":not-recorded")
    state = filled.get("/v1/audit/retention").json()
    assert (state["retention_days"], state["legal_hold"]) == (None, False)
    assert filled.get(f"/v1/audit/{answer}").json()["receipt"] is not None


def test_the_log_is_filtered(filled: TestClient) -> None:
    ask(filled)
    filled.post(f"{KB}/answers", json={"question": " "})

    def listed(**params: Any) -> list[tuple[str, str]]:
        records = filled.get("/v1/audit", params=params).json()["records"]
        return [(one["kind"], one["status"]) for one in records]

    assert set(listed(kind="answer")) == {("answer", "answered")}
    assert set(listed(kind="refusal")) == {("refusal", "QuestionError")}
    assert {kind for kind, _ in listed(kind=["answer", "refusal"])} == {"answer", "refusal"}
    assert listed(status="answered") == listed(kind="answer", knowledge_base="docs")
    assert listed(status="%") == listed(kind="answer", knowledge_base="none") == []
    for bad in ({"kind": "answers"}, {"kind": ["answer", ""]}, {"kind": ["answer"] * 99}):
        assert filled.get("/v1/audit", params=bad).status_code == 422
    assert filled.get("/v1/audit", params={"status": "x" * 201}).status_code == 422


def test_the_log_is_filtered_by_verdict_document_asker_and_time(filled: TestClient) -> None:
    answer = ask(filled)["answer_id"]
    add(filled, "Keep the tablets dry.", uri="other.txt")

    def listed(**params: Any) -> list[str]:
        response = filled.get("/v1/audit", params={"kind": "answer", **params})
        assert response.status_code == 200, response.text
        return [one["id"] for one in response.json()["records"]]

    (entry,) = filled.get("/v1/audit", params={"kind": "answer"}).json()["records"]
    shown = filled.get(f"/v1/audit/{answer}").json()
    assert entry["verdict"] == shown["verdict"] == "supported"
    assert entry["disputed"] is shown["disputed"] is False
    day, moment = entry["created_at"][:10], entry["created_at"]
    for passing in (
        {"verdict": "supported"},
        {"disputed": False},
        {"document": "dose.txt"},
        {"asker": "local"},
        {"since": day, "until": day},
        {"since": moment},
    ):
        assert listed(**passing) == [answer], passing
    for other in (
        {"verdict": "contradicted"},
        {"verdict": "unsupported"},
        {"disputed": True},
        {"document": "other.txt"},
        {"asker": "jane"},
        {"until": moment},
        {"since": "2999-01-01"},
        {"until": "1999-01-01T00:00:00+02:00"},
        {"verdict": "supported", "asker": "jane"},
    ):
        assert listed(**other) == [], other
    for bad in (
        {"verdict": "good"},
        {"disputed": "perhaps"},
        {"since": "yesterday"},
        {"until": "9999-12-31"},
        {"since": "2026-01-01" + "0" * 40},
        {"asker": "x" * 201},
    ):
        assert filled.get("/v1/audit", params=bad).status_code == 422, bad
    assert filled.post("/v1/audit/erasures", json={"record": answer}).status_code == 200
    assert listed(verdict="supported") == listed(document="dose.txt") == []
    (entry,) = filled.get("/v1/audit", params={"kind": "answer"}).json()["records"]
    assert (entry["verdict"], entry["disputed"]) == (None, None)


def test_a_rewritten_log_is_shouted_about(filled: TestClient, settings: Settings) -> None:
    answers = [ask(filled)["answer_id"] for _ in range(3)]
    filled.post("/v1/audit/checkpoint")
    with sqlite3.connect(settings.home / "rag.sqlite3") as database:
        database.execute("UPDATE audit_nodes SET hash = ?", (b"\1" * 32,))
    database.close()
    for response in (
        filled.get(f"/v1/audit/{answers[0]}/proof"),
        filled.get("/v1/audit/consistency", params={"first": 2}),
    ):
        assert response.status_code == 500
        assert response.json()["type"].endswith(":integrity")
        assert response.json()["detail"].startswith("CONTRADICTION: ")
        assert "rag audit verify" in response.json()["detail"]
    ask(filled)
    assert "contradicts its checkpoint" in filled.post("/v1/audit/checkpoint").json()["detail"]


def test_a_changed_leaf_is_not_proven(filled: TestClient, settings: Settings) -> None:
    answer = ask(filled)["answer_id"]
    filled.post("/v1/audit/checkpoint")
    with sqlite3.connect(settings.home / "rag.sqlite3") as database:
        database.execute(
            "UPDATE audit_records SET leaf = replace(leaf, 'answered', 'abstaine') WHERE id = ?",
            (answer,),
        )
    database.close()
    refused = filled.get(f"/v1/audit/{answer}/proof")
    assert refused.status_code == 500
    assert "not what is in the log's tree" in refused.json()["detail"]


def test_impact_comes_in_pages(filled: TestClient) -> None:
    ids = [ask(filled, f"{QUESTION[:-1]} {number}?")["answer_id"] for number in range(3)]
    path = f"{KB}/impact"
    whole = filled.get(path, params={"uri": "dose.txt"}).json()
    assert [one["answer_id"] for one in whole["answers"]] == ids
    assert (whole["total"], whole["next"], whole["current_version"]) == (3, None, 1)
    assert all(one["stands"] for one in whole["answers"])
    assert (newest(filled)["kind"], newest(filled)["status"]) == ("read", "impact")
    first = filled.get(path, params={"uri": "dose.txt", "limit": 2}).json()
    second = filled.get(path, params={"uri": "dose.txt", "limit": 2, "after": 2}).json()
    assert (first["next"], second["next"]) == (2, None)
    assert [one["answer_id"] for one in first["answers"] + second["answers"]] == ids
    read = filled.get(f"/v1/audit/{newest(filled)['id']}").json()["receipt"]["records"]
    assert read == ids[2:]
    add(filled, TEXT.replace("4 g", "3 g"))
    changed = filled.get(path, params={"uri": "dose.txt"}).json()
    assert changed["current_version"] == 2
    assert not any(one["stands"] for one in changed["answers"])
    assert filled.get(path, params={"uri": "dose.txt", "version": 2}).json()["total"] == 0
    assert filled.get(path, params={"uri": "dose.txt", "after": 10**12}).json()["answers"] == []
    filled.post("/v1/audit/erasures", json={"record": ids[0]})
    left = filled.get(path, params={"uri": "dose.txt"}).json()
    assert ids[1:] == [one["answer_id"] for one in left["answers"]]


def test_impact_of_nothing(client: TestClient, wards: str) -> None:
    assert client.get(f"{wards}/impact").status_code == 422
    assert client.get(f"{wards}/impact", params={"uri": "none.txt"}).status_code == 404
    assert client.get(f"{wards}/impact", params={"uri": "\0"}).status_code == 404
    none = client.get("/v1/knowledge-bases/none/impact", params={"uri": "a"})
    assert none.status_code == 404
    for bad in ({"limit": 0}, {"limit": 201}, {"after": -1}, {"version": 0}, {"version": 2**31}):
        params = {"uri": "returns.md", **bad}
        assert client.get(f"{wards}/impact", params=params).status_code == 422


def test_a_deletion_that_was_not_logged_is_logged_when_repeated(
    filled: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{KB}/documents/{doc_id(filled)}"

    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Log, "append", full)
        refused = filled.delete(path)
    assert refused.status_code == 507
    assert "delete it again" in refused.json()["detail"]
    assert filled.get(path).status_code == 404
    assert filled.get("/v1/audit", params={"kind": "deletion"}).json()["records"] == []
    assert filled.delete(path).status_code == 204
    (deletion,) = filled.get("/v1/audit", params={"kind": "deletion"}).json()["records"]
    assert deletion["knowledge_base"] == "docs"
    assert filled.delete(path).status_code == 404


def test_what_is_asked_and_checked_is_stored_masked(
    settings: Settings, embedder: Any, serve: Serve
) -> None:
    pytest.importorskip("phonenumbers")
    masking = settings.model_copy(update={"personal_data": "mask", "answer_threshold": 0.0})
    mail = "jane.smith@example.org"
    with serve(masking, embedder) as client:
        client.post("/v1/knowledge-bases", json={"name": "docs"})
        add(client, TEXT)
        verdict = client.post(
            "/v1/check",
            json={
                "claim": f"Write to {mail}. Or call +44 20 7946 0958.",
                "evidence": [f"Write to {mail}."],
                "question": f"How is {mail} reached?",
            },
        ).json()
        assert mail in str(verdict)  # Whoever sent it gets it back as it was judged.
        ask(client, f"May {mail} have paracetamol?")
        filters = {"documents": ["none"]}
        body = {"question": f"Who is {mail}?", "filters": filters}
        assert client.post(f"{KB}/answers", json=body).status_code == 404
        records = client.get("/v1/audit", params={"kind": ["answer", "check", "refusal"]}).json()
        payloads = [
            client.get(f"/v1/audit/{one['id']}").json()["receipt"] for one in records["records"]
        ]
    assert [one["kind"] for one in payloads] == ["refusal", "answer", "check"]
    assert mail not in json.dumps(payloads)
    assert "7946" not in json.dumps(payloads)
    found = {"e-mail address": 3, "phone number": 1}
    assert payloads[2]["personal_data"] == {"mode": "mask", "found": found}
    assert payloads[2]["claim"] == "Write to [e-mail address]. Or call [phone number]."


def test_another_process_s_records_are_proven_too(
    filled: TestClient, settings: Settings, embedder: Any
) -> None:
    with Home(settings, embedder=embedder) as other:
        recorded = other.open("docs").ask(QUESTION)
    proof = filled.get(f"/v1/audit/{recorded.record.id}/proof").json()
    assert proof["size"] > proof["index"] == recorded.record.sequence
    assert proof["checkpoint"] is not None
