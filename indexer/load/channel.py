"""Sends JSON messages with open files between the caller and its helper process."""

import json
import os
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("!I")
_MAX_FILES = 4


def send(connection: socket.socket, message: dict[str, Any], files: tuple[int, ...] = ()) -> None:
    """Send a message; the receiver gets its own descriptors of the files.

    Raises:
        OSError: nobody is there to receive it.
    """
    encoded = json.dumps(message).encode("ascii")
    socket.send_fds(connection, [_LENGTH.pack(len(encoded))], list(files))
    connection.sendall(encoded)


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Return the next message and its files, or None if the sender is gone.

    Raises:
        OSError: a time-out set on the connection, or a broken connection.
    """
    prefix, files, _, _ = socket.recv_fds(connection, _LENGTH.size, _MAX_FILES)
    try:
        prefix += _exactly(connection, _LENGTH.size - len(prefix)) if prefix else b""
        if len(prefix) < _LENGTH.size:
            raise EOFError
        message: dict[str, Any] = json.loads(_exactly(connection, _LENGTH.unpack(prefix)[0]))
    except (EOFError, ValueError):
        for file in files:
            os.close(file)
        return None
    return message, files


def _exactly(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        piece = connection.recv(size - len(received))
        if not piece:
            raise EOFError
        received += piece
    return bytes(received)
