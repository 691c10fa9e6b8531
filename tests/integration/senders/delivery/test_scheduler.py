"""The scheduler on a real ledger: what it takes, also after its partitions left and came back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from drivers.running_senders import a_command
from drivers.webhook_parts import webhooks

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from infra.service.tasks import end_tasks
from infra.service.watchdog import Watchdog
from schemas.vocabulary import TRANSACTIONAL
from senders.channels.channel import Unreachable
from senders.delivery.answers import AnswerRecorder
from senders.delivery.lane_driver import LaneDriver
from senders.delivery.lane_intake import LaneIntake
from senders.delivery.ownership import PartitionOwnership
from senders.delivery.ready_queue import CAPACITY, ReadyQueue
from senders.delivery.scheduler import Scheduler
from senders.policy.recipients import AddressHasher
from senders.policy.send_check import SendCheck
from senders.policy.switches import DeliverySwitches
from senders.queue import ledger
from senders.queue.due_order import DueOrder
from senders.queue.ledger import Admission
from senders.queue.ledger_clock import LedgerClock
from senders.queue.writer import LedgerWriter
from senders.settings import SenderSettings
from senders.shaping.file import built_in
from senders.shaping.sites import Destination

pytestmark = pytest.mark.servers

SOON_S = 20.0
"""Far less than the minute after which everything is read again."""
HASHER = AddressHasher(b"a secret of the tests")


async def not_found(domain: str) -> Destination:
    raise Unreachable(domain)


class TakingWorker:
    """A scheduler and its lanes, on which nothing begins; one lane, unless domains have lanes of their own."""

    def __init__(self, database_url: str, known: Mapping[str, str] | None = None) -> None:
        """`known` are the MX hosts of domains."""
        never: Any = None
        settings, switches = SenderSettings(suppression_key="a secret of the tests"), DeliverySwitches()
        switches.known = True
        self.databases = [AsyncDatabase(database_url, Outage("timescale")) for _ in range(3)]
        read, write, lanes = self.databases
        self.order = DueOrder()
        capacity = CAPACITY if known is None else 16 * CAPACITY
        self.ready = ReadyQueue(lambda job: self.order.rewind(job.due.queue_class, job.due.due_at), capacity)
        self.ownership = PartitionOwnership(1.0)
        self.writer = LedgerWriter(write, "w", SendCheck(HASHER, timedelta(seconds=5)))
        driver = LaneDriver(
            built_in(),
            owner="w",
            permits=lanes,
            leases=lanes,
            actions=lanes,
            look_up=not_found,
            find_route=never,
            mails=never,
        )
        self.answers = AnswerRecorder(settings, self.writer, lambda: None)
        for domain, host in (known or {}).items():
            driver.board.looked_up(Destination.of(domain, [host]))
        self.lanes = LaneIntake(driver, self.ready, lambda _: "shop.example", one_lane=known is None)
        self.scheduler = Scheduler(
            settings,
            database=read,
            owner="w",
            ownership=self.ownership,
            ready=self.ready,
            order=self.order,
            lanes=self.lanes,
            webhooks=webhooks(
                settings,
                lanes,
                writer=self.writer,
                answers=self.answers,
                ownership=self.ownership,
                hasher=HASHER,
                order=self.order,
            ).intake,
            switches=switches,
            hasher=HASHER,
            answers=self.answers,
            on_answer=lambda: None,
            watchdog=Watchdog(),
            clock=LedgerClock(),
        )

    def take_over(self, *partitions: int) -> None:
        self.ownership.assign(partitions)
        self.scheduler.wake()

    def give_up(self, *partitions: int) -> None:
        self.ownership.give_up(partitions)
        self.lanes.drop(partitions)

    async def takes(self, *command_ids: str) -> None:
        """Wait until these are in the ready queue."""
        async with asyncio.timeout(SOON_S):
            while not set(command_ids) <= self.ready.waiting.keys():
                await asyncio.sleep(0.02)


@pytest.fixture
async def worker(database_url: str) -> AsyncIterator[TakingWorker]:
    async with running(TakingWorker, database_url) as made:
        yield made


@pytest.fixture
async def lanes_worker(database_url: str) -> AsyncIterator[TakingWorker]:
    async with running(TakingWorker, database_url, {"example.net": "mx.example.net"}) as made:
        yield made


@asynccontextmanager
async def running(
    make: Callable[..., TakingWorker], database_url: str, *arguments: object
) -> AsyncIterator[TakingWorker]:
    made = make(database_url, *arguments)
    tasks = [asyncio.create_task(made.writer.run()), asyncio.create_task(made.scheduler.run())]
    yield made
    await end_tasks(tasks)
    for database in made.databases:
        await database.close()


def admit(database_url: str, count: int) -> list[str]:
    """Commands of partition 0, each due a second after the one before, the last one now."""
    commands = [
        a_command(f"u{number}", "h", purpose=TRANSACTIONAL, to=f"u{number}@example.net") for number in range(count)
    ]
    with psycopg.connect(database_url, autocommit=True) as connection:
        for age_s, command in enumerate(reversed(commands)):
            due_at = datetime.now(UTC) - timedelta(seconds=age_s)
            ledger.admit(connection, [Admission.of(0, command)], due_at)
    return [command.id for command in commands]


async def test_a_partition_that_leaves_and_comes_back_within_a_turn_is_read_from_its_beginning(
    worker: TakingWorker, database_url: str
) -> None:
    commands = admit(database_url, 3)
    worker.take_over(0, 1)
    await worker.takes(*commands)

    worker.give_up(0)
    worker.take_over(0)

    await worker.takes(*commands)


async def test_when_all_partitions_leave_and_the_same_come_back_their_commands_are_taken_at_once(
    worker: TakingWorker, database_url: str
) -> None:
    commands = admit(database_url, 3)
    worker.take_over(0)
    await worker.takes(*commands)

    worker.give_up(0)
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("UPDATE ledger_partitions SET owner = 'other', epoch = epoch + 1")
    worker.take_over(0)

    await worker.takes(*commands)


async def test_of_a_long_line_the_head_comes_when_the_lane_has_room_and_no_row_is_written_twice(
    lanes_worker: TakingWorker, database_url: str
) -> None:
    count, worker = 4 * CAPACITY, lanes_worker
    commands = admit(database_url, count)[::-1]  # the oldest first
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE ledger_queue SET next_attempt_at = admitted_at")
    worker.take_over(0)

    with psycopg.connect(database_url, autocommit=True) as connection:
        stands = "SELECT count(*) FROM ledger_queue WHERE behind IS NOT NULL AND reason = 'limited'"
        versions = "SELECT xmin::text, command_id FROM ledger_queue ORDER BY command_id"
        async with asyncio.timeout(SOON_S):
            while connection.execute(stands).fetchone() != (count - CAPACITY,):
                await asyncio.sleep(0.05)
        written = connection.execute(versions).fetchall()
        await worker.takes(*commands[:CAPACITY])
        for first in range(0, count, CAPACITY):
            await worker.takes(*commands[first : first + CAPACITY])
            for command_id in commands[first : first + CAPACITY]:  # as if their mails had begun
                worker.answers._set_aside.add(command_id)
                worker.lanes._take_out(command_id)
            worker.scheduler.wake()

        assert connection.execute(versions).fetchall() == written
