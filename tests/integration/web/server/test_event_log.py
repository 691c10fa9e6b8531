"""The event log on a real broker: what it acknowledges is in Kafka, and what it does while the broker is away."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from drivers.limits import HANGS_AFTER_S
from drivers.own_broker import OwnBroker, own_broker
from drivers.real_servers import RealServers

from infra.kafka.connection import Connection
from infra.kafka.topic_setup import ensure_topics
from infra.service.outages import Outage
from schemas.codec import partition_for
from schemas.topics import EVENTS
from web.ingest.outlets import LogAway, LogFull
from web.ingest.reading import EventRecord
from web.server.event_log import AWAY_AFTER_S, EventLog

pytestmark = pytest.mark.servers
PARTITIONS = 4


class Waits(list[float]):
    def acknowledged(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture(scope="module")
def broker(servers: RealServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    with own_broker(servers, tmp_path_factory.mktemp("broker")) as running:
        ensure_topics(running.address, PARTITIONS, topics=[EVENTS])
        yield running


def record(user: str, value: bytes = b"{}", anonymous: bool = False) -> EventRecord:
    return EventRecord(user.encode(), value, anonymous)


def written(broker: OwnBroker) -> list[Message]:
    """All records of the topic."""
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "test", "enable.partition.eof": False})
    places = [TopicPartition(EVENTS.name, number, 0) for number in range(PARTITIONS)]
    total = sum(consumer.get_watermark_offsets(place, timeout=20)[1] for place in places)
    consumer.assign(places)
    found: list[Message] = []
    while len(found) < total:
        found += consumer.consume(total - len(found), 5.0)
    consumer.close()
    return found


def event_log(broker: OwnBroker, waits: Waits, most_events: int = 1_000) -> EventLog:
    return EventLog(Connection(broker.address), Outage("kafka"), waits, most_events=most_events)


async def test_what_it_acknowledges_is_in_its_users_partition(broker: OwnBroker) -> None:
    waits = Waits()
    log = event_log(broker, waits)
    users = [f"user-{number}" for number in range(200)]
    await asyncio.gather(*(log.write([record(user, f'"{user}"'.encode())]) for user in users[:100]))
    await log.write([record(user, f'"{user}"'.encode(), anonymous=True) for user in users[100:]])
    assert (log.events, log.bytes, len(waits)) == (0, 0, 101)
    found = {message.key(): message for message in await asyncio.to_thread(written, broker)}
    for number, user in enumerate(users):
        message = found[user.encode()]
        assert message.value() == f'"{user}"'.encode()
        assert message.partition() == partition_for(user.encode(), PARTITIONS)
        assert message.headers() == ([("ebbtide-anonymous", b"1")] if number >= 100 else None)
    await log.finish(1)


async def test_more_than_may_wait_is_refused_at_once(broker: OwnBroker) -> None:
    log = event_log(broker, Waits(), most_events=100)
    first = asyncio.ensure_future(log.write([record("u")] * 80))
    await asyncio.sleep(0)
    with pytest.raises(LogFull):
        await log.write([record("u")] * 21)
    await asyncio.gather(first, log.write([record("u")] * 20))
    await log.write([record("u")] * 150)  # alone, a call may be larger than the bound
    assert log.events == 0
    await log.finish(1)


async def test_a_call_whose_client_has_gone_frees_its_place(broker: OwnBroker) -> None:
    log = event_log(broker, Waits())
    gone = asyncio.ensure_future(log.write([record("u")] * 10))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait({gone})
    await log.write([record("u")])
    assert await log.finish(5) == 0


async def test_a_frozen_broker_is_known_within_seconds_and_its_return_is_too(broker: OwnBroker) -> None:
    log = event_log(broker, Waits())
    await log.write([record("before")])
    broker.freeze()
    try:
        began_s = time.monotonic()
        waiting = [asyncio.ensure_future(log.write([record(f"waiting-{n}")])) for n in range(20)]
        await _until_away(log)
        with pytest.raises(LogAway):
            log.write([record("refused")]).send(None)  # in its first step: at once
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, LogAway) for each in results)
        assert time.monotonic() - began_s < 5
    finally:
        broker.thaw()
    await _until_taken(log, record("after"))
    assert await log.finish(5) == 0
    keys = [message.key() for message in await asyncio.to_thread(written, broker)]
    assert b"refused" not in keys
    assert keys.count(b"before") == 1
    assert b"after" in keys


async def test_a_broker_that_is_away_at_the_start_is_known_before_the_first_call(broker: OwnBroker) -> None:
    log = event_log(broker, Waits())
    broker.freeze()
    try:
        await log.look()
        with pytest.raises(LogAway):
            await log.write([record("refused")])
    finally:
        broker.thaw()
    await _until_taken(log, record("after"))
    await log.look()
    await log.write([record("last")])
    assert await log.finish(1) == 0


async def _until_away(log: EventLog) -> None:
    async with asyncio.timeout(HANGS_AFTER_S):
        while True:
            try:
                log.require_room(1, 1)
            except LogAway:
                return
            await asyncio.sleep(0.05)


async def _until_taken(log: EventLog, event: EventRecord) -> None:
    async with asyncio.timeout(HANGS_AFTER_S):
        while True:
            try:
                return await log.write([event])
            except LogAway:
                await asyncio.sleep(0.1)


async def test_a_broker_that_comes_back_in_time_costs_no_call(broker: OwnBroker) -> None:
    log = event_log(broker, Waits())
    await log.write([record("first")])
    broker.freeze()
    waiting = asyncio.ensure_future(log.write([record("patient")]))
    await asyncio.sleep(AWAY_AFTER_S / 4)  # the rest of it is for the broker to answer
    broker.thaw()
    await waiting
    await log.write([record("last")])
    assert await log.finish(1) == 0
