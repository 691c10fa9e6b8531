"""HTTP by the bytes, for requests that no client library would send."""

import re
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


def exchange(port: int, sent: Sequence[bytes], within_s: float = 20.0) -> list[bytes]:
    """What a server on 127.0.0.1 says to each of these, on connections at the same time, until it closes them.

    A connection is given up as silent once it has an answer and says no more for a moment.
    """
    connections = [socket.create_connection(("127.0.0.1", port), within_s) for _ in sent]
    try:
        for connection, data in zip(connections, sent, strict=True):
            with suppress(OSError):  # it may refuse the rest, and have answered already
                connection.sendall(data)
        end = time.monotonic() + within_s
        return [_all_of(connection, end) for connection in connections]
    finally:
        for connection in connections:
            connection.close()


def statuses(answer: bytes) -> list[int]:
    """The statuses of all answers on a connection."""
    return [int(found) for found in STATUS.findall(answer)]


def _all_of(connection: socket.socket, end: float) -> bytes:
    read = b""
    with suppress(OSError):  # a time-out, or a reset
        while True:
            connection.settimeout(0.2 if read else max(0.01, end - time.monotonic()))
            if not (part := connection.recv(65536)):
                break
            read += part
    return read
