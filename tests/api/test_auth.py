"""Keys over HTTP: every route, with every key that must not do, and everything not granted."""

from __future__ import annotations

import logging
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from sqlalchemy import update
from starlette.routing import Mount

from api.app import create_app
from api.auth import OPEN, Needs
from knowledge_bases import access
from knowledge_bases.access import SCOPES
from knowledge_bases.home import Home
from knowledge_bases.store.api_keys import EVERY
from knowledge_bases.tables import ApiKeyRow
from rag.errors import StorageError, UsageError
from rag.settings import Settings

Serve = Callable[..., TestClient]
OWNED = {"kb", "job_id", "record_id", "key_id"}
"""What a path may name that `api.auth.Needs` knows the owner of."""
FOR_ALL = {
    ("GET", "/collections"),
    ("POST", "/collections"),
    ("GET", "/v1/knowledge-bases"),
    ("POST", "/v1/knowledge-bases"),
    ("POST", "/v1/audit/checkpoint"),
    ("GET", "/v1/audit/retention"),
    ("PUT", "/v1/audit/retention"),
    ("POST", "/v1/audit/retention/prune"),
    ("PUT", "/v1/audit/legal-hold"),
}
"""What a grant on all knowledge bases is needed for, or allowed for here."""
INSIDE = {"document_id", "uri", "conversation_id"}
"""What a path may name inside a knowledge base that it names, too."""


@dataclass
class Service:
    """A service with keys, and another process's view of its home."""

    client: TestClient
    home: Home
    keys: dict[str, str]
    ids: dict[str, dict[str, str]]
    """What is in a knowledge base, by the name of the path parameter that names it."""

    def make(self, *scopes: str, kbs: tuple[str, ...] = ("open",)) -> str:
        _, text = self.home.access.create(
            "test", scopes=scopes, knowledge_bases=kbs, expires_at=None
        )
        return text

    def send(self, method: str, path: str, key: str | None = None, **more: Any) -> Any:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        if method in ("POST", "PUT"):
            more.setdefault("json", {})
        self.client.cookies.clear()
        # Else each problem would differ from all others by its request's id.
        headers = {"x-request-id": "test", **headers, **more.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **more)


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory,
    word_calibration: Path,
    word_embedder: Any,
    serve: Serve,
    end_of_job: Callable[..., Any],
) -> Iterator[Service]:
    settings = Settings(
        home=tmp_path_factory.mktemp("keys"),
        calibration=word_calibration,
        generator="extractive",
        verifier="guards",
        reranker="none",
        requests_per_minute=0,
    )
    with Home(settings, embedder=word_embedder()) as home:
        for name in ("open", "closed", "gone"):
            home.create(name)

        def make(*scopes: str, kbs: tuple[str, ...] = ("open", "gone")) -> str:
            return home.access.create("a", scopes=scopes, knowledge_bases=kbs, expires_at=None)[1]

        keys = {scope: make(scope) for scope in SCOPES}
        keys |= {"all scopes": make(*SCOPES), "root": make(*SCOPES, kbs=(EVERY,))}
        home.delete("gone")
        with serve(settings, word_embedder(), keys=True) as client:
            found = Service(client, home, keys, {})
            for kb in ("open", "closed"):
                found.ids[kb] = filled(found, kb, end_of_job)
            yield found


def filled(service: Service, kb: str, end_of_job: Callable[..., Any]) -> dict[str, str]:
    root = {"authorization": f"Bearer {service.keys['root']}"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(service.client.headers, "authorization", root["authorization"])
        document = {"uri": "a.txt", "text": "The alarm sounds at 8 degrees."}
        job = end_of_job(
            service.client,
            service.client.post(f"/v1/knowledge-bases/{kb}/documents", json=document),
        )
        listed = service.client.get(f"/v1/knowledge-bases/{kb}/documents").json()["documents"]
        answer = service.client.post(
            f"/v1/knowledge-bases/{kb}/answers", json={"question": "When does the alarm sound?"}
        ).json()
        talk = service.client.post(f"/v1/knowledge-bases/{kb}/conversations").json()
    return {
        "kb": kb,
        "job_id": job["id"],
        "document_id": listed[0]["document"]["id"],
        "uri": "a.txt",
        "record_id": answer["answer_id"],
        "conversation_id": talk["id"],
        "key_id": key_id(service.make("ask", kbs=(kb,))),
    }


def routes(app: FastAPI) -> list[tuple[str, str, Needs | None]]:
    """Method, path and guard of every route, however it was added."""
    found = []
    for context in iter_route_contexts(app.routes):
        dependant = getattr(context, "dependant", None)
        needs = [one for one in dependencies(dependant) if isinstance(one, Needs)]
        assert len(needs) <= 1, f"{context.path} has two guards"
        if isinstance(context.route, Mount):
            assert context.path == "/static", f"{context.path} is open to everybody"
            continue
        for method in sorted(context.methods - {"HEAD"}):
            found.append((method, context.path, needs[0] if needs else None))
    return found


def dependencies(dependant: Any) -> Iterator[object]:
    for one in getattr(dependant, "dependencies", ()):
        yield one.call
        yield from dependencies(one)


def guarded(service: Service) -> list[tuple[str, str, Needs]]:
    found = [(method, path, needs) for method, path, needs in routes(service.client.app) if needs]
    assert len(found) > 15
    return found


def filled_path(path: str, ids: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda match: ids[match[1]], path)


def test_every_route_has_a_guard_that_knows_what_its_path_names(service: Service) -> None:
    for method, path, needs in routes(service.client.app):
        assert needs or (method, path) in {*OPEN, ("GET", "/openapi.json")}, (
            f"{method} {path} has no needs(…): anybody with any key could use it"
        )
        named = set(re.findall(r"\{(\w+)", path))
        assert named <= OWNED | (INSIDE if "kb" in named else set()), (
            f"{path} names something of which api.auth.Needs doesn't know whose it is"
        )


@pytest.fixture(scope="module")
def invalid(service: Service) -> dict[str, dict[str, str]]:
    """Headers that let nobody in."""
    good = service.keys["root"]
    expired = service.make(*SCOPES, kbs=(EVERY,))
    revoked = service.make(*SCOPES, kbs=(EVERY,))
    service.home.access.revoke(key_id(revoked))
    expire(service.home, key_id(expired))
    tampered = good[:-2] + ("AA" if good[-2:] != "AA" else "BB")
    other = service.keys["ask"]
    tokens = {
        "wrong secret": tampered,
        "unknown id": f"rag_{'0' * 12}_{'A' * 43}",
        "another's secret": good[: len("rag_") + 12] + other[len("rag_") + 12 :],
        "no key": "hello",
        "empty secret": good[: len("rag_") + 13],
        "expired": expired,
        "revoked": revoked,
        "digest": service.home.store.api_keys.find(key_id(good))[1],
        "case": good.swapcase(),
    }
    headers = {name: {"authorization": f"Bearer {token}"} for name, token in tokens.items()}
    headers["none"] = {}
    headers["basic"] = {"authorization": f"Basic {good}"}
    headers["bare"] = {"authorization": good}
    headers["two"] = {"authorization": f"Bearer {good}, Bearer {good}"}
    headers["empty"] = {"authorization": ""}
    headers["cookie"] = {"cookie": f"rag-session={good}"}
    headers["x-api-key"] = {"x-api-key": good}
    return headers


def key_id(text: str) -> str:
    return text.split("_")[1]


def expire(home: Home, of: str) -> None:
    with home._database.write() as session:
        past = access.now() - access._SESSION
        session.execute(update(ApiKeyRow).where(ApiKeyRow.id == of).values(expires_at=past))


def test_nobody_is_let_in_without_a_valid_key(
    service: Service, invalid: dict[str, dict[str, str]]
) -> None:
    paths = [(method, path) for method, path, _ in routes(service.client.app)]
    for method, path in [*paths, ("GET", "/nothing"), ("PUT", "/v1/check"), ("GET", "/")]:
        if (method, path) in OPEN:
            continue
        place = filled_path(path, service.ids["open"])
        bodies = set()
        for name, headers in invalid.items():
            response = service.send(method, place, headers=headers)
            assert response.status_code == 401, (name, method, place)
            assert response.headers["www-authenticate"] == 'Bearer realm="grounded-rag"'
            bodies.add(response.text)
        assert len(bodies) == 1, "which of them it was is told to nobody"


def test_two_headers_are_none(service: Service) -> None:
    good = f"Bearer {service.keys['root']}"
    headers = [("authorization", good), ("authorization", good)]
    assert service.client.get("/v1/knowledge-bases", headers=headers).status_code == 401


def test_a_body_is_not_read_from_who_is_not_let_in(service: Service) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("it was read")

    async def send(message: Any) -> None:
        sent.append(message)

    for path in ("/v1/check", "/v1/knowledge-bases/open/documents"):
        sent.clear()
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "scheme": "http",
            "headers": [(b"host", b"a.example"), (b"content-type", b"application/json")],
        }
        anyio.run(service.client.app, scope, receive, send)
        assert sent[0]["status"] == 401


def test_a_key_without_the_scope_is_forbidden(service: Service) -> None:
    tried = 0
    for method, path, needs in guarded(service):
        for scope in set(SCOPES) - set(needs.scopes or SCOPES):
            for kb in ("open", "closed"):  # Forbidden wherever: it tells nothing of what is there.
                place = filled_path(path, service.ids[kb])
                response = service.send(method, place, service.keys[scope])
                assert response.status_code == 403, (method, path, scope)
                assert needs.scopes[0] in response.text
                tried += 1
    assert tried > 50


def test_a_key_with_the_scope_is_let_in(service: Service) -> None:
    ids = {**service.ids["open"], "document_id": "999999"}
    for method, path, needs in guarded(service):
        if method == "DELETE" and path.startswith("/v1/session"):
            continue
        for scope in needs.scopes or SCOPES:
            kb = {} if method == "GET" else {"kb": "gone"}
            place = filled_path(path, {**ids, **kb})
            key = (
                service.make(scope, kbs=(EVERY,))
                if (method, path) in FOR_ALL
                else service.keys[scope]
            )
            response = service.send(method, place, key)
            known = (503,) if path == "/readyz" else (200, 204, 404, 422)
            assert response.status_code in known, (method, path, scope, response.text)


def test_nothing_tells_whether_something_not_granted_is_there(service: Service) -> None:
    key = service.keys["all scopes"]
    closed = service.ids["closed"]
    absent = {
        "kb": "absent",
        "job_id": str(uuid.uuid4()),
        "record_id": str(uuid.uuid4()),
        "key_id": "0" * 12,
        "document_id": closed["document_id"],
        "uri": "a.txt",
        "conversation_id": closed["conversation_id"],
    }
    before = service.home.store.log.size()
    tried = 0
    bodies: dict[str, dict[str, Any]] = {
        "answers": {"question": "When does the alarm sound?"},
        "search": {"query": "alarm"},
        "documents": {"uri": "b.txt", "text": "More."},
    }
    for method, path, _ in guarded(service):
        if not OWNED & set(re.findall(r"\{(\w+)", path)):
            continue
        for body in (bodies.get(path.rpartition("/")[2], {}), {"nonsense": 1}):
            for query in ("", "?version=1", "?limit=x"):
                place = filled_path(path, closed)
                there = service.send(method, place + query, key, json=body)
                not_there = service.send(method, filled_path(path, absent) + query, key, json=body)
                assert there.status_code == 404, (method, path, there.text)
                text = there.text
                for name, value in closed.items():
                    text = text.replace(value, absent[name])
                assert text == not_there.text
                assert there.status_code == not_there.status_code
                assert dict(there.headers) == dict(not_there.headers)
                tried += 1
    assert tried > 50
    assert service.home.store.log.size() == before, "nothing was opened, asked or deleted"
    documents = service.send("GET", "/v1/knowledge-bases/closed/documents", service.keys["root"])
    assert len(documents.json()["documents"]) == 1


def test_ids_of_one_knowledge_base_are_nothing_in_another(service: Service) -> None:
    document = service.ids["closed"]["document_id"]
    path = f"/v1/knowledge-bases/open/documents/{document}"
    for method in ("GET", "DELETE"):
        there = service.send(method, path, service.keys["all scopes"])
        not_there = service.send(method, path[: -len(document)] + "99", service.keys["all scopes"])
        assert there.status_code == not_there.status_code == 404
        assert there.text.replace(document, "99") == not_there.text


def test_listings_hold_what_is_granted_alone(service: Service) -> None:
    claim = {"claim": "A cat sleeps.", "evidence": ["A cat sleeps."]}
    assert service.send("POST", "/v1/check", service.keys["root"], json=claim).status_code == 200

    def bases(key: str) -> set[str]:
        listed = service.send("GET", "/v1/knowledge-bases", service.keys[key]).json()
        return {kb["name"] for kb in listed["knowledge_bases"]}

    def records(key: str, query: str = "") -> list[dict[str, Any]]:
        page = service.send("GET", f"/v1/audit?limit=500{query}", service.keys[key]).json()
        return page["records"]

    assert bases("ask") == {"open"}
    assert bases("root") == {"open", "closed"}
    assert {record["knowledge_base"] for record in records("root")} >= {"open", "closed", None}
    assert {record["knowledge_base"] for record in records("audit")} == {"open", "gone"}
    assert records("audit", "&knowledge_base=closed") == []
    assert records("audit", "&knowledge_base=closed") == records("audit", "&knowledge_base=none")
    first = service.send("GET", "/v1/audit?limit=1", service.keys["audit"]).json()
    assert len(first["records"]) == 1
    others = [record["id"] for record in records("root") if record["knowledge_base"] is None]
    assert others
    for record_id in others:
        response = service.send("GET", f"/v1/audit/{record_id}", service.keys["audit"])
        assert response.status_code == 404, "what is of no single one is for those who see all"
    opened = service.send("GET", f"/v1/audit/{others[-1]}", service.keys["root"])
    assert opened.status_code == 200


def test_only_who_sees_all_makes_knowledge_bases(service: Service) -> None:
    for name in ("open", "closed", "new"):
        response = service.send(
            "POST", "/v1/knowledge-bases", service.keys["admin"], json={"name": name}
        )
        assert (response.status_code, "all knowledge bases" in response.text) == (403, True)
    created = service.send(
        "POST", "/v1/knowledge-bases", service.keys["root"], json={"name": "made"}
    )
    assert created.status_code == 201
    assert service.send("GET", "/v1/knowledge-bases/made", service.keys["ask"]).status_code == 404
    deleted = service.send("DELETE", "/v1/knowledge-bases/made", service.keys["root"])
    assert deleted.status_code == 204


def test_only_who_sees_all_changes_how_all_of_the_log_is_kept(service: Service) -> None:
    before = service.home.store.log.size()
    for method, path, body in (
        ("POST", "/v1/audit/checkpoint", {}),
        ("GET", "/v1/audit/retention", None),
        ("PUT", "/v1/audit/retention", {"retention_days": 200}),
        ("POST", "/v1/audit/retention/prune", {}),
        ("PUT", "/v1/audit/legal-hold", {"on": True, "reason": "none"}),
        ("POST", "/v1/audit/erasures", {"subject": "local"}),
    ):
        refused = service.send(method, path, service.keys["admin"], json=body)
        assert (refused.status_code, "all knowledge bases" in refused.text) == (403, True), path
    assert service.home.store.log.size() == before


def test_what_is_not_granted_is_not_erased_nor_told_of(service: Service) -> None:
    key, path = service.keys["all scopes"], "/v1/audit/erasures"
    record = service.ids["closed"]["record_id"]
    document = {"knowledge_base": "closed", "uri": "a.txt"}
    before = service.home.store.log.size()
    for there, absent, name, other in (
        ({"record": record}, {"record": "0" * 36}, record, "0" * 36),
        (
            {"document": document},
            {"document": {**document, "knowledge_base": "absent"}},
            "closed",
            "absent",
        ),
    ):
        refused = service.send("POST", path, key, json=there)
        unknown = service.send("POST", path, key, json=absent)
        assert refused.status_code == unknown.status_code == 404
        assert refused.text.replace(name, other) == unknown.text
    assert service.home.store.log.size() == before


def test_the_log_says_who_erased_and_who_took_evidence(service: Service) -> None:
    key, text = service.home.access.create(
        "auditor",
        scopes=("ask", "audit", "admin"),
        knowledge_bases=("open",),
        expires_at=None,
    )
    label, log = f"auditor (key {key.id})", service.home.store.log
    asked = {"question": "When does the alarm sound?"}
    answer = service.send("POST", "/v1/knowledge-bases/open/answers", text, json=asked).json()
    record = f"/v1/audit/{answer['answer_id']}"
    impact = "/v1/knowledge-bases/open/impact?uri=a.txt"
    for method, path, how in (
        ("GET", f"{record}/bundle", "bundle"),
        ("GET", f"{record}/citations", "resolve"),
        ("POST", f"{record}/replay", "replay"),
        ("GET", impact, "impact"),
    ):
        assert service.send(method, path, text).status_code == 200, path
        newest = next(log.all(limit=1, kinds=("read",)))
        assert (newest.status, log.payload(newest)["actor"]) == (how, label)
    erasing = {"record": answer["answer_id"]}
    assert service.send("POST", "/v1/audit/erasures", text, json=erasing).status_code == 200
    assert log.payload(next(log.all(limit=1, kinds=("erasure",))))["actor"] == label


def test_the_log_says_who_asked(service: Service) -> None:
    key, text = service.home.access.create(
        "ward app", scopes=("ask", "audit"), knowledge_bases=("open",), expires_at=None
    )
    label = f"ward app (key {key.id})"
    asked = service.send(
        "POST", "/v1/knowledge-bases/open/answers", text, json={"question": "Which alarm?"}
    )
    record_id = asked.json()["answer_id"]
    record = service.send("GET", f"/v1/audit/{record_id}", text).json()
    assert record["receipt"]["asker"] == label
    log = service.home.store.log
    newest = next(log.all(limit=1))
    assert (newest.kind, log.payload(newest)["actor"]) == ("read", label)
    refused = service.send("POST", "/v1/knowledge-bases/open/answers", text, json={"question": ""})
    assert refused.status_code == 422
    assert log.payload(next(log.all(limit=1)))["actor"] == label
    claim = {"claim": "A cat sleeps.", "evidence": ["A cat sleeps."]}
    service.send("POST", "/v1/check", text, json=claim)
    assert log.payload(next(log.all(limit=1)))["actor"] == label
    assert len(log.by_subject(label)) == 4


def test_a_revocation_counts_from_the_next_request(service: Service) -> None:
    text = service.make("ask")
    assert service.send("GET", "/v1/knowledge-bases", text).status_code == 200
    service.home.access.revoke(key_id(text))  # In what is another process to the service.
    assert service.send("GET", "/v1/knowledge-bases", text).status_code == 401


def test_so_does_expiry(service: Service) -> None:
    text = service.make("ask")
    assert service.send("GET", "/v1/knowledge-bases", text).status_code == 200
    expire(service.home, key_id(text))
    assert service.send("GET", "/v1/knowledge-bases", text).status_code == 401


def test_a_stream_ends_with_its_key(service: Service) -> None:
    text = service.make("ingest")
    job_id = str(uuid.uuid4())
    jobs = service.home.store.jobs
    progress = {"total": 1, "done": 0, "added": 0, "updated": 0, "unchanged": 0, "failed": []}
    jobs.create(service.home.open("open").row.id, job_id, progress)
    jobs.update(job_id, state="running", progress=progress)
    timer = threading.Timer(0.5, service.home.access.revoke, [key_id(text)])
    late = threading.Timer(20, jobs.update, [job_id], {"state": "failed", "progress": progress})
    timer.start()
    late.start()  # So that a stream that goes on fails the test rather than hangs.
    try:
        followed = service.send("GET", f"/v1/jobs/{job_id}/events", text)
    finally:
        timer.join()
        late.cancel()
        jobs.update(job_id, state="failed", progress=progress, error="a test's")
    assert followed.text.count("event: progress") == 1
    assert "event: failed" not in followed.text


def test_digests_are_compared_in_constant_time(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[str, str]] = []
    real = access.hmac.compare_digest

    def noted(expected: str, given: str) -> bool:
        compared.append((expected, given))
        return real(expected, given)

    good = service.keys["ask"]
    stored = service.home.store.api_keys.find(key_id(good))[1]
    monkeypatch.setattr(access.hmac, "compare_digest", noted)
    assert service.home.access.asker_of_key(good) is not None
    assert service.home.access.asker_of_key(good[:-1] + "~") is None
    assert service.home.access.asker_of_key(f"rag_{'0' * 12}_{'A' * 43}") is None
    assert len(compared) == 3, "also where there is no such key, so that it takes as long"
    assert compared[0] == (stored, stored)
    assert {len(expected) for expected, _ in compared} == {64}


@pytest.mark.parametrize(
    "place", ["/v1/knowledge-bases?key={}", "/v1/audit/{}", "/healthz?{}", "/{}"]
)
@pytest.mark.parametrize("encode", [str, lambda text: text.replace("_", "%5F")])
def test_keys_in_urls_are_refused(
    service: Service, place: str, encode: Callable[[str], str]
) -> None:
    text = service.keys["ask"]
    for key in (None, text):
        response = service.send("GET", place.format(encode(text)), key)
        assert response.status_code == 400
        assert "Authorization: Bearer" in response.json()["detail"]


def test_logs_hold_no_key(
    service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    text = service.make("ask", "audit")
    secret = text[len("rag_") + 13 :]  # It may hold a "_" itself.
    service.send("GET", "/v1/knowledge-bases", text)
    service.send("GET", "/v1/knowledge-bases", text[:-1] + "~")
    service.send("GET", f"/v1/knowledge-bases?key={text}")
    service.send("POST", "/v1/session", json={"key": text})
    service.send("POST", "/v1/session", json={"key": text, "x": text})
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise StorageError("the database is locked")

        patch.setattr("knowledge_bases.store.api_keys.ApiKeys.find", fail)
        failed = service.send("GET", "/v1/knowledge-bases", text)
        assert failed.status_code == 507
        patch.setattr("knowledge_bases.store.api_keys.ApiKeys.find", lambda *_: 1 / 0)
        assert service.send("GET", "/v1/knowledge-bases", text).status_code == 500
    assert "StorageError at" in caplog.text
    assert "ZeroDivisionError at" in caplog.text
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith("httpx")]
    assert len(ours) >= 2
    assert secret[:-1] not in "\n".join(ours)
    for path in service.home.settings.home.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_use_is_noted_to_the_hour_and_is_no_reason_to_refuse(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = service.make("ask")
    keys = service.home.store.api_keys
    assert keys.get(key_id(text)).last_used_at is None

    def fail(*_: object) -> None:
        raise StorageError("the database is read-only")

    with monkeypatch.context() as patch:
        patch.setattr("knowledge_bases.store.api_keys.ApiKeys.note_use", fail)
        assert service.send("GET", "/v1/knowledge-bases", text).status_code == 200
    assert service.send("GET", "/v1/knowledge-bases", text).status_code == 200
    used = keys.get(key_id(text)).last_used_at
    assert used is not None
    assert (used.minute, used.second) == (0, 0)


def test_who_probes_needs_no_key(service: Service) -> None:
    assert service.send("GET", "/healthz").json() == {"status": "ok"}
    assert service.send("GET", "/readyz").status_code == 401
    told = service.send("GET", "/readyz", service.keys["review"])
    assert told.status_code == 503
    assert "calibration" in told.json()["detail"], "the tests' embedder is not the settings' one"


def test_other_hosts_are_served_and_headers_protect(service: Service) -> None:
    headers = {"host": "rag.example", "origin": "https://elsewhere.example"}
    response = service.send("GET", "/v1/knowledge-bases", service.keys["ask"], headers=headers)
    assert response.status_code == 200
    claim = {"claim": "A cat.", "evidence": ["A cat."]}
    posted = service.send("POST", "/v1/check", service.keys["ask"], headers=headers, json=claim)
    assert posted.status_code == 200, "no page can make a browser send a bearer's key"
    for one in (response, service.send("GET", "/v1/knowledge-bases")):
        assert one.headers["x-content-type-options"] == "nosniff"
        assert one.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in one.headers


def test_bodies_are_bounded(service: Service) -> None:
    large = {"claim": "a" * 2**20, "evidence": ["a"]}
    assert service.send("POST", "/v1/check", service.keys["ask"], json=large).status_code == 413
    pieces = (b" " * 2**16 for _ in range(20))
    headers = {"content-type": "application/json"}
    sent = service.send(
        "POST", "/v1/check", service.keys["ask"], headers=headers, content=pieces, json=None
    )
    assert sent.status_code == 413


def test_openapi_tells_what_each_route_needs(service: Service) -> None:
    document = service.send("GET", "/openapi.json", service.keys["ask"]).json()
    assert set(document["components"]["securitySchemes"]) == {"key", "session"}
    for method, path, needs in routes(service.client.app):
        if path not in document["paths"]:
            continue
        operation = document["paths"][path][method.lower()]
        told = operation.get("security", [])
        if needs is None:
            assert told == []
            continue
        assert "401" in operation["responses"]
        wanted = [[scope] for scope in needs.scopes] or [[]]
        assert told == [{kind: one} for kind in ("key", "session") for one in wanted]


def test_without_keys_there_is_nothing_to_serve_others(settings: Settings, embedder: Any) -> None:
    with pytest.raises(UsageError, match="rag key create") as refused:
        create_app(settings, keys=True, embedder=embedder)
    assert "\n" not in str(refused.value)
    with Home(settings, embedder=embedder) as home:
        made, _ = home.access.create(
            "a", scopes=("ask",), knowledge_bases=(EVERY,), expires_at=None
        )
        create_app(settings, keys=True, embedder=embedder).state.jobs.stop()
        home.access.revoke(made.id)
    with pytest.raises(UsageError, match="none is active"):
        create_app(settings, keys=True, embedder=embedder)


def test_local_mode_needs_and_knows_no_keys(client: TestClient) -> None:
    assert client.get("/v1/knowledge-bases").status_code == 200
    wrong = {"authorization": "Bearer nonsense"}
    assert client.get("/v1/knowledge-bases", headers=wrong).status_code == 200
    document = client.get("/openapi.json").json()
    assert "securitySchemes" not in document["components"]
    assert "/v1/session" not in document["paths"]


def test_models_are_what_is_granted(service: Service) -> None:
    key = service.keys["ask"]
    listed = service.send("GET", "/v1/models", key).json()
    assert [model["id"] for model in listed["data"]] == ["open"]
    said = [{"role": "user", "content": "When does the alarm sound?"}]
    texts = []
    for name in ("closed", "absent"):
        body = {"model": name, "messages": said}
        refused = service.send("POST", "/v1/chat/completions", key, json=body)
        assert refused.status_code == 404
        texts.append(refused.text.replace(name, "…").replace(refused.json()["request_id"], ""))
    assert texts[0] == texts[1], "nothing tells whether it is there"
    body = {"model": "open", "messages": said}
    assert service.send("POST", "/v1/chat/completions", key, json=body).status_code == 200


def test_a_conversation_is_for_the_key_that_began_it(service: Service) -> None:
    mine, theirs = service.make("ask"), service.make("ask")
    talks = "/v1/knowledge-bases/open/conversations"
    talk = service.send("POST", talks, mine).json()["id"]
    question = {"question": "When does the alarm sound?"}
    asked = service.send("POST", f"{talks}/{talk}/answers", mine, json=question)
    assert asked.status_code == 200
    assert service.send("GET", f"{talks}/{talk}", mine).json()["turns"]
    for path in (f"{talks}/{talk}", f"{talks}/{uuid.uuid4()}"):
        assert service.send("GET", path, theirs).status_code == 404
        assert service.send("POST", f"{path}/answers", theirs, json=question).status_code == 404
    named = {"turns": [{"question": "a", "answer_id": asked.json()["answer_id"]}]}
    path = "/v1/knowledge-bases/open/answers"
    taken = service.send("POST", path, theirs, json={**question, "conversation": named})
    assert taken.status_code == 404, "nobody learns from another's answers"
    own = service.send("POST", path, mine, json={**question, "conversation": named})
    assert own.status_code == 200
