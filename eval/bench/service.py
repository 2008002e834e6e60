"""What the service adds to the pipeline: the same questions in the process and over HTTP.

    python -m eval.bench.service

One process holds models, home and server. Each question of the sample collection is asked directly,
over HTTP as JSON, and over HTTP as a stream, in an order that changes from question to question, so
that what differs is the way. An answer takes a hundred times longer than what is looked for, and no
two take exactly as long; so the time that is added is taken request by request: from sending it
until all of the response is there, less the time within `KnowledgeBase.ask`. The difference between
the ways as a whole is shown beside it. Of a stream, what is told while the answer is made counts as
the answer's.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import uvicorn

from api.app import create_app
from eval.bench.load import percentile
from eval.bench.record import SAMPLES
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase, RecordedAnswer
from rag.settings import Settings

MOST_ADDED_MS = 5.0
"""At the median, of an answer as JSON."""
WAYS = ("in the process", "JSON", "streamed")


@contextmanager
def timed_asking() -> Iterator[list[float]]:
    """Note how many milliseconds each question takes within the knowledge base."""
    took: list[float] = []
    ask = KnowledgeBase.ask

    def noted(base: KnowledgeBase, question: str, **more: Any) -> RecordedAnswer:
        started = time.perf_counter()
        try:
            return ask(base, question, **more)
        finally:
            took.append(1000 * (time.perf_counter() - started))

    KnowledgeBase.ask = noted  # type: ignore[method-assign, assignment]
    try:
        yield took
    finally:
        KnowledgeBase.ask = ask  # type: ignore[method-assign]


@contextmanager
def served(settings: Settings) -> Iterator[tuple[Home, HTTPConnection]]:
    """Serve a home, with keys, in a thread; give the home and a connection that is kept open."""
    with Home(settings) as home:
        home.create("samples").ingest([SAMPLES / "documents"])
        _, key = home.access.create(
            "bench", scopes=["ask"], knowledge_bases=["samples"], expires_at=None
        )
    app = create_app(settings, keys=True)
    server = uvicorn.Server(
        # The connection is to outlive the questions that are asked directly.
        uvicorn.Config(app, port=0, log_level="warning", timeout_keep_alive=600)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the server did not start")
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        connection = HTTPConnection("127.0.0.1", port)
        connection.connect()
        connection.key = key  # type: ignore[attr-defined]
        yield app.state.home, connection
        connection.close()
    finally:
        server.should_exit = True
        thread.join()


def over_http(connection: HTTPConnection, question: str, accept: str) -> None:
    """Ask as a client would that has a key and may have to send it again."""
    headers = {
        "Authorization": f"Bearer {connection.key}",  # type: ignore[attr-defined]
        "Content-Type": "application/json",
        "Accept": accept,
        "Idempotency-Key": str(uuid.uuid4()),
    }
    body = json.dumps({"question": question})
    connection.request("POST", "/v1/knowledge-bases/samples/answers", body, headers)
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise RuntimeError(f"{response.status}: {content[:500]!r}")


def measure(rounds: int) -> dict[str, Any]:
    """Ask every question in every way, so many times."""
    lines = (SAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line)["question"] for line in lines] * rounds
    whole: dict[str, list[float]] = {way: [] for way in WAYS}
    added: dict[str, list[float]] = {way: [] for way in WAYS}
    order = random.Random(0)
    with (
        tempfile.TemporaryDirectory() as folder,
        timed_asking() as inside,
        served(Settings(home=Path(folder), requests_per_minute=0)) as (home, connection),
    ):
        base = home.open("samples")

        def ask(question: str, way: str) -> None:
            if way == "in the process":
                base.ask(question)
            else:
                accept = "application/json" if way == "JSON" else "text/event-stream"
                over_http(connection, question, accept)

        for way in WAYS:  # Loads the models, and starts each thread's own.
            ask(questions[0], way)
        for question in questions:
            for way in order.sample(WAYS, len(WAYS)):
                started = time.perf_counter()
                ask(question, way)
                whole[way].append(1000 * (time.perf_counter() - started))
                added[way].append(whole[way][-1] - inside[-1])
    direct = whole["in the process"]
    found: dict[str, Any] = {"answers": len(questions)}
    for way in WAYS:
        pairs = [one - other for one, other in zip(whole[way], direct, strict=True)]
        found[way] = {
            "p50_ms": round(percentile(whole[way], 50), 1),
            "p95_ms": round(percentile(whole[way], 95), 1),
            "added_p50_ms": round(percentile(added[way], 50), 2),
            "added_p95_ms": round(percentile(added[way], 95), 2),
            "difference_p50_ms": round(statistics.median(pairs), 1),
        }
    found["met"] = found["JSON"]["added_p50_ms"] <= MOST_ADDED_MS
    return found


def main() -> None:
    """Run, print, and exit with 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.rounds)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        heads = ("p50 ms", "p95 ms", "added p50", "added p95", "differs p50")
        print(f"{found['answers']:<16}" + "".join(f"{head:>13}" for head in heads))
        for way in WAYS:
            print(f"{way:16}" + "".join(f"{value:>13}" for value in found[way].values()))
        print(f"{'met' if found['met'] else 'MISSED'}: at most {MOST_ADDED_MS:g} ms added at p50")
    sys.exit(0 if found["met"] else 1)


if __name__ == "__main__":
    main()
