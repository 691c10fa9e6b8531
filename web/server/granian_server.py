"""Granian in this process and event loop, on a socket that is bound already."""

import asyncio
import os
import socket
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.net import SocketHolder
from granian.server.embed import Server

from web.server.rsgi import RsgiApp

BACKLOG = 1024
CONNECTIONS = 4_096
"""How many connections a process serves at once; further ones wait in the backlog."""
HEADER_BYTES = 65_536
"""All headers together; a request with more is answered with 431."""
LOGS: dict[str, Any] = {
    "formatters": {},
    "handlers": {},
    "loggers": {"_granian": {"propagate": True}, "granian.access": {"level": "CRITICAL"}},
}
"""Granian's lines go the way of all others, and only errors: it warns of being embedded at each start."""


class GranianServer:
    """Serves an application until `stop`. `header_s` bounds the time for the headers, and that between requests."""

    def __init__(self, app: RsgiApp, listener: socket.socket, header_s: float) -> None:
        # A second descriptor: granian closes the one it gets. `socket.dup` would make the socket blocking for every
        # process that shares it, and another one would then hang in `accept` until the next connection comes.
        holder = SocketHolder(os.dup(listener.fileno()), False, BACKLOG)  # type: ignore[call-arg]  # its stub has none
        self._server = _Server(app, holder, header_s)
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> "asyncio.Task[None]":
        """Begins to accept connections. The task ends with the server."""
        self._serving = asyncio.create_task(self._server.serve(), name="http-server")
        return self._serving

    async def stop(self, within_s: float) -> None:
        """Accepts no more connections, and waits, at most this long, until those there are have their answers."""
        self._server.stop()  # type: ignore[no-untyped-call]
        if self._serving is not None:
            await asyncio.wait({self._serving}, timeout=within_s)


class _Server(Server):
    def __init__(self, app: RsgiApp, holder: SocketHolder, header_s: float) -> None:
        super().__init__(
            app,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=int(header_s * 1000), max_buffer_size=HEADER_BYTES),
            websockets=False,
            backlog=BACKLOG,
            backpressure=CONNECTIONS,
            log_dictconfig=LOGS,
            log_level=LogLevels.error,
        )
        self._holder = holder

    def _init_shared_socket(self) -> None:
        self._shd = self._holder  # type: ignore[assignment]  # its type is that of its first value
