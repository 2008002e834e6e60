"""/operate without a browser: the figures of /metrics, for whom they are."""

from __future__ import annotations

import math
import random
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from api.web.operate_view import quantile
from knowledge_bases.access import SCOPES
from knowledge_bases.drift import compared
from knowledge_bases.home import Home
from knowledge_bases.log_keeping import LogKeeping
from knowledge_bases.store.api_keys import EVERY

QUESTION = "Within how many minutes must the stock be moved after an alarm?"


def tiles(html: str) -> dict[str, str]:
    """Figures by what they are of."""
    return dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", html))


def stages(html: str) -> dict[str, list[str]]:
    rows = re.findall(r'<tr><th scope="row">(\w+)</th>(.*)</tr>', html)
    return {name: re.findall(r">([^<>]+)</td>", cells) for name, cells in rows}


def test_the_figures_are_those_of_metrics(web: TestClient, web_home: Home) -> None:
    for question in (QUESTION, "What does the moon weigh in tonnes?"):
        web.post("/", data={"kb": "wards", "question": question})
    web_home.audit.keeping.checkpoint()
    html = web.get("/operate").text
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(web.get("/metrics").text)
        for sample in family.samples
    }
    answered, abstained = (told["rag_answers_total", one] for one in ("answered", "abstained"))
    assert answered
    assert abstained
    shown = tiles(html)
    assert shown["Answered or withheld"] == f"{answered + abstained:,.0f}"
    assert shown["Withheld"] == f"{100 * abstained / (answered + abstained):.0f}\u202f%"
    tokens = told["rag_answer_tokens_total",] / told["rag_stage_seconds_sum", "generate"]
    assert shown["Tokens a second while writing"] == f"{tokens:.1f}"
    assert shown["Records"] == f"{web_home.store.log.size():,}"
    assert shown["Not signed yet"] == "0"
    assert re.fullmatch(r"\d+ seconds?", shown["Age of the newest checkpoint"])
    assert shown["Questions at work, waiting"] == "0, 0"
    assert stages(html)["retrieve"][0] == f"{told['rag_stage_seconds_count', 'retrieve']:,.0f}"
    assert all(re.search(r"\d", one) for one in stages(html)["verify"][1:])
    assert "index published" in html
    assert web.get("/static/grafana-dashboard.json").json()["panels"]


def test_drift_that_alarms_is_shown(web: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(3)
    signal = compared(
        "confidence",
        [chance.gauss(0.2, 0.1) for _ in range(60)],
        [chance.gauss(0.8, 0.1) for _ in range(60)],
    )
    drifts = web.app.state.drifts  # type: ignore[attr-defined]
    web.get("/operate")
    monkeypatch.setitem(drifts._found, "wards", (math.inf, [signal]))
    html = web.get("/operate").text
    assert '<bdi>wards</bdi> <span class="badge alert">alert</span>' in html
    assert "Probability that the answer is right" in html


def test_trouble_is_shown(web: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "badge problem" not in web.get("/operate").text
    monkeypatch.setattr(LogKeeping, "troubles", lambda self: iter(["<b>no key</b>"]))
    html = web.get("/operate").text
    assert '<span class="badge problem">problem</span>' in html
    assert "&lt;b&gt;no key&lt;/b&gt;" in html


def test_an_open_page_gets_the_figures_alone_unless_it_is_paused(web: TestClient) -> None:
    part = web.get("/operate", headers={"HX-Request": "true"}).text
    assert "<html" not in part
    assert "Time per stage" in part
    assert 'hx-trigger="every' in web.get("/operate").text
    assert "hx-trigger" not in web.get("/operate?paused=1").text


def test_it_is_for_operators_and_names_what_they_may_see(
    web_settings: Any, word_embedder: Any, tmp_path: Any
) -> None:
    from api.app import create_app

    settings = web_settings.model_copy(update={"home": tmp_path})
    with Home(settings, embedder=word_embedder()) as home:
        for name in ("docs", "closed"):
            home.create(name)

        def make(scope: str, kb: str) -> dict[str, str]:
            _, text = home.access.create(
                "t", scopes=(scope,), knowledge_bases=(kb,), expires_at=None
            )
            return {"authorization": f"Bearer {text}"}

        keys = {scope: make(scope, EVERY) for scope in SCOPES}
        own = make("metrics", "docs")
    app = create_app(settings, keys=True, embedder=word_embedder())
    with TestClient(app, base_url="http://127.0.0.1") as client:
        for scope, headers in keys.items():
            operates = scope in ("metrics", "admin")
            assert client.get("/operate", headers=headers).status_code == (200 if operates else 403)
            linked = 'href="/operate"' in client.get("/collections", headers=headers).text
            assert linked == operates
        seen = client.get("/operate", headers=own).text
        assert "docs" in seen
        assert "closed" not in seen
        assert "closed" in client.get("/operate", headers=keys["metrics"]).text


def test_quantiles_are_within_a_bucket_of_those_of_the_values() -> None:
    chance = random.Random(5)
    bounds = [0.1, 0.25, 0.5, 1.0, 2.5, math.inf]
    for _ in range(50):
        values = sorted(chance.expovariate(2) for _ in range(chance.randrange(1, 300)))
        buckets = [(bound, float(sum(one <= bound for one in values))) for bound in bounds]
        for q in (0.5, 0.95):
            exact = values[math.ceil(q * len(values)) - 1]
            found, over = quantile(buckets, q)
            assert over == (exact > 2.5)
            low = max([0.0, *(bound for bound in bounds if bound < exact)])
            high = min(bound for bound in bounds if bound >= exact)
            assert low <= found <= high
    assert quantile([(1.0, 0.0), (math.inf, 0.0)], 0.5) is None
