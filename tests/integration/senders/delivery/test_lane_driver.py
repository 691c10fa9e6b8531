"""Lanes of two workers on a real PostgreSQL, sending by SMTP to receivers that keep count."""

import asyncio
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
from drivers.mail_receiver import Receiver, Talk, running

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from infra.service.tasks import end_tasks
from infra.service.watchdog import Watchdog, name_of
from schemas.vocabulary import LedgerState
from senders.bounces.classifier import load_classifier
from senders.channels.channel import ChannelClient, LookupFailed, Unreachable
from senders.channels.lane_routes import LaneRoute
from senders.channels.smtp.channel import SmtpChannel
from senders.channels.smtp.connector import Connector
from senders.channels.smtp.route import MailHost, MailRoute
from senders.delivery.lane_driver import LaneDriver, LaneRefusal
from senders.shaping.bindings import BindingKind
from senders.shaping.document import SmtpState
from senders.shaping.lane_decider import LaneBegin
from senders.shaping.loader import parse
from senders.shaping.resolution import Egress
from senders.shaping.sites import Destination
from senders.shaping.ways import ShapedMail, TrafficKind

pytestmark = pytest.mark.servers

FREE = '[default]\nmax_message_rate = "10000/s"\nmax_connection_rate = "10000/s"\nconnection_limit = 4\n'
BLOCKED = "[[default.automation]]\npattern = 'blocked'\naction = 'suspend'\nduration = '{}'\n"
TWO = "[source.a]\n[source.b]\n[pool.all]\nsources = ['a', 'b']\n"


@dataclass
class Lanes:
    """Workers that share limits, and what the receivers of their sources have seen."""

    drivers: list[LaneDriver]
    receivers: dict[str, Receiver]
    begun_s: list[float] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    unsure: list[str] = field(default_factory=list)
    known: bool = True
    """Whether domains are found."""
    site: str | None = None
    """The MX host of all domains; one of its own for each, if none."""
    lost: set[str] = field(default_factory=set)
    """Domains whose hosts are not known when a connection is opened."""
    recorded: asyncio.Event = field(default_factory=asyncio.Event)
    """Set unless the answers of mails that were taken are still to be recorded."""
    asked_lost: int = 0
    """How often the route of one of those was asked for."""
    watchdog: Watchdog = field(default_factory=Watchdog)

    def add(self, numbers: Sequence[int]) -> None:
        """Mails, in turn to each worker."""
        for number in numbers:
            kind = TrafficKind("t", "marketing", "shop.example")
            mail = ShapedMail(f"m{number}", "d.example", kind, 50, 0)
            self.drivers[number % len(self.drivers)].add(mail)

    async def until(self, true: Callable[[], bool], within_s: float = 20) -> None:
        """Waits until something is true."""
        async with asyncio.timeout(within_s):
            while not true():
                await asyncio.sleep(0.01)

    async def send(self, begin: LaneBegin, client: ChannelClient, taken: Callable[[], None]) -> LaneRefusal | None:
        """Sends a mail."""
        self.begun_s.append(time.monotonic())
        result = await client.send("from@shop.example", "to@d.example", b"Subject: s\r\n\r\nx\r\n")
        if result.state is LedgerState.ACCEPTED:
            self.taken.add(begin.mail.id)
            taken()
            await self.recorded.wait()
            return None
        assert result.reply is not None, "the receivers reply to each mail"
        return LaneRefusal(result.reply, SmtpState.RCPT)

    def begun(self, mail_id: str) -> None:
        """Notes a mail that begins on a connection whose slots may be another worker's."""
        if not all(driver._connections.sure for driver in self.drivers):
            self.unsure.append(mail_id)

    async def failed(self, mail_id: str, error: Exception) -> None:
        """An error that no test expects."""
        raise AssertionError(mail_id) from error

    set_back = failed

    def let_go(self, mail_id: str, /) -> None:
        """Nothing: nobody else has the mail."""

    def reached(self, failure: Unreachable | None) -> None:
        """Nothing: no test asks."""

    async def look_up(self, domain: str) -> Destination:
        """The MX hosts of a domain."""
        if not self.known:
            raise Unreachable("no answer")
        if domain == "strange.example":
            raise KeyError(domain)
        return Destination.of(domain, [self.site or f"mx.{domain}"])


@asynccontextmanager
async def lanes(database_url: str, text: str, workers: int = 2, sources: str = "ab") -> AsyncIterator[Lanes]:
    """Running workers."""
    opener = Connector(load_classifier(None), allow_real_mail=False)
    async with AsyncExitStack() as stack:
        receivers = {name: await stack.enter_async_context(running(Receiver())) for name in sources}
        world = Lanes([], receivers)
        world.recorded.set()

        async def find_route(egress: Egress) -> LaneRoute:
            if egress.domain in world.lost:
                world.asked_lost += 1
                raise LookupFailed("no answer")
            receiver = receivers.get(egress.source) or receivers[sources[0]]
            route = MailRoute(egress.site, (MailHost("127.0.0.1", receiver.port),), hello=egress.source)
            return LaneRoute(SmtpChannel.to(route, opener))

        tasks, databases = [], []
        for number in range(workers):
            own = [AsyncDatabase(database_url, Outage("timescale"), world.watchdog.beat) for _ in range(3)]
            databases += own
            driver = LaneDriver(
                parse(text.encode(), "f"),
                owner=f"worker-{number}",
                permits=own[0],
                leases=own[1],
                actions=own[2],
                look_up=world.look_up,
                find_route=find_route,
                mails=world,
                watchdog=world.watchdog,
            )
            world.drivers.append(driver)
            tasks.append(asyncio.create_task(driver.run()))
        try:
            yield world
        finally:
            failed = [task for task in tasks if task.done()]
            await end_tasks(tasks)
            for database in databases:
                await database.close()
            for task in failed:
                with suppress(asyncio.CancelledError):
                    task.result()


async def test_permits_that_are_wanted_while_others_are_awaited_are_asked_for_as_well(database_url: str) -> None:
    async with lanes(database_url, FREE, workers=1, sources="a") as world:
        kind = TrafficKind("t", "marketing", "shop.example")
        for number in range(100):
            world.drivers[0].add(ShapedMail(f"m{number}", f"d{number}.example", kind, 50, 0))
            await asyncio.sleep(0.001)
        await world.until(lambda: len(world.taken) == 100)


async def test_a_part_that_waits_until_permits_are_wanted_is_not_stalled(database_url: str) -> None:
    async with lanes(database_url, FREE, workers=1, sources="a") as world:
        world.add([1])
        await world.until(lambda: len(world.taken) == 1)
        in_an_hour = {name_of(part) for part, _ in world.watchdog.look(time.monotonic() + 3600)}
    assert "lane-leases" in in_an_hour, "it beats each second"
    assert "lane-permits" not in in_an_hour


async def test_a_connection_carries_the_next_mail_while_the_answer_to_the_last_is_recorded(database_url: str) -> None:
    one = FREE.replace("connection_limit = 4", "connection_limit = 1")
    async with lanes(database_url, one, workers=1, sources="a") as world:
        world.recorded.clear()
        world.add(range(5))
        await world.until(lambda: len(world.taken) == 5)
        world.recorded.set()


async def test_every_mail_is_sent_once(database_url: str) -> None:
    async with lanes(database_url, FREE, sources="a") as world:
        world.add(range(200))
        await world.until(lambda: len(world.taken) == 200)

        assert world.receivers["a"].mails == 200


async def test_two_workers_keep_to_one_limit(database_url: str) -> None:
    async with lanes(database_url, FREE.replace("10000/s", "40/s", 1), sources="a") as world:
        world.add(range(1000))
        await world.until(lambda: len(world.begun_s) > 10)
        await asyncio.sleep(3)
        times = sorted(world.begun_s)

    most = max(bisect_left(times, at + 1) - number for number, at in enumerate(times))
    assert most <= 43, "40, one more, and what a busy machine delays between permit and begin"
    assert len(times) >= 90


async def test_two_workers_have_no_more_connections_than_allowed(database_url: str) -> None:
    connected = most = 0

    def greeting(_talk: Talk) -> bytes:
        nonlocal connected, most
        connected += 1
        most = max(most, connected)
        return b"220 test ESMTP"

    def goodbye(_talk: Talk) -> bytes:
        nonlocal connected
        connected -= 1
        return b"221 bye"

    async with lanes(database_url, FREE.replace("connection_limit = 4", "connection_limit = 3"), sources="a") as world:
        world.receivers["a"].answers |= {"CONNECT": greeting, "QUIT": goodbye}
        world.add(range(300))
        await world.until(lambda: len(world.taken) == 300, within_s=60)

    assert 1 <= most <= 3


async def test_a_block_that_one_worker_meets_moves_the_mails_of_both_to_another_source(database_url: str) -> None:
    text = FREE + TWO + BLOCKED.format("1h")
    async with lanes(database_url, text) as world:
        world.receivers["a"].answers["RCPT"] = lambda _: b"550 5.7.1 blocked"
        world.add(range(0, 100, 2))  # to the first worker only
        await world.until(lambda: world.receivers["b"].mails >= 20)
        other = world.drivers[1].board
        await world.until(lambda: len(list(other.actions)) == 1)
        refused = len([line for line in world.receivers["a"].lines if line.startswith("RCPT")])

        world.add(range(1001, 1101, 2))  # to the other worker only
        await world.until(lambda: {f"m{number}" for number in range(1001, 1101, 2)} <= world.taken)

        assert len([line for line in world.receivers["a"].lines if line.startswith("RCPT")]) == refused


async def test_a_probe_that_is_taken_ends_the_probation_for_both_workers(database_url: str) -> None:
    text = FREE + BLOCKED.format("2s")
    async with lanes(database_url, text, sources="a") as world:
        receiver = world.receivers["a"]
        receiver.answers["RCPT"] = lambda _: b"550 5.7.1 blocked"
        world.add([0])
        await world.until(lambda: all(list(driver.board.actions) for driver in world.drivers))
        receiver.answers["RCPT"] = lambda _: b"250 ok"
        world.add(range(10, 60))

        await world.until(lambda: len(world.taken) == 50)
        await world.until(lambda: not any(list(driver.board.actions) for driver in world.drivers))


async def test_mails_of_a_domain_that_is_not_found_wait(database_url: str) -> None:
    async with lanes(database_url, FREE, workers=1, sources="a") as world:
        world.known = False
        world.add([1])
        board = world.drivers[0].board
        await world.until(lambda: (found := board.binding("m1")) is not None and found.until_us is not None)

        binding = board.binding("m1")
        assert binding is not None
        assert binding.kind is BindingKind.LOOKUP
        assert world.begun_s == []


async def test_a_domain_whose_hosts_are_not_known_any_more_holds_up_no_other_of_its_site(database_url: str) -> None:
    async with lanes(database_url, FREE, workers=1, sources="a") as world:
        world.site, world.lost = "mx.site.example", {"lost.example"}
        kind = TrafficKind("t", "marketing", "shop.example")
        for number in range(40):
            domain = "lost.example" if number % 2 == 0 else "found.example"
            world.drivers[0].add(ShapedMail(f"m{number}", domain, kind, 50, 0))

        await world.until(lambda: len(world.taken) == 20)

        assert world.taken == {f"m{number}" for number in range(1, 40, 2)}
        assert {lane.failures for lane, _ in world.drivers[0].board.lanes()} == {0}
        assert 1 <= world.asked_lost <= 8, "once for each connection, and then not again at once"


async def test_idle_connections_are_closed_at_once_although_their_hosts_say_no_goodbye(database_url: str) -> None:
    text = FREE.replace("connection_limit = 4", "connection_limit = 8\nidle_timeout = '1s'")
    said_s: list[float] = []

    def no_goodbye(_talk: Talk) -> bytes:
        said_s.append(time.monotonic())
        return b"250-wait"

    async with lanes(database_url, text, workers=1, sources="a") as world:
        receiver = world.receivers["a"]
        receiver.answers |= {"QUIT": no_goodbye}
        world.add(range(100))
        await world.until(lambda: len(world.taken) == 100)
        opened = receiver.connections
        assert opened >= 6
        await world.until(lambda: len(said_s) == opened)

        assert said_s[-1] - said_s[0] < 3, "not one after the other, for a second each"


async def test_a_domain_whose_lookup_raises_holds_up_no_other(database_url: str) -> None:
    async with lanes(database_url, FREE, workers=1, sources="a") as world:
        kind = TrafficKind("t", "marketing", "shop.example")
        world.drivers[0].add(ShapedMail("strange", "strange.example", kind, 50, 0))
        world.add(range(10))
        await world.until(lambda: len(world.taken) == 10)

        binding = world.drivers[0].board.binding("strange")
        assert binding is not None
        assert binding.kind is BindingKind.LOOKUP


async def test_after_a_freeze_no_mail_begins_before_the_slots_are_renewed(database_url: str) -> None:
    async with lanes(database_url, FREE, workers=1, sources="a") as world:
        world.add([1])
        await world.until(lambda: len(world.taken) == 1)
        world.drivers[0]._connections._renewed_s -= 11
        world.add([2])
        await world.until(lambda: len(world.taken) == 2)

        assert world.unsure == []


async def test_a_refusal_at_the_greeting_is_a_reply_like_any_other(database_url: str) -> None:
    text = FREE + TWO + BLOCKED.format("1h")
    async with lanes(database_url, text, workers=1) as world:
        world.receivers["a"].answers["CONNECT"] = lambda _: b"554 5.7.1 blocked"
        world.add(range(40))

        await world.until(lambda: len(world.taken) == 40)

        assert world.receivers["b"].mails == 40
