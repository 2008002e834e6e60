"""A real service over HTTP: the real pipeline, tiny documents, one server for all tests."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.cli import main
from indexer.embed import SentenceEmbedder
from knowledge_bases.home import Home
from rag.settings import Settings

BASE_URL = "http://127.0.0.1"
FRIDGES = (
    "The vaccine fridge alarm sounds at 8 degrees. "
    "After an alarm the stock must be moved within 30 minutes."
)
DOSE = "The maximum dose of paracetamol is 4 g in 24 hours. Keep it dry."
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
        # A fixed path before one that its last part would fit into.
        for path, methods in sorted(app.openapi()["paths"].items(), key=lambda one: "{" in one[0])
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
                break
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


@pytest.fixture
def rag(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run `rag` in this process and return (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rag", *map(str, arguments)])
        monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def quick_settings(tmp_path_factory: pytest.TempPathFactory, word_calibration: Path) -> Settings:
    """Answers come from whatever is found, without models that take seconds to load."""
    return Settings(
        home=tmp_path_factory.mktemp("asked"),
        calibration=word_calibration,
        generator="extractive",
        verifier="guards",
        reranker="none",
        answer_threshold=0.0,
        keep_generations=2,
        checkpoint_seconds=1e6,
    )


@pytest.fixture
def quick(
    monkeypatch: pytest.MonkeyPatch, quick_settings: Settings, word_embedder: type[Any]
) -> None:
    """Commands have these settings, too."""
    monkeypatch.setattr("knowledge_bases.home.SentenceEmbedder", lambda *_, **__: word_embedder())
    for name in quick_settings.model_fields_set - {"home"}:
        monkeypatch.setenv(f"RAG_{name.upper()}", str(getattr(quick_settings, name)))


@pytest.fixture(scope="session")
def asked_once(
    quick_settings: Settings, word_embedder: type[Any], tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """Ids of what was asked in the home that tests get copies of."""
    documents = tmp_path_factory.mktemp("documents")
    (documents / "dose.txt").write_text(DOSE)
    (documents / "storage.txt").write_text("Insulin is kept between 2 and 8 degrees in the fridge.")
    with Home(quick_settings, embedder=word_embedder()) as home:
        base = home.create("docs")
        base.ingest([documents])
        answers = [
            base.ask("What is the maximum dose of paracetamol?"),
            base.ask("Where is insulin kept?", asker="jane"),
        ]
    assert [one.answer.status for one in answers] == ["answered", "answered"]
    return [one.record.id for one in answers]


@pytest.fixture
def asked(
    quick: None, quick_settings: Settings, asked_once: list[str], tmp_path: Path
) -> list[str]:
    """A home with two documents and a log of two answers, somebody's and jane's; their ids."""
    shutil.copytree(quick_settings.home, tmp_path / "home")
    return asked_once
