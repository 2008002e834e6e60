"""A real server, killed in the middle of an upload and of a stream, and started again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from eval.bench.served import Served
from indexer.embed import SentenceEmbedder
from knowledge_bases.home import Home
from rag.settings import Settings

pytestmark = pytest.mark.slow

QUESTION = "When must the stock be moved after an alarm?"
ANSWERS = "/v1/knowledge-bases/wards/answers"
STREAM = {"accept": "text/event-stream"}
SERVED_ALMOST_SURELY = {"RAG_ANSWER_THRESHOLD": "0.3"}
"""These tests are not about how sure an answer must be."""

Event = tuple[str, str, dict[str, Any]]
"""Name, id and content."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, minilm: SentenceEmbedder) -> Path:
    """A home with a document that answers the question."""
    folder = tmp_path_factory.mktemp("filled")
    (folder / "fridges.txt").write_text(
        "The vaccine fridge alarm sounds at 8 degrees. "
        "After an alarm the stock must be moved within 30 minutes."
    )
    with Home(Settings(home=folder / "home"), embedder=minilm) as home:
        home.create("wards").ingest([folder / "fridges.txt"])
    return folder / "home"


def events(response: httpx.Response) -> Iterator[Event]:
    """The events of a stream as they come, those too that arrived before it broke off."""
    with suppress(httpx.RemoteProtocolError, httpx.ReadError):
        fields: dict[str, str] = {}
        for line in response.iter_lines():
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                yield fields["event"], fields["id"], json.loads(fields["data"])
                fields = {}


def killed_streaming(server: Served, stage: str, body: dict[str, Any]) -> list[Event]:
    """All events that a client ever got of an answer whose server was killed at one of them."""
    seen: list[Event] = []
    with (
        httpx.Client(base_url=server.url, timeout=60) as client,
        client.stream("POST", ANSWERS, json=body, headers=STREAM) as response,
    ):
        assert response.status_code == 200
        for event in events(response):
            seen.append(event)  # Those that were on their way arrive after the kill.
            if server.process.poll() is None and event[0] == stage:
                server.kill()
    assert server.process.poll() is not None, "it was to be killed before the stream ended"
    return seen


@pytest.mark.parametrize(
    ("stage", "body"),
    [
        ("stage", {}),
        ("segment", {}),
        ("answer", {}),
        ("segment", {"verified_only": True}),
    ],
)
def test_an_answer_is_in_the_log_or_was_never_given(
    filled: Path, tmp_path: Path, stage: str, body: dict[str, Any], minilm: SentenceEmbedder
) -> None:
    home, log = tmp_path / "home", tmp_path / "log"
    shutil.copytree(filled, home)
    question = {"question": QUESTION, **body}
    with Served(home, log, SERVED_ALMOST_SURELY) as server:
        seen = killed_streaming(server, stage, question)
    names = [name for name, _, _ in seen]
    assert stage in names
    with Home(Settings(home=home), embedder=minilm) as after:
        assert after.audit.verify().ok
        recorded = [row.id for row in after.store.log.all(kinds=("answer",))]
    given = [content["answer_id"] for name, _, content in seen if name == "answer"]
    assert set(given) <= set(recorded)
    unverified = [content for _, _, content in seen if content.get("provisional") is False]
    assert recorded or not unverified, "what is not provisional is in the log"
    if stage == "answer":
        assert recorded == given
        assert len(given) == 1
    if stage == "stage":
        assert not recorded
    with (
        Served(home, log, SERVED_ALMOST_SURELY) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        for answer_id in given:
            told = client.get(f"/v1/audit/{answer_id}").json()["receipt"]
            assert told["question"] == QUESTION
        again = client.post(ANSWERS, json=question)
        assert again.json()["status"] == "answered"
        assert again.json()["receipt"]["log_size"] > len(recorded)


@pytest.mark.parametrize("stage", ["accepted", "running", "half done"])
def test_an_upload_goes_on_after_a_kill(
    tmp_path: Path, stage: str, minilm: SentenceEmbedder
) -> None:
    home, log = tmp_path / "home", tmp_path / "log"
    small_chunks = {"RAG_CHUNK_TOKENS": "16", "RAG_CHUNK_OVERLAP_TOKENS": "0"}
    uris = [f"ward-{number:02}.txt" for number in range(30)]
    # More chunks than are stored at a time, so that there is a half.
    many = "The {} keeps item {} in a cupboard of its own on the second floor. " * 30
    texts = [
        many.format(*(part for n in range(30) for part in (uri, 31 * i + n))).encode()
        for i, uri in enumerate(uris)
    ]
    with (
        Served(home, log, small_chunks) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        client.post("/v1/knowledge-bases", json={"name": "wards"}).raise_for_status()
        accepted = client.post(
            "/v1/knowledge-bases/wards/documents",
            files=[("files", one) for one in zip(uris, texts, strict=True)],
        )
        assert accepted.status_code == 202
        job = accepted.headers["location"]
        last = follow_until(client, job, stage)
        server.kill()
    with (
        Served(home, log, small_chunks) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        before = client.get(job).json()
        with client.stream("GET", f"{job}/events", headers={"last-event-id": last}) as response:
            followed = list(events(response))
        whole = client.get(f"{job}/events", headers={"last-event-id": followed[-1][1]})
        assert whole.status_code == 204, "there is nothing more to follow"
        documents = client.get("/v1/knowledge-bases/wards/documents").json()["documents"]
    assert before["state"] in ("queued", "running")
    name, _, ended = followed[-1]
    assert (name, ended["state"]) == ("done", "done")
    progress = ended["progress"]
    assert progress["failed"] == []
    assert progress["added"] + progress["unchanged"] == progress["total"] == len(uris)
    if stage == "half done":
        assert 0 < progress["unchanged"] < len(uris), "what was acknowledged is not done again"
    assert [document["document"]["uri"] for document in documents] == uris
    assert list((home / "spool").iterdir()) == []
    with Home(Settings(home=home), embedder=minilm) as after:
        base = after.open("wards")
        searchable = base.lifecycle.catch_up().manifest.chunks
        assert searchable == base.counts()["chunks"] > 512
        assert after.audit.verify().ok


def follow_until(client: httpx.Client, job: str, stage: str) -> str:
    """The id of the event at which a job had come so far; none at its very beginning."""
    if stage == "accepted":
        return ""
    with client.stream("GET", f"{job}/events") as response:
        for _, event_id, content in events(response):
            progress = content["progress"]
            if content["state"] == "running" and (
                stage == "running" or 0 < progress["done"] < progress["total"]
            ):
                return event_id
    raise AssertionError(f"the job ended before it was {stage}")
