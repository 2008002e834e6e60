"""Search, answers and checks over HTTP."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from knowledge_bases.store.log import Log
from rag.errors import StorageError

QUESTION = "When must the stock be moved after an alarm?"
JSON = {"content-type": "application/json"}


def sse(text: str) -> list[tuple[str, dict[str, Any]]]:
    """(event, data) of a stream."""
    blocks = [dict(line.split(": ", 1) for line in b.split("\n")) for b in text.split("\n\n") if b]
    return [(block["event"], json.loads(block["data"])) for block in blocks]


def records(client: TestClient) -> int:
    page = client.get("/v1/audit", params={"limit": 1}).json()["records"]
    return page[0]["sequence"] + 1 if page else 0


def test_search(client: TestClient, wards: str) -> None:
    found = client.post(f"{wards}/search", json={"query": "morphine", "k": 1})
    (hit,) = found.json()["hits"]
    assert hit["document"]["uri"] == "returns.md"
    both = client.post(f"{wards}/search", json={"query": "morphine"}).json()["hits"]
    assert [h["document"]["uri"] for h in both] == ["returns.md", "storage/fridges.txt"]
    only = {"query": "morphine", "filters": {"documents": ["storage/fridges.txt"]}}
    (other,) = client.post(f"{wards}/search", json=only).json()["hits"]
    assert other["document"]["uri"] == "storage/fridges.txt"


def test_an_answer_quotes_its_document_and_is_in_the_log(client: TestClient, wards: str) -> None:
    answer = client.post(f"{wards}/answers", json={"question": QUESTION}).json()
    assert answer["status"] == "answered"
    assert "30 minutes" in answer["text"]
    assert "".join(segment["text"] for segment in answer["segments"]) == answer["text"]
    for citation in answer["citations"]:
        document = client.get(f"{wards}/documents/{citation['document']['id']}").json()
        assert document["text"][citation["start"] : citation["end"]] == citation["quote"]
    record = client.get(f"/v1/audit/{answer['answer_id']}").json()
    assert record["receipt"]["question"] == QUESTION
    assert record["leaf_hash"] == answer["receipt"]["leaf_hash"]
    assert record["sequence"] + 1 == answer["receipt"]["log_size"]


def test_a_stream_gives_the_segments_and_then_the_answer(client: TestClient, wards: str) -> None:
    headers = {"accept": "text/event-stream"}
    response = client.post(f"{wards}/answers", json={"question": QUESTION}, headers=headers)
    assert response.headers["content-type"].startswith("text/event-stream")
    *before, (last, answer) = sse(response.text)
    assert (before[0][0], last) == ("stage", "answer")
    segments = {event["index"]: event for name, event in before if name == "segment"}
    named = ("text", "origin", "probability", "citation")
    assert [{name: segments[i][name] for name in named} for i in sorted(segments)] == answer[
        "segments"
    ]
    assert client.get(f"/v1/audit/{answer['answer_id']}").status_code == 200


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json, text/event-stream;q=0.5", "text/html", ""]
)
def test_json_is_what_others_get(client: TestClient, wards: str, accept: str) -> None:
    response = client.post(
        f"{wards}/answers", json={"question": QUESTION}, headers={"accept": accept}
    )
    assert response.json()["status"] == "answered"


def test_an_abstention_says_nothing_of_its_draft(client: TestClient, wards: str) -> None:
    question = {"question": "Who won the football championship of 1954?"}
    answer = client.post(f"{wards}/answers", json=question).json()
    assert (answer["status"], answer["text"], answer["segments"]) == ("abstained", "", [])
    assert answer["reason"]
    headers = {"accept": "text/event-stream"}
    response = client.post(f"{wards}/answers", json=question, headers=headers)
    name, streamed = sse(response.text)[-1]
    assert (name, streamed["status"], streamed["text"]) == ("abstained", "abstained", "")


def test_without_documents_there_is_no_answer(client: TestClient, empty: str) -> None:
    answer = client.post(f"{empty}/answers", json={"question": QUESTION}).json()
    assert (answer["status"], answer["passages"]) == ("abstained", [])
    assert client.post(f"{empty}/search", json={"query": QUESTION}).json() == {"hits": []}


def test_a_claim_is_checked(client: TestClient) -> None:
    evidence = ["After an alarm the stock must be moved within 30 minutes."]
    claim = "After an alarm stock must be moved within 30 minutes."
    good = {"claim": claim, "evidence": evidence}
    assert client.post("/v1/check", json=good).json()["verdict"] == "supported"
    bad = client.post("/v1/check", json={**good, "claim": "It is moved within 45 minutes."}).json()
    assert bad["verdict"] != "supported"
    assert bad["guards"]
    assert bad["p_supported"] < client.post("/v1/check", json=good).json()["p_supported"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"claim": "", "evidence": ["a"]}',
        b'{"claim": "a", "evidence": "a"}',
        b'{"claim": "\\ud800", "evidence": ["a"]}',
        b'{"claim": "a", "evidence": ["\\udc00"]}',
        b'{"claim": "a", "evidence": ["a"], "question": "\\u0000"}',
    ],
)
def test_claims_that_are_none(client: TestClient, body: bytes) -> None:
    refused = client.post("/v1/check", content=body, headers=JSON)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"].startswith("#/")


@pytest.mark.parametrize("route", ["search", "answers"])
@pytest.mark.parametrize(
    "text", ["", " \n", "???", "😀", "why " * 25_000, "what\0is this", "\N{SNOWMAN}" * 4_001]
)
def test_impossible_questions(client: TestClient, wards: str, route: str, text: str) -> None:
    before = records(client)
    field = "query" if route == "search" else "question"
    refused = client.post(f"{wards}/{route}", json={field: text})
    assert refused.status_code == 422
    assert refused.json()["type"].endswith(":question")
    assert len(refused.text) < 1_000
    assert records(client) == before + (route == "answers"), "a refusal is recorded, too"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"", 422),
        (b"null", 422),
        (b'"why"', 422),
        (b"[]", 422),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"query": 7}', 422),
        (b'{"query": "a", "k": 0}', 422),
        (b'{"query": "a", "k": 1000000000}', 422),
        (b'{"query": "a", "k": 1' + b"0" * 30 + b"}", 422),
        (b'{"query": "a", "k": 1' + b"0" * 5_000 + b"}", 400),
        (b'{"query": "a", "k": NaN}', 422),
        (b'{"query": "a", "k": "5"}', 422),
        (b'{"query": "\\ud800"}', 422),
        (b'{"query": "a", "\\ud800~/": 1}', 422),
        (b'{"query": "a", "filters": {"tags": ["\\udfff"]}}', 422),
        (b'{"query": "a", "filters": {"documents": ["\\u0000"]}}', 422),
        (b'{"query": "a", "filters": {"since": "yesterday"}}', 422),
        (b'{"query": "a", "filters": {"since": 0}}', 422),
        (b'{"query": "a", "filters": {"documents": "all"}}', 422),
        (b'{"query": "' + b"a" * 2**20 + b'"}', 413),
    ],
)
def test_bodies_that_are_no_search(
    client: TestClient, wards: str, body: bytes, status: int
) -> None:
    refused = client.post(f"{wards}/search", content=body, headers=JSON)
    assert refused.status_code == status, refused.text
    assert len(refused.text) < 1_000


def test_a_body_without_length_is_bounded_too(client: TestClient, wards: str) -> None:
    pieces = (b" " * 2**16 for _ in range(17))
    refused = client.post(f"{wards}/search", content=pieces, headers=JSON)
    assert refused.status_code == 413


def test_each_wrong_field_is_named(client: TestClient, wards: str) -> None:
    body = {"query": "a", "k": 0, "filters": {"a/b": 1}}
    problem = client.post(f"{wards}/search", json=body).json()
    assert {error["pointer"] for error in problem["errors"]} == {"#/k", "#/filters/a~1b"}


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_only_json_is_taken(client: TestClient, wards: str, kind: str | None) -> None:
    headers = {"content-type": kind} if kind else {}
    body = json.dumps({"question": QUESTION}).encode()
    for url in (f"{wards}/answers", f"{wards}/search", "/v1/check", "/v1/knowledge-bases"):
        assert client.post(url, content=body, headers=headers).status_code == 415


@pytest.mark.parametrize("name", ["none", "WARDS", "%2e%2e", "1" * 31, "%00", "a" * 5_000])
def test_unknown_knowledge_bases(client: TestClient, name: str) -> None:
    kb = f"/v1/knowledge-bases/{name}"
    assert client.get(kb).status_code == 404
    assert client.post(f"{kb}/search", json={"query": "a"}).status_code == 404
    assert client.post(f"{kb}/answers", json={"question": "a"}).status_code == 404
    assert client.get(f"{kb}/documents").status_code == 404


@pytest.mark.parametrize("more", [{}, {"verified_only": True}])
def test_no_record_no_answer(
    client: TestClient, wards: str, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full; free space")

    monkeypatch.setattr(Log, "append", full)
    headers = {"accept": "text/event-stream" if more else "application/json"}
    refused = client.post(f"{wards}/answers", json={"question": QUESTION, **more}, headers=headers)
    assert refused.status_code == 507
    assert refused.json()["type"].endswith(":not-recorded")
    assert "30" not in refused.text


def test_many_ask_at_once(client: TestClient, wards: str) -> None:
    def ask(number: int) -> dict[str, Any]:
        body = {"question": f"{QUESTION} ({number % 4})"}
        answer: dict[str, Any] = client.post(f"{wards}/answers", json=body).json()
        return answer

    alone = [ask(number)["text"] for number in range(4)]
    before = records(client)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(32)))
    assert [answer["text"] for answer in answers] == alone * 8
    sizes = sorted(answer["receipt"]["log_size"] for answer in answers)
    assert sizes == list(range(before + 1, before + 33))


def test_a_check_is_in_the_log_before_its_verdict_is_sent(client: TestClient) -> None:
    before = records(client)
    body = {"claim": "It is 4 g.", "evidence": ["The dose is 4 g."], "question": None}
    verdict = client.post("/v1/check", json=body).json()
    assert records(client) == before + 1
    record = client.get("/v1/audit", params={"limit": 1}).json()["records"][0]
    assert (record["kind"], record["knowledge_base"]) == ("check", None)
    payload = client.get(f"/v1/audit/{record['id']}").json()["receipt"]
    assert (payload["claim"], payload["verdict"]) == ("It is 4 g.", verdict["verdict"])


def test_no_record_no_verdict(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(Log, "append", refuse)
    refused = client.post("/v1/check", json={"claim": "It is 4 g.", "evidence": ["It is 4 g."]})
    assert refused.status_code == 507
    assert refused.json()["type"].endswith(":not-recorded")
