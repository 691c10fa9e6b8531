"""Webhooks on a real ledger and over real HTTP: one test for each way in which an endpoint can answer, or not."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from drivers.running_senders import a_command
from drivers.webhook_parts import webhooks
from drivers.webhook_receiver import OLD_SECRET, SECRET, HttpAnswer, WebhookReceiver, webhook_receiver

from cli.operations.recorded_attempts import AttemptHistory
from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from infra.service.tasks import end_tasks
from infra.service.watchdog import Watchdog
from schemas.commands import SendCommand
from schemas.endpoints import Endpoint
from senders.bounces.classifier import load_classifier
from senders.bounces.recorded_replies import differences
from senders.channels.channel import Unreachable
from senders.delivery.answers import AnswerRecorder
from senders.delivery.lane_driver import LaneDriver
from senders.delivery.lane_intake import LaneIntake
from senders.delivery.ownership import PartitionOwnership
from senders.delivery.ready_queue import CAPACITY, ReadyQueue
from senders.delivery.scheduler import Scheduler
from senders.policy.endpoints import EndpointBook
from senders.policy.recipients import AddressHasher
from senders.policy.send_check import SendCheck
from senders.policy.switches import DeliverySwitches
from senders.queue import leases, ledger, suspensions
from senders.queue.due_order import DueOrder
from senders.queue.ledger import Admission
from senders.queue.ledger_clock import LedgerClock
from senders.queue.writer import LedgerWriter
from senders.settings import SenderSettings
from senders.shaping.file import built_in
from senders.shaping.sites import Destination

pytestmark = pytest.mark.servers

SOON_S = 20.0
HASHER = AddressHasher(b"a secret of the tests")
NAME = "worker"


async def not_found(domain: str) -> Destination:
    raise Unreachable(domain)


class CallingWorker:
    """A scheduler and its webhooks; mails wait on lanes that nobody drives."""

    def __init__(self, url: str, receiver: WebhookReceiver, **changes: Any) -> None:
        self.url, self.receiver = url, receiver
        settings = SenderSettings(
            **{
                "suppression_key": "a secret of the tests",
                "webhook_private_hosts": ["127.0.0.1"],
                "webhook_retry_first_s": 0.05,
                "webhook_retry_longest_s": 0.05,
                "template_wait_s": 0.01,
                "lease_s": 120.0,  # nobody renews it here
            }
            | changes
        )
        switches = DeliverySwitches()
        switches.known = True
        self.databases = [AsyncDatabase(url, Outage("timescale")) for _ in range(4)]
        read, write, lanes, calls = self.databases
        order, ownership = DueOrder(), PartitionOwnership(1.0)
        self.ready = ReadyQueue(lambda job: order.rewind(job.due.queue_class, job.due.due_at))
        self.writer = LedgerWriter(write, NAME, SendCheck(HASHER, timedelta(seconds=5), switches))
        answers = AnswerRecorder(settings, self.writer, lambda: None, due_again=order.rewind)
        driver = LaneDriver(
            built_in(),
            owner=NAME,
            permits=lanes,
            leases=lanes,
            actions=lanes,
            look_up=not_found,
            find_route=not_found,
            mails=not_found,
        )
        self.book = EndpointBook({"new": SECRET, "old": OLD_SECRET, "token": "Bearer abc"})
        self.webhooks = webhooks(
            settings,
            calls,
            writer=self.writer,
            answers=answers,
            ownership=ownership,
            hasher=HASHER,
            order=order,
            book=self.book,
            changed=lambda: self.scheduler.limits_changed(),
        )
        self.scheduler = Scheduler(
            settings,
            database=read,
            owner=NAME,
            ownership=ownership,
            ready=self.ready,
            order=order,
            lanes=LaneIntake(driver, self.ready, "shop.example", one_lane=True),
            webhooks=self.webhooks.intake,
            switches=switches,
            hasher=HASHER,
            answers=answers,
            on_answer=lambda: None,
            watchdog=Watchdog(),
            clock=LedgerClock(),
        )
        ownership.assign([0])

    def publish(self, **changes: Any) -> None:
        """The endpoint `crm`, at the path /crm of the receiver unless its URL is given."""
        fields: dict[str, Any] = {
            "url": self.receiver.url("/crm"),
            "secrets": ["new"],
            "timeout_ms": 2000,
            "retries": 3,
        }
        endpoint = Endpoint(name="crm", **(fields | changes))
        self.book.put([endpoint])
        self.webhooks.intake.limits_changed()

    def call(self, endpoint: str = "crm", **changes: Any) -> SendCommand:
        """Admits one call."""
        return self.call_all(1, endpoint, **changes)[0]

    def call_all(self, count: int, endpoint: str = "crm", **changes: Any) -> list[SendCommand]:
        fields: dict[str, Any] = {"channel": "webhook", "template": endpoint, "data": {"total": 7}} | changes
        made = [a_command(f"u{number}", "", **fields) for number in range(count)]
        with psycopg.connect(self.url, autocommit=True) as connection:
            now = datetime.now(UTC)
            ledger.admit(connection, [Admission.of(0, command) for command in made], now)
        classes = {ledger.QueueClass(0, ledger.queue_priority(made[0])): now - timedelta(seconds=1)}
        self.scheduler.admitted(classes)
        return made

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def state(self, command: SendCommand) -> tuple[Any, ...]:
        """State, reason and number of attempts."""
        return self.rows("SELECT state, reason, attempt FROM ledger WHERE command_id = %s", command.id)[0]

    async def until(self, command: SendCommand, *expected: Any) -> None:
        """Waits until the command's state, reason and attempts begin with these."""
        try:
            async with asyncio.timeout(SOON_S):
                while self.state(command)[: len(expected)] != expected:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{self.state(command)}, not {expected}") from None

    async def until_suspended(self, *endpoints: str) -> None:
        """Waits until the workers know these suspensions and no others."""
        async with asyncio.timeout(SOON_S):
            while self.webhooks.suspended() != [*endpoints]:
                await asyncio.sleep(0.02)

    def outcomes(self, command: SendCommand) -> list[tuple[Any, ...]]:
        """What the ledger says of each attempt."""
        return self.rows(
            """SELECT state, reason, reply::json ->> 'code' FROM ledger_outcomes
               WHERE command_id = ledger_key(%s) ORDER BY attempt, state_at""",
            command.id,
        )


@pytest.fixture(scope="module")
def receiver() -> Iterator[WebhookReceiver]:
    with webhook_receiver() as made:
        yield made


@asynccontextmanager
async def running(url: str, receiver: WebhookReceiver, **changes: Any) -> AsyncIterator[CallingWorker]:
    receiver.forget()
    made = CallingWorker(url, receiver, **changes)
    parts = [made.writer.run, made.scheduler.run, *made.webhooks.tasks.values()]
    tasks = [asyncio.create_task(part()) for part in parts]
    try:
        yield made
    finally:
        await end_tasks(tasks)
        for database in made.databases:
            await database.close()


@pytest.fixture
async def worker(database_url: str, receiver: WebhookReceiver) -> AsyncIterator[CallingWorker]:
    async with running(database_url, receiver) as made:
        yield made


async def test_a_call_is_signed_identified_and_says_what_the_rule_says(worker: CallingWorker) -> None:
    worker.publish(secrets=["new", "old"], method="put", headers={"X-Shop": "ours"}, secret_headers={"X-Key": "token"})
    command = worker.call(variant="b")
    await worker.until(command, "accepted", None, 1)
    [call] = worker.receiver.calls("/crm")
    assert call.method == "PUT"
    assert call.id == command.id
    assert call.is_signed_by(SECRET)
    assert call.is_signed_by(OLD_SECRET)
    assert abs(call.at_s - int(call.headers["webhook-timestamp"])) < 5
    assert call.headers["content-type"] == "application/json"
    assert (call.headers["x-shop"], call.headers["x-key"]) == ("ours", "Bearer abc")
    assert call.json == {
        "type": "hello.send",
        "timestamp": command.decided_at.isoformat().replace("+00:00", "Z"),
        "data": {"total": 7},
        "trigger": "hello",
        "step": "send",
        "occurrence": command.occurrence,
        "user_id": "u0",
        "variant": "b",
    }
    [(channel, path)] = worker.rows(
        "SELECT o.channel, p.path FROM ledger_outcomes AS o JOIN ledger_paths AS p ON p.number = o.path"
    )
    assert channel == "webhook"
    assert path == '{"provider":"webhook","endpoint":"crm","host":"127.0.0.1"}'


async def test_what_an_endpoint_does_not_take_is_sent_again_with_the_same_id_and_body(worker: CallingWorker) -> None:
    worker.publish()
    worker.receiver.script("/crm", [HttpAnswer(500), HttpAnswer(404), HttpAnswer(302, {"Location": "/other"})])
    command = worker.call()
    await worker.until(command, "accepted", None, 4)
    calls = worker.receiver.calls("/crm")
    assert [call.id for call in calls] == [command.id] * 4
    assert len({call.body for call in calls}) == 1
    assert worker.receiver.calls("/other") == []
    assert worker.outcomes(command) == [
        ("deferred", "http_status", "500"),
        ("deferred", "http_status", "404"),
        ("deferred", "http_status", "302"),
        ("accepted", None, "200"),
    ]


async def test_with_its_retries_used_a_call_is_refused(worker: CallingWorker) -> None:
    worker.publish(retries=1)
    worker.receiver.script("/crm", [HttpAnswer(503)] * 5)
    command = worker.call()
    await worker.until(command, "refused", "retries_used", 2)
    assert len(worker.receiver.calls("/crm")) == 2
    day = timedelta(days=1)
    with psycopg.connect(worker.url) as connection:  # what is read of mails does not stumble over it
        assert list(AttemptHistory(connection, day, "shop.example")) == []
        assert differences(connection, connection, load_classifier(), day).kinds == 0


async def test_an_endpoint_that_says_how_long_to_wait_gets_no_call_before(worker: CallingWorker) -> None:
    worker.publish()
    worker.receiver.script("/crm", [HttpAnswer(429, {"Retry-After": "600"})])
    first = worker.call()
    await worker.until(first, "deferred", "http_status", 1)
    [(wait,)] = worker.rows("SELECT next_attempt_at - state_at FROM ledger WHERE command_id = %s", first.id)
    assert wait >= timedelta(seconds=0.05)
    second = worker.call()
    await worker.until(second, "admitted", "limited")
    assert len(worker.receiver.calls("/crm")) == 1


async def test_a_connection_closed_after_the_request_leaves_doubt_and_is_called_again(worker: CallingWorker) -> None:
    worker.publish()
    worker.receiver.script("/crm", [HttpAnswer(close=True)])
    command = worker.call()
    await worker.until(command, "accepted", None, 2)
    assert [state for state, _, _ in worker.outcomes(command)] == ["in_doubt", "accepted"]
    assert [call.id for call in worker.receiver.calls("/crm")] == [command.id] * 2


async def test_each_request_of_a_put_is_an_attempt_of_its_own(worker: CallingWorker) -> None:
    worker.publish(method="put")
    await worker.until(worker.call(), "accepted")  # by a connection that is used again
    worker.receiver.script("/crm", [HttpAnswer(close=True)])
    command = worker.call()
    await worker.until(command, "accepted")
    assert worker.outcomes(command) == [("in_doubt", "disconnected", None), ("accepted", None, "200")]
    assert len([call for call in worker.receiver.calls("/crm") if call.id == command.id]) == 2


async def test_a_slow_endpoint_leaves_doubt_which_is_held_once_retries_are_used(worker: CallingWorker) -> None:
    worker.publish(retries=1, timeout_ms=1000)
    worker.receiver.script("/crm", [HttpAnswer(after_s=3.0)] * 2)
    command = worker.call()
    await worker.until(command, "in_doubt", "timed_out", 2)
    await asyncio.sleep(0.3)  # nothing more happens by itself
    assert worker.state(command) == ("in_doubt", "timed_out", 2)


async def test_what_cannot_be_connected_to_was_never_handed_over(worker: CallingWorker) -> None:
    worker.publish(url="http://127.0.0.1:1/crm", retries=1)
    command = worker.call()
    await worker.until(command, "failed", "retries_used", 2)
    assert [(state, reason) for state, reason, _ in worker.outcomes(command)] == [
        ("deferred", "unreachable"),
        ("failed", "retries_used"),
    ]


async def test_410_suspends_an_endpoint_until_a_person_lifts_that(worker: CallingWorker) -> None:
    worker.publish()
    worker.receiver.script("/crm", [HttpAnswer(410)])
    first = worker.call()
    await worker.until(first, "deferred", "limited", 1)
    second = worker.call()
    await worker.until(second, "admitted", "limited", 0)
    await worker.until_suspended("crm")
    assert any("suspended for good" in problem for problem in worker.webhooks.problems())
    async with await psycopg.AsyncConnection.connect(worker.url) as connection:
        assert await suspensions.lift(connection, ["crm"]) == ["crm"]
    await worker.until(first, "accepted")
    await worker.until(second, "accepted")
    await worker.until_suspended()


async def test_a_worker_calls_no_endpoint_before_it_knows_which_are_suspended(
    database_url: str, receiver: WebhookReceiver
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("LOCK TABLE webhook_suspensions")
        connection.execute(
            "INSERT INTO webhook_suspensions VALUES ('crm', %s, 'http_status 500', 1, now(), now() + interval '1 day')",
            [suspensions.url_hash(receiver.url("/crm"))],
        )
        async with running(database_url, receiver) as worker:
            worker.publish()
            command = worker.call()
            async with asyncio.timeout(SOON_S):
                while not worker.webhooks.intake.ready.waiting and not receiver.calls("/crm"):
                    await asyncio.sleep(0.02)
            connection.commit()
            await worker.until(command, "admitted", "limited", 0)
            assert receiver.calls("/crm") == []


async def test_another_url_ends_the_suspension_of_the_old_one(worker: CallingWorker) -> None:
    worker.publish()
    worker.receiver.script("/crm", [HttpAnswer(410)])
    command = worker.call()
    await worker.until(command, "deferred", "limited", 1)
    worker.publish(url=worker.receiver.url("/new"))
    await worker.until(command, "accepted", None, 2)
    assert len(worker.receiver.calls("/new")) == 1


async def test_an_endpoint_that_keeps_failing_is_suspended_and_told(worker: CallingWorker) -> None:
    worker.publish(retries=50)
    worker.receiver.script("/crm", [HttpAnswer(500)] * 100)
    commands = worker.call_all(20)
    await worker.until_suspended("crm")
    async with asyncio.timeout(SOON_S):
        while any(worker.state(command)[1] != "limited" for command in commands):
            await asyncio.sleep(0.05)
    assert len(worker.receiver.calls("/crm")) < 20
    [(reason, times)] = worker.rows("SELECT reason, times FROM webhook_suspensions")
    assert (reason, times) == ("http_status 500", 1)


async def test_a_suspended_endpoint_holds_up_no_other(worker: CallingWorker) -> None:
    worker.publish()
    held = worker.call("gone")
    command = worker.call()
    await worker.until(command, "accepted")
    await worker.until(held, "failed", "endpoint_missing")


async def test_many_slow_endpoints_hold_up_no_other(worker: CallingWorker) -> None:
    worker.publish()
    fields = {"url": worker.receiver.url("/slow"), "secrets": ["new"], "timeout_ms": 60_000, "retries": 0}
    slow = [Endpoint.model_validate({"name": f"slow{number}"} | fields) for number in range(9)]
    worker.book.put([*slow, *(known.endpoint for known in worker.book.all.values())])
    worker.receiver.script("/slow", [HttpAnswer(after_s=60.0)] * len(slow) * 8)
    for endpoint in slow:
        worker.call_all(8 + CAPACITY, endpoint.name)
    async with asyncio.timeout(SOON_S):
        while len(worker.webhooks.intake.ready.waiting) <= 8 * CAPACITY:
            await asyncio.sleep(0.02)
    command = worker.call()
    await worker.until(command, "accepted")


async def test_the_private_network_is_refused_unless_the_settings_name_the_host(
    database_url: str, receiver: WebhookReceiver
) -> None:
    async with running(database_url, receiver, webhook_private_hosts=[], allow_real_mail=True) as worker:
        for url in (receiver.url("/crm"), f"https://localhost:{receiver.port}/", "https://169.254.169.254/latest"):
            worker.publish(url=url, retries=0)
            command = worker.call()
            await worker.until(command, "failed", "retries_used", 1)
            [(detail,)] = worker.rows("SELECT detail FROM ledger WHERE command_id = %s", command.id)
            assert detail == "destination_refused"
    assert receiver.calls("/crm") == []


async def test_a_long_answer_is_not_read_to_its_end(worker: CallingWorker) -> None:
    worker.publish()
    worker.receiver.script("/crm", [HttpAnswer(200, body=b"x" * 5_000_000)])
    command = worker.call()
    await worker.until(command, "accepted", None, 1)


async def test_a_rate_spaces_the_calls(worker: CallingWorker) -> None:
    began_s = time.time()
    worker.publish(rate="20/s")
    commands = worker.call_all(30)
    for command in commands:
        await worker.until(command, "accepted")
    [(permits, apart_us)] = worker.rows("SELECT taken, interval_us FROM send_limits WHERE name = 'endpoint crm'")
    assert permits >= 30, "each call took one"
    assert apart_us >= 1_000_000 / 20
    # by a clock that the worker knows only to half of what the slowest answer of the database takes
    assert max(call.at_s for call in worker.receiver.calls("/crm")) - began_s >= 1.0


async def test_a_missing_secret_holds_calls_and_is_told(worker: CallingWorker) -> None:
    worker.publish(secrets=["unknown"])
    command = worker.call()
    await worker.until(command, "admitted", "secret_missing")
    assert worker.webhooks.problems() == [
        "endpoint crm cannot be called: the secret unknown is missing (EBBTIDE_WEBHOOK_SECRETS)"
    ]


async def test_neither_an_address_nor_consent_nor_a_fresh_view_is_asked_for(worker: CallingWorker) -> None:
    worker.publish()
    command = worker.call(purpose="marketing")
    await worker.until(command, "accepted")


async def test_a_lost_worker_leaves_doubt_that_is_due_again(database_url: str, receiver: WebhookReceiver) -> None:
    async with running(database_url, receiver) as lost:
        lost.publish(timeout_ms=30_000)
        receiver.script("/crm", [HttpAnswer(after_s=30.0)])
        command = lost.call()
        await lost.until(command, "started", None, 1)
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await leases.end(connection, NAME)
        found = await leases.lost_workers(connection, "other", timedelta(seconds=15))
        assert found is not None
        assert (await leases.mark_in_doubt(connection, found, []))[0] == 1
    assert lost.state(command) == ("in_doubt", "worker_lost", 1)
    async with running(database_url, receiver) as worker:
        worker.publish()
        await worker.until(command, "accepted", None, 2)
        assert [call.id for call in receiver.calls("/crm")] == [command.id]
        assert [state for state, _, _ in worker.outcomes(command)] == ["in_doubt", "accepted"]
