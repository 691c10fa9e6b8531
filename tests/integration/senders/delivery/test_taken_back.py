"""Mails that are tried again: found once their row says so, also if a later one was read meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import pytest
from drivers.running_senders import DOMAIN, TEMPLATE, a_command
from psycopg import AsyncConnection

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from infra.service.tasks import end_tasks
from schemas.commands import SendCommand
from schemas.rules import Text
from schemas.vocabulary import TRANSACTIONAL, DeliveryReason, LedgerState
from senders.channels.channel import ChannelClient, SendResult, Unreachable
from senders.content import dkim
from senders.content.mail_builder import MailBuilder
from senders.content.message import Mailbox
from senders.content.templates import TemplateCache
from senders.delivery import answers
from senders.delivery.answers import AnswerRecorder
from senders.delivery.attempt_begin import AttemptBegin
from senders.delivery.mail_sender import MailContent, MailSender
from senders.delivery.ownership import PartitionOwnership
from senders.delivery.ready_queue import DeliveryJob, ReadyQueue
from senders.policy.recipients import AddressHasher, read_requests
from senders.policy.send_check import SendCheck
from senders.policy.switches import NO_SWITCHES
from senders.queue import leases, ledger, lines, transitions
from senders.queue.due_order import DueOrder
from senders.queue.ledger import Admission, DueStatus, QueueClass
from senders.queue.lines import LineOrder, line_of
from senders.queue.retry import RetryPolicy
from senders.queue.transitions import StateChange
from senders.queue.writer import LedgerWriter, RowRefused
from senders.settings import SenderSettings
from senders.shaping.file import built_in
from senders.shaping.lane_decider import LaneBegin
from senders.shaping.lane_state import LaneKey
from senders.shaping.resolution import resolve
from senders.shaping.sites import Destination
from senders.shaping.ways import ShapedMail, TrafficKind

pytestmark = pytest.mark.servers

OWNER = "worker"
CLASS = QueueClass(0, 50)
LINE = line_of("one mx.example.net")
HASHER = AddressHasher(b"a secret of the tests")
STALE_AFTER = timedelta(seconds=5)


class DeferringClient:
    """A connection whose server defers each mail; `before` comes before its answer."""

    path = tracer = None
    connected = usable = True
    handed_over = False

    def __init__(self, before: Callable[[], Awaitable[None]]) -> None:
        self._before = before

    async def connect(self) -> None:
        """It is connected."""

    async def send(self, mail_from: str, to: str, message: bytes) -> SendResult:  # noqa: ARG002
        """The mail is to be tried again."""
        await self._before()
        return SendResult(LedgerState.DEFERRED)

    async def close(self) -> None:
        """It is closed."""


class ClosingClient(DeferringClient):
    """Its server says 421 to MAIL and then takes no other connection."""

    usable = False

    async def send(self, mail_from: str, to: str, message: bytes) -> NoReturn:
        """The mail is not taken."""
        await super().send(mail_from, to, message)
        raise Unreachable("421 4.3.2 closing")


class SendingWorker:
    """What one worker knows of its queue, and its mail sender, on a real ledger."""

    def __init__(self, url: str, database: AsyncDatabase, writer: LedgerWriter, content: MailContent) -> None:
        self.url = url
        self.database = database
        self.order = DueOrder()
        self.order.expect([CLASS.partition], 0.0)
        self.order.begin([CLASS])
        self.ready = ReadyQueue(self._release)
        ownership = PartitionOwnership(1.0)
        ownership.assign([CLASS.partition])
        ownership.hold([CLASS.partition])
        settings = SenderSettings(suppression_key="a secret of the tests")
        self.answers = AnswerRecorder(settings, writer, lambda: None, due_again=self.order.rewind)
        self.sender = MailSender(
            begin=AttemptBegin(writer, self.answers, lambda _: None),
            ownership=ownership,
            content=content,
            hasher=HASHER,
            answers=self.answers,
        )

    def _release(self, job: DeliveryJob) -> None:
        """Read again what is due by itself; a line would be found again in time."""
        if job.due.behind is None:
            self.order.rewind(job.due.queue_class, job.due.due_at)

    def admit(self, command: SendCommand) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            ledger.admit(connection, [Admission.of(CLASS.partition, command)], datetime.now(UTC))

    async def take(self) -> list[str]:
        """Take what is due as the scheduler does: the commands by id."""

        async def due(connection: AsyncConnection[Any]) -> list[DueStatus]:
            after = self.order.after()
            return await ledger.due_commands(connection, after, list(self.ready.in_hand), datetime.now(UTC), 10)

        found = await self.database.run(due)
        self.order.read(found)
        return await self._put(found)

    async def take_from_line(self, command: SendCommand) -> None:
        """Admit a command that waits in a line, and take it from there."""
        self.admit(command)

        async def head(connection: AsyncConnection[Any]) -> list[DueStatus]:
            change = StateChange(
                command.id,
                0,
                LedgerState.ADMITTED,
                datetime.now(UTC),
                DeliveryReason.LIMITED,
                next_attempt_at=command.expires_at,
                behind=LINE,
            )
            await transitions.postpone(connection, [change])
            heads = await lines.heads(connection, LineOrder(), [CLASS.partition], {LINE: 1}, [])
            return [status for _, status in heads]

        assert await self._put(await self.database.run(head)) == [command.id]

    async def _put(self, due: Sequence[DueStatus]) -> list[str]:
        async def read(connection: AsyncConnection[Any]) -> list[DeliveryJob]:
            commands = await ledger.read_commands(connection, due)
            now = datetime.now(UTC)
            requests = await read_requests(connection, commands, HASHER, now, STALE_AFTER, NO_SWITCHES)
            return [DeliveryJob(command, request) for command, request in zip(commands, requests, strict=True)]

        jobs = await self.database.run(read)
        for job in jobs:
            self.ready.put(job)
        return [job.due.command.id for job in jobs]

    async def send(self, command_id: str, client: ChannelClient, again: timedelta = timedelta(minutes=1)) -> None:
        """Send a mail as the driver of lanes does, whatever becomes of it. A deferred one is due `again` after that."""
        self.ready.begin(command_id)
        mail = ShapedMail(command_id, "example.net", TrafficKind("hello", TRANSACTIONAL, DOMAIN), CLASS.priority, 0)
        egress = resolve(built_in(), Destination.of("example.net", ["mx.example.net"]), "default")
        begin = LaneBegin(LaneKey("default", egress.site), mail, egress, egress.keys)
        retry = RetryPolicy(again, timedelta(hours=1), 0.0)
        try:
            await self.sender.send(self.ready.job(command_id), begin, client, retry)
        finally:
            self.ready.done(command_id)


@pytest.fixture
def content(tmp_path: Path) -> MailContent:
    dkim.generate_key(tmp_path / "dkim.pem")
    templates = TemplateCache()
    templates.put("h", Text(kind="template", path="templates/hello.liquid", body=TEMPLATE))
    signer = dkim.load_signer(DOMAIN, "demo", tmp_path / "dkim.pem")
    return MailContent(templates, MailBuilder(signer, Mailbox.parse(f"hello@{DOMAIN}")), timedelta(seconds=1))


@pytest.fixture
async def worker(database_url: str, content: MailContent) -> AsyncIterator[SendingWorker]:

    async def own(connection: AsyncConnection[Any]) -> None:
        await leases.renew(connection, OWNER, timedelta(minutes=1))
        await leases.take_over(connection, [CLASS.partition], OWNER)

    read, write = databases = [AsyncDatabase(database_url, Outage("timescale")) for _ in range(2)]
    await read.run(own)
    writer = LedgerWriter(write, OWNER, SendCheck(HASHER, STALE_AFTER))
    writing = asyncio.create_task(writer.run())
    yield SendingWorker(database_url, read, writer, content)
    await end_tasks([writing])
    for database in databases:
        await database.close()


def mail(user: str) -> SendCommand:
    return a_command(user, "h", purpose=TRANSACTIONAL, to=f"{user}@example.net")


@asynccontextmanager
async def read_meanwhile(
    worker: SendingWorker,
    database_url: str,
    client: type[DeferringClient],
    again: timedelta = timedelta(minutes=1),
    *,
    in_line: bool = False,
) -> AsyncIterator[tuple[str, asyncio.Task[None]]]:
    """A mail and its sending, whose answer is written only after a later command was read."""
    first, later = mail("u1"), mail("u2")
    if in_line:
        await worker.take_from_line(first)
    else:
        worker.admit(first)
        assert await worker.take() == [first.id]
    async with await AsyncConnection.connect(database_url) as other:

        async def hold() -> None:
            await other.execute("SELECT FROM ledger_queue FOR UPDATE")

        sending = asyncio.create_task(worker.send(first.id, client(hold), again))
        while not await waiting(worker):
            await asyncio.sleep(0.01)
        worker.admit(later)
        assert await worker.take() == [later.id], "the answer of the first is being written"
    yield first.id, sending


async def test_a_mail_taken_back_is_found_at_once_although_a_later_one_was_read_meanwhile(
    worker: SendingWorker, database_url: str
) -> None:
    async with read_meanwhile(worker, database_url, ClosingClient) as (first, sending):
        with pytest.raises(Unreachable):
            await sending
        assert await worker.take() == [first]
        assert worker.ready.job(first).due.attempt == 0, "no attempt is counted"


async def test_a_mail_from_a_line_that_is_taken_back_is_found_at_once_too(
    worker: SendingWorker, database_url: str
) -> None:
    async with read_meanwhile(worker, database_url, ClosingClient, in_line=True) as (first, sending):
        with pytest.raises(Unreachable):
            await sending
        assert await worker.take() == [first]


async def test_a_mail_from_a_line_whose_address_has_changed_is_found_at_once(
    worker: SendingWorker, database_url: str
) -> None:
    command, later = a_command("u1", "h", purpose=TRANSACTIONAL), mail("u2")
    write_address(database_url, "u1", "old@example.net")
    await worker.take_from_line(command)
    write_address(database_url, "u1", "new@example.net")
    async with await AsyncConnection.connect(database_url) as other:
        await other.execute("SELECT FROM ledger_queue FOR UPDATE")
        sending = asyncio.create_task(worker.send(command.id, DeferringClient(nothing)))
        while not await waiting(worker):
            await asyncio.sleep(0.01)
        worker.admit(later)
        assert await worker.take() == [later.id], "the refusal is being written"
    await sending
    assert await worker.take() == [command.id]
    assert worker.ready.job(command.id).request.address == "new@example.net"


def write_address(database_url: str, user_id: str, address: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            """INSERT INTO recipients (user_id, address, known_at) VALUES (%s, %s, now())
               ON CONFLICT (user_id) DO UPDATE SET address = excluded.address""",
            [user_id, address],
        )


async def test_a_deferral_that_is_due_before_its_row_says_so_is_found_at_once(
    worker: SendingWorker, database_url: str
) -> None:
    async with read_meanwhile(worker, database_url, DeferringClient, timedelta(milliseconds=1)) as (first, sending):
        await sending
        assert await worker.take() == [first]


def refuse(database_url: str, condition: str) -> None:
    """Let no mail that has begun be put in another state where this is true."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'check_violation'; END $$"""
        )
        connection.execute(
            f"""CREATE TRIGGER refuse BEFORE UPDATE ON ledger_queue FOR EACH ROW
                WHEN (OLD.state = 'started' AND NEW.state <> 'started' AND {condition}) EXECUTE FUNCTION refuse()"""
        )


async def row_of(worker: SendingWorker) -> tuple[Any, ...] | None:
    async def read(connection: AsyncConnection[Any]) -> tuple[Any, ...] | None:
        cursor = await connection.execute(
            "SELECT state, attempt, reason, next_attempt_at > now() + interval '30 seconds' FROM ledger_queue"
        )
        return await cursor.fetchone()

    return await worker.database.run(read)


async def nothing() -> None:
    """Nothing comes before the answer."""


async def fail(worker: SendingWorker, client: ChannelClient) -> None:
    """Send a mail whose row is refused, and let that be recorded."""
    command = mail("u1")
    worker.admit(command)
    assert await worker.take() == [command.id]
    job = worker.ready.job(command.id)
    with pytest.raises(RowRefused) as refused:
        await worker.send(command.id, client)
    await worker.sender.failed(job, refused.value)


async def test_a_mail_that_no_server_took_is_tried_again_where_the_first_taking_back_is_refused(
    worker: SendingWorker, database_url: str
) -> None:
    refuse(database_url, "NEW.reason IS NULL")
    await fail(worker, ClosingClient(nothing))
    assert await row_of(worker) == ("admitted", 0, "delivery_error", True)


async def test_a_deferral_before_the_mail_was_handed_over_that_cannot_be_written_loses_no_mail(
    worker: SendingWorker, database_url: str
) -> None:
    refuse(database_url, "NEW.state = 'deferred'")
    await fail(worker, DeferringClient(nothing))
    assert await row_of(worker) == ("admitted", 0, "delivery_error", True)


@pytest.mark.parametrize(
    ("handed_over", "expected"),
    [(False, ("admitted", 0, "delivery_error", True)), (True, ("in_doubt", 1, "delivery_error", None))],
)
async def test_an_attempt_whose_end_cannot_be_written_is_ended_as_soon_as_it_can(
    worker: SendingWorker, database_url: str, handed_over: bool, expected: tuple[Any, ...]
) -> None:
    refuse(database_url, "true")
    client = DeferringClient(nothing)
    client.handed_over = handed_over
    await fail(worker, client)
    assert await row_of(worker) == ("started", 1, None, False)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP TRIGGER refuse ON ledger_queue")
    await worker.answers.end_attempts()
    assert await row_of(worker) == expected


async def test_a_mail_whose_attempt_is_ended_late_is_found_at_once(
    worker: SendingWorker, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "TRY_AGAIN", timedelta(0))
    refuse(database_url, "true")
    await fail(worker, DeferringClient(nothing))
    later = mail("u2")
    worker.admit(later)
    assert await worker.take() == [later.id]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP TRIGGER refuse ON ledger_queue")
    await worker.answers.end_attempts()
    assert len(await worker.take()) == 1


async def waiting(worker: SendingWorker) -> bool:
    """Whether a transaction waits for a row."""

    async def count(connection: AsyncConnection[Any]) -> int:
        cursor = await connection.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.rowcount

    return await worker.database.run(count) > 0
