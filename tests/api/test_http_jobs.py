"""Jobs over HTTP: progress, restarts, and what can happen to their uploads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.jobs import Jobs
from indexer.embed import SentenceEmbedder
from knowledge_bases.home import Home
from rag.errors import UsageError
from rag.settings import Settings

Serve = Callable[[Settings, SentenceEmbedder], TestClient]


@pytest.fixture
def stopped(tmp_path: Path, minilm: SentenceEmbedder) -> Iterator[tuple[Settings, Home, Jobs]]:
    """A service that accepts uploads but works nothing off, as if it were always just stopping."""
    settings = Settings(home=tmp_path)
    with Home(settings, embedder=minilm) as home:
        jobs = Jobs(home)
        home.create("a")
        home.create("b")
        yield settings, home, jobs
        jobs.stop()


def queued(home: Home, jobs: Jobs, kb: str, *texts: str) -> str:
    upload = jobs.spool.new()
    for text in texts:
        file = upload.add(f"{text}.txt")
        assert file is not None
        upload.write(file, f"The word is {text}.".encode())
        upload.close(file)
    upload.tags = ("words",)
    return jobs.submit(home.open(kb).row.id, upload).id


def test_jobs_go_on_after_a_restart(
    stopped: tuple[Settings, Home, Jobs], serve: Serve, tmp_path: Path, minilm: SentenceEmbedder
) -> None:
    settings, home, jobs = stopped
    half_done = queued(home, jobs, "a", "hill", "lake")
    waiting = queued(home, jobs, "b", "moor")
    lost = queued(home, jobs, "a", "reed")
    jobs.spool.discard(lost)
    arriving = jobs.spool.new()  # Its client was never told that it is safe.
    arriving.seal()
    assert home.store.jobs.get(waiting).state == "queued"
    first = tmp_path / "spool" / half_done / "files" / "hill.txt"
    home.open("a").ingest([first])  # What the last server got done before it was killed.
    home.store.jobs.update(
        half_done, state="running", progress=home.store.jobs.get(half_done).progress
    )
    jobs.stop()
    with serve(settings, minilm) as client:
        for job_id in (half_done, waiting, lost):
            client.get(f"/v1/jobs/{job_id}/events")
        seen = {
            job_id: client.get(f"/v1/jobs/{job_id}").json() for job_id in (half_done, waiting, lost)
        }
        assert seen[half_done]["state"] == "done"
        assert seen[half_done]["progress"]["unchanged"] == 1
        assert seen[half_done]["progress"]["added"] == 1
        assert seen[waiting]["progress"]["added"] == 1
        assert seen[lost]["state"] == "failed"
        assert "upload it again" in seen[lost]["error"]
        assert list((tmp_path / "spool").iterdir()) == []
        documents = client.get("/v1/knowledge-bases/a/documents").json()["documents"]
        assert [d["document"]["uri"] for d in documents] == ["hill.txt", "lake.txt"]
        assert all(d["tags"] == ["words"] for d in documents)


def test_a_knowledge_base_takes_its_jobs_and_uploads_along(
    stopped: tuple[Settings, Home, Jobs], tmp_path: Path
) -> None:
    _, home, jobs = stopped
    gone, kept = queued(home, jobs, "a", "fern"), queued(home, jobs, "b", "moss")
    jobs.delete_knowledge_base("a")
    assert [job.id for job in home.store.jobs.unfinished()] == [kept]
    assert [path.name for path in (tmp_path / "spool").iterdir()] == [kept]
    assert gone != kept


def test_one_server_per_home(stopped: tuple[Settings, Home, Jobs]) -> None:
    settings, _, jobs = stopped
    with pytest.raises(UsageError, match="another server works on"):
        create_app(settings)
    jobs.stop()
    create_app(settings).state.jobs.stop()


def test_events_say_what_is_new(
    client: TestClient, wards: str, end_of_job: Callable[..., dict[str, Any]]
) -> None:
    accepted = client.post(f"{wards}/documents", files={"files": ("storage/fridges.txt", b"")})
    events = f"{accepted.headers['location']}/events"
    job = end_of_job(client, accepted)
    assert job["progress"]["failed"][0]["path"] == "storage/fridges.txt"
    again = client.get(events)  # Whoever comes late is told the end.
    assert again.headers["content-type"].startswith("text/event-stream")
    assert again.text.startswith("id: done-1\nevent: done\ndata: {")
    assert again.text.count("event:") == 1
    assert client.get(events, headers={"last-event-id": "running-0"}).text == again.text
    assert client.get(events, headers={"last-event-id": "done-1"}).status_code == 204


@pytest.mark.parametrize("job_id", ["0", "1" * 31, "%2e%2e%2f%2e%2e%2fx", "%00", "é"])
def test_unknown_jobs(client: TestClient, job_id: str) -> None:
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404
    assert client.get(f"/v1/jobs/{job_id}/events").status_code == 404
