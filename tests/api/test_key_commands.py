"""rag key, and what rag serve does with and without keys."""

from __future__ import annotations

import datetime
import json
import logging
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api.auth import WithoutKeys
from api.cli import main
from knowledge_bases.access import SECRET
from knowledge_bases.home import Home
from knowledge_bases.store.api_keys import EVERY
from knowledge_bases.store.log import Log
from rag.errors import RecordError, StorageError
from rag.settings import Settings

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def rag(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: Settings,
    embedder: Any,
) -> Run:
    """Run `rag` in this process and return (exit code, stdout, stderr)."""
    with Home(settings, embedder=embedder) as home:
        home.create("docs")
        home.create("wards")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rag", *arguments])
        monkeypatch.setenv("RAG_HOME", str(settings.home))
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def create(rag: Run, *more: str) -> dict[str, Any]:
    given = more or ("--scope", "ask", "--kb", "docs")
    code, out, _ = rag("key", "create", "ward app", *given, "--json")
    assert code == 0
    made: dict[str, Any] = json.loads(out)
    return made


def records(settings: Settings) -> list[dict[str, Any]]:
    with Home(settings) as home:
        log = home.store.log
        found = [log.payload(row) for row in log.all(kinds=("access",), oldest_first=True)]
        assert home.audit.verify().problem_count == 0
        return found


def test_a_key_is_shown_once_and_listed_without_its_secret(rag: Run, settings: Settings) -> None:
    code, out, err = rag(
        *("key", "create", "ward app", "--scope", "audit", "--scope", "ask", "--kb", "wards"),
        *("--kb", "docs"),
    )
    text = out.strip()
    assert (code, bool(SECRET.fullmatch(text))) == (0, True), "stdout is the key and nothing else"
    assert "ward app: ask, audit on docs, wards, until " in err
    assert text not in err
    _, out, _ = rag("key", "list", "--json")
    (listed,) = json.loads(out)["keys"]
    ends = datetime.datetime.fromisoformat(listed["expires_at"])
    assert 364 <= (ends - datetime.datetime.now(datetime.UTC)).days <= 365
    assert listed == {
        "id": text.split("_")[1],
        "name": "ward app",
        "state": "active",
        "scopes": ["ask", "audit"],
        "all_knowledge_bases": False,
        "knowledge_bases": ["docs", "wards"],
        "created_at": listed["created_at"],
        "expires_at": listed["expires_at"],
        "revoked_at": None,
        "last_used_at": None,
    }
    _, table, _ = rag("key", "list")
    assert "ward app" in table
    secret = text.rpartition("_")[2]
    assert secret not in table
    for path in settings.home.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes()


def test_making_and_revoking_are_in_the_log(rag: Run, settings: Settings) -> None:
    made = create(rag, "--scope", "ask", "--all-kbs", "--expires", "never")
    assert made["all_knowledge_bases"]
    for _ in range(2):
        code, out, _ = rag("key", "revoke", made["id"], "--json")
        assert (code, json.loads(out)["state"]) == (0, "revoked")
    created, revoked = records(settings)
    software = created["software"]
    assert created == {
        "schema": "grounded-rag/access/1",
        "kind": "access",
        "software": software,
        "actor": "local",
        "change": "created",
        "key": made["id"],
        "name": "ward app",
        "scopes": ["ask"],
        "knowledge_bases": ["*"],
        "expires_at": None,
    }
    assert revoked == {**created, "change": "revoked"}
    assert made["key"].rpartition("_")[2] not in json.dumps([created, revoked])
    _, out, _ = rag("audit", "list", "--json")
    listed = [record for record in json.loads(out)["records"] if record["kind"] == "access"]
    assert [record["status"] for record in listed] == ["revoked", "created"]


def test_a_whole_key_may_be_revoked_by_itself(rag: Run) -> None:
    made = create(rag)
    code, out, _ = rag("key", "revoke", made["key"])
    assert (code, out) == (0, f"revoked key {made['id']} for ward app\n")


@pytest.mark.parametrize(
    ("expires", "hours"), [("12h", 12), ("90d", 90 * 24), ("never", None), ("2100-01-31", ...)]
)
def test_when_a_key_ends(rag: Run, expires: str, hours: Any) -> None:
    made = create(rag, "--scope", "ask", "--kb", "docs", "--expires", expires)
    if hours is None:
        assert made["expires_at"] is None
    elif hours is ...:
        assert made["expires_at"] == "2100-02-01T00:00:00+00:00", "with its last day"
    else:
        ends = datetime.datetime.fromisoformat(made["expires_at"])
        left = ends - datetime.datetime.now(datetime.UTC)
        assert 0 <= hours * 3600 - left.total_seconds() < 120


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("a", "--kb", "docs"), 2, "--scope"),
        (("a", "--scope", "ask"), 2, "--kb NAME, or --all-kbs"),
        (
            ("a", "--scope", "all", "--kb", "docs"),
            2,
            "there are: ask, ingest, audit, review, metrics, admin",
        ),
        (("a", "--scope", "ask", "--kb", "none"), 3, "there is no knowledge base 'none'"),
        (("a", "--scope", "ask", "--kb", "docs", "--all-kbs"), 2, "not both"),
        (("a", "--scope", "ask", "--kb", "docs", "--expires", "soon"), 2, "90d"),
        (("a", "--scope", "ask", "--kb", "docs", "--expires", "999999999d"), 2, "90d"),
        (("a", "--scope", "ask", "--kb", "docs", "--expires", "9999-12-31"), 2, "90d"),
        (("a", "--scope", "ask", "--kb", "docs", "--expires", "0d"), 2, "past"),
        (("a", "--scope", "ask", "--kb", "docs", "--expires", "2020-01-01"), 2, "past"),
        (("", "--scope", "ask", "--kb", "docs"), 2, "1 to 100"),
        (("a" * 101, "--scope", "ask", "--kb", "docs"), 2, "1 to 100"),
        (("a\nb", "--scope", "ask", "--kb", "docs"), 2, "one line"),
        ((f"rag_{'0' * 12}_{'A' * 43}", "--scope", "ask", "--kb", "docs"), 2, "don't put a key"),
    ],
)
def test_what_can_t_be_made_is_one_line(
    rag: Run, settings: Settings, arguments: tuple[str, ...], code: int, why: str
) -> None:
    got, out, err = rag("key", "create", *arguments)
    assert (got, out) == (code, "")
    assert why in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert records(settings) == []


def test_an_unknown_key_can_t_be_revoked(rag: Run) -> None:
    code, _, err = rag("key", "revoke", "0" * 12)
    assert (code, err) == (
        3,
        "rag: there is no key '000000000000'; `rag key list` shows those there are\n",
    )
    assert rag("key", "list")[1].startswith("no keys yet")


def test_no_record_no_key(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Log, "append", full)
        with pytest.raises(RecordError, match="it is not made"):
            home.access.create("a", scopes=["ask"], knowledge_bases=[EVERY], expires_at=None)
        assert home.store.api_keys.all() == []


def test_a_key_is_revoked_even_if_the_log_refuses(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, text = home.access.create("a", scopes=["ask"], knowledge_bases=[EVERY], expires_at=None)

    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Log, "append", full)
        with pytest.raises(RecordError, match="is revoked, but that was not logged"):
            home.access.revoke(made.id)
    assert home.access.asker_of_key(text) is None
    assert home.store.log.size() == 1
    for _ in range(2):
        home.access.revoke(made.id)
    assert home.store.log.size() == 2, "it was made up for, once"


def test_nobody_else_is_served_without_keys(rag: Run) -> None:
    made = create(rag)
    rag("key", "revoke", made["id"])
    for arguments in (("--host", "0.0.0.0"), ("--host", "::"), ("--keys",), ("--host", "")):
        code, out, err = rag("serve", *arguments)
        assert (code, out) == (2, "")
        assert "rag key create" in err
        assert err.count("\n") == 1


def test_serving_says_how(rag: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[dict[str, Any]] = []

    def run(app: Any, **options: Any) -> None:
        app.state.jobs.stop()
        served.append({"keys": app.state.keys, **options})

    monkeypatch.setattr("uvicorn.run", run)
    code, out, err = rag("serve")
    assert (code, out, served[-1]["keys"]) == (0, "", False)
    assert "local mode, whoever uses this machine may do everything" in err
    create(rag)
    assert rag("serve")[0] == 0
    assert not served[-1]["keys"], "loopback stays local mode until --keys"
    for arguments in (("--keys",), ("--host", "0.0.0.0"), ("--host", "192.168.0.7")):
        code, out, err = rag("serve", *arguments, "--json")
        assert (code, json.loads(out)["keys"], served[-1]["keys"]) == (0, True, True)
        assert "every request needs a key" in err
    assert served[-1]["host"] == "192.168.0.7"


def test_a_served_key_is_in_no_log(rag: Run, settings: Settings, tmp_path: Path) -> None:
    """The real server, as its operator would see it."""
    made = create(rag)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "api.cli", "serve", "--host", "0.0.0.0", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--home", str(settings.home)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "RAG_GENERATOR": "extractive", "RAG_RERANKER": "none"},
        )
    url = f"http://127.0.0.1:{port}"

    def get(path: str, key: str | None = None) -> int:
        request = urllib.request.Request(url + path)
        if key:
            request.add_header("Authorization", f"Bearer {key}")
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    try:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                assert get("/healthz") == 200
                break
            except urllib.error.URLError:
                assert server.poll() is None
                time.sleep(0.2)
        assert get("/v1/session") == 401
        assert get("/v1/session", made["key"]) == 200
        assert get(f"/v1/session?key={made['key']}") == 400
        assert get(f"/v1/audit/{made['key']}", made["key"]) == 400
        assert rag("key", "revoke", made["id"])[0] == 0
        assert get("/v1/session", made["key"]) == 401
    finally:
        server.terminate()
        server.wait(60)
    logged = (tmp_path / "log").read_text()
    assert "every request needs a key" in logged
    assert logged.count("/v1/session") == 4
    assert f"key=rag_{made['id']}_…" in logged
    assert made["key"].rpartition("_")[2] not in logged


def test_the_filter_masks_keys_wherever_they_stand() -> None:
    key = f"rag_{'0a' * 6}_{'x-Y_' * 10}zzz"
    assert SECRET.fullmatch(key)
    record = logging.LogRecord("a", 20, "a.py", 1, f"%s {key} %d", (f"GET /?{key}", 7), None)
    assert WithoutKeys().filter(record)
    assert record.getMessage() == f"GET /?rag_{'0a' * 6}_… rag_{'0a' * 6}_… 7"
    assert not re.search("x-Y", str(vars(record)))
