"""A mail server that takes every mail and needs a quarter of a second for each reply."""

import socketserver
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from drivers.running_senders import Harbour
from drivers.serving import serving

REPLY_S = 0.25
R = TypeVar("R", bound=socketserver.BaseServer)


class SlowReceiver(socketserver.ThreadingTCPServer):
    """Knows when each recipient's mail began."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, port: int) -> None:
        self.begun: dict[str, float] = {}
        super().__init__(("127.0.0.1", port), _SlowHandler)


class _SlowHandler(socketserver.StreamRequestHandler):
    server: SlowReceiver

    def handle(self) -> None:
        self._reply(b"220 ready")
        began = time.time()
        while line := self.rfile.readline():
            if line.upper().startswith(b"MAIL"):
                began = time.time()
            elif line.upper().startswith(b"RCPT"):
                self.server.begun[line.decode().partition("<")[2].partition(">")[0]] = began
            elif line.upper().startswith(b"DATA"):
                self._reply(b"354 go on")
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
            self._reply(b"250 ok")

    def _reply(self, line: bytes) -> None:
        time.sleep(REPLY_S)
        self.wfile.write(line + b"\r\n")


@contextmanager
def in_place_of_the_sink(delivery: Harbour, receiver: Callable[[int], R]) -> Iterator[R]:
    """A receiver on the port of the delivery's sink; the delivery is stopped at the end."""
    delivery.sink.stop()
    server = receiver(delivery.sink.port)
    with serving(server):
        try:
            yield server
        finally:
            delivery.stop()
