"""How much is served: request ids, rate per key, answers at a time, slow and large bodies."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi.testclient import TestClient

from api.limits import RateLimit, _turn, places
from api.protection import body_bytes
from api.request_ids import WithRequestId
from api.waiting_line import Line
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase
from knowledge_bases.store.api_keys import EVERY
from rag.settings import Settings

ANSWERS = "/v1/knowledge-bases/docs/answers"
KEY = f"rag_{'0' * 12}_{'A' * 43}"


@pytest.fixture
def small(tmp_path: Path, word_calibration: Path) -> Settings:
    return Settings(
        home=tmp_path,
        calibration=word_calibration,
        generator="extractive",
        verifier="guards",
        reranker="none",
        concurrent_answers=1,
        waiting_answers=1,
        body_timeout_seconds=0.3,
        requests_per_minute=3,
    )


@pytest.fixture
def busy(
    small: Settings, word_embedder: Any, serve: Callable[..., TestClient]
) -> Iterator[TestClient]:
    with serve(small, word_embedder()) as client:
        client.post("/v1/knowledge-bases", json={"name": "docs"})
        yield client


@pytest.mark.parametrize("sent", ["a", "3f-1.B_2", "0" * 64])
def test_a_usable_request_id_is_kept(client: TestClient, sent: str) -> None:
    response = client.get("/v1/knowledge-bases/none", headers={"x-request-id": sent})
    assert response.headers["x-request-id"] == response.json()["request_id"] == sent


@pytest.mark.parametrize(
    "sent",
    [
        *("", "a b", "0" * 65, "<script>", '"', "-a", "a,b", "é".encode().decode("latin-1")),
        *("a\r\nX-Evil: 1", "a\nb", "a\0", KEY),
    ],
)
def test_any_other_is_replaced(client: TestClient, sent: str) -> None:
    messages = asked(client, "GET", "/healthz", headers=[(b"x-request-id", sent.encode("latin-1"))])
    headers = dict(messages[0]["headers"])
    assert len(headers[b"x-request-id"]) == 36
    assert b"x-evil" not in headers


def test_two_are_none_and_no_two_requests_share_one(client: TestClient) -> None:
    two = [(b"x-request-id", b"a"), (b"x-request-id", b"b")]
    given = {
        dict(asked(client, "GET", "/healthz", headers=two)[0]["headers"])[b"x-request-id"]
        for _ in range(3)
    }
    assert len(given) == 3


def test_the_log_names_the_request(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(WithRequestId())
    monkeypatch.setattr(Home, "open", lambda *_: 1 / 0)
    failed = client.get("/v1/knowledge-bases/docs", headers={"x-request-id": "mine"})
    assert failed.status_code == 500
    told = [record.request_id for record in caplog.records if "ZeroDivision" in record.getMessage()]
    assert told == ["mine"]
    assert caplog.records[0].levelno >= logging.INFO


def test_a_key_has_so_many_requests_a_minute(
    small: Settings, word_embedder: Any, serve: Callable[..., TestClient]
) -> None:
    with Home(small, embedder=word_embedder()) as home:
        one, other = (
            home.access.create(
                name, scopes=("ask", "admin"), knowledge_bases=(EVERY,), expires_at=None
            )[1]
            for name in ("one", "other")
        )
    with serve(small, word_embedder(), keys=True) as client:

        def get(key: str) -> Any:
            headers = {"authorization": f"Bearer {key}"}
            return client.get("/v1/knowledge-bases", headers=headers)

        assert [get(one).status_code for _ in range(3)] == [200] * 3
        refused = get(one)
        assert refused.status_code == 429
        assert 15 <= int(refused.headers["retry-after"]) <= 20
        assert "3 requests a minute" in refused.json()["detail"]
        assert get(other).status_code == 200
        assert [get(one[:-4] + "AAAA").status_code for _ in range(5)] == [401] * 5
        assert client.get("/healthz").status_code == 200


def test_a_bucket_fills_again() -> None:
    now = 0.0
    limit = RateLimit(None, per_minute=60, clock=lambda: now)  # type: ignore[arg-type]
    assert [limit._take("a") for _ in range(60)] == [0.0] * 60
    assert limit._take("a") == pytest.approx(1.0)
    now = 0.75
    assert limit._take("a") == pytest.approx(0.25)
    now = 1.0
    assert limit._take("a") == 0.0
    now = 1000.0
    assert sum(limit._take("a") == 0 for _ in range(100)) == 60, "it holds a minute's worth"
    for number in range(10_001):
        limit._take(str(number))
    now = 2000.0
    limit._take("b")
    assert len(limit._buckets) == 1, "of keys long gone nothing is kept"


def test_the_rest_is_refused_at_once_and_unread(
    busy: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, go = busy.app.state.answering, threading.Event()
    real = KnowledgeBase.ask

    def slow(*given: Any, **more: Any) -> Any:
        assert go.wait(30)
        return real(*given, **more)

    monkeypatch.setattr(KnowledgeBase, "ask", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(busy.post, ANSWERS, json={"question": "When?"})
        until(lambda: line.running == 1)
        second = pool.submit(busy.post, ANSWERS, json={"question": "When?"})
        until(lambda: line.waiting == 1)
        try:
            started = time.perf_counter()
            for path in (ANSWERS, "/v1/check"):
                refused = asked(busy, "POST", path, receive=unread)
                assert refused[0]["status"] == 503
                assert int(dict(refused[0]["headers"])[b"retry-after"]) >= 1
            assert time.perf_counter() - started < 2, "nobody waits for the one at work"
            assert busy.get("/v1/knowledge-bases/docs").status_code == 200, "only answers wait"
        finally:
            go.set()
        assert first.result().status_code == second.result().status_code == 200
    assert (line.running, line.waiting) == (0, 0)
    assert busy.post(ANSWERS, json={"question": "When?"}).status_code == 200


def test_who_leaves_while_waiting_keeps_no_place() -> None:
    async def run() -> None:
        line = Line(1, 1)
        await line.enter()

        async def gone() -> Any:
            await anyio.sleep(0.01)
            return {"type": "http.disconnect"}

        assert not await _turn(line, gone)
        assert (line.running, line.waiting) == (1, 0)
        line.leave(0.5)
        assert (line.running, line.waiting) == (0, 0)
        assert await _turn(line, anyio.sleep_forever)  # type: ignore[arg-type]
        assert line.running == 1

    anyio.run(run)


def test_they_come_in_their_order() -> None:
    async def run() -> None:
        line, order = Line(2, 5), []

        async def work(number: int) -> None:
            await line.enter()
            order.append(number)
            await anyio.sleep(0.01)
            assert line.running <= 2
            line.leave(0.01)

        async with anyio.create_task_group() as group:
            for number in range(7):
                group.start_soon(work, number)
        assert order == list(range(7))

    anyio.run(run)


def test_a_slow_body_is_given_up_and_keeps_nobody_out(busy: TestClient) -> None:
    for path in (ANSWERS, "/v1/knowledge-bases/docs/documents", "/v1/knowledge-bases"):
        pieces = [{"type": "http.request", "body": b"{", "more_body": True}]

        async def slow(pieces: list[Any] = pieces) -> Any:
            if pieces:
                return pieces.pop()
            return await anyio.sleep_forever()

        messages = asked(busy, "POST", path, receive=slow)
        assert messages[0]["status"] == 408, path
        assert dict(messages[0]["headers"])[b"connection"] == b"close"
        assert busy.app.state.answering.running == 0


def test_a_body_that_arrives_bit_by_bit_is_given_up_too(busy: TestClient) -> None:
    sent = 0

    async def trickle() -> Any:
        nonlocal sent
        sent += 1
        await anyio.sleep(0.05)
        return {"type": "http.request", "body": b" ", "more_body": True}

    assert asked(busy, "POST", "/v1/check", receive=trickle)[0]["status"] == 408
    assert 1 < sent < 20


def test_a_question_as_long_as_the_settings_allow_fits_into_a_body(
    client: TestClient, wards: str
) -> None:
    most = Settings().max_question_chars
    for length, status in ((most, 200), (most + 1, 422), (2**20, 413)):
        response = client.post(f"{wards}/search", json={"query": "a" * length})
        assert response.status_code == status
    for chars in (most, 10**6):
        assert body_bytes(chars) > 12 * chars


def test_places_go_by_the_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for cores, expected in ((1, (1, 1)), (2, (1, 1)), (8, (4, 4))):
        monkeypatch.setattr("api.limits.cores", lambda cores=cores: cores)
        assert places(Settings(home=tmp_path)) == expected
    assert places(Settings(home=tmp_path, concurrent_answers=3, waiting_answers=0)) == (3, 0)


def test_limits_are_documented(busy: TestClient) -> None:
    paths = busy.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            responses = operation["responses"]
            assert ("408" in responses) == ("requestBody" in operation), (method, path)
            assert all("X-Request-Id" in one["headers"] for one in responses.values()), path
            if path.endswith(("/answers", "/check")):
                assert "Retry-After" in responses["503"]["headers"]


def until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come about")


async def unread() -> Any:
    raise AssertionError("the body was read")


def asked(
    client: TestClient,
    method: str,
    path: str,
    *,
    headers: list[tuple[bytes, bytes]] = [],  # noqa: B006
    receive: Callable[[], Any] | None = None,
) -> list[dict[str, Any]]:
    """What the application sends in answer to a request, byte by byte as a server gives it."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def nothing() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "scheme": "http",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), *headers],
    }
    assert client.portal is not None
    client.portal.call(client.app, scope, receive or nothing, send)
    return sent
