"""A real service over HTTP: the real pipeline, tiny documents, one server for all tests."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from indexer.embed import SentenceEmbedder
from rag.settings import Settings

BASE_URL = "http://127.0.0.1"
FRIDGES = (
    "The vaccine fridge alarm sounds at 8 degrees. "
    "After an alarm the stock must be moved within 30 minutes."
)
RETURNS = "Unused morphine is returned to the pharmacy on the first Monday of each month."

Serve = Callable[..., TestClient]


@pytest.fixture(scope="session")
def service_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        home=tmp_path_factory.mktemp("service"),
        max_file_bytes=50_000,
        load_max_members=8,
        concurrent_answers=32,  # Nor about how many may ask at once.
        answer_threshold=0.3,  # These tests are not about how sure an answer must be.
    )


@pytest.fixture(scope="session")
def client(service_settings: Settings, minilm: SentenceEmbedder) -> Iterator[TestClient]:
    with served(service_settings, minilm) as client:
        yield client


@pytest.fixture(scope="session")
def wards(client: TestClient) -> str:
    """A knowledge base of two documents, uploaded in one request."""
    assert client.post("/v1/knowledge-bases", json={"name": "wards"}).status_code == 201
    job = ended(
        client,
        client.post(
            "/v1/knowledge-bases/wards/documents",
            files=[
                ("files", ("storage/fridges.txt", FRIDGES.encode())),
                ("files", ("returns.md", f"# Returns\n\n{RETURNS}\n".encode())),
            ],
            data={"tags": ["pharmacy", "2025"]},
        ),
    )
    assert job["progress"] == {
        "total": 2,
        "done": 2,
        "added": 2,
        "updated": 0,
        "unchanged": 0,
        "failed": [],
    }
    return "/v1/knowledge-bases/wards"


@pytest.fixture
def empty(client: TestClient, request: pytest.FixtureRequest) -> str:
    """A knowledge base of the test's own, without documents."""
    name = re.sub(r"\W+", "-", request.node.name)[:80].strip("-")
    assert client.post("/v1/knowledge-bases", json={"name": name}).status_code == 201
    return f"/v1/knowledge-bases/{name}"


@pytest.fixture
def spool(service_settings: Settings) -> Path:
    return service_settings.home / "spool"


@pytest.fixture(scope="session")
def serve() -> Serve:
    return served


@pytest.fixture(scope="session")
def end_of_job() -> Callable[..., dict[str, Any]]:
    return ended


def served(settings: Settings, embedder: SentenceEmbedder, *, keys: bool = False) -> TestClient:
    """A client that fails the test on any response that the OpenAPI document doesn't list."""
    app = create_app(settings, keys=keys, embedder=embedder)
    operations = {
        (method.upper(), re.compile(re.sub(r"\{\w+\}", "[^/]+", path))): operation["responses"]
        for path, methods in app.openapi()["paths"].items()
        for method, operation in methods.items()
    }

    def check(response: Any) -> None:
        response.read()
        request = response.request
        path = request.url.raw_path.decode().partition("?")[0]
        kind = response.headers.get("content-type", "").partition(";")[0]
        for (method, pattern), documented in operations.items():
            if method == request.method and pattern.fullmatch(path):
                assert str(response.status_code) in documented, f"{response.status_code} is new"
                content = documented[str(response.status_code)].get("content", {})
                assert kind in content or (not content and not response.content)
        if response.status_code >= 400 and kind != "text/html":
            problem = response.json()
            assert kind == "application/problem+json"
            assert problem["status"] == response.status_code
            assert {"type", "title", "detail", "instance"} <= set(problem)
            assert "\n" not in problem["detail"]

    client = TestClient(app, base_url=BASE_URL)
    client.event_hooks = {"response": [check]}
    return client


def ended(client: TestClient, accepted: Any) -> dict[str, Any]:
    """The job that a request was accepted as, once it has ended."""
    assert accepted.status_code == 202, accepted.text
    client.get(f"{accepted.headers['location']}/events")  # Ends with the job.
    job: dict[str, Any] = client.get(accepted.headers["location"]).json()
    assert job["state"] in ("done", "failed")
    return job
