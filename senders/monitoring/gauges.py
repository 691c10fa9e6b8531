"""What waits in a worker's partitions now, read from PostgreSQL and Kafka every few seconds."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event
from typing import Any

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from psycopg import AsyncConnection
from psycopg.errors import QueryCanceled

from infra.kafka.connection import Connection
from infra.kafka.offsets import EndOffsets
from infra.kafka.topics import TopicPartition
from infra.postgres.database import AsyncDatabase
from infra.service.faults import describe
from infra.service.outages import Outage
from infra.service.watchdog import Watchdog
from schemas.topics import COMMANDS
from senders.policy.recipients import known_as_of
from senders.queue import held_commands
from senders.queue.backlog import Backlog, read_backlog
from senders.queue.held_commands import HeldCommands

INTERVAL_S = 5.0
SHARE = 20
"""A measurement of the ledger that takes long is repeated later, so that it never takes more than a twentieth of the
time."""
FIRST_INTERVAL_S = 1.0
"""The interval while there is nothing to measure yet."""
BROKER_TIMEOUT_S = 5.0
MAX_BUDGETS = 100
"""How many budgets that hold something are shown, those that hold the most."""

Positions = Callable[[], Mapping[TopicPartition, int]]


@dataclass(frozen=True, slots=True)
class PartitionBacklog:
    """One partition. An unknown value is None."""

    partition: int
    due: int
    waiting: int
    oldest_due_age_s: float | None
    outbox: int
    in_doubt: int
    view_age_s: float | None
    """How far the recipients view is behind."""


class LedgerGauges:
    """Measures what waits in the partitions that `held` returns. Belongs to the event loop."""

    def __init__(self, database: AsyncDatabase, held: Callable[[], Collection[int]], watchdog: Watchdog) -> None:
        self._database = database
        self._held = held
        self._watchdog = watchdog
        self._log = structlog.get_logger("senders.monitoring.gauges")
        self._measured: dict[int, PartitionBacklog] = {}
        self.budgets: Mapping[str, int] = {}
        """How many commands of the partitions held each budget holds, the most first."""

    @property
    def now(self) -> list[PartitionBacklog]:
        """The last measurement, without partitions that are held no more."""
        return [self._measured[number] for number in sorted(self._held()) if number in self._measured]

    async def run(self) -> None:
        """Measures until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            with self._watchdog.rest():  # statements have a time-out of their own, and an absent server is waited for
                try:
                    await self.measure(datetime.now(UTC))
                except QueryCanceled as error:
                    self._log.warning("statement_timed_out", error=describe(error), next_step="tried again")
                await asyncio.sleep(
                    max(INTERVAL_S if self._measured else FIRST_INTERVAL_S, SHARE * (loop.time() - began_s))
                )

    async def measure(self, now: datetime) -> None:
        """Measures once."""
        held = frozenset(self._held())

        async def read(
            connection: AsyncConnection[Any],
        ) -> tuple[dict[int, Backlog], dict[int, datetime], dict[str, HeldCommands]]:
            budgets = await held_commands.held(connection, held)
            return await read_backlog(connection, held, now), await known_as_of(connection, held), budgets

        backlogs, as_of, budgets = await self._database.run(read) if held else ({}, {}, {})
        most = sorted(budgets.values(), key=lambda each: -each.count)[:MAX_BUDGETS]
        self.budgets = {each.name: each.count for each in most}
        self._measured = {number: _gauge(number, backlogs[number], as_of.get(number), now) for number in held}


def _gauge(partition: int, backlog: Backlog, as_of: datetime | None, now: datetime) -> PartitionBacklog:
    def age_s(since: datetime | None) -> float | None:
        return None if since is None else max(0.0, (now - since).total_seconds())

    return PartitionBacklog(
        partition,
        backlog.due,
        backlog.waiting,
        age_s(backlog.oldest_due),
        backlog.outbox,
        backlog.in_doubt,
        age_s(as_of),
    )


class BrokerGauges:
    """Measures how far the consumer groups of this process are behind, and whether Kafka answers. A thread runs it."""

    def __init__(self, connection: Connection, positions: Mapping[str, Positions], outage: Outage) -> None:
        self._admin = AdminClient(connection.client())
        self._ends = EndOffsets(self._admin, BROKER_TIMEOUT_S)
        self._positions = positions
        self._outage = outage
        self.lags: Mapping[tuple[str, int], int] = {}
        """Records that are not processed, by group and partition."""

    def run(self, halt: Event) -> None:
        """Measures until `halt` is set."""
        while not halt.is_set():
            self.measure()
            halt.wait(INTERVAL_S if self.lags else FIRST_INTERVAL_S)

    def measure(self) -> None:
        """Measures once. The lags stay as they were while Kafka does not answer."""
        try:
            self._admin.list_topics(COMMANDS.name, timeout=BROKER_TIMEOUT_S)
        except KafkaException as error:
            self._outage.away(error)
            return
        self._outage.back()
        positions = {group: read() for group, read in self._positions.items()}
        partitions = {tp for of_group in positions.values() for tp in of_group}
        ends = self._ends.last_stable(partitions) if partitions else {}
        lags = Counter[tuple[str, int]]()
        for group, of_group in positions.items():
            for tp, position in of_group.items():
                if tp in ends:
                    lags[group, tp.partition] += max(0, ends[tp] - position)
        self.lags = lags
