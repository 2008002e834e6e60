"""Keys made, listed and revoked over HTTP, by whom and for what."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from knowledge_bases.access import SCOPES
from knowledge_bases.home import Home
from knowledge_bases.store.api_keys import EVERY
from rag.settings import Settings


@pytest.fixture
def admins(
    tmp_path: Path, word_calibration: Path, word_embedder: Any, serve: Callable[..., TestClient]
) -> Iterator[tuple[TestClient, dict[str, str]]]:
    settings = Settings(home=tmp_path, calibration=word_calibration)
    with Home(settings, embedder=word_embedder()) as home:
        home.create("open")
        home.create("closed")

        def make(*scopes: str, kbs: tuple[str, ...]) -> str:
            return home.access.create("t", scopes=scopes, knowledge_bases=kbs, expires_at=None)[1]

        keys = {
            "root": make(*SCOPES, kbs=(EVERY,)),
            "open": make("admin", "ask", kbs=("open",)),
            "bare": make("admin", kbs=("open",)),
            "other": make("ask", kbs=("closed",)),
        }
    with serve(settings, word_embedder(), keys=True) as client:
        yield client, keys


def send(client: TestClient, method: str, path: str, key: str, **more: Any) -> Any:
    return client.request(method, path, headers={"authorization": f"Bearer {key}"}, **more)


def test_a_key_lives_and_dies_over_http(admins: tuple[TestClient, dict[str, str]]) -> None:
    client, keys = admins
    asked = {"name": "ward app", "scopes": ["ask"], "knowledge_bases": ["open"]}
    made = send(client, "POST", "/v1/keys", keys["open"], json=asked)
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    key = made.json()
    left = datetime.datetime.fromisoformat(key["expires_at"]) - datetime.datetime.now(datetime.UTC)
    assert left.days == 364, "a year, unless it is said otherwise"
    assert send(client, "GET", "/v1/knowledge-bases/open", key["key"]).status_code == 200
    listed = send(client, "GET", "/v1/keys", keys["open"])
    assert key["key"] not in listed.text
    shown = {one["id"]: one for one in listed.json()["keys"]}
    assert shown[key["id"]]["name"] == "ward app"
    assert shown[key["id"]]["state"] == "active"
    path = f"/v1/keys/{key['id']}"
    assert send(client, "DELETE", path, keys["open"]).status_code == 204
    assert send(client, "GET", "/v1/knowledge-bases/open", key["key"]).status_code == 401
    assert send(client, "DELETE", path, keys["open"]).status_code == 204, "again changes nothing"
    log = client.app.state.home.store.log
    records = [log.payload(row) for row in log.all(kinds=("access",), limit=2)]
    assert [record["change"] for record in records] == ["revoked", "created"]
    assert {record["actor"] for record in records} == {f"t (key {keys['open'].split('_')[1]})"}


@pytest.mark.parametrize(
    ("who", "asked", "status", "said"),
    [
        ("bare", {"scopes": ["ask"], "knowledge_bases": ["open"]}, 403, "'ask'"),
        ("open", {"scopes": ["ask", "audit"], "knowledge_bases": ["open"]}, 403, "'audit'"),
        ("open", {"scopes": ["ask"], "knowledge_bases": None}, 403, "grants all"),
        ("open", {"scopes": ["ask"], "knowledge_bases": ["closed"]}, 404, "'closed'"),
        ("open", {"scopes": ["ask"], "knowledge_bases": ["absent"]}, 404, "'absent'"),
        ("open", {"scopes": ["ask"], "knowledge_bases": [EVERY]}, 404, "'*'"),
        ("root", {"scopes": ["ask"], "knowledge_bases": [EVERY]}, 404, "'*'"),
        ("root", {"scopes": ["root"], "knowledge_bases": None}, 422, "there is no scope"),
        ("root", {"scopes": [], "knowledge_bases": None}, 422, "needs a scope"),
        ("root", {"scopes": ["ask"], "knowledge_bases": []}, 422, "needs knowledge bases"),
        ("root", {"scopes": ["ask"]}, 422, "knowledge_bases"),
        (
            "root",
            {"scopes": ["ask"], "knowledge_bases": None, "expires_at": "2020-01-01T00:00:00"},
            422,
            "is past",
        ),
        ("other", {"scopes": ["ask"], "knowledge_bases": ["closed"]}, 403, "'admin'"),
    ],
)
def test_nobody_gives_what_they_don_t_have(
    admins: tuple[TestClient, dict[str, str]],
    who: str,
    asked: dict[str, Any],
    status: int,
    said: str,
) -> None:
    client, keys = admins
    before = len(client.app.state.home.store.api_keys.all())
    refused = send(client, "POST", "/v1/keys", keys[who], json={"name": "x", **asked})
    assert refused.status_code == status, refused.text
    assert said in refused.json()["detail"]
    assert len(client.app.state.home.store.api_keys.all()) == before


def test_keys_beyond_one_s_grants_are_not_there(
    admins: tuple[TestClient, dict[str, str]],
) -> None:
    client, keys = admins
    ids = {name: key.split("_")[1] for name, key in keys.items()}
    seen = send(client, "GET", "/v1/keys", keys["open"]).json()["keys"]
    assert {one["id"] for one in seen} == {ids["open"], ids["bare"]}
    everyone = send(client, "GET", "/v1/keys", keys["root"]).json()["keys"]
    assert {one["id"] for one in everyone} == set(ids.values())
    for name in ("root", "other"):
        there = send(client, "DELETE", f"/v1/keys/{ids[name]}", keys["open"])
        absent = send(client, "DELETE", f"/v1/keys/{'0' * 12}", keys["open"])
        assert there.status_code == absent.status_code == 404
        assert there.json()["detail"] == absent.json()["detail"].replace("0" * 12, ids[name])
        assert send(client, "GET", "/v1/session", keys[name]).status_code == 200
