"""Signing in with a key in a browser: what the cookie is, what ends it, who can't use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from api.auth import OPEN
from knowledge_bases import access
from knowledge_bases.home import Home
from knowledge_bases.store.api_keys import EVERY
from knowledge_bases.tables import ApiSessionRow
from rag.settings import Settings

OWN = {"origin": "http://127.0.0.1"}
Serve = Callable[..., TestClient]


@pytest.fixture
def other(settings: Settings, embedder: Any) -> Iterator[Home]:
    """The home as another process has it open."""
    with Home(settings, embedder=embedder) as home:
        home.create("open")
        home.create("closed")
        yield home


@pytest.fixture
def key(other: Home) -> str:
    scopes = ("ask", "admin")
    return other.access.create("a", scopes=scopes, knowledge_bases=("open",), expires_at=None)[1]


@pytest.fixture
def browser(settings: Settings, embedder: Any, key: str, serve: Serve) -> Iterator[TestClient]:
    with serve(settings, embedder, keys=True) as client:
        yield client


def sign_in(browser: TestClient, key: str) -> Any:
    return browser.post("/v1/session", json={"key": key}, headers=OWN)


def sessions(home: Home) -> int:
    with home._database.read() as session:
        return session.scalar(select(func.count(ApiSessionRow.token_sha256))) or 0


def test_from_sign_in_to_sign_out(browser: TestClient, key: str, other: Home) -> None:
    assert browser.get("/v1/session").status_code == 401
    signed_in = sign_in(browser, key)
    assert signed_in.status_code == 201
    told = signed_in.json()
    assert (told["key_id"], told["scopes"]) == (key.split("_")[1], ["admin", "ask"])
    assert told["knowledge_bases"] == ["open"]
    assert key not in signed_in.text
    cookie = signed_in.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "Domain" not in cookie
    assert "expires=" in cookie

    listed = browser.get("/v1/knowledge-bases").json()["knowledge_bases"]
    assert [kb["name"] for kb in listed] == ["open"]
    assert browser.get("/v1/knowledge-bases/closed").status_code == 404
    assert browser.get("/v1/audit").status_code == 403
    asked = browser.post("/v1/knowledge-bases/open/answers", json={"question": "Who?"}, headers=OWN)
    assert asked.status_code == 200
    newest = next(other.store.log.all(limit=1))
    assert other.store.log.payload(newest)["asker"] == f"a (key {told['key_id']})"

    token = browser.cookies["rag-session"]
    out = browser.delete("/v1/session", headers=OWN)
    assert out.status_code == 204
    assert "rag-session" not in browser.cookies
    browser.cookies.set("rag-session", token)
    assert browser.get("/v1/session").status_code == 401, "a kept copy of the cookie is worthless"


def test_only_a_digest_of_a_session_is_stored(browser: TestClient, key: str, other: Home) -> None:
    sign_in(browser, key)
    token = browser.cookies["rag-session"]
    assert len(token) == 43
    for path in other.settings.home.rglob("*"):
        if path.is_file():
            assert token.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("wrong", ["", "hello", "rag_000000000000_" + "A" * 43])
def test_nobody_signs_in_with_a_wrong_key(browser: TestClient, wrong: str, key: str) -> None:
    refused = sign_in(browser, wrong)
    assert refused.status_code == 401
    assert "set-cookie" not in refused.headers
    assert refused.json() == {
        **browser.get("/v1/audit").json(),
        "instance": "/v1/session",
        "request_id": refused.headers["x-request-id"],
    }, "as everywhere, whatever is wrong with it"


def test_a_session_ends_with_its_key(browser: TestClient, key: str, other: Home) -> None:
    sign_in(browser, key)
    other.access.revoke(key.split("_")[1])
    assert browser.get("/v1/session").status_code == 401
    assert sign_in(browser, key).status_code == 401
    assert sessions(other) == 0


def test_and_after_twelve_hours(browser: TestClient, key: str, other: Home) -> None:
    sign_in(browser, key)
    token = browser.cookies["rag-session"]
    with other._database.write() as session:
        past = access.now() - access._SESSION
        session.execute(update(ApiSessionRow).values(expires_at=past))
    browser.cookies.set("rag-session", token)
    assert browser.get("/v1/session").status_code == 401
    sign_in(browser, key)
    assert sessions(other) == 1, "those that ended are forgotten"


def test_no_session_is_longer_than_its_key(browser: TestClient, other: Home) -> None:
    soon = access.now() + access._SESSION / 4
    _, text = other.access.create("b", scopes=("ask",), knowledge_bases=(EVERY,), expires_at=soon)
    told = sign_in(browser, text).json()
    assert told["expires_at"].startswith(f"{soon:%Y-%m-%dT%H:%M:%S}")
    assert told["knowledge_bases"] is None


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "http://evil.example",
        "http://127.0.0.1:8080",
        "http://127.0.0.1.evil.example",
        "http://evil.example/127.0.0.1",
        "127.0.0.1",
        "",
    ],
)
def test_no_other_page_can_use_a_session(
    browser: TestClient, key: str, other: Home, origin: str | None
) -> None:
    sign_in(browser, key)
    headers = {} if origin is None else {"origin": origin}
    before = other.store.log.size()
    tried = 0
    for path, operations in browser.app.openapi()["paths"].items():
        for method in operations:
            place = path.replace("{kb}", "open").replace("{document_id}", "1")
            if method == "get" or (method.upper(), path) in OPEN:
                continue
            content = {"json": {"question": "Who?"}} if method == "post" else {}
            refused = browser.request(method, place, headers=headers, **content)
            assert refused.status_code == 403, (method, place)
            assert "other sites" in refused.json()["detail"]
            tried += 1
    assert tried >= 7
    assert other.store.log.size() == before
    assert browser.get("/v1/session").status_code == 200, "nor sign anybody out"


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://127.0.0.1:8080"])
def test_no_other_page_can_sign_anybody_in(browser: TestClient, key: str, origin: str) -> None:
    refused = browser.post("/v1/session", json={"key": key}, headers={"origin": origin})
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers
    form = browser.post("/v1/session", data={"key": key}, headers=OWN)
    assert form.status_code == 415, "what a form can send without being asked"


def test_a_wrong_key_is_not_made_up_for_by_a_session(browser: TestClient, key: str) -> None:
    sign_in(browser, key)
    for header in ("Bearer nonsense", "Basic eDp5", ""):
        assert browser.get("/v1/session", headers={"authorization": header}).status_code == 401


def test_a_key_has_no_session_to_end(browser: TestClient, key: str) -> None:
    response = browser.delete("/v1/session", headers={"authorization": f"Bearer {key}"})
    assert response.status_code == 422
    assert "rag key revoke" in response.json()["detail"]
    told = browser.get("/v1/session", headers={"authorization": f"Bearer {key}"}).json()
    assert (told["key_id"], told["expires_at"]) == (key.split("_")[1], None)


def test_over_tls_the_cookie_is_for_tls_and_this_host_alone(browser: TestClient, key: str) -> None:
    browser.base_url = "https://rag.example"
    own = {"origin": "https://rag.example"}
    signed_in = browser.post("/v1/session", json={"key": key}, headers=own)
    cookie = signed_in.headers["set-cookie"]
    assert cookie.startswith("__Host-rag-session=")
    assert "Secure" in cookie
    assert browser.get("/v1/session").status_code == 200
    token = browser.cookies["__Host-rag-session"]
    browser.cookies.clear()
    planted = browser.get("/v1/session", headers={"cookie": f"rag-session={token}"})
    assert planted.status_code == 401, "a name that another host of the domain could have set"
