"""One HTTP process: it listens, serves until it is to stop, and then answers what it has taken."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

import structlog

from infra.service.health import Phase, WorkerIdentity
from infra.service.pages import Pages, PageServer
from infra.service.tasks import StillRunning, end_tasks
from web.server.event_log import EventLog
from web.server.front_door import FrontDoor
from web.server.granian_server import GranianServer
from web.server.listening import own_listener
from web.server.monitoring import WebHealth, WebMetrics
from web.server.rsgi import RsgiApp
from web.settings import WebSettings

DRAIN_S = 0.3
"""How long a process that stops still accepts requests, and closes each connection after its answer. So a client that
sends one request after the other is told before its connection ends, and sends its next one elsewhere."""

FINISH_S = 1.0


class HttpProcess:
    """Serves `door`, and runs `parts` beside it, coroutines by name that end only by an error.

    `finish` is called between the last answer and the end of the parts, and is cancelled after FINISH_S.
    """

    def __init__(
        self,
        settings: WebSettings,
        door: FrontDoor,
        log: EventLog,
        health: WebHealth,
        metrics: WebMetrics,
        identity: WorkerIdentity | None,
        parts: Mapping[str, Coroutine[Any, Any, None]],
        finish: Callable[[], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._door = door
        self._events = log
        self._health = health
        self._parts = parts
        self._finish = finish
        page = Pages(health, metrics.page, self._details)
        self._pages = None if identity is None else PageServer(page, identity.port)
        self._log = structlog.get_logger("web.server.process")

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set or a part ends.

        Raises OSError if the port is taken, the first error of a part, and StillRunning if a part does not end.
        """
        settings = self._settings
        with own_listener(settings.http_host, settings.http_port) as listener:
            server = GranianServer(RsgiApp(self._door), listener, settings.http_timeout_s)
            if self._pages is not None:
                await self._pages.start()
            serving = server.start()
        tasks = {asyncio.create_task(part, name=name) for name, part in self._parts.items()}
        stopping = asyncio.create_task(stop.wait())
        self._health.enters(Phase.READY)
        self._log.info("web_started", port=settings.http_port)
        try:
            ends: set[asyncio.Future[Any]] = {stopping, serving, self._events.failed, *tasks}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._health.enters(Phase.STOPPING)
            stopping.cancel()
            await self._drain(server)
            late = await end_tasks(tasks)
            if self._pages is not None:
                await self._pages.stop()
            self._log.info("web_stopped", unanswered=self._door.in_flight)
        _raise([serving, self._events.failed, *tasks], {task.get_name() for task in late})

    async def _drain(self, server: GranianServer) -> None:
        """Answers what was taken, within `stop_within_s`."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + self._settings.stop_within_s
        self._door.drains = True
        await asyncio.sleep(min(DRAIN_S, self._settings.stop_within_s))
        await server.stop(max(0.0, end_s - loop.time()))
        await self._events.finish(max(0.0, end_s - loop.time()))
        with suppress(TimeoutError):
            async with asyncio.timeout(FINISH_S):
                await self._finish()

    def _details(self) -> dict[str, Any]:
        """What /status adds."""
        return {
            "port": self._settings.http_port,
            "in_flight": self._door.in_flight,
            "outstanding_events": self._events.events,
        }


def _raise(parts: list["asyncio.Future[None]"], late: set[str]) -> None:
    ended = [part for part in parts if part.done() and not part.cancelled()]
    errors = [error for part in ended if (error := part.exception()) is not None]
    if late:
        raise StillRunning(f"did not end in time: {', '.join(sorted(late))}") from next(iter(errors), None)
    if errors:
        raise errors[0]
