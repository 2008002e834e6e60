"""The helper process that parses each file in a child of its own, under limits."""

import gc
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from io import BytesIO
from typing import Any

import docx
import pptx
from openpyxl import Workbook

from indexer.load import channel
from indexer.load.child import run_child
from indexer.load.dispatch import load_document
from indexer.load.limits import Limits
from rag.errors import RagError

_PARENT_CHECK_SECONDS = 1.0


def main() -> None:
    """Serve requests on the socket whose descriptor is the first argument, until it closes."""
    # A copy, which gets a low number: select takes none above 1,023.
    connection = socket.socket(fileno=os.dup(int(sys.argv[1])))
    os.close(int(sys.argv[1]))
    parent = int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
    _warm_up()
    # Children share the heap copy-on-write; a collection there would copy all of it.
    gc.collect()
    gc.freeze()
    channel.send(connection, {"ready": True})
    while _wait(connection, parent):
        request = channel.receive(connection)
        if request is None:
            return
        message, (source, result) = request
        # From here on it is this file's fault if the helper dies.
        channel.send(connection, {"taken": True})
        outcome = _parse_in_child(connection, message, source, result, parent)
        os.close(source)
        os.close(result)
        if outcome is None:
            return
        channel.send(connection, outcome)


def _warm_up() -> None:
    """Run the slow parsers once, so that no child pays for their first use again."""
    for make, name in (
        (docx.Document, "a.docx"),
        (pptx.Presentation, "a.pptx"),
        (Workbook, "a.xlsx"),
    ):
        stream = BytesIO()
        make().save(stream)
        with suppress(RagError):  # these have no text
            list(load_document(stream.getvalue(), name, Limits()))
    list(load_document("é".encode("cp1250") * 9, "a.txt", Limits()))


def _wait(connection: socket.socket, parent: int) -> bool:
    """Wait for a request; False if the caller died while someone else holds its socket open."""
    while not select.select([connection], [], [], _PARENT_CHECK_SECONDS)[0]:
        if os.getppid() != parent:
            return False
    return True


def _parse_in_child(
    connection: socket.socket, message: dict[str, Any], source: int, result: int, parent: int
) -> dict[str, Any] | None:
    """Return how the child ended; None if the caller is gone."""
    limits = Limits(**message["limits"])
    alive, held_by_child = os.pipe()
    helper = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(alive)
        connection.close()
        run_child(message["name"], limits, source, result, helper)  # does not return
    os.close(held_by_child)
    deadline = time.monotonic() + limits.seconds
    outcome: dict[str, Any] | None = {}
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                outcome = {"timeout": True}
                break
            watched = [alive, connection.fileno()]
            ready, _, _ = select.select(watched, [], [], min(left, _PARENT_CHECK_SECONDS))
            if alive in ready:
                break
            if connection.fileno() in ready or os.getppid() != parent:
                outcome = None  # nothing is ever sent while a file is parsed
                break
    finally:
        os.close(alive)
        if outcome != {}:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if outcome == {}:
        return {"exit": os.waitstatus_to_exitcode(status)}
    return outcome


if __name__ == "__main__":
    main()
