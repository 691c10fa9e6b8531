"""The scheduler on a real ledger: what it takes, also after its partitions left and came back."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from drivers.running_senders import a_command

from infra.postgres.database import AsyncDatabase
from infra.postgres.migrate import migrate
from infra.service.outages import Outage
from infra.service.tasks import end_tasks
from infra.service.watchdog import Watchdog
from schemas.vocabulary import TRANSACTIONAL
from senders.channels.channel import Unreachable
from senders.delivery.answers import AnswerRecorder
from senders.delivery.lane_driver import LaneDriver
from senders.delivery.lane_intake import LaneIntake
from senders.delivery.ownership import PartitionOwnership
from senders.delivery.ready_queue import ReadyQueue
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
    """A scheduler and the lanes of a relay, on which nothing begins."""

    def __init__(self, database_url: str) -> None:
        never: Any = None
        settings, switches = SenderSettings(suppression_key="a secret of the tests"), DeliverySwitches()
        switches.known = True
        self.databases = [AsyncDatabase(database_url, Outage("timescale")) for _ in range(3)]
        read, write, lanes = self.databases
        self.order = DueOrder()
        self.ready = ReadyQueue(lambda job: self.order.rewind(job.due.queue_class, job.due.due_at))
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
        self.lanes = LaneIntake(driver, self.ready, "shop.example", one_lane=True)
        self.scheduler = Scheduler(
            settings,
            database=read,
            owner="w",
            ownership=self.ownership,
            ready=self.ready,
            order=self.order,
            lanes=self.lanes,
            switches=switches,
            hasher=HASHER,
            answers=AnswerRecorder(settings, self.writer, lambda: None),
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
    migrate(database_url)
    made = TakingWorker(database_url)
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
