"""Requests that are sent twice and done once, responses that are asked about again, pages."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase
from knowledge_bases.store.api_keys import EVERY
from knowledge_bases.store.erasing import Erasing
from knowledge_bases.store.idempotency import KEPT
from knowledge_bases.store.shared import now
from knowledge_bases.tables import IdempotencyRow
from rag.errors import ModelError
from rag.settings import Settings

DOCS = "/v1/knowledge-bases/docs"
QUESTION = {"question": "At how many degrees does the vaccine fridge alarm sound?"}
TEXT = b"The vaccine fridge alarm sounds at 8 degrees."
Send = Callable[..., Any]


@pytest.fixture
def small(tmp_path: Path, word_calibration: Path) -> Settings:
    return Settings(
        home=tmp_path,
        calibration=word_calibration,
        generator="extractive",
        verifier="guards",
        reranker="none",
        answer_threshold=0.0,
        concurrent_answers=4,
    )


@pytest.fixture
def docs(
    small: Settings,
    word_embedder: Any,
    serve: Callable[..., TestClient],
    end_of_job: Callable[..., Any],
) -> Iterator[TestClient]:
    with serve(small, word_embedder()) as client:
        client.post("/v1/knowledge-bases", json={"name": "docs"})
        files = [("files", ("a.txt", TEXT)), ("files", ("b.txt", b"Bandages are in ward 7."))]
        end_of_job(client, client.post(f"{DOCS}/documents", files=files))
        yield client


def post(client: TestClient, path: str, key: str, **more: Any) -> Any:
    headers = {"idempotency-key": key, **more.pop("headers", {})}
    return client.post(path, headers=headers, **more)


def answers(client: TestClient) -> int:
    page = client.get("/v1/audit?limit=500").json()["records"]
    return sum(record["kind"] == "answer" for record in page)


def test_a_question_is_answered_once(docs: TestClient) -> None:
    first = post(docs, f"{DOCS}/answers", "a", json=QUESTION)
    again = post(docs, f"{DOCS}/answers", "a", json=QUESTION)
    assert first.json()["status"] == "answered"
    assert first.json()["citations"]
    assert again.json() == first.json(), "word for word, place in the log and timings included"
    assert answers(docs) == 1
    told = docs.get("/v1/audit", params={"kind": "read"}).json()["records"]
    assert len(told) == 1, "that it was told again is in the log"
    streamed = post(
        docs, f"{DOCS}/answers", "a", json=QUESTION, headers={"accept": "text/event-stream"}
    )
    assert first.json()["answer_id"] in streamed.text
    other = post(docs, f"{DOCS}/answers", "b", json=QUESTION)
    assert other.json()["answer_id"] != first.json()["answer_id"]
    assert answers(docs) == 2


def test_an_abstention_is_told_again_too(docs: TestClient) -> None:
    question = {"question": "Zanzibar?", "filters": {"tags": ["none"]}}
    first, again = (post(docs, f"{DOCS}/answers", "a", json=question).json() for _ in range(2))
    assert first["status"] == "abstained"
    assert again == first


def test_a_key_is_for_one_request(docs: TestClient) -> None:
    assert post(docs, f"{DOCS}/answers", "a", json=QUESTION).status_code == 200
    docs.post("/v1/knowledge-bases", json={"name": "other"})
    for path, body in (
        (f"{DOCS}/answers", {"question": "Something else?"}),
        (f"{DOCS}/answers", {**QUESTION, "filters": {"tags": ["a"]}}),
        ("/v1/knowledge-bases/other/answers", QUESTION),
        ("/v1/knowledge-bases", {"name": "new"}),
    ):
        refused = post(docs, path, "a", json=body)
        assert refused.status_code == 422, path
        assert "another request" in refused.json()["detail"]
    assert answers(docs) == 1
    assert docs.get("/v1/knowledge-bases/new").status_code == 404


@pytest.mark.parametrize("key", ["", "a b", "a" * 201, "\x7f"])
def test_a_key_is_one_word(docs: TestClient, key: str) -> None:
    refused = post(docs, f"{DOCS}/answers", key, json=QUESTION)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["parameter"] == "Idempotency-Key"
    assert answers(docs) == 0


def test_the_second_does_not_wait_for_the_first(
    docs: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go, real = threading.Event(), threading.Event(), KnowledgeBase.ask

    def slow(*given: Any, **more: Any) -> Any:
        begun.set()
        assert go.wait(30)
        return real(*given, **more)

    monkeypatch.setattr(KnowledgeBase, "ask", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, docs, f"{DOCS}/answers", "a", json=QUESTION)
        assert begun.wait(30)
        try:
            assert post(docs, f"{DOCS}/answers", "a", json=QUESTION).status_code == 409
        finally:
            go.set()
        assert first.result().status_code == 200
    assert post(docs, f"{DOCS}/answers", "a", json=QUESTION).json() == first.result().json()


def test_what_failed_may_be_sent_again(docs: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:

        def fail(*_: Any, **__: Any) -> None:
            raise ModelError("the model is not there")

        patch.setattr(KnowledgeBase, "ask", fail)
        assert post(docs, f"{DOCS}/answers", "a", json=QUESTION).status_code == 503
    assert post(docs, f"{DOCS}/answers", "a", json=QUESTION).status_code == 200


def test_nothing_outlives_its_erasure(docs: TestClient, small: Settings) -> None:
    first = post(docs, f"{DOCS}/answers", "a", json=QUESTION).json()
    home: Home = docs.app.state.home
    held = b"".join(path.read_bytes() for path in small.home.glob("rag.sqlite3*"))
    assert b"how many degrees" not in held, "only what the log seals"
    home.store.log.erase([home.store.log.get(first["answer_id"]).sequence])
    gone = post(docs, f"{DOCS}/answers", "a", json=QUESTION)
    assert gone.status_code == 410
    assert "degrees" not in gone.text


def test_an_answer_goes_with_the_text_it_rests_on(docs: TestClient) -> None:
    post(docs, f"{DOCS}/answers", "a", json=QUESTION)
    home: Home = docs.app.state.home
    base = home.open("docs")
    traces = home.store.documents.get(base.row.id, "a.txt")
    Erasing(home._database).forget_document(base.row.id, int(traces.document.id))
    assert post(docs, f"{DOCS}/answers", "a", json=QUESTION).status_code == 410


def test_a_day_later_it_is_a_new_request(docs: TestClient) -> None:
    first = post(docs, f"{DOCS}/answers", "a", json=QUESTION).json()
    home: Home = docs.app.state.home
    with home._database.write() as session:
        past = now() - KEPT - datetime.timedelta(seconds=1)
        session.execute(update(IdempotencyRow).values(created_at=past))
    second = post(docs, f"{DOCS}/answers", "a", json=QUESTION).json()
    assert second["answer_id"] != first["answer_id"]
    with home._database.read() as session:
        assert session.query(IdempotencyRow).count() == 1


def test_keys_are_their_senders_own(
    small: Settings, word_embedder: Any, serve: Callable[..., TestClient]
) -> None:
    with Home(small, embedder=word_embedder()) as home:
        home.create("docs")
        keys = [
            home.access.create(name, scopes=("ask",), knowledge_bases=(EVERY,), expires_at=None)[1]
            for name in ("one", "other")
        ]
        home.store.idempotency.begin("left by a server that died")
    with serve(small, word_embedder(), keys=True) as client:
        ids = {
            post(
                client,
                f"{DOCS}/answers",
                "a",
                json=QUESTION,
                headers={"authorization": f"Bearer {key}"},
            ).json()["answer_id"]
            for key in (*keys, *keys)
        }
        assert len(ids) == 2
        store = client.app.state.home.store
        assert store.idempotency.begin("left by a server that died") is None


def test_an_upload_is_taken_in_once(docs: TestClient, end_of_job: Callable[..., Any]) -> None:
    def upload(text: bytes, tag: str = "x", key: str = "u") -> Any:
        files = [("files", ("c.txt", text)), ("files", ("d.txt", b"More."))]
        return post(docs, f"{DOCS}/documents", key, files=files, data={"tags": [tag]})

    first = upload(b"Some text.")
    end_of_job(docs, first)
    again = upload(b"Some text.")  # Its boundary is another one.
    assert again.status_code == 202
    assert again.headers["location"] == first.headers["location"]
    assert again.json()["state"] == "done", "the same job, as it is now"
    assert upload(b"Other text.").status_code == 422
    assert upload(b"Some text.", tag="y").status_code == 422
    assert list((docs.app.state.home.settings.home / "spool").iterdir()) == []
    new = {"uri": "e.txt", "text": "E."}
    one, two = (post(docs, f"{DOCS}/documents", "json", json=new) for _ in range(2))
    assert one.json()["id"] == two.json()["id"]
    refused = post(docs, f"{DOCS}/documents", "bad", json={})
    assert refused.status_code == 422
    assert post(docs, f"{DOCS}/documents", "bad", json=new).status_code == 202


def test_a_knowledge_base_is_made_once(docs: TestClient) -> None:
    first, again = (post(docs, "/v1/knowledge-bases", "k", json={"name": "new"}) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert docs.post("/v1/knowledge-bases", json={"name": "new"}).status_code == 409
    docs.delete("/v1/knowledge-bases/new")
    docs.post("/v1/knowledge-bases", json={"name": "new"})
    assert post(docs, "/v1/knowledge-bases", "k", json={"name": "new"}).status_code == 410


def test_what_has_not_changed_is_not_sent_again(
    docs: TestClient, end_of_job: Callable[..., Any]
) -> None:
    listed = docs.get(f"{DOCS}/documents")
    document = listed.json()["documents"][0]["document"]["id"]
    for path in (DOCS, f"{DOCS}/documents", f"{DOCS}/documents/{document}?version=1"):
        first = docs.get(path)
        assert first.headers["cache-control"] == "private, no-cache"
        tag = first.headers["etag"]
        for sent in (tag, f"W/{tag}", f'"x", {tag}', "*"):
            same = docs.get(path, headers={"if-none-match": sent})
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
        assert docs.get(path, headers={"if-none-match": '"x"'}).json() == first.json()
    tags = [docs.get(path).headers["etag"] for path in (DOCS, f"{DOCS}/documents")]
    changed = {"uri": "a.txt", "text": "Now at 9 degrees."}
    end_of_job(docs, docs.post(f"{DOCS}/documents", json=changed))
    for path, tag in zip((DOCS, f"{DOCS}/documents"), tags, strict=True):
        assert docs.get(path, headers={"if-none-match": tag}).status_code == 200
    missing = docs.get(f"{DOCS}/documents/999", headers={"if-none-match": "*"})
    assert missing.status_code == 404


def test_pages_name_the_next(docs: TestClient, end_of_job: Callable[..., Any]) -> None:
    odd = {"uri": "é & ?.txt", "text": "Odd."}
    end_of_job(docs, docs.post(f"{DOCS}/documents", json=odd))
    for start, kind, key in (
        (f"{DOCS}/documents?limit=1", "documents", lambda one: one["document"]["uri"]),
        ("/v1/audit?limit=1&knowledge_base=docs", "records", lambda one: one["sequence"]),
    ):
        for number in range(2):
            docs.post(f"{DOCS}/answers", json={"question": f"Ward {number}?"})
        whole = docs.get(start.replace("limit=1", "limit=100")).json()[kind]
        found, url = [], start
        while url:
            page = docs.get(url)
            found += page.json()[kind]
            assert ("link" in page.headers) == (page.json()["next"] is not None)
            url = page.links["next"]["url"] if page.links else ""
        assert [key(one) for one in found] == [key(one) for one in whole]
        assert len(found) > 1
