"""The ceiling of ingest: the same handler behind a protocol of our own, which reads whole requests only and checks
none. What a server costs is the difference."""

import asyncio
import sys
import time
import uuid
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import cast

import httptools
import uvloop

from infra.kafka.connection import Connection
from infra.service.outages import Outage
from web.http import Answer, Handler, Request
from web.ingest.calls import read
from web.ingest.rules import ReadingRules
from web.ingest.service import IngestService
from web.keys.write_key import KeyClass, WriteKey
from web.profiles.patches import IdentityLink, ProfilePatch
from web.profiles.store import StoreAway, StoreRefusal
from web.server.event_log import EventLog
from web.server.monitoring import WebMetrics


class BareProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, handler: Handler, tasks: set["asyncio.Task[None]"]) -> None:
        self._handler = handler
        self._tasks = tasks
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._path = ""
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        """Parses what has come."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._headers, self._body = {}, []

    def on_url(self, url: bytes) -> None:
        """Its path."""
        self._path = url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, part: bytes) -> None:
        """A part of its body."""
        self._body.append(part)

    def on_message_complete(self) -> None:
        """It is whole."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        request = Request("POST", self._path, "", self._headers, body, time.time_ns() // 1000)
        task = asyncio.get_running_loop().create_task(self._answer(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: Request) -> None:
        self._transport.write(_whole(await self._handler(request)))


def _whole(answer: Answer) -> bytes:
    headers = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
    head = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n{headers}"
    return f"{head}content-length: {len(answer.body)}\r\n\r\n".encode() + answer.body


async def _store(_patches: Sequence[ProfilePatch], _links: Sequence[IdentityLink]) -> Sequence[StoreRefusal]:
    raise StoreAway  # it is measured with events


async def serve(kafka: str, port: int, secret: str) -> None:
    """Serve until killed."""
    key = WriteKey("perf", KeyClass.SERVER, "perf")
    metrics = WebMetrics(str)
    log = EventLog(Connection(kafka), Outage("kafka"), metrics)
    service = IngestService(
        find=lambda given: key if given == secret else None,
        allow=lambda _key, _events: 0.0,
        read=partial(read, rules=ReadingRules(lambda: uuid.uuid4().hex)),
        log=log,
        store=_store,
        observer=metrics,
        largest=4_194_304,
        public_url=None,
    )
    tasks: set[asyncio.Task[None]] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: BareProtocol(service.answer, tasks), "127.0.0.1", port
    )
    await server.serve_forever()


def main(kafka: str, port: int, secret: str) -> None:
    """Serve."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(kafka, port, secret))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
