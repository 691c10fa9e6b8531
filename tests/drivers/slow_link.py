"""A way to a server on which everything takes a while, in each direction."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

from infra.service.tasks import end_tasks


@asynccontextmanager
async def slow_link(url: str, one_way_s: float) -> AsyncIterator[str]:
    """The URL of a database by a way that takes so long there, and as long back. Nothing is lost."""
    parts = urlsplit(url)
    tasks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(parts.hostname, parts.port)
        for source, sink in ((reader, server_writer), (server_reader, writer)):
            tasks.add(asyncio.create_task(_carry(source, sink, one_way_s)))

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        user = f"{parts.username}@" if parts.username else ""
        try:
            yield urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{port}"))
        finally:
            await end_tasks(tasks)


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter, one_way_s: float) -> None:
    loop = asyncio.get_running_loop()
    try:
        while data := await source.read(65_536):
            loop.call_later(one_way_s, _write, sink, data)
    finally:
        loop.call_later(one_way_s, sink.close)


def _write(sink: asyncio.StreamWriter, data: bytes) -> None:
    with suppress(ConnectionError, RuntimeError):
        sink.write(data)
