"""Conversations that somebody watches: each line goes to them by NOTIFY, on a channel of their own.

A switch on `control` asks for it, and it ends by itself: at its time, or after so many conversations. While nobody
watches, it costs a look at a dictionary for each mail and no connection. Nobody waits for a watcher: of more lines than
can be sent, the latest are left out, and a line says so.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection

from infra.postgres.database import AsyncDatabase
from infra.service.faults import describe
from infra.service.watchdog import Watchdog
from schemas.rules import DELIVERY
from senders.policy.switches import DeliverySwitches

IDLE_S = 0.5
"""How often the switches are looked at."""
SEND_S = 0.1
MAX_LINES = 2_000
"""Lines that wait to be sent."""
MAX_PAYLOAD = 7_000
"""Bytes of one NOTIFY; PostgreSQL takes fewer than 8,000."""
MAX_LINE = 6_000
"""Bytes of the text of one line, as JSON writes them."""


@dataclass(slots=True)
class _Watch:
    """One switch: its channel, and how many conversations it still wants of this worker."""

    channel: str
    left: int


@dataclass(frozen=True, slots=True)
class ConversationTrace:
    """Takes the lines of one conversation. `number` tells it from others."""

    put: Callable[[str], None]
    number: str

    def __call__(self, line: str) -> None:
        self._put(line)

    def end(self, line: str) -> None:
        """The last line."""
        self._put(line, end=True)

    def _put(self, line: str, **more: bool) -> None:
        said = {"conversation": self.number, "at": datetime.now(UTC).isoformat(), "line": _cut(line), **more}
        self.put(json.dumps(said, ensure_ascii=False))


class Traces:
    """Used in the event loop's thread; `database` is used by nothing else."""

    def __init__(
        self,
        switches: DeliverySwitches,
        database: AsyncDatabase | None,
        owner: str,
        watchdog: Watchdog,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._switches = switches
        self._database = database
        self._owner = owner
        self._watchdog = watchdog
        self._clock = clock
        self._watched: dict[str, _Watch] = {}
        self._lines: deque[tuple[str, str]] = deque()
        self._left_out = 0
        self._count = 0
        self._log = structlog.get_logger("senders.delivery.traces")

    def begin(self, domain: str) -> ConversationTrace | None:
        """The trace of a conversation that begins; None if nobody watches the domain."""
        watch = self._watched.get(domain) if self._watched else None
        if watch is None or not watch.left:
            return None
        watch.left -= 1
        self._count += 1
        return ConversationTrace(lambda line: self._put(watch.channel, line), f"{self._owner}/{self._count}")

    def _put(self, channel: str, line: str) -> None:
        if len(self._lines) < MAX_LINES:
            self._lines.append((channel, line))
        else:
            self._left_out += 1

    def follow(self) -> None:
        """Take up who watches now."""
        found: dict[str, _Watch] = {}
        for switch in self._switches.traces(self._clock()):
            domain = switch.scope.removeprefix(f"{DELIVERY}/domain/")
            known = self._watched.get(domain)
            same = known is not None and known.channel == switch.trace
            found[domain] = known if known is not None and same else _Watch(switch.trace, switch.most)
        self._watched = found

    async def run(self) -> None:
        """Send lines, until cancelled."""
        while True:
            self._watchdog.beat()
            self.follow()
            while self._lines and self._database is not None:
                await self._send(self._database, *self._batch())
            await asyncio.sleep(SEND_S if self._watched or self._lines else IDLE_S)

    async def _send(self, database: AsyncDatabase, channel: str, payload: str) -> None:
        """Send lines. Those that PostgreSQL refuses are left out: a watched server may have said anything."""
        try:
            await database.run(partial(_notify, channel, payload))
        except psycopg.Error as error:
            self._log.error("trace_not_sent", error=describe(error))

    def _batch(self) -> tuple[str, str]:
        """The next lines for one channel."""
        channel, line = self._lines.popleft()
        lines, size = [line], len(line.encode())
        while self._lines and self._lines[0][0] == channel and size + len(self._lines[0][1].encode()) < MAX_PAYLOAD:
            lines.append(self._lines.popleft()[1])
            size += len(lines[-1].encode()) + 1
        if self._left_out and not self._lines:
            note = {"conversation": self._owner, "at": "", "line": f"* {self._left_out:,} lines were left out"}
            self._lines.append((channel, json.dumps(note)))
            self._left_out = 0
        return channel, f"[{','.join(lines)}]"


def _cut(line: str) -> str:
    """A line that one NOTIFY can carry. Halves of characters, which PostgreSQL takes in no text, are replaced."""
    safe = line.encode(errors="replace").decode()
    while (much := len(json.dumps(safe, ensure_ascii=False).encode()) - MAX_LINE) > 0:
        safe = safe[: -max(1, much // 6)]
    return safe


async def _notify(channel: str, payload: str, connection: AsyncConnection[Any]) -> None:
    await connection.execute("SELECT pg_notify(%s, %s)", [channel, payload])
