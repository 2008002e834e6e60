"""A service with its pages: documents that try to break out of them, and a reader of HTML."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient

from api.app import create_app
from knowledge_bases.home import Home
from rag.settings import Settings

FRIDGES = (
    "# Storage\n\n## Fridges 🧊\n\nThe vaccine fridge alarm sounds at 8 degrees. "
    "After an alarm the stock must be moved within 30 minutes. The ward keeps a log.\n\n"
    "## Returns\n\nUnused morphine is returned to the pharmacy on the first Monday of each month.\n"
)
SCRIPT = "<script>alert('x')</script>"
HOSTILE_URI = f"\"{SCRIPT}\" onload='x'.txt"
HOSTILE_TITLE = "<img src=x onerror=alert(1)> \u202egnp.exe"
HOSTILE_TEXT = (
    f"Zebra crossings are painted {SCRIPT} with </mark></div><b>white</b> stripes every 7 years. "
    f"{'donau' * 80} \u202eabc\u202c &lt;i&gt; {{{{ 7 * 7 }}}}."
)
VOIDS = frozenset({"meta", "link", "input", "br", "img", "hr"})


class Read(HTMLParser):
    """A page, taken apart as a browser would: elements with attributes, text by element id."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.marked = ""
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOIDS:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        # Table rows and list items may be left open by HTML's rules, but ours are not.
        assert self._open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.text += data
        if "mark" in self._open:
            self.marked += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def links(self) -> list[str]:
        return [a["href"] or "" for a in self.all("a") if "href" in a]


@pytest.fixture(scope="session")
def read() -> type[Read]:
    return Read


@pytest.fixture(scope="session")
def web_settings(tmp_path_factory: pytest.TempPathFactory, word_calibration: Path) -> Settings:
    return Settings(
        home=tmp_path_factory.mktemp("web"),
        calibration=word_calibration,
        generator="extractive",
        verifier="guards",
        reranker="none",
        chunk_tokens=60,
        chunk_overlap_tokens=8,
        answer_threshold=0.2,  # These tests are not about how sure an answer must be.
    )


@pytest.fixture(scope="session")
def web(web_settings: Settings, word_embedder: Any) -> Iterator[TestClient]:
    """The service over HTTP, with a knowledge base "wards"."""
    app = create_app(web_settings, embedder=word_embedder())
    with TestClient(app, base_url="http://127.0.0.1", follow_redirects=False) as client:
        home: Home = app.state.home
        home.create("wards")
        put(client, "wards", "storage/fridges.md", FRIDGES)
        put(client, "wards", HOSTILE_URI, HOSTILE_TEXT, title=HOSTILE_TITLE)
        put(client, "wards", "https://intranet.example/../zoo?a=1#b", "Lions eat at noon.")
        yield client


@pytest.fixture(scope="session")
def web_home(web: TestClient) -> Home:
    found: Home = web.app.state.home  # type: ignore[attr-defined]
    return found


def put(client: TestClient, kb: str, uri: str, text: str, **more: Any) -> None:
    """Take in a document, or a new version of it."""
    sent = {"uri": uri, "text": text, **more}
    accepted = client.post(f"/v1/knowledge-bases/{kb}/documents", json=sent)
    assert accepted.status_code == 202, accepted.text
    client.get(f"{accepted.headers['location']}/events")  # Ends with the job.
    job = client.get(accepted.headers["location"]).json()
    assert job["state"] == "done", job
    assert job["progress"]["failed"] == []


@pytest.fixture(scope="session")
def put_document() -> Any:
    return put


@pytest.fixture(scope="session")
def live(web: TestClient) -> Iterator[str]:
    """The same service on a port of this machine, for a browser."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    # The test client's lifespan is the service's; a second one would start its jobs twice.
    config = uvicorn.Config(
        web.app, host="127.0.0.1", port=port, log_level="warning", lifespan="off", ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.05)
        assert thread.is_alive()
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)
