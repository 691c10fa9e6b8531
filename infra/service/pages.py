"""What a process answers over HTTP on 127.0.0.1: /health, /ready, /metrics, /status, and /find/ID."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from infra.service.health import Health

LOOPBACK = "127.0.0.1"
OK, NOT_FOUND, UNAVAILABLE = 200, 404, 503
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CLOSE_WITHIN_S = 0.5
"""How long a stop waits for requests that are being answered."""

Answer = tuple[int, dict[str, Any]]


class Pages:
    """The answers of one process.

    `metrics` renders the metrics page; `details` returns what /status adds; `find` what the process knows of one thing
    that it has in hand, by its id.
    """

    def __init__(
        self,
        health: Health,
        metrics: Callable[[], bytes],
        details: Callable[[], dict[str, Any]],
        find: Callable[[str], dict[str, Any] | None] = lambda _: None,
    ) -> None:
        self._health = health
        self.metrics = metrics
        self._details = details
        self._find = find

    def health(self) -> Answer:
        """200 while the event loop answers and nothing is wrong that only a restart can fix."""
        reason = self._health.why_unhealthy()
        found = {"healthy": reason is None, "reason": reason, **self._health.identity()}
        return (UNAVAILABLE if reason else OK), found

    def ready(self) -> Answer:
        """200 while the process does its work."""
        state = self._health.state()
        found = {
            "ready": self._health.ready,
            "reason": state.reason,
            "partitions": sorted(self._health.held_partitions()),
            **self._health.identity(),
        }
        return (OK if self._health.ready else UNAVAILABLE), found

    def status(self) -> Answer:
        """Everything about this process."""
        return OK, {**self._health.description(), **self._details()}

    def find(self, id_: str) -> Answer:
        """200 with what the process knows of the thing with this id, 404 if it does not have it."""
        found = self._find(id_)
        return (NOT_FOUND, {}) if found is None else (OK, found)


class PageServer:
    """Serves pages on 127.0.0.1 from the running event loop, so that a loop that hangs does not answer."""

    def __init__(self, pages: Pages, port: int) -> None:
        self._pages = pages
        self._port = port
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listens. Raises OSError if the port is in use."""
        app = web.Application()
        for path, answer in {
            "/health": self._pages.health,
            "/ready": self._pages.ready,
            "/status": self._pages.status,
        }.items():
            app.router.add_get(path, _json_handler(answer))
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/find/{id}", self._find)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_WITHIN_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self._port).start()

    async def stop(self) -> None:
        """Stops listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._pages.metrics(), headers={"Content-Type": METRICS_TYPE})

    async def _find(self, request: web.Request) -> web.Response:
        status, found = self._pages.find(request.match_info["id"])
        return web.json_response(found, status=status)


def _json_handler(answer: Callable[[], Answer]) -> Callable[[web.Request], Any]:
    async def handle(_: web.Request) -> web.Response:
        status, found = answer()
        return web.json_response(found, status=status)

    return handle
