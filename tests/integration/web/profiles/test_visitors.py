"""The events of visitors: kept for a while, credited to the user once the visitor is known, each exactly once."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from threading import Event
from typing import Any

import orjson
import psycopg
import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import have_topics, wait_until
from drivers.web_topics import WrittenRecords, publish, reading
from structlog.testing import capture_logs

from infra.kafka.connection import Connection
from infra.postgres import database
from infra.postgres.database import AsyncDatabase, Database
from infra.service.outages import Outage
from schemas.topics import EVENTS
from web.profiles import tables
from web.profiles.once_reader import Place
from web.profiles.patches import IdentityLink
from web.profiles.replay import REPLAY_BYTES, ReplayRules
from web.profiles.store import ProfileStore
from web.profiles.visitors import AnonymousEvent, VisitorReader

pytestmark = pytest.mark.servers

RULES = ReplayRules(timedelta(minutes=30), 20)
NOW_S = 1_764_400_000.0


def event(visitor: str, number: int) -> bytes:
    return orjson.dumps(
        {"id": f"{visitor}#{number}", "type": "cart_updated", "user_id": visitor, "time": "2026-11-29T10:00:00Z"}
    )


class VisitorWorld:
    """A store, and readers whose transactions a test begins itself or lets run."""

    def __init__(self, kafka: str, url: str) -> None:
        self.kafka, self.url = kafka, url
        self.databases = [AsyncDatabase(url, Outage("ledger")) for _ in range(2)]
        self.store = ProfileStore(*self.databases, RULES)

    def reader(self, halt: Event) -> VisitorReader:
        return VisitorReader(Connection(self.kafka), Database(self.url, Outage("ledger"), halt), halt, RULES, 6_000)

    async def link(self, visitor: str, user_id: str, at: int = 0, *, by_server: bool = True) -> None:
        link = IdentityLink(visitor, user_id, int(NOW_S * 1e6) + at, by_server)
        assert await self.store.store([], [link]) == []

    def forwarded(self) -> list[tuple[str, str, str]]:
        """User, id and visitor of the events in the outbox, in its order."""
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            rows = connection.execute("SELECT user_id, event, anonymous_id FROM web_outbox ORDER BY number").fetchall()
        return [(user_id, orjson.loads(value)["id"], visitor) for user_id, value, visitor in rows]

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            return connection.execute(statement.encode()).fetchall()


class ReaderTransactions:
    """The transactions of a reader, which get the next offsets of one partition."""

    def __init__(self, world: VisitorWorld) -> None:
        self.reader = world.reader(Event())
        self.url = world.url
        self.offset = 0
        world.execute("INSERT INTO web_progress (reader, partition, next_offset) VALUES ('visitors', 0, 0) RETURNING 1")

    def items(self, *events: tuple[str, int]) -> list[AnonymousEvent]:
        now_us = int(self.reader._clock() * 1e6)
        made = [
            AnonymousEvent(visitor, event(visitor, number), Place(0, self.offset + index, now_us + self.offset + index))
            for index, (visitor, number) in enumerate(events)
        ]
        self.offset += len(events)
        return made

    def read(self, *events: tuple[str, int]) -> None:
        self.write(self.items(*events))

    def write(self, items: Sequence[AnonymousEvent]) -> None:
        with closing(psycopg.connect(self.url)) as connection, connection:
            self.reader.write(connection, items)


@pytest.fixture
async def world(servers: RealServers, database_url: str) -> AsyncIterator[VisitorWorld]:
    made = VisitorWorld(servers.kafka, database_url)
    yield made
    await made.store.close()


@pytest.fixture
def visits(world: VisitorWorld) -> Iterator[ReaderTransactions]:
    made = ReaderTransactions(world)
    yield made
    made.reader.consumer.close()


async def test_a_link_forwards_what_the_visitor_did_before_and_nothing_twice(
    world: VisitorWorld, visits: ReaderTransactions
) -> None:
    visits.read(("a1", 1), ("a2", 1), ("a1", 2))
    assert world.forwarded() == []
    for at in range(3):
        await world.link("a1", "u1", at)
    assert world.forwarded() == [("u1", "a1#1", "a1"), ("u1", "a1#2", "a1")]


async def test_after_a_link_each_event_is_forwarded_to_the_user_of_then(
    world: VisitorWorld, visits: ReaderTransactions
) -> None:
    await world.link("a1", "u1")
    visits.read(("a1", 1))
    await world.link("a1", "u2", at=10)
    await world.link("a1", "u0", at=5)
    visits.read(("a1", 2), ("b1", 1))
    assert world.forwarded() == [("u1", "a1#1", "a1"), ("u2", "a1#2", "a1")]


async def test_records_that_are_read_again_change_nothing(world: VisitorWorld, visits: ReaderTransactions) -> None:
    first = visits.items(("a1", 1), ("a2", 1))
    second = visits.items(("a1", 2), ("a2", 2))
    await world.link("a2", "u2")
    for items in (first, first, [*first, *second], second):
        visits.write(items)
    await world.link("a1", "u1", at=1)
    assert Counter(world.forwarded()) == Counter(
        [("u2", "a2#1", "a2"), ("u2", "a2#2", "a2"), ("u1", "a1#1", "a1"), ("u1", "a1#2", "a1")]
    )


async def test_a_chain_of_aliases_is_followed_and_a_loop_ends(world: VisitorWorld, visits: ReaderTransactions) -> None:
    for visitor, user_id in (("a1", "a2"), ("a2", "u1"), ("b1", "b2"), ("b2", "b1")):
        await world.link(visitor, user_id)
    for number in range(12):
        await world.link(f"c{number}", f"c{number + 1}")
    visits.read(("a1", 1), ("b1", 1), ("c0", 1))
    assert world.forwarded() == [("u1", "a1#1", "a1"), ("b2", "b1#1", "b1"), ("c8", "c0#1", "c0")]


async def test_a_browser_key_redirects_no_user_whose_id_it_knows(
    world: VisitorWorld, visits: ReaderTransactions
) -> None:
    await world.link("victim", "mallory", by_server=False)
    visits.read(("a1", 1), ("a2", 1))
    await world.link("a1", "victim", by_server=False)
    await world.link("a2", "victim")
    visits.read(("a1", 2), ("a2", 2))
    assert Counter(world.forwarded()) == Counter(
        ("victim", f"{visitor}#{number}", visitor) for visitor in ("a1", "a2") for number in (1, 2)
    )


async def test_a_link_of_a_browser_key_is_followed_to_the_aliases_of_its_user(
    world: VisitorWorld, visits: ReaderTransactions
) -> None:
    await world.link("a1", "old id", by_server=False)
    await world.link("old id", "new id")
    visits.read(("a1", 1))
    assert world.forwarded() == [("new id", "a1#1", "a1")]


@pytest.mark.parametrize("server_first", [True, False])
async def test_a_browser_key_replaces_no_link_of_a_server_key(
    world: VisitorWorld, visits: ReaderTransactions, server_first: bool
) -> None:
    for by_server in (server_first, not server_first):
        await world.link("a1", "u1" if by_server else "mallory", at=0 if by_server else 10, by_server=by_server)
    await world.store.store(
        [],
        [IdentityLink("a2", "mallory", int(NOW_S * 1e6) + 10), IdentityLink("a2", "u2", int(NOW_S * 1e6), True)],
    )
    visits.read(("a1", 1), ("a2", 1))
    assert world.forwarded() == [("u1", "a1#1", "a1"), ("u2", "a2#1", "a2")]


async def test_no_more_than_so_many_events_of_a_visitor_are_kept(
    world: VisitorWorld, visits: ReaderTransactions
) -> None:
    visits.read(*(("a1", number) for number in range(15)), ("a2", 0))
    visits.read(*(("a1", number) for number in range(15, 40)))
    await world.link("a1", "u1")
    assert world.forwarded() == [("u1", f"a1#{number}", "a1") for number in range(RULES.most)]


async def test_first_links_of_visitors_with_many_events_are_written_in_several_transactions(
    world: VisitorWorld, visits: ReaderTransactions
) -> None:
    visitors = [f"v{number:02}" for number in range(30)]
    large = orjson.dumps("x" * 20_000).decode()
    for visitor in visitors:
        items = visits.items(*((visitor, number) for number in range(RULES.most)))
        visits.write([replace(each, event=each.event[:-1] + f',"note":{large}}}'.encode()) for each in items])
    at_us = int(NOW_S * 1e6)
    call = world.store.store([], [IdentityLink(visitor, f"user of {visitor}", at_us) for visitor in visitors])
    other = world.store.store([], [IdentityLink("other", "u1", at_us)])
    assert await asyncio.gather(call, other) == [[], []]
    wanted = [(f"user of {each}", f"{each}#{number}", each) for each in visitors for number in range(RULES.most)]
    assert sorted(world.forwarded(), key=lambda each: each[2]) == wanted  # of each visitor in its order
    sizes = world.execute("SELECT sum(octet_length(event)) FROM web_outbox GROUP BY xmin")
    assert max(size for (size,) in sizes) < 2 * REPLAY_BYTES


async def test_what_is_older_than_the_window_is_not_kept_and_not_forwarded(
    world: VisitorWorld, visits: ReaderTransactions
) -> None:
    old = visits.items(("a1", 1))
    visits.write([AnonymousEvent("a1", old[0].event, old[0].place._replace(appended_us=0))])
    visits.read(("a1", 2))
    assert len(world.execute("SELECT FROM visitor_events")) == 1
    world.execute(
        """WITH old AS (DELETE FROM visitor_events RETURNING *) INSERT INTO visitor_events
           SELECT anonymous_id, now() - interval '31 minutes', partition, record_offset, event FROM old RETURNING 1"""
    )
    await world.link("a1", "u1")
    assert world.forwarded() == []


async def test_old_events_are_dropped_by_their_chunk(world: VisitorWorld, visits: ReaderTransactions) -> None:
    visits.read(("a1", 1))
    world.execute("""INSERT INTO visitor_events SELECT 'a0', now() - interval '1 hour', 0, 0, '' RETURNING 1""")
    visits.reader.database.run(lambda connection: connection.execute("SELECT drop_visitor_events('30 minutes')"))
    assert world.execute("SELECT anonymous_id FROM visitor_events") == [("a1",)]


async def test_the_links_of_a_removed_user_are_gone_with_what_was_kept(
    world: VisitorWorld, visits: ReaderTransactions
) -> None:
    visits.read(("a1", 1))
    await world.link("a1", "u1")
    visits.reader.database.run(lambda connection: connection.execute(*tables.unlink(["u1"])))
    visits.read(("a1", 2))
    await world.link("a1", "u2")
    assert world.forwarded() == [("u1", "a1#1", "a1"), ("u2", "a1#2", "a1")]


async def test_links_and_events_at_the_same_time_miss_nothing_and_double_nothing(
    world: VisitorWorld, seed: int
) -> None:
    choice = random.Random(seed)
    visitors = [f"v{number}" for number in range(60)]
    readings = [ReaderTransactions(world)]
    batches = [[(choice.choice(visitors), number * 10 + index) for index in range(10)] for number in range(60)]

    async def read() -> None:
        for batch in batches:
            await asyncio.to_thread(readings[0].read, *batch)

    async def link() -> None:
        for visitor in visitors:
            await world.link(visitor, f"user of {visitor}")

    try:
        await asyncio.gather(read(), link())
    finally:
        readings[0].reader.consumer.close()
    assert Counter(world.forwarded()) == Counter(
        (f"user of {visitor}", f"{visitor}#{number}", visitor) for batch in batches for visitor, number in batch
    )


async def test_marked_events_are_read_from_the_topic(world: VisitorWorld, servers: RealServers) -> None:
    written = WrittenRecords(servers.kafka, EVENTS.name)
    written.begin_reader(world.url, "visitors")
    written.close()
    marked = [("ebbtide-anonymous", b"1")]
    await world.link("m1", "u1")
    with running(world.reader):
        publish(servers.kafka, EVENTS.name, [("m1", event("m1", 1), marked), ("m1", event("m1", 2), [])])
        publish(servers.kafka, EVENTS.name, [("m2", event("m2", 1), marked), ("m2", b"{", marked)])
        await asyncio.to_thread(wait_until, world.forwarded, "the event of a linked visitor")
        await asyncio.to_thread(wait_until, lambda: world.execute("SELECT FROM visitor_events"), "the other visitor's")
        await world.link("m2", "u2")
    assert Counter(world.forwarded()) == Counter([("u1", "m1#1", "m1"), ("u2", "m2#1", "m2")])


async def test_a_new_reader_begins_where_the_window_does(world: VisitorWorld, servers: RealServers) -> None:
    have_topics(servers.kafka)
    visitor = f"n1 {world.url}"
    publish(servers.kafka, EVENTS.name, [(visitor, event(visitor, 1), [("ebbtide-anonymous", b"1")])])
    await world.link(visitor, "u1")
    with running(world.reader):
        wanted = ("u1", f"{visitor}#1", visitor)
        await asyncio.to_thread(wait_until, lambda: wanted in world.forwarded(), "the event of just now")


@pytest.mark.parametrize("moment", ["assigned", "read"])
async def test_a_statement_that_takes_too_long_is_tried_again(
    world: VisitorWorld, servers: RealServers, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    impatient = database._CONNECTION["options"].replace("statement_timeout=60s", "statement_timeout=200ms")
    monkeypatch.setitem(database._CONNECTION, "options", impatient)
    written = WrittenRecords(servers.kafka, EVENTS.name)
    written.begin_reader(world.url, "visitors")
    written.close()
    await world.link("m1", "u1")
    moved = "SELECT FROM web_progress WHERE caught_up > '-infinity'"
    with capture_logs() as logs, psycopg.connect(world.url) as holder, running(world.reader):
        if moment == "read":
            await asyncio.to_thread(wait_until, lambda: world.execute(moved), "the reader reads")
        holder.execute("LOCK TABLE web_progress")
        await asyncio.to_thread(
            wait_until, lambda: "statement_timed_out" in [each["event"] for each in logs], "a statement is broken off"
        )
        holder.rollback()
        publish(servers.kafka, EVENTS.name, [("m1", event("m1", 1), [("ebbtide-anonymous", b"1")])])
        await asyncio.to_thread(wait_until, world.forwarded, "the event of a linked visitor")


@contextmanager
def running(make: Callable[[Event], VisitorReader]) -> Iterator[None]:
    yield from reading(make(Event()))
