"""What holds for every route: who is let in, problems, headers, logs, OpenAPI, health, the log."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import rfc8785
from fastapi.testclient import TestClient
from pydantic import BaseModel

import rag.errors
from api import audit_schemas, requests, schemas
from api.errors import PROBLEMS
from api.protection import is_loopback
from api.routes import examples
from knowledge_bases.knowledge_base import KnowledgeBase
from knowledge_bases.store.operations import Jobs
from rag.errors import RagError, StorageError


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:80", "127.0.0.1.evil.example", "0.0.0.0", "10.0.0.7"),
        *("127.0.0.1@evil.example", "evil.example#127.0.0.1", "", "[::2]", "127.0.0.1:x", "a b"),
    ],
)
def test_other_hosts_are_refused(client: TestClient, host: str) -> None:
    for path in ("/v1/knowledge-bases", "/healthz", "/openapi.json", "/none"):
        assert client.get(path, headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "127.9.9.9", "[::1]:8"]
)
def test_this_machine_is_let_in(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1", 200),
        ("http://127.0.0.1:3000", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 200),
    ],
)
def test_pages_of_other_sites_can_t_post(client: TestClient, origin: str, status: int) -> None:
    body = {"claim": "a", "evidence": ["a"]}
    headers = {"origin": origin}
    assert client.post("/v1/check", json=body, headers=headers).status_code == status
    deleted = client.delete("/v1/knowledge-bases/none", headers=headers)
    assert deleted.status_code == (403 if status == 403 else 404)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_loopback_is_for_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.0.1", "example.org", "127.1"])
def test_nothing_else_is(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("path", ["/healthz", "/none", "/openapi.json"])
def test_every_response_is_protected(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/docs", 404),
        ("GET", "/v1/knowledge-bases/", 404),
        ("GET", "/v1/%0d%0aX-Evil:%201", 404),
        ("PUT", "/v1/check", 405),
        ("POST", "/healthz", 405),
    ],
)
def test_wrong_paths_and_methods(client: TestClient, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert ("allow" in response.headers) == (status == 405)
    assert "x-evil" not in response.headers


def all_errors(base: type[RagError]) -> Iterator[type[RagError]]:
    yield base
    for sub in base.__subclasses__():
        yield from all_errors(sub)


def test_the_table_says_what_the_error_tree_says() -> None:
    drawn: dict[str, int] = {}
    depth_status: dict[int, int] = {}
    for line in str(rag.errors.__doc__).splitlines():
        named = re.match(r"[^A-Za-z]*([A-Z]\w+)\b", line)
        if named and hasattr(rag.errors, named[1]):
            depth = named.start(1)
            status = re.search(r"HTTP (\d+)", line)
            above = [depth_status[d] for d in sorted(depth_status) if d < depth]
            depth_status[depth] = drawn[named[1]] = int(status[1]) if status else above[-1]
    for error in all_errors(RagError):
        status = next(status for cls, status, _, _ in PROBLEMS if issubclass(error, cls))
        assert drawn[error.__name__] == status


def test_logs_and_problems_tell_nothing_of_a_question(
    client: TestClient,
    wards: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = "xylophonist"
    question = {"question": f"Is the {secret} in ward 7?"}
    caplog.set_level(logging.DEBUG)
    for accept in ("application/json", "text/event-stream"):
        client.post(f"{wards}/answers", json=question, headers={"accept": accept})
    client.post(f"{wards}/answers", json={**question, secret: 1})
    client.post(f"{wards}/answers", json={"question": secret * 1000})

    def fail(_: object, question: str, **__: object) -> None:
        raise ValueError(question)

    monkeypatch.setattr(KnowledgeBase, "ask", fail)
    failed = client.post(f"{wards}/answers", json=question)
    assert failed.status_code == 500
    assert secret not in failed.text
    assert "Traceback" not in failed.text
    assert "ValueError at " in caplog.text
    assert secret not in caplog.text
    assert "vaccine fridge" not in caplog.text


def test_openapi_is_whole(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert schema["openapi"].startswith("3.1")
    references = set(re.findall(r'"\$ref": ?"([^"]+)"', json.dumps(schema)))
    for reference in references:
        found: Any = schema
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    operations = [
        (path, method, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    without_body = {
        "POST /v1/audit/checkpoint",
        "POST /v1/audit/retention/prune",
        "POST /v1/audit/{record_id}/replay",
        "POST /v1/knowledge-bases/{kb}/conversations",
    }
    assert {f"{method.upper()} {path}" for path, method, _ in operations} == {
        "DELETE /v1/knowledge-bases/{kb}",
        "DELETE /v1/knowledge-bases/{kb}/documents/{document_id}",
        "GET /healthz",
        "GET /v1/models",
        "GET /v1/models/{kb}",
        "POST /v1/chat/completions",
        "POST /v1/knowledge-bases/{kb}/conversations",
        "GET /v1/knowledge-bases/{kb}/conversations/{conversation_id}",
        "POST /v1/knowledge-bases/{kb}/conversations/{conversation_id}/answers",
        "GET /metrics",
        "GET /readyz",
        "GET /v1/knowledge-bases/{kb}/drift",
        "GET /v1/audit",
        "GET /v1/audit/checkpoint",
        "GET /v1/audit/consistency",
        "GET /v1/audit/keys",
        "GET /v1/audit/retention",
        "GET /v1/audit/{record_id}",
        "GET /v1/audit/{record_id}/bundle",
        "GET /v1/audit/{record_id}/citations",
        "GET /v1/audit/{record_id}/proof",
        "GET /v1/jobs/{job_id}",
        "GET /v1/jobs/{job_id}/events",
        "DELETE /v1/keys/{key_id}",
        "GET /v1/keys",
        "POST /v1/keys",
        "GET /v1/knowledge-bases",
        "GET /v1/knowledge-bases/{kb}",
        "GET /v1/knowledge-bases/{kb}/documents",
        "GET /v1/knowledge-bases/{kb}/documents/{document_id}",
        "GET /v1/knowledge-bases/{kb}/impact",
        *without_body,
        "POST /v1/audit/erasures",
        "POST /v1/check",
        "POST /v1/knowledge-bases",
        "POST /v1/knowledge-bases/{kb}/answers",
        "POST /v1/knowledge-bases/{kb}/documents",
        "POST /v1/knowledge-bases/{kb}/search",
        "PUT /v1/audit/legal-hold",
        "PUT /v1/audit/retention",
    }
    assert len({operation["operationId"] for _, _, operation in operations}) == len(operations)
    for path, method, operation in operations:
        assert operation["summary"]
        assert operation["tags"]
        responses = operation["responses"]
        assert any(status < "300" for status in responses)
        assert "500" in responses
        has_body = method in ("post", "put") and f"{method.upper()} {path}" not in without_body
        assert ("requestBody" in operation) == has_body
        for status, response in responses.items():
            assert response["description"]
            if status >= "400":
                (kind,) = response["content"]
                assert kind == "application/problem+json", (path, status)
        declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert declared == set(re.findall(r"\{(\w+)\}", path))


@pytest.mark.parametrize(
    "model",
    [
        model
        for module in (requests, schemas, audit_schemas)
        for model in vars(module).values()
        if isinstance(model, type) and issubclass(model, BaseModel) and model is not BaseModel
    ],
)
def test_examples_are_valid(model: type[BaseModel]) -> None:
    for example in model.model_json_schema().get("examples", []):
        model.model_validate_json(json.dumps(example))


def test_examples_of_responses_are_valid(client: TestClient) -> None:
    schemas.SearchResult.model_validate(examples.SEARCH)
    answer = schemas.Answer.model_validate(examples.ANSWER)
    (citation,), (passage,) = answer.citations, answer.passages
    start, end = citation.start - passage.start, citation.end - passage.start
    assert passage.text[start:end] == citation.quote
    paths = client.get("/openapi.json").json()["paths"]
    answers = paths["/v1/knowledge-bases/{kb}/answers"]["post"]["responses"]["200"]["content"]
    assert answers["application/json"]["example"] == examples.ANSWER
    assert answers["application/json"]["schema"]["$ref"].endswith("/Answer")


def test_the_log_is_paged(client: TestClient, wards: str) -> None:
    for number in range(3):
        client.post(f"{wards}/answers", json={"question": f"What is ward {number}?"})
    first = client.get("/v1/audit", params={"limit": 2}).json()
    second = client.get("/v1/audit", params={"limit": 2, "before": first["next"]}).json()
    newest = first["records"][0]["sequence"]
    listed = [r["sequence"] for r in first["records"] + second["records"]][:3]
    assert listed == [newest, newest - 1, newest - 2]
    last = client.get("/v1/audit", params={"before": 1}).json()
    assert (len(last["records"]), last["next"]) == (1, None)
    assert client.get("/v1/audit", params={"knowledge_base": "none"}).json()["records"] == []
    whole = client.get(f"/v1/audit/{first['records'][0]['id']}").json()
    leaf = json.loads(whole["canonical"])
    assert {key: whole[key] for key in ("id", "sequence", "kind", "status")}.items() <= leaf.items()
    assert hashlib.sha256(b"\0" + whole["canonical"].encode()).hexdigest() == whole["leaf_hash"]
    payload = rfc8785.dumps(whole["receipt"])
    assert hmac.digest(bytes.fromhex(whole["salt"]), payload, "sha256").hex() == leaf["commitment"]
    read = client.get("/v1/audit", params={"limit": 1}).json()["records"][0]
    assert (read["kind"], read["sequence"]) == ("read", newest + 1)
    for bad in ({"limit": 0}, {"limit": 10**9}, {"before": -1}, {"before": 10**30}, {"limit": "x"}):
        assert client.get("/v1/audit", params=bad).status_code == 422
    for record_id in ("0", "1" * 31, "%2e%2e%2f%2e%2e%2fx", "%00"):
        assert client.get(f"/v1/audit/{record_id}").status_code == 404


def test_health(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json()["status"] == "ready"
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
        assert "make room" in client.get("/readyz").json()["detail"]

    def locked(*_: object, **__: object) -> None:
        raise StorageError("the database is read-only")

    monkeypatch.setattr(Jobs, "update", locked)
    not_ready: Callable[..., Any] = client.get("/readyz").json
    assert (not_ready()["status"], not_ready()["detail"]) == (503, "the database is read-only")
