"""Checkpoints put elsewhere: a folder, a server; what goes wrong is told, and nobody waits."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from knowledge_bases.audit import checkpoint as checkpoints
from knowledge_bases.audit.checkpoint import Checkpoint
from knowledge_bases.audit.checkpoint_publishing import (
    CheckpointPublisher,
    post_checkpoint,
    read_checkpoints,
    write_checkpoint,
)
from knowledge_bases.audit.note_keys import SigningKey
from rag.errors import IntegrityError, StorageError
from rag.settings import Settings

LOG = str(uuid.UUID(int=7))
KEY, SECOND = (SigningKey.generate(f"grounded-rag/{LOG}") for _ in range(2))


def note(size: int, root: bytes = bytes(32), keys=(KEY,)) -> str:
    return checkpoints.sign(Checkpoint(f"grounded-rag/{LOG}", size, root), keys)


class Witness(ThreadingHTTPServer):
    """A server that keeps what is posted to it, and answers with `answers` first."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posted: list[tuple[str, str, str]] = []
        self.answers: list[int] = []
        self.delay = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/checkpoints"


class _Handler(BaseHTTPRequestHandler):
    server: Witness

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"])).decode()
        time.sleep(self.server.delay)
        code = self.server.answers.pop(0) if self.server.answers else 201
        if code < 300:
            self.server.posted.append((self.path, self.headers["Content-Type"], content))
        self.send_response(code)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        raise AssertionError("a redirect was followed")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def witness() -> Iterator[Witness]:
    with Witness() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def publishers() -> Iterator[list[CheckpointPublisher]]:
    made: list[CheckpointPublisher] = []
    yield made
    for publisher in made:
        publisher.close()


def test_notes_are_written_by_size_and_read_back(tmp_path) -> None:
    for size in (12, 5):
        path = write_checkpoint(note(size), tmp_path / "out")
        assert path == tmp_path / "out" / LOG / f"{size:012d}.txt"
    assert read_checkpoints(tmp_path / "out", LOG) == [note(5), note(12)]
    assert read_checkpoints(tmp_path / "none", LOG) == []


def test_the_same_checkpoint_again_changes_nothing_but_may_add_a_signature(tmp_path) -> None:
    path = write_checkpoint(note(5, keys=(KEY, SECOND)), tmp_path)
    write_checkpoint(note(5), tmp_path)
    assert path.read_text() == note(5, keys=(KEY, SECOND))
    write_checkpoint(note(6), tmp_path)
    write_checkpoint(note(6, keys=(KEY, SECOND)), tmp_path)
    assert read_checkpoints(tmp_path, LOG)[1] == note(6, keys=(KEY, SECOND))


def test_another_root_for_a_size_is_told_and_both_are_kept(tmp_path) -> None:
    write_checkpoint(note(5), tmp_path)
    with pytest.raises(IntegrityError, match="has another root for size 5"):
        write_checkpoint(note(5, b"x" * 32), tmp_path)
    assert sorted(read_checkpoints(tmp_path, LOG)) == sorted([note(5), note(5, b"x" * 32)])


def test_a_folder_that_can_not_be_written_is_one_line(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can't write checkpoints to"):
        write_checkpoint(note(5), tmp_path / "file")


def test_a_note_is_posted_as_it_is(witness) -> None:
    post_checkpoint(note(5), witness.url)
    assert witness.posted == [("/checkpoints", "text/plain; charset=utf-8", note(5))]


@pytest.mark.parametrize("code", [301, 302, 307, 400, 404, 500, 503])
def test_whatever_is_no_success_is_an_error(witness, code) -> None:
    witness.answers = [code]
    with pytest.raises(StorageError, match=f"answered {code}"):
        post_checkpoint(note(5), f"{witness.url}?token=secret")
    assert witness.posted == []


def test_messages_do_not_repeat_what_may_be_secret(witness) -> None:
    witness.answers = [500]
    with pytest.raises(StorageError) as caught:
        post_checkpoint(note(5), f"{witness.url}?token=secret")
    assert "secret" not in str(caught.value)


def test_nobody_there_is_an_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(StorageError, match="can't be reached"):
        post_checkpoint(note(5), f"http://127.0.0.1:{port}/")


def test_a_server_that_drips_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                while not stop.wait(0.05):
                    connection.sendall(b"H")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        began = time.monotonic()
        with pytest.raises(StorageError, match="did not answer within"):
            post_checkpoint(
                note(5), f"http://127.0.0.1:{server.getsockname()[1]}/", timeout_seconds=0.5
            )
        assert time.monotonic() - began < 3
        stop.set()
        thread.join()


def test_the_publisher_does_both(tmp_path, witness, publishers) -> None:
    publisher = CheckpointPublisher(tmp_path, witness.url)
    publishers.append(publisher)
    for size in range(5):
        publisher.publish(note(size))
    assert publisher.flush(30)
    assert publisher.problems == ()
    assert [text for _, _, text in witness.posted] == read_checkpoints(tmp_path, LOG)
    assert len(witness.posted) == 5


def test_publishing_makes_nobody_wait(witness, publishers) -> None:
    witness.delay = 0.5
    publisher = CheckpointPublisher(None, witness.url)
    publishers.append(publisher)
    began = time.monotonic()
    publisher.publish(note(1))
    assert time.monotonic() - began < 0.3
    assert not publisher.flush(0.01)
    assert publisher.flush(30)


def test_what_failed_is_told_logged_and_tried_again(tmp_path, witness, publishers, caplog) -> None:
    publisher = CheckpointPublisher(tmp_path, witness.url)
    publishers.append(publisher)
    witness.answers = [503]
    publisher.publish(note(1))
    assert publisher.flush(30)
    (problem,) = publisher.problems
    assert "answered 503" in problem
    assert problem in caplog.text
    assert read_checkpoints(tmp_path, LOG) == [note(1)]
    publisher.publish(note(2))
    assert publisher.flush(30)
    assert publisher.problems == ()
    assert [text for _, _, text in witness.posted] == [note(1), note(2)]


def test_a_server_that_is_down_is_asked_once_for_all_that_waits(publishers, monkeypatch) -> None:
    asked = []

    def refuse(text: str, url: str, *, timeout_seconds: float) -> None:
        asked.append(text)
        raise StorageError("down")

    monkeypatch.setattr("knowledge_bases.audit.checkpoint_publishing.post_checkpoint", refuse)
    publisher = CheckpointPublisher(None, "http://down")
    publishers.append(publisher)
    for size in range(3):
        publisher.publish(note(size))
        assert publisher.flush(30)
    assert asked == [note(0)] * 3
    assert publisher.problems == ("down",)


def test_a_contradiction_stays_told_and_stops_nothing(tmp_path, publishers) -> None:
    publisher = CheckpointPublisher(tmp_path, None)
    publishers.append(publisher)
    for one in (note(5), note(5, b"x" * 32), note(6)):
        publisher.publish(one)
        assert publisher.flush(30)
    (problem,) = publisher.problems
    assert "has another root for size 5" in problem
    assert note(6) in read_checkpoints(tmp_path, LOG)


def test_without_a_place_nothing_happens(tmp_path) -> None:
    publisher = CheckpointPublisher.of(Settings(home=tmp_path))
    publisher.publish(note(1))
    assert publisher.flush(0)
    publisher.close()
    assert list(tmp_path.iterdir()) == []


def test_the_settings(tmp_path) -> None:
    settings = Settings(
        home=tmp_path, checkpoint_dir=Path("/c"), checkpoint_url="https://witness.example/log"
    )
    publisher = CheckpointPublisher.of(settings)
    assert (publisher.folder, publisher.url) == (Path("/c"), "https://witness.example/log")
