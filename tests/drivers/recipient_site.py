"""The pages of recipients as a browser reaches them: on a port of this machine, in a thread, on real servers."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import uvicorn
from drivers.real_servers import RealServers
from drivers.recipient_pages import RecipientEdge, recipient_edge
from drivers.running_senders import have_topics
from starlette.types import Receive, Scope, Send

T = TypeVar("T")
NOWHERE = "postgresql://postgres@127.0.0.1:1/nowhere"


@dataclass
class RecipientSite:
    """The site. While it `is_away`, PostgreSQL does not answer."""

    edge: RecipientEdge
    away: RecipientEdge
    loop: asyncio.AbstractEventLoop
    server: uvicorn.Server = field(init=False)
    is_away: bool = False

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application of whichever edge answers now."""
        await (self.away if self.is_away else self.edge).part.app(scope, receive, send)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of work for the edge, which runs in the site's thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def url(self, path: str) -> str:
        """Where a browser finds a path."""
        port = self.server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}{path}"


@contextmanager
def recipient_site(kafka: str, database_url: str) -> Iterator[RecipientSite]:
    """The site, until the block ends."""
    ready: Future[RecipientSite] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(kafka, database_url, ready)))
    thread.start()
    try:
        site = ready.result(60)
        yield site
        site.server.should_exit = True
    finally:
        thread.join(30)


def lasting_site(servers: RealServers) -> Iterator[RecipientSite]:
    """A site with a database of its own, for all tests of a file."""
    have_topics(servers.kafka)
    url = servers.create_database()
    with recipient_site(servers.kafka, url) as running:
        yield running
    servers.drop_database(url)


async def _serve(kafka: str, database_url: str, ready: "Future[RecipientSite]") -> None:
    try:
        async with recipient_edge(kafka, database_url) as edge, recipient_edge(kafka, NOWHERE) as away:
            site = RecipientSite(edge, away, asyncio.get_running_loop())
            config = uvicorn.Config(site.app, port=0, interface="asgi3", lifespan="off", log_level="warning")
            site.server = uvicorn.Server(config)
            serving = asyncio.create_task(site.server.serve())
            while not site.server.started and not serving.done():
                await asyncio.sleep(0.01)
            ready.set_result(site)
            await serving
    except BaseException as error:
        if not ready.done():
            ready.set_exception(error)
        raise
