"""Answers as they are made: what is told when, what is withdrawn, what ends the work."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.following import Telling, Waiting
from knowledge_bases.store.log import Log
from rag.errors import Stopped, StorageError
from rag.generate.copying import CopyGenerator
from rag.generate.following import Following
from rag.pipeline import Pipeline
from rag.types import Draft, Pointer, Segment, Token

QUESTION = "When must the stock be moved after an alarm?"
STREAM = {"accept": "text/event-stream"}

Events = list[tuple[str, dict[str, Any]]]


def sse(text: str) -> Events:
    blocks = [dict(line.split(": ", 1) for line in b.split("\n")) for b in text.split("\n\n") if b]
    return [(block["event"], json.loads(block["data"])) for block in blocks]


def asked(client: TestClient, kb: str, **body: Any) -> Events:
    response = client.post(f"{kb}/answers", json={"question": QUESTION, **body}, headers=STREAM)
    assert response.status_code == 200, response.text
    return sse(response.text)


def newest(client: TestClient) -> dict[str, Any]:
    record: dict[str, Any] = client.get("/v1/audit", params={"limit": 1}).json()["records"][0]
    return record


def test_words_come_as_they_are_written(client: TestClient, wards: str) -> None:
    events = asked(client, wards)
    names = [name for name, _ in events]
    assert names.count("answer") == 1
    assert names[-1] == "answer"
    answer = events[-1][1]
    first = next(event for name, event in events if name == "segment")
    assert answer["text"].startswith(first["text"])
    assert len(first["text"]) < len(answer["text"]), "the first words come before the last"
    assert first["citation"] is None, "what they were copied from is not checked yet"
    told = [event for name, event in events if name in ("segment", "citation", "verdict")]
    assert {event["provisional"] for event in told} == {True}
    assert [e["citation"] for name, e in events if name == "citation"] == answer["citations"]
    claims = [e["claim"]["text"] for name, e in events if name == "verdict"]
    assert claims == [claim["text"] for claim in answer["claims"]]
    order = [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
    assert order == ["stage", "segment", "citation", "verdict", "answer"]


def test_a_stream_says_what_a_plain_answer_says(client: TestClient, wards: str) -> None:
    streamed = asked(client, wards)[-1][1]
    plain = client.post(f"{wards}/answers", json={"question": QUESTION}).json()
    for name in ("answer_id", "receipt", "timings_ms"):
        assert streamed.pop(name) != plain.pop(name)
    assert streamed == plain


def test_verified_only_tells_nothing_before_the_record(
    client: TestClient, wards: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    append = Log.append

    def noted(log: Log, *args: Any) -> Any:
        sent.append("record")
        return append(log, *args)

    def no_segment(*_: object) -> None:
        raise AssertionError("told before it was verified")

    monkeypatch.setattr(Log, "append", noted)
    monkeypatch.setattr(Telling, "wrote", no_segment)
    events = asked(client, wards, verified_only=True)
    assert sent == ["record"]
    names = [name for name, _ in events]
    assert names[0] == "segment"
    assert names[-1] == "answer"
    told = [event for name, event in events if name != "answer"]
    assert {event["provisional"] for event in told} == {False}
    segments = [event["text"] for name, event in events if name == "segment"]
    assert "".join(segments) == events[-1][1]["text"]


def test_what_is_not_served_is_withdrawn(client: TestClient, wards: str) -> None:
    question = "Who won the football championship of 1954?"
    events = asked(client, wards, question=question)
    names = [name for name, _ in events]
    assert names[-1] == "abstained"
    assert events[-1][1]["segments"] == []
    standing: dict[int, int] = {}
    for name, event in events:
        if name == "segment":
            standing[event["draft"]] = max(standing.get(event["draft"], 0), event["index"] + 1)
        elif name == "withdrawn":
            assert standing.pop(event["draft"]) == event["segments"]
    assert not standing, "nothing that was told stands"
    assert newest(client)["status"] == "abstained"
    only = asked(client, wards, question=question, verified_only=True)
    assert [name for name, _ in only] == ["abstained"]


def test_what_the_log_refuses_is_withdrawn_and_an_error(
    client: TestClient, wards: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full; free space")

    monkeypatch.setattr(Log, "append", full)
    events = asked(client, wards)
    *_, (before, withdrawn), (last, problem) = events
    assert (before, last) == ("withdrawn", "error")
    assert withdrawn["segments"] >= 1
    assert (problem["status"], problem["type"][-12:]) == (507, "not-recorded")
    assert "answer" not in {name for name, _ in events}


def test_an_error_before_the_first_event_has_its_status(client: TestClient, wards: str) -> None:
    for url, status in ((f"{wards}/answers", 422), ("/v1/knowledge-bases/none/answers", 404)):
        refused = client.post(url, json={"question": " "}, headers=STREAM)
        assert refused.status_code == status
        assert refused.headers["content-type"] == "application/problem+json"


def test_what_nobody_foresaw_is_told_without_what_it_says(
    client: TestClient, wards: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the fridge alarm sounds")

    monkeypatch.setattr(Telling, "judged", broken)
    events = asked(client, wards)
    assert [name for name, _ in events][-2:] == ["withdrawn", "error"]
    assert events[-1][1]["status"] == 500
    assert "fridge alarm" not in events[-1][1]["detail"]


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_the_time_a_request_gives_is_kept(client: TestClient, wards: str, accept: str) -> None:
    body = {"question": QUESTION, "timeout_seconds": 1e-6}
    refused = client.post(f"{wards}/answers", json=body, headers={"accept": accept})
    assert refused.status_code == 503
    assert refused.json()["type"].endswith(":stopped")
    assert (newest(client)["kind"], newest(client)["status"]) == ("refusal", "Stopped")


@pytest.mark.parametrize("seconds", [0, -1, 1e9, "5"])
def test_times_that_are_none(client: TestClient, wards: str, seconds: Any) -> None:
    body = {"question": QUESTION, "timeout_seconds": seconds}
    refused = client.post(f"{wards}/answers", json=body)
    assert refused.status_code == 422
    assert "timeout_seconds" in refused.json()["detail"]


@pytest.fixture
def slow_writing(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Each token waits until the client has left; the tokens chosen after that are counted."""
    seen: dict[str, Any] = {"left": threading.Event(), "tokens": 0, "ended": threading.Event()}
    tell, ask = Following._tell, Pipeline.ask

    def waiting(following: Following) -> None:
        if seen["tokens"] == 1:
            seen["left"].wait(20)
            time.sleep(0.5)
        seen["tokens"] += 1
        tell(following)

    def ended(*args: Any) -> Any:
        try:
            return ask(*args)
        finally:
            seen["ended"].set()

    monkeypatch.setattr(Following, "_tell", waiting)
    monkeypatch.setattr(Pipeline, "ask", ended)
    yield seen
    seen["left"].set()


def leave(
    app: Any, kb: str, body: dict[str, Any], headers: dict[str, str], seen: dict[str, Any]
) -> None:
    """Ask as a client that leaves as soon as the first token is written."""
    content = json.dumps(body).encode()
    given = [{"type": "http.request", "body": content, "more_body": False}]
    fields = {"host": "127.0.0.1", "content-type": "application/json", **headers}
    scope = {
        "type": "http",
        "method": "POST",
        "path": f"{kb}/answers",
        "raw_path": f"{kb}/answers".encode(),
        "query_string": b"",
        "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }

    async def receive() -> Any:
        if given:
            return given.pop()
        while not seen["tokens"]:
            await asyncio.sleep(0.01)
        seen["left"].set()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    asyncio.run(asyncio.wait_for(app(scope, receive, send), 60))


@pytest.mark.parametrize(
    ("headers", "more"),
    [(STREAM, {}), (STREAM, {"verified_only": True}), ({"accept": "application/json"}, {})],
)
def test_who_leaves_ends_the_work_and_the_log_says_so(
    client: TestClient,
    wards: str,
    slow_writing: dict[str, Any],
    headers: dict[str, str],
    more: dict[str, Any],
) -> None:
    leave(client.app, wards, {"question": QUESTION, **more}, headers, slow_writing)
    assert slow_writing["ended"].is_set(), "the response ends when its work has"
    assert slow_writing["tokens"] <= 2, "no token is chosen after that"
    record = newest(client)
    assert (record["kind"], record["status"]) == ("refusal", "Stopped")
    payload = client.get(f"/v1/audit/{record['id']}").json()["receipt"]
    assert payload["question"] == QUESTION


def test_whole_words_alone_are_heard(
    client: TestClient, wards: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    wrote = Telling.wrote

    def noted(telling: Telling, draft: Draft) -> None:
        heard.append(draft.text)
        wrote(telling, draft)

    monkeypatch.setattr(Telling, "wrote", noted)
    text = asked(client, wards)[-1][1]["text"]
    assert heard
    for part in heard:
        assert text.startswith(part)
        assert not text[len(part) :][:1].isalnum(), f"{part!r} ends inside a word"


def test_a_segment_that_changes_replaces_itself() -> None:
    sent: list[tuple[str, Any]] = []
    telling = Telling(60, lambda name, content: sent.append((name, content)))
    copied = Token("8", 0.9, 1.0, Pointer(0, 4, 5))
    telling.wrote(Draft((copied,), 0.0, "x"))
    telling.wrote(Draft((copied,), 0.0, "x"))
    telling.wrote(Draft((copied, Token(" degrees", 0.8, 0.0, None)), 0.0, "x"))
    telling.judged([Segment("8 degrees", "generated", 0.8, None)], [], [], [])
    telling.withheld("too unsure")
    telling.wrote(Draft((copied,), 0.0, "x"))
    seen = [(n, e.draft, getattr(e, "index", None), getattr(e, "text", None)) for n, e in sent]
    assert seen == [
        ("segment", 1, 0, "8"),
        ("segment", 1, 1, " degrees"),
        ("withdrawn", 1, None, None),
        ("segment", 2, 0, "8 degrees"),
        ("withdrawn", 2, None, None),
        ("segment", 3, 0, "8"),
    ]


def test_waiting_ends_with_its_time_or_its_client() -> None:
    waiting = Waiting(60)
    waiting.go_on()
    waiting.call_off()
    with pytest.raises(Stopped, match="left"):
        waiting.go_on()
    with pytest.raises(Stopped, match="RAG_ASK_TIMEOUT_SECONDS"):
        Waiting(-1).go_on()


def test_following_changes_nothing_of_an_answer(
    client: TestClient, wards: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    write: Callable[..., Any] = CopyGenerator._write

    def noted(generator: CopyGenerator, *args: Any) -> Any:
        told.append(True)
        return write(generator, *args)

    monkeypatch.setattr(CopyGenerator, "_write", noted)
    followed = asked(client, wards)[-1][1]
    home = client.app.state.home  # type: ignore[attr-defined]
    alone = home.open("wards").ask(QUESTION).answer
    assert len(told) == 2
    assert followed["text"] == alone.text
    assert followed["confidence"] == round(alone.confidence, 6)
