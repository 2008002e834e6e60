"""What operators see: metrics, the dashboard on them, logs as JSON, traces, drift."""

from __future__ import annotations

import datetime
import json
import logging
import logging.config
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

import api.web
from api.json_log import JsonLines
from api.serving import log_config
from api.tracing import Tracing
from knowledge_bases.access import SCOPES
from knowledge_bases.drift import SIGNALS, compared, worst
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase
from knowledge_bases.store.api_keys import EVERY
from knowledge_bases.store.shared import now
from rag.errors import ModelError
from rag.settings import Settings

DOCS = "/v1/knowledge-bases/docs"
DASHBOARD = Path(api.web.__file__).parent / "static" / "grafana-dashboard.json"
SECRET = "xylophonist"


@pytest.fixture
def small(tmp_path: Path, word_calibration: Path) -> Settings:
    return Settings(
        home=tmp_path,
        calibration=word_calibration,
        generator="extractive",
        verifier="guards",
        reranker="none",
        answer_threshold=0.0,
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
        text = {"uri": f"{SECRET}.txt", "text": "The fridge alarm sounds at 8 degrees."}
        end_of_job(client, client.post(f"{DOCS}/documents", json=text))
        yield client


def measured(client: TestClient, **more: Any) -> dict[tuple[str, ...], float]:
    """Samples by name and the values of their labels."""
    response = client.get("/metrics", **more)
    assert response.status_code == 200
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def ask(client: TestClient, question: str) -> Any:
    return client.post(f"{DOCS}/answers", json={"question": question})


def test_answers_are_counted(docs: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    before = measured(docs)
    assert before["rag_answers_total", "answered"] == 0, "there from the start, for rates"
    answer = ask(docs, "At how many degrees does the alarm sound?").json()
    assert answer["status"] == "answered"
    none = {"question": f"Which {SECRET}?", "filters": {"tags": ["none"]}}
    assert docs.post(f"{DOCS}/answers", json=none).json()["status"] == "abstained"
    assert ask(docs, " ").status_code == 422
    after = measured(docs)
    for status in ("answered", "abstained", "error"):
        assert after["rag_answers_total", status] == 1
    for stage in ("retrieve", "generate", "cite", "verify", "decide", "record"):
        assert after["rag_stage_seconds_count", stage] == 2
    told = after["rag_stage_seconds_sum", "generate"]
    assert told >= answer["timings_ms"]["generate"] / 1000
    assert after["rag_answer_tokens_total",] > 0
    route = "/v1/knowledge-bases/{kb}/answers"
    assert after["rag_http_requests_total", "POST", route, "200"] == 2
    assert after["rag_rejected_requests_total", "invalid"] == 1
    assert after["rag_log_records",] == docs.app.state.home.store.log.size()
    assert after["rag_log_unsigned_records",] <= after["rag_log_records",]
    assert 0 <= after["rag_index_generation_age_seconds", "docs"] < 600
    assert after["rag_jobs", "queued"] == 0
    assert SECRET not in docs.get("/metrics").text


def test_labels_are_bounded_whatever_is_asked_for(docs: TestClient) -> None:
    for number in range(20):
        docs.get(f"/v1/nothing/{number}")
        docs.get(f"/v1/knowledge-bases/none-{number}")
        docs.request(f"ODD{number}", "/healthz")
    routes = {key for key in measured(docs) if key[0] == "rag_http_requests_total"}
    assert ("rag_http_requests_total", "GET", "unmatched", "404") in routes
    assert len(routes) < 12


def test_the_dashboard_uses_metrics_that_exist(docs: TestClient) -> None:
    ask(docs, "Which alarm?")
    docs.app.state.home.audit.keeping.checkpoint()
    home = docs.app.state.home
    for number in range(30):
        for days in (1, 10):
            backdated(home, f"Which alarm {number}?", days)
    docs.app.state.drifts._found.clear()
    existing = {key[0] for key in measured(docs)}
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(expressions) > 10
    used = {name for one in expressions for name in re.findall(r"\brag_\w+", one)}
    assert used - existing == set()
    shown = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in used}
    known = {re.sub(r"_(bucket|sum|count|total|created)$", "", name) for name in existing}
    assert {name for name in known if name.startswith("rag_")} - shown == set()


def test_metrics_are_for_their_scope_and_name_what_is_granted(
    small: Settings, word_embedder: Any, serve: Callable[..., TestClient]
) -> None:
    with Home(small, embedder=word_embedder()) as home:
        for name in ("docs", "closed"):
            home.create(name).lifecycle.current()

        def make(scope: str, kb: str) -> dict[str, str]:
            _, text = home.access.create(
                "t", scopes=(scope,), knowledge_bases=(kb,), expires_at=None
            )
            return {"authorization": f"Bearer {text}"}

        keys = {scope: make(scope, EVERY) for scope in SCOPES}
        own = make("metrics", "docs")
    with serve(small, word_embedder(), keys=True) as client:
        assert client.get("/metrics").status_code == 401
        for scope, headers in keys.items():
            expected = 200 if scope in ("metrics", "admin") else 403
            assert client.get("/metrics", headers=headers).status_code == expected
        seen = client.get("/metrics", headers=own).text
        assert '"docs"' in seen
        assert "closed" not in seen
        assert "closed" in client.get("/metrics", headers=keys["metrics"]).text
        assert client.get(f"{DOCS}/drift", headers=own).json()["state"] == "unknown"
        assert client.get("/v1/knowledge-bases/closed/drift", headers=own).status_code == 404


def test_json_logs_hold_no_content(
    docs: TestClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = logging.StreamHandler()
    written: list[str] = []
    monkeypatch.setattr(handler, "emit", lambda record: written.append(handler.format(record)))
    handler.setFormatter(JsonLines())
    for name in log_config("json")["filters"]:
        factory = log_config("json")["filters"][name]["()"]
        handler.addFilter(logging.config.BaseConfigurator({}).resolve(factory)())
    names = ("rag.access", "api", "knowledge_bases")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        docs.post(
            f"{DOCS}/answers?x={SECRET}",
            json={"question": f"Is the {SECRET} in ward 7?"},
            headers={"x-request-id": "mine", "user-agent": SECRET},
        )

        def fail(*_: Any, **__: Any) -> None:
            raise ModelError(SECRET) from ValueError(SECRET)

        monkeypatch.setattr(KnowledgeBase, "ask", fail)
        ask(docs, SECRET)
        docs.get(f"/{SECRET}")
        logging.getLogger("api").error("it failed", exc_info=ValueError(SECRET))
    finally:
        for name in names:
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).setLevel(levels[name])
    lines = [json.loads(line) for line in written]
    asked = next(line for line in lines if line["request_id"] == "mine" and "route" in line)
    assert (asked["route"], asked["status"]) == ("/v1/knowledge-bases/{kb}/answers", 200)
    assert (asked["method"], asked["key_id"], asked["level"]) == ("POST", "local", "info")
    assert asked["ms"] > 0
    assert any("ModelError at" in line.get("message", "") for line in lines)
    assert lines[-1]["error"].startswith("ValueError")
    assert SECRET not in "".join(written)


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_server_s_logging_can_be_configured(form: Any) -> None:
    config = log_config(form)
    config["disable_existing_loggers"] = False
    kept = {name: logging.getLogger(name).handlers[:] for name in ("", *config["loggers"])}
    flags = {name: logging.getLogger(name).propagate for name in config["loggers"]}
    try:
        logging.config.dictConfig(config)
        quiet = not logging.getLogger("uvicorn.access").handlers
        assert quiet == (form == "json"), "uvicorn's lines have whole URLs"
    finally:
        for name, handlers in kept.items():
            logging.getLogger(name).handlers[:] = handlers
        for name, flag in flags.items():
            logging.getLogger(name).propagate = flag
            logging.getLogger(name).setLevel(logging.NOTSET)


def test_traces_have_stages_and_no_content(docs: TestClient) -> None:
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from api.request_log import RequestLog

    exporter = InMemorySpanExporter()
    tracing = Tracing(SimpleSpanProcessor(exporter), docs.app.state.metrics)
    docs.app.state.home.observer = tracing
    stack = docs.app.middleware_stack
    while not isinstance(stack, RequestLog):
        stack = getattr(stack, "app", None) or stack._app
    stack._trace = tracing.request
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    docs.post(
        f"{DOCS}/answers",
        json={"question": f"Is the {SECRET} at 8 degrees?"},
        headers={"traceparent": f"00-{trace_id}-b7ad6b7169203331-01", "x-request-id": "mine"},
    )
    spans = {span.name: span for span in exporter.get_finished_spans()}
    request = spans["POST /v1/knowledge-bases/{kb}/answers"]
    assert request.attributes["rag.request_id"] == "mine"
    assert f"{request.context.trace_id:032x}" == trace_id
    for stage in ("retrieve", "generate", "cite", "verify", "decide", "record"):
        span = spans[f"rag.{stage}"]
        assert span.parent.span_id == request.context.span_id
        assert span.end_time >= span.start_time
    assert SECRET not in "".join(span.to_json() for span in spans.values())


def backdated(home: Home, question: str, days: float) -> None:
    """Ask, some days ago."""
    with pytest.MonkeyPatch.context() as patch:
        past = now() - datetime.timedelta(days=days)
        patch.setattr("knowledge_bases.store.log.now", lambda: past)
        home.open("docs").ask(question)


def test_drift_is_noticed_and_its_absence_too(docs: TestClient) -> None:
    home = docs.app.state.home
    for number in range(35):
        backdated(home, f"Which alarm {number}?", 10)
        backdated(home, f"Which alarm {number}?", 1)
    alike = docs.get(f"{DOCS}/drift").json()
    assert alike["state"] == "ok"
    assert [one["name"] for one in alike["signals"]] == list(SIGNALS)
    assert {(one["recent"], one["reference"]) for one in alike["signals"]} == {(35, 35)}
    assert measured(docs)["rag_drift_state", "docs", "question_chars"] == 0
    for number in range(35):
        backdated(home, f"Zorblax quuxes wibbling {'frobnicated ' * 5}{number}?", 0.1)
    shifted = docs.get(f"{DOCS}/drift").json()
    found = {one["name"]: one for one in shifted["signals"]}
    assert shifted["state"] == "alert"
    assert found["unknown_words"]["state"] == found["question_chars"]["state"] == "alert"
    assert found["unknown_words"]["recent_median"] > found["unknown_words"]["reference_median"]
    few = docs.get(f"{DOCS}/drift?recent_days=0.01").json()
    assert few["state"] == "unknown"
    assert docs.get(f"{DOCS}/drift?recent_days=0").status_code == 422


def test_a_difference_must_be_sure_and_large() -> None:
    rng = np.random.default_rng(7)
    same = [compared("confidence", *rng.normal(size=(2, 200)).tolist()).state for _ in range(200)]
    assert same.count("ok") >= 196
    large = rng.normal(size=(2, 20_000))
    slight = compared("confidence", (large[0] + 0.1).tolist(), large[1].tolist())
    assert slight.p < 1e-6
    assert slight.state == "ok", "nobody would notice it"
    recent, reference = rng.normal(size=60).tolist(), (rng.normal(size=50) + 0.8).tolist()
    signal = compared("confidence", recent, reference)
    values = np.array(sorted([*recent, *reference]))
    below = [np.mean(np.array(one)[:, None] <= values, axis=0) for one in (recent, reference)]
    assert signal.distance == pytest.approx(np.abs(below[0] - below[1]).max())
    assert worst([signal, slight]) == signal.state != "ok"
