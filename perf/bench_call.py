"""`python -m perf.bench_call`: what the Python of a single call costs, without a server or Kafka. Records nothing.

From the adapter of RSGI to the answer, with the body and the acknowledgement a turn of the event loop later. What
searches for reference cycles cost is the difference between the two columns. A figure is the least CPU time of the
rounds, which alternate; what the load itself costs is taken off.
"""

import asyncio
import base64
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, NamedTuple

import typer
import uvloop

from infra.service.garbage import search_rarely
from perf.ingest_loads import BODIES, calls
from web.http import Answer, Request
from web.ingest.calls import read
from web.ingest.reading import EventRecord
from web.ingest.rules import ReadingRules
from web.ingest.service import IngestService
from web.keys.write_key import KeyClass, WriteKey
from web.profiles.patches import IdentityLink, ProfilePatch
from web.profiles.store import StoreAway, StoreRefusal
from web.server.bodies import BodyReader
from web.server.front_door import FrontDoor
from web.server.monitoring import WebMetrics
from web.server.routing import call_name, routed
from web.server.rsgi import RsgiApp

SECRET = "wk_0123456789abcdef"  # noqa: S105  # of no key
KEY = WriteKey("bench", KeyClass.SERVER, "bench")
LARGEST = 4_194_304
CALLERS = 400
POLL_S = 0.001
HEADERS = [
    ("host", "ingest"),
    ("authorization", "Basic " + base64.b64encode(f"{SECRET}:".encode()).decode()),
    ("content-type", "application/json"),
]


class SentHeaders(list[tuple[str, str]]):
    """The headers of a request, as RSGI has them."""

    def items(self) -> list[tuple[str, str]]:
        """All of them."""
        return self


class CallScope(NamedTuple):
    """A request, as RSGI has it."""

    proto: str
    method: str
    path: str
    query_string: str
    headers: SentHeaders


class HeldExchange:
    """A body that is there in the next turn of the loop, and an answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, body: bytes) -> None:
        self._loop = loop
        self._body = body
        self.status = 0

    def __call__(self) -> Awaitable[bytes]:
        """The body."""
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._loop.call_soon(future.set_result, self._body)
        return future

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body in one part."""
        yield self._body

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:  # noqa: ARG002
        """Keeps the status."""
        self.status = status


class NoLog:
    """Acknowledges every millisecond what it was given."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[asyncio.Future[None]] = []

    def require_room(self, events: int, size: int) -> None:
        """There is room."""

    async def write(self, records: Sequence[EventRecord]) -> None:  # noqa: ARG002
        """Returns when the next acknowledgement comes."""
        if not self._waiting:
            self._loop.call_later(POLL_S, self._acknowledge)
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(done)
        await done

    def _acknowledge(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.set_result(None)


async def _store(_patches: Sequence[ProfilePatch], _links: Sequence[IdentityLink]) -> Sequence[StoreRefusal]:
    raise StoreAway  # it is measured with events


async def _nothing(_: Request) -> Answer:
    return Answer(404)


def _whole(loop: asyncio.AbstractEventLoop) -> Callable[[CallScope, HeldExchange], Awaitable[None]]:
    """The adapter with all that is behind it."""
    metrics = WebMetrics(call_name)
    service = IngestService(
        find=lambda secret: KEY if secret == SECRET else None,
        allow=lambda _key, _events: 0.0,
        read=partial(read, rules=ReadingRules(lambda: uuid.uuid4().hex)),
        log=NoLog(loop),
        store=_store,
        observer=metrics,
        largest=LARGEST,
        public_url=None,
    )
    door = FrontDoor(routed(service.answer, _nothing, _nothing), BodyReader(LARGEST, 15.0), metrics)
    return RsgiApp(door).__rsgi__


def _load_alone(log: NoLog) -> Callable[[CallScope, HeldExchange], Awaitable[None]]:
    """Waits for the same, and does nothing."""

    async def answer(_: CallScope, exchange: HeldExchange) -> None:
        await exchange()
        await log.write(())
        exchange.response_bytes(200, [], b"")

    return answer


async def _spent_s(answer: Callable[[CallScope, HeldExchange], Awaitable[None]], each: int) -> float:
    """The CPU time of a call where so many callers make one after the other."""
    loop = asyncio.get_running_loop()
    path, bodies, _ = calls(datetime.now(UTC))["single"]

    async def one(scope: CallScope, exchange: HeldExchange) -> None:
        await answer(scope, exchange)

    async def caller() -> None:
        for number in range(each):
            body = bodies[number % BODIES]
            headers = SentHeaders([*HEADERS, ("content-length", str(len(body)))])
            exchange = HeldExchange(loop, body)
            await asyncio.create_task(one(CallScope("http", "POST", path, "", headers), exchange))
            assert exchange.status == 200, "it is taken"

    begun = time.process_time()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return (time.process_time() - begun) / CALLERS / each


async def _measure(rounds: int, each: int) -> None:
    loop = asyncio.get_running_loop()
    ways = {"load": _load_alone(NoLog(loop)), "call": _whole(loop)}
    for collector in ("Python's searches for cycles", "ours"):
        if collector == "ours":
            search_rarely()
        least = dict.fromkeys(ways, float("inf"))
        for _ in range(rounds):
            for name, answer in ways.items():
                least[name] = min(least[name], await _spent_s(answer, each))
        typer.echo(f"{collector:30} {1e6 * (least['call'] - least['load']):6.1f} µs a call")


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each way.")] = 5,
    each: Annotated[int, typer.Option(min=1, help="Calls of each of the 400 callers in a round.")] = 50,
) -> None:
    """Measure the CPU time of a single call, in microseconds."""
    uvloop.run(_measure(rounds, each))


if __name__ == "__main__":
    typer.run(main)
