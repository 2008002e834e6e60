"""Knowledge bases and documents over HTTP."""

from __future__ import annotations

import errno
import io
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.spool import uri_for
from indexer.embed import SentenceEmbedder
from knowledge_bases.home import Home
from rag.settings import Settings

EndOfJob = Callable[[TestClient, Any], dict[str, Any]]


def uris(client: TestClient, kb: str) -> list[str]:
    listed = client.get(f"{kb}/documents").json()["documents"]
    return [entry["document"]["uri"] for entry in listed]


def test_a_knowledge_base_from_creation_to_deletion(client: TestClient) -> None:
    created = client.post("/v1/knowledge-bases", json={"name": "Überblick.2025"})
    assert created.status_code == 201
    path = created.headers["location"]
    assert client.get(path).json() == created.json()
    assert created.json()["documents"] == 0
    listed = client.get("/v1/knowledge-bases").json()["knowledge_bases"]
    assert created.json() in listed
    again = client.post("/v1/knowledge-bases", json={"name": "Überblick.2025"})
    assert again.status_code == 409
    assert again.json()["type"].endswith(":already-exists")
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code == 404


def test_a_name_s_second_life_in_another_process(
    client: TestClient, empty: str, service_settings: Settings, minilm: SentenceEmbedder
) -> None:
    with Home(service_settings, embedder=minilm) as other:
        other.delete(empty.rpartition("/")[2])
        other.create("reborn")  # SQLite may give it the deleted one's id.
    assert client.get(empty).status_code == 404
    assert client.get("/v1/knowledge-bases/reborn").json()["name"] == "reborn"
    found = client.post("/v1/knowledge-bases/reborn/search", json={"query": "a"})
    assert found.json() == {"hits": []}


@pytest.mark.parametrize(
    "name", ["", " ", "../../etc", "a/b", "-a", "a" * 101, "a\n", "a\0", "a b", ".."]
)
def test_a_bad_name_is_refused(client: TestClient, name: str) -> None:
    refused = client.post("/v1/knowledge-bases", json={"name": name})
    assert refused.status_code == 422
    assert "can't be a name" in refused.json()["detail"]


def test_uploaded_files_are_documents(client: TestClient, wards: str) -> None:
    documents = client.get(f"{wards}/documents").json()["documents"]
    assert [d["document"]["uri"] for d in documents] == ["returns.md", "storage/fridges.txt"]
    assert all(set(d["tags"]) == {"pharmacy", "2025"} for d in documents)
    shown = client.get(f"{wards}/documents/{documents[1]['document']['id']}").json()
    assert shown["text"].startswith("The vaccine fridge alarm")
    assert {**shown, "text": 0} == {**documents[1], "text": 0}
    url = f"{wards}/documents/{documents[1]['document']['id']}"
    assert client.get(url, params={"version": 1}).json() == shown
    assert client.get(url, params={"version": 2}).status_code == 404
    assert client.get(url, params={"version": 0}).status_code == 422


def test_documents_come_in_pages(client: TestClient, wards: str) -> None:
    url = f"{wards}/documents"
    whole = client.get(url).json()
    assert whole["next"] is None
    first = client.get(url, params={"limit": 1}).json()
    assert first == {"documents": whole["documents"][:1], "next": "returns.md"}
    rest = client.get(url, params={"limit": 1, "after": first["next"]}).json()
    assert rest == {"documents": whole["documents"][1:], "next": None}
    assert client.get(url, params={"limit": 0}).status_code == 422


def test_an_upload_is_the_next_version_of_what_has_its_name(
    client: TestClient,
    empty: str,
    end_of_job: EndOfJob,
    tmp_path: Path,
    service_settings: Settings,
    minilm: SentenceEmbedder,
) -> None:
    file = tmp_path / "a.txt"
    file.write_text("From a folder.")
    with Home(service_settings, embedder=minilm) as home:
        assert home.open(empty.rpartition("/")[2]).ingest([file]).added == 1
        for text in (b"Uploaded.", b"Uploaded again."):
            files = {"files": ("a.txt", text)}
            job = end_of_job(client, client.post(f"{empty}/documents", files=files))
            assert job["progress"]["updated"] == 1
        # Whereas a file of a folder doesn't take the place of what was uploaded.
        ((uri, reason),) = home.open(empty.rpartition("/")[2]).ingest([file]).failed
    assert (uri, "which was uploaded" in reason) == ("a.txt", True)


def test_a_text_as_json_takes_the_same_way(
    client: TestClient, empty: str, end_of_job: EndOfJob, spool: Path
) -> None:
    document = {
        "uri": "https://intranet.example/alarms?id=7",
        "title": "Alarms",
        "text": "The cellar alarm is tested on Tuesdays.\n\nIt is loud: \N{SNOWMAN}.",
        "date": "2025-02-03",
        "tags": ["cellar"],
    }
    first = end_of_job(client, client.post(f"{empty}/documents", json=document))
    assert (first["state"], first["progress"]["added"]) == ("done", 1)
    soon = time.monotonic() + 10.0
    while list(spool.iterdir()) and time.monotonic() < soon:  # cleared after the state is set
        time.sleep(0.05)
    assert list(spool.iterdir()) == []
    listed = client.get(f"{empty}/documents").json()["documents"][0]
    assert listed["document"]["uri"] == document["uri"]
    assert (listed["date"], listed["tags"]) == ("2025-02-03", ["cellar"])
    shown = client.get(f"{empty}/documents/{listed['document']['id']}").json()
    assert shown["text"] == document["text"]
    same = end_of_job(client, client.post(f"{empty}/documents", json=document))
    assert same["progress"]["unchanged"] == 1
    changed = {**document, "text": "The cellar alarm is tested on Fridays."}
    newer = end_of_job(client, client.post(f"{empty}/documents", json=changed))
    assert newer["progress"]["updated"] == 1
    query = {"query": "cellar alarm", "filters": {"tags": ["cellar"], "since": "2025-02-03"}}
    (hit,) = client.post(f"{empty}/search", json=query).json()["hits"]
    assert (hit["version"], hit["text"]) == (2, changed["text"])
    query["filters"] = {"until": "2025-02-02"}
    assert client.post(f"{empty}/search", json=query).json() == {"hits": []}
    path = f"{empty}/documents/{listed['document']['id']}"
    assert client.delete(path).status_code == 204
    assert client.post(f"{empty}/search", json={"query": "alarm"}).json() == {"hits": []}
    assert client.get(path).status_code == client.delete(path).status_code == 404


def test_what_can_t_be_read_fails_by_itself_with_a_reason(
    client: TestClient, empty: str, end_of_job: EndOfJob, service_settings: Settings
) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("one.txt", "The first ward has twelve beds.")
        file.writestr("two.txt", "The second ward has nine beds.")
    files = [
        ("files", ("good.txt", b"The third ward has ten beds.")),
        ("files", ("empty.txt", b"")),
        ("files", ("cut.pdf", b"%PDF-1.7\n1 0 obj\n<<")),
        ("files", ("wards.zip", archive.getvalue())),
        ("files", (".env", b"hidden")),
        ("files", ("good.txt", b"the same name")),
        ("files", ("good.txt/below.txt", b"a file is no folder")),
        ("files", ("../../../escaped.txt", b"The fourth ward has two beds.")),
    ]
    job = end_of_job(client, client.post(f"{empty}/documents", files=files))
    progress = job["progress"]
    assert (job["state"], job["error"]) == ("done", None)
    reasons = {entry["path"]: entry["reason"] for entry in progress["failed"]}
    assert set(reasons) == {"empty.txt", "cut.pdf", ".env", "good.txt", "good.txt/below.txt"}
    assert "empty" in reasons["empty.txt"]
    assert "hidden" in reasons[".env"]
    assert "same name" in reasons["good.txt"]
    assert (progress["added"], progress["total"], progress["done"]) == (4, 9, 9)
    assert uris(client, empty) == [
        "escaped.txt",
        "good.txt",
        "wards.zip/one.txt",
        "wards.zip/two.txt",
    ]
    assert not list(service_settings.home.parent.glob("**/escaped.txt"))


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("a.txt", "a.txt"),
        ("wards/north/a.txt", "wards/north/a.txt"),
        ("/etc/passwd", "passwd"),
        ("../a.txt", "a.txt"),
        ("a/../../b.txt", "b.txt"),
        ("a//b.txt", "b.txt"),
        ("C:\\Users\\me\\a.txt", "a.txt"),
        ("..\\..\\a.txt", "a.txt"),
        ("a\0b.txt", "a\N{REPLACEMENT CHARACTER}b.txt"),
        ("a\r\nb.txt", "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b.txt"),
        ("\N{LATIN SMALL LETTER E}\N{COMBINING ACUTE ACCENT}.txt", "é.txt"),
        ("", None),
        ("..", None),
        ("../", None),
        ("a/.git/config", None),
        ("Thumbs.db", None),
        ("x" * 301, None),
        ("é" * 128, None),
    ],
)
def test_names_of_uploads_lead_nowhere(name: str, uri: str | None) -> None:
    found, reason = uri_for(name)
    assert found == uri
    assert bool(reason) == (uri is None)


BOUNDARY = {"content-type": "multipart/form-data; boundary=b"}
PART = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'


@pytest.mark.parametrize(
    ("headers", "body", "status", "detail"),
    [
        (BOUNDARY, b"--b--\r\n", 422, "no file"),
        (BOUNDARY, PART % (b"wrong", b'; filename="a"', b"x"), 422, "name it 'files'"),
        (BOUNDARY, PART % (b"files", b'; filename=""', b"") + b"--b--\r\n", 422, "no file"),
        (BOUNDARY, PART % (b"files", b'; filename="a"', b"x"), 400, "cut off"),
        (BOUNDARY, b"", 400, "cut off"),
        (BOUNDARY, b"hello", 400, "not valid multipart"),
        ({"content-type": "multipart/form-data"}, b"--b--", 400, "boundary"),
        (BOUNDARY, PART % (b"owner", b"", b"x") + b"--b--\r\n", 422, "not known"),
        (BOUNDARY, PART % (b"tags", b"", b"x" * 2000) + b"--b--\r\n", 413, "field"),
        (BOUNDARY, PART % (b"files", b'; filename="a"', b"x" * 50_001), 413, "file is larger"),
        (BOUNDARY, PART % (b"files", b'; filename="a"', b"x") * 9, 413, "more than 8 files"),
        ({"content-type": "text/plain"}, b"hello", 415, "multipart/form-data"),
        ({}, b"hello", 415, "multipart/form-data"),
        ({"content-type": "application/json"}, b'{"uri": "a", "text"', 400, "JSON"),
        ({"content-type": "application/json"}, b'{"uri":"a","text":"\\ud800"}', 400, "JSON"),
        ({"content-type": "application/json"}, b"[" * 10_000, 400, "JSON"),
        ({"content-type": "application/json"}, b"{}", 422, "uri"),
        ({"content-type": "application/json"}, b'{"uri":"a","text":" \\n"}', 422, "text"),
        ({"content-type": "application/json"}, b'{"uri":"a\\u0000","text":"b"}', 422, "uri"),
        ({"content-type": "application/json"}, b'{"uri":"a","text":"b","date":7}', 422, "date"),
        ({"content-type": "application/json"}, b" " * 50_001, 413, "larger"),
    ],
)
def test_a_bad_upload_is_refused_and_leaves_nothing(
    client: TestClient,
    wards: str,
    spool: Path,
    headers: dict[str, str],
    body: bytes,
    status: int,
    detail: str,
) -> None:
    refused = client.post(f"{wards}/documents", headers=headers, content=body)
    assert (refused.status_code, detail in refused.json()["detail"]) == (status, True), refused.text
    assert list(spool.iterdir()) == []


def test_bad_tags_are_refused(client: TestClient, wards: str) -> None:
    refused = client.post(
        f"{wards}/documents", files={"files": ("a.txt", b"a")}, data={"tags": ["a\nb"]}
    )
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith("tags: ")


def test_an_upload_to_nowhere_is_not_read(client: TestClient, spool: Path) -> None:
    for name in ("none", "..%2F..%2Fetc", "%00"):
        url = f"/v1/knowledge-bases/{name}/documents"
        assert client.post(url, files={"files": ("a.txt", b"a")}).status_code == 404


def test_a_full_disk_is_told_and_leaves_nothing(
    client: TestClient, wards: str, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    refused = client.post(f"{wards}/documents", files={"files": ("a.txt", b"a")})
    assert refused.status_code == 507
    assert "No space left on device" in refused.json()["detail"]
    assert list(spool.iterdir()) == []


@pytest.mark.parametrize("document_id", ["0", "1" * 31, "-1", "1.0", "x", "%2e%2e%2f1", "%00", "٣"])
def test_unknown_documents(client: TestClient, wards: str, document_id: str) -> None:
    assert client.get(f"{wards}/documents/{document_id}").status_code == 404
    assert client.delete(f"{wards}/documents/{document_id}").status_code == 404


def test_a_document_is_not_seen_from_another_knowledge_base(
    client: TestClient, wards: str, empty: str
) -> None:
    theirs = client.get(f"{wards}/documents").json()["documents"][0]["document"]["id"]
    assert client.get(f"{empty}/documents/{theirs}").status_code == 404
    assert client.delete(f"{empty}/documents/{theirs}").status_code == 404
