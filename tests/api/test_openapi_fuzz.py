"""The service as its OpenAPI document says, whatever is sent to it, with keys that do and don't."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from knowledge_bases.access import SCOPES
from knowledge_bases.home import Home
from knowledge_bases.store.api_keys import EVERY
from rag.settings import Settings

EXAMPLES = int(os.environ.get("RAG_FUZZ_EXAMPLES", "4"))
"""Of each kind, operation and key; more for a longer look."""
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
OPEN = ("/healthz", "/readyz", "/v1/session")
"""What nobody needs a key for."""
WHO = ("all scopes", "without a grant", "no scope for it", "unknown", "none")


@dataclass
class Served:
    """A service on a port, keys for it, and ids of what it holds."""

    url: str
    keys: dict[str, str]
    ids: dict[str, str]
    document: dict[str, Any]


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, word_calibration: Path, word_embedder: Any
) -> Iterator[Served]:
    own = Settings(
        home=tmp_path_factory.mktemp("fuzzed"),
        calibration=word_calibration,
        generator="extractive",
        verifier="guards",
        reranker="none",
        requests_per_minute=0,
        concurrent_answers=32,
        answer_threshold=0.0,
    )
    with Home(own, embedder=word_embedder()) as home:
        for name in ("open", "closed"):
            home.create(name)

        def make(*scopes: str, kbs: tuple[str, ...] = (EVERY,)) -> str:
            return home.access.create("a", scopes=scopes, knowledge_bases=kbs, expires_at=None)[1]

        keys = {
            "all scopes": make(*SCOPES),
            "without a grant": make(*SCOPES, kbs=("closed",)),
            "no scope for it": make("metrics"),
            "unknown": make("ask")[:-4] + "AAAA",
        }
        app = create_app(own, keys=True, embedder=word_embedder())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.05)
        yield Served(url, keys, filled(url, keys["all scopes"]), app.openapi())
    finally:
        server.should_exit = True
        thread.join()


def filled(url: str, key: str) -> dict[str, str]:
    """Put something in and return its ids, by the names of path parameters."""
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}) as client:
        root = "/v1/knowledge-bases/open"
        document = {"uri": "a.txt", "text": "The alarm sounds at 8 degrees."}
        job = client.post(f"{root}/documents", json=document).json()["id"]
        deadline = time.monotonic() + 30
        while client.get(f"/v1/jobs/{job}").json()["state"] not in ("done", "failed"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        listed = client.get(f"{root}/documents").json()["documents"]
        asked = client.post(f"{root}/answers", json={"question": "When does the alarm sound?"})
        talk = client.post(f"{root}/conversations").json()
    return {
        "kb": "open",
        "job_id": job,
        "document_id": listed[0]["document"]["id"],
        "uri": "a.txt",
        "record_id": asked.json()["answer_id"],
        "conversation_id": talk["id"],
    }


@pytest.mark.parametrize("who", WHO)
def test_no_request_gets_what_the_document_does_not_say(served: Served, who: str) -> None:
    schema = schemathesis.openapi.from_dict(served.document)
    headers = {"authorization": f"Bearer {served.keys[who]}"} if who in served.keys else {}
    tried, wrong = 0, []
    with requests.Session() as session:
        for found in schema.get_all_operations():
            operation = found.ok()
            named = {
                one: served.ids[one]
                for one in served.ids
                if f"{{{one}}}" in operation.path
                and operation.method.upper() != "DELETE"  # What the others are tried on stays.
            }
            kinds = [
                operation.as_strategy(generation_mode=mode, path_parameters=dict(given) or None)
                for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
                for given in ({}, named)
                if mode is GenerationMode.POSITIVE or operation.query or operation.body
            ]
            count = EXAMPLES * len(kinds) if who == "all scopes" else max(1, EXAMPLES // 2)

            @seed(1)
            @settings(
                max_examples=count,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=st.one_of(kinds))
            def send(case: Any) -> None:
                nonlocal tried
                response = case.call(
                    base_url=served.url, session=session, headers=headers, timeout=60
                )
                tried += 1
                kind = response.headers.get("content-type", [""])[0].partition(";")[0]
                # The schema of a stream is of the whole, not of an event.
                checks = CHECKS[:-1] if kind == "text/event-stream" else CHECKS
                case.validate_response(response, checks=checks)
                assert response.status_code < 500 or is_asked_for(operation.path, response)
                if who in ("unknown", "none") and operation.path not in OPEN:
                    assert response.status_code in (400, 401, 413), response.status_code

            try:
                send()
            except (Exception, BaseExceptionGroup) as error:
                wrong.append(f"{operation.method.upper()} {operation.path}: {told(error):.2000}")
    assert not wrong, "\n\n".join(wrong)
    assert tried > len(served.document["paths"])


def is_asked_for(path: str, response: Any) -> bool:
    """Say whether it is a 503 by the shortest of timeouts, or by an embedder that isn't installed."""
    kind = response.json()["type"]
    return response.status_code == 503 and (path == "/readyz" or kind.endswith(":stopped"))


def told(error: BaseException) -> str:
    """Return what a failure says, with that of what it groups."""
    parts = getattr(error, "exceptions", ())
    return "\n".join([str(error), *map(told, parts)])
