"""The helper process: limits, crashes, orphans, threads."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psutil
import pytest

from indexer.load import wire
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded, LoadFailure
from indexer.load.sandbox import Sandbox
from rag.errors import BrokenFile, LimitExceeded, StorageError, UnsupportedFormat
from rag.settings import Settings

SLOW_PAGE = b"<html><body>" + b"<div>" * 200_000  # the parser's time grows with the square
GREEDY_JSON = b"[" + b"{},[]," * 5_000_000 + b"1]"


def eventually(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


def test_documents_come_back_as_they_were_loaded(sandbox, tmp_path, make, load_all):
    outline = [("One", 0, 0), ("Two", 1, 1)]
    for name, content in {
        "a.pdf": make.pdf([["One ä€"], ["Two"]], title="T", outline=outline),
        "a.docx": make.docx("One", "Two"),
        "a.md": "---\ntags: [a, b]\ndate: 2024-01-02\n---\n# é \U0001f600\n".encode(),
        "a.jsonl": b'{"text": "x", "uri": "u"}\nbad\n{"text": "y"}',
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert list(sandbox.load(path, name)) == load_all(content, name)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.txt", b"", BrokenFile, "a.txt: is empty; nothing to read"),
        ("b/c.png", b"\x89PNG\r\n\x1a\n", UnsupportedFormat, "b/c.png: is a PNG image; convert"),
        ("x.json", b'{"a": ', BrokenFile, "x.json: is not valid JSON"),
    ],
)
def test_errors_come_back_as_they_were_raised(sandbox, tmp_path, name, content, error, message):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(error) as raised:
        sandbox.load(tmp_path / "f", name)
    assert type(raised.value) is error
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_a_file_that_vanished_or_is_none(sandbox, tmp_path):
    with pytest.raises(BrokenFile, match=r"^gone\.txt: is not there \(any more\)"):
        sandbox.load(tmp_path / "gone.txt", "gone.txt")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BrokenFile, match=r"^pipe: is not a regular file"):
        sandbox.load(tmp_path / "pipe", "pipe")
    with pytest.raises(BrokenFile, match=r"^d: is not a regular file"):
        sandbox.load(tmp_path, "d")


def test_a_file_that_changes_while_it_is_read(sandbox, tmp_path):
    path = tmp_path / "page.html"
    path.write_bytes(SLOW_PAGE[:120_000])
    sandbox.start()
    threading.Timer(0.2, path.write_bytes, [b"other"]).start()
    with pytest.raises(BrokenFile, match=r"^page: changed while it was read; add it again"):
        sandbox.load(path, "page")


def test_too_large_a_file_is_not_even_opened_by_the_parser(tmp_path):
    with (tmp_path / "big.txt").open("wb") as file:
        file.truncate(2**31)
    with (
        Sandbox(Limits()) as sandbox,
        pytest.raises(
            LimitExceeded, match=r"^big\.txt: is larger than 256 MiB; .*RAG_MAX_FILE_BYTE"
        ),
    ):
        sandbox.load(tmp_path / "big.txt", "big.txt")


def test_fifty_megabytes_on_one_line(sandbox, tmp_path, load):
    words = "Größe und Dosis des Mittels, ".encode()
    content = words * (50 * 2**20 // len(words))
    (tmp_path / "a.txt").write_bytes(content)
    [document] = sandbox.load(tmp_path / "a.txt", "a.txt")
    assert len(document.text) > 46 * 2**20
    assert document.text.startswith("Größe und")
    started = time.process_time()
    load(content, "a.txt")
    assert time.process_time() - started < 10


def test_time_limit(sandbox, tmp_path, monkeypatch):
    (tmp_path / "slow.html").write_bytes(SLOW_PAGE)
    (tmp_path / "ok.txt").write_bytes(b"fine")
    sandbox.start()
    helper = sandbox.helper_pid
    monkeypatch.setattr(sandbox, "limits", Limits(seconds=1))
    started = time.perf_counter()
    with pytest.raises(
        LimitExceeded, match=r"^slow\.html: took longer than 1 seconds; .*RAG_LOAD_TIMEOUT_SEC"
    ):
        sandbox.load(tmp_path / "slow.html", "slow.html")
    assert 0.9 < time.perf_counter() - started < 10
    [document] = sandbox.load(tmp_path / "ok.txt", "ok.txt")
    assert document.text == "fine"
    assert sandbox.helper_pid == helper
    assert not psutil.Process(helper).children()


def test_memory_limit(sandbox, tmp_path, monkeypatch):
    (tmp_path / "greedy.json").write_bytes(GREEDY_JSON)
    monkeypatch.setattr(sandbox, "limits", Limits(memory_bytes=2**29))
    with pytest.raises(
        LimitExceeded, match=r"^greedy\.json: needs too much memory; .*RAG_LOAD_MEMORY_BYTES"
    ):
        sandbox.load(tmp_path / "greedy.json", "greedy.json")


def test_character_limit_over_all_documents_of_a_file(sandbox, tmp_path, monkeypatch):
    mail = b"From: a@b.c\nSubject: x\nContent-Type: multipart/mixed; boundary=B\n\n--B\n\nbody\n"
    part = b"--B\nContent-Disposition: attachment; filename=%d.txt\n\n" + b"x" * 400 + b"\n"
    (tmp_path / "a.eml").write_bytes(mail + b"".join(part % n for n in range(3)) + b"--B--\n")
    monkeypatch.setattr(sandbox, "limits", Limits(max_chars=1000))
    with pytest.raises(LimitExceeded, match=r"^a\.eml: holds more than 1,000 characters"):
        sandbox.load(tmp_path / "a.eml", "a.eml")
    monkeypatch.setattr(sandbox, "limits", Limits(max_chars=1500))
    assert len(list(sandbox.load(tmp_path / "a.eml", "a.eml"))) == 4


@pytest.mark.parametrize(
    ("sent", "error", "message"),
    [
        (signal.SIGSEGV, BrokenFile, "crashed its parser"),
        (signal.SIGABRT, BrokenFile, "crashed its parser"),
        (signal.SIGKILL, LimitExceeded, "needs too much memory"),  # as the kernel does
        (signal.SIGXCPU, LimitExceeded, "took longer than"),
    ],
)
def test_a_parser_that_dies_takes_nothing_along(sandbox, tmp_path, sent, error, message):
    (tmp_path / "slow.html").write_bytes(SLOW_PAGE)
    (tmp_path / "ok.txt").write_bytes(b"fine")
    sandbox.start()
    helper = psutil.Process(sandbox.helper_pid)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(sandbox.load, tmp_path / "slow.html", "slow.html")
        [child] = eventually(helper.children)
        child.send_signal(sent)
        with pytest.raises(error, match=rf"^slow\.html: {message}"):
            loading.result(timeout=10)
    assert helper.is_running()
    [document] = sandbox.load(tmp_path / "ok.txt", "ok.txt")
    assert document.text == "fine"


def test_a_helper_that_dies_is_replaced_and_the_file_reported(tmp_path):
    (tmp_path / "slow.html").write_bytes(SLOW_PAGE)
    (tmp_path / "ok.txt").write_bytes(b"fine")
    with Sandbox(Limits()) as sandbox:
        sandbox.start()
        helper = psutil.Process(sandbox.helper_pid)
        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(sandbox.load, tmp_path / "slow.html", "slow.html")
            [child] = eventually(helper.children)
            helper.kill()
            with pytest.raises(BrokenFile, match=r"^slow\.html: the process that reads files died"):
                loading.result(timeout=10)
        eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
        [document] = sandbox.load(tmp_path / "ok.txt", "ok.txt")
        assert document.text == "fine"
        assert sandbox.helper_pid != helper.pid


def test_a_helper_that_dies_between_files_is_replaced_unnoticed(tmp_path):
    (tmp_path / "ok.txt").write_bytes(b"fine")
    with Sandbox(Limits()) as sandbox:
        for _ in range(2):
            [document] = sandbox.load(tmp_path / "ok.txt", "ok.txt")
            assert document.text == "fine"
            psutil.Process(sandbox.helper_pid).kill()


def test_killing_the_caller_leaves_no_orphans(tmp_path):
    (tmp_path / "slow.html").write_bytes(SLOW_PAGE)
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from indexer.load.sandbox import Sandbox\nfrom indexer.load.limits import Limits\n"
        "sandbox = Sandbox(Limits())\nsandbox.start()\nprint(sandbox.helper_pid, flush=True)\n"
        "sandbox.load(Path(sys.argv[1]), 'slow.html')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "slow.html"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as caller:
        helper = psutil.Process(int(caller.stdout.readline()))
        [child] = eventually(helper.children)
        caller.kill()
    for process in (helper, child):
        eventually(
            lambda process=process: (
                not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
            )
        )


def test_closing_ends_the_helper_and_loading_starts_another(tmp_path):
    (tmp_path / "ok.txt").write_bytes(b"fine")
    sandbox = Sandbox(Limits())
    sandbox.start()
    helper = sandbox.helper_pid
    sandbox.close()
    sandbox.close()
    assert not psutil.pid_exists(helper)
    assert len(list(sandbox.load(tmp_path / "ok.txt", "ok.txt"))) == 1
    sandbox.close()


def test_threads_may_share_a_sandbox(sandbox, tmp_path):
    for n in range(40):
        (tmp_path / f"{n}.txt").write_bytes(f"text {n}".encode())

    def load(n):
        [document] = sandbox.load(tmp_path / f"{n}.txt", f"{n}.txt")
        return document.text

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(load, range(40))) == [f"text {n}" for n in range(40)]


def test_nothing_leaks_from_file_to_file(sandbox, tmp_path):
    (tmp_path / "ok.txt").write_bytes(b"fine")
    list(sandbox.load(tmp_path / "ok.txt", "ok.txt"))
    before = (len(os.listdir("/proc/self/fd")), psutil.Process(sandbox.helper_pid).num_fds())  # noqa: PTH208
    for _ in range(20):
        list(sandbox.load(tmp_path / "ok.txt", "ok.txt"))
        with pytest.raises(BrokenFile):
            sandbox.load(tmp_path / "none", "none")
    after = (len(os.listdir("/proc/self/fd")), psutil.Process(sandbox.helper_pid).num_fds())  # noqa: PTH208
    assert before == after


def test_results_may_be_left_unread(sandbox, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\n{"text": "b"}\n')
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    sandbox.load(tmp_path / "a.jsonl", "a.jsonl")
    next(sandbox.load(tmp_path / "a.jsonl", "a.jsonl"))
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_full_disk(sandbox, tmp_path, monkeypatch):
    (tmp_path / "ok.txt").write_bytes(b"fine")

    def on_a_full_disk(**options):
        return open("/dev/full", "r+b", buffering=0)  # noqa: PTH123

    monkeypatch.setattr("tempfile.TemporaryFile", on_a_full_disk)
    with pytest.raises(StorageError, match=r"^ok\.txt: there is no room for its text in .*; free"):
        sandbox.load(tmp_path / "ok.txt", "ok.txt")

    def without_room(**options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", without_room)
    with pytest.raises(StorageError, match=r"^ok\.txt: there is no room"):
        sandbox.load(tmp_path / "ok.txt", "ok.txt")


def test_a_caller_with_a_thousand_open_files(tmp_path):
    (tmp_path / "ok.txt").write_bytes(b"fine")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with Sandbox(Limits()) as sandbox:
            assert len(list(sandbox.load(tmp_path / "ok.txt", "ok.txt"))) == 1
    finally:
        for file in held:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_helper_has_no_torch_and_ignores_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    (tmp_path / "docx.py").write_text("raise SystemExit('shadowed')")
    (tmp_path / "ok.txt").write_bytes(b"fine")
    monkeypatch.chdir(tmp_path)
    with Sandbox(Limits()) as sandbox:
        assert len(list(sandbox.load(tmp_path / "ok.txt", "ok.txt"))) == 1
        maps = psutil.Process(sandbox.helper_pid).memory_maps()
    assert not any("torch" in mapped.path for mapped in maps)


def test_limits_come_from_the_settings():
    settings = Settings(load_timeout_seconds=7, load_memory_bytes=2**30, load_max_pages=3)
    limits = Limits.from_settings(settings)
    assert (limits.seconds, limits.memory_bytes, limits.max_pages) == (7, 2**30, 3)
    assert limits == Limits(seconds=7, memory_bytes=2**30, max_pages=3)


DOCUMENT = Loaded("e\u0301", (), None, "text", "0" * 64)


@pytest.mark.parametrize(
    "changes",
    [
        {"text": "e\u0301"},
        {"text": "a\x00"},
        {"text": "a\r\n"},
        {"sha256": 5},
        {"marks": [["page", 9, "1", 0]]},
        {"marks": [["page", -1, "1", 0]]},
        {"marks": [["page", 0.5, "1", 0]]},
        {"marks": [["page", 1, "1", 0], ["page", 0, "2", 0]]},
        {"marks": [["evil", 0, "1", 0]]},
        {"marks": "x"},
        {"title": ["x"]},
        {"title": "\ud800"},
        {"date": "tomorrow"},
        {"error": "SystemExit", "message": "x"},
        {"error": "BrokenFile"},
        {"failure": 5, "uri": "x"},
    ],
)
def test_what_a_taken_over_parser_might_write(tmp_path, changes):
    header = {
        "marks": [],
        "title": None,
        "format": "text",
        "sha256": "0" * 64,
        "uri": None,
        "date": None,
        "tags": [],
    }
    text = changes.pop("text", "ok")
    encoded = json.dumps({**header, **changes}).encode()
    frame = len(encoded).to_bytes(8, "big") + len(text.encode()).to_bytes(8, "big")
    path = tmp_path / "result"
    path.write_bytes(frame + encoded + text.encode())
    with path.open("rb") as stream, pytest.raises(BrokenFile, match=r"^a\.pdf: upset its parser"):
        list(wire.read_documents(stream, "a.pdf"))


@pytest.mark.parametrize(
    "content", [b"x", b"\xff" * 16, b"\0" * 15, b"\0" * 16, b"\0" * 7 + b"\x09" * 9]
)
def test_results_that_are_none(tmp_path, content):
    (tmp_path / "result").write_bytes(content)
    with (tmp_path / "result").open("rb") as stream, pytest.raises(BrokenFile):
        list(wire.read_documents(stream, "a.pdf"))


def test_wire_keeps_everything(tmp_path):
    document = replace(
        DOCUMENT, text=unicodedata.normalize("NFC", "é\U0001f600"), uri="u", tags=("a",)
    )
    failure = LoadFailure("x#2", "row 2: is bad")
    with (tmp_path / "result").open("w+b") as stream:
        for written in (document, failure, document):
            wire.write_document(stream, written)
        stream.seek(0)
        assert list(wire.read_documents(stream, "x")) == [document, failure, document]


def test_an_abort_ends_a_parse_and_starts_no_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("Some text.")
    with Sandbox(Limits()) as sandbox:
        sandbox.start()
        os.kill(sandbox.helper_pid, signal.SIGSTOP)  # As good as a parser that takes for ever.
        ended = []

        def load():
            try:
                list(sandbox.load(path, "a.txt"))
            except BrokenFile as error:
                ended.append(str(error))

        thread = threading.Thread(target=load)
        thread.start()
        sandbox.abort()
        thread.join(30)
        assert len(ended) == 1
        with pytest.raises(BrokenFile):
            list(sandbox.load(path, "a.txt"))
        assert sandbox.helper_pid is None
