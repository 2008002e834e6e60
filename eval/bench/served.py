"""A real `rag serve` in a process of its own, to be measured, or killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import httpx

START_SECONDS = 120.0
_LOOK_SECONDS = 0.1


class Served:
    """One server on loopback, from ``with`` to the end of it.

    Args:
        home: its home folder.
        environment: settings beside those of this process, e.g. ``RAG_RERANKER``.
        log: file that its output is added to.
    """

    def __init__(self, home: Path, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._home, self._log = home, log
        self._environment = {**os.environ, **(environment or {})}
        self.url = f"http://127.0.0.1:{_free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The server's process.

        Raises:
            RuntimeError: it was never started.
        """
        if self._process is None:
            raise RuntimeError("the server was not started: use `with`")
        return self._process

    def __enter__(self) -> Served:
        port = self.url.rpartition(":")[2]
        command = [sys.executable, "-m", "api.cli", "serve", "--port", port, "--json"]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, "--home", str(self._home)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )
        until = time.monotonic() + START_SECONDS
        try:
            while not self._is_there():
                if self.process.poll() is not None or time.monotonic() > until:
                    tail = self._log.read_text("utf-8", "replace")[-2_000:]
                    raise RuntimeError(f"rag serve did not start: {tail}")
                time.sleep(_LOOK_SECONDS)
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill it as a loss of power would, with no chance to put anything in order."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def resident_bytes(self) -> int:
        """Return the memory that the process holds, as Linux counts it."""
        statm = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def _is_there(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
