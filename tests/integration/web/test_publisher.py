"""The publisher of Python services on a real broker: up, stopped, frozen, refusing, and with a full buffer."""

import asyncio
import os
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime

import pytest
from drivers.limits import HANGS_AFTER_S
from drivers.own_broker import OwnBroker, own_broker
from drivers.real_servers import RealServers
from drivers.running_senders import have_topics, wait_until
from drivers.shared_topics import readable_events
from structlog.testing import capture_logs

from infra.kafka.topic_setup import ensure_topics
from schemas.codec import is_in_own_partition
from schemas.events import Event
from schemas.topics import DEMO_PARTITIONS
from web.publisher import (
    BufferFull,
    EventNotWritten,
    EventPosition,
    EventPublisher,
    InvalidEvent,
    PublisherClosed,
)

pytestmark = pytest.mark.servers

BUFFER = 50


@pytest.fixture(scope="module")
def broker(servers: RealServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    with own_broker(servers, tmp_path_factory.mktemp("publisher")) as made:
        ensure_topics(made.address, DEMO_PARTITIONS)
        yield made


def new_event(**changes: object) -> Event:
    fields = {"id": uuid.uuid4().hex, "type": "page_viewed", "user_id": f"user-{uuid.uuid4().hex[:4]}"}
    return Event(**(fields | {"time": datetime.now(UTC)} | changes))  # type: ignore[arg-type]


def written(kafka: str, events: list[Event]) -> Counter[str]:
    """How often each of these events can be read, each in its user's partition."""
    ids, found, partitions = {event.id for event in events}, Counter[str](), have_topics(kafka)
    for message, event in readable_events(kafka):
        if event.id in ids:
            assert is_in_own_partition(message.key(), event.user_id or "", message.partition() or 0, partitions)
            found[event.id] += 1
    return found


def once_each(events: list[Event]) -> Counter[str]:
    return Counter(event.id for event in events)


def test_each_event_has_its_position_and_can_be_read_there(servers: RealServers) -> None:
    have_topics(servers.kafka)
    events = [new_event(properties={"n": n}) for n in range(500)]
    with EventPublisher(servers.kafka) as publisher:
        positions = [result.result(HANGS_AFTER_S) for result in [publisher.send(event) for event in events]]
    ids = {event.id: position for event, position in zip(events, positions, strict=True)}
    found = {
        event.id: EventPosition(message.partition() or 0, message.offset() or 0)
        for message, event in readable_events(servers.kafka)
    }
    assert {name: found.get(name) for name in ids} == ids
    assert written(servers.kafka, events) == once_each(events)


def test_many_threads_and_event_loops_share_a_publisher_with_a_small_buffer(servers: RealServers) -> None:
    have_topics(servers.kafka)
    events = [new_event() for _ in range(4_000)]
    results: list[EventPosition] = []

    def in_a_thread(own: list[Event]) -> None:
        results.extend(each.result(HANGS_AFTER_S) for each in [publisher.send(event, HANGS_AFTER_S) for event in own])

    async def in_a_loop(own: list[Event]) -> None:
        async def one(event: Event) -> EventPosition:
            return await (await publisher.send_async(event, HANGS_AFTER_S))

        results.extend(await asyncio.gather(*map(one, own)))

    with EventPublisher(servers.kafka, buffer_events=BUFFER) as publisher:
        work = [(in_a_thread, events[n::8]) for n in range(6)]
        work += [((lambda own: asyncio.run(in_a_loop(own))), events[n::8]) for n in (6, 7)]
        threads = [threading.Thread(target=target, args=(own,)) for target, own in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(results)) == len(events)
    assert written(servers.kafka, events) == once_each(events)


def test_a_broker_that_is_away_fills_the_buffer_and_then_gets_all_of_it(broker: OwnBroker) -> None:
    broker.stop()
    try:
        with EventPublisher(broker.address, buffer_events=BUFFER) as publisher:
            events = [new_event() for _ in range(BUFFER)]
            results = [publisher.send(event, wait_s=0) for event in events]
            with pytest.raises(BufferFull, match="Kafka is away"):
                publisher.send(new_event(), wait_s=0)
            began = time.monotonic()
            with pytest.raises(BufferFull):
                publisher.send(new_event(), wait_s=0.3)
            assert time.monotonic() - began >= 0.3
            later = new_event()
            waiting = threading.Thread(target=lambda: results.append(publisher.send(later, HANGS_AFTER_S)))
            waiting.start()
            assert publisher.outstanding == BUFFER
            broker.start()
            waiting.join()
            assert len({result.result(HANGS_AFTER_S) for result in results}) == BUFFER + 1
    finally:
        broker.start()
    assert written(broker.address, [*events, later]) == once_each([*events, later])


async def test_an_event_loop_goes_on_while_a_full_buffer_makes_it_wait(broker: OwnBroker) -> None:
    events = [new_event() for _ in range(2 * BUFFER)]
    turns = 0

    async def one(event: Event) -> EventPosition:
        return await (await publisher.send_async(event, HANGS_AFTER_S))

    async with EventPublisher(broker.address, buffer_events=BUFFER) as publisher:
        broker.freeze()
        try:
            sending = asyncio.gather(*map(one, events))
            while publisher.outstanding < BUFFER:
                await asyncio.sleep(0.01)
            with pytest.raises(BufferFull):
                await publisher.send_async(new_event(), wait_s=0.2)
            while turns < 100:
                await asyncio.sleep(0)
                turns += 1
            assert not sending.done()
        finally:
            broker.thaw()
        positions = await sending
    assert len(set(positions)) == len(events)
    assert await asyncio.to_thread(written, broker.address, events) == once_each(events)


async def test_a_cancelled_wait_for_a_result_does_not_disturb_the_event(broker: OwnBroker) -> None:
    event, other = new_event(), new_event()
    async with EventPublisher(broker.address) as publisher:
        (await publisher.send_async(event)).cancel()
        await (await publisher.send_async(other))
    assert await asyncio.to_thread(written, broker.address, [event, other]) == once_each([event, other])


def test_what_a_frozen_broker_does_not_acknowledge_is_given_up_and_says_so(broker: OwnBroker) -> None:
    broker.freeze()
    try:
        with capture_logs() as logs:
            publisher = EventPublisher(broker.address, give_up_s=1.0)
            results = [publisher.send(new_event()) for _ in range(3)]
            for result in results:
                assert isinstance(result.exception(HANGS_AFTER_S), EventNotWritten)
            wait_until(
                lambda: sum(each["count"] for each in logs if each["event"] == "events_not_written") == 3, "logs"
            )
            publisher.close()  # whose events they were knows already
    finally:
        broker.thaw()


def test_close_gives_up_in_time_and_leaves_no_result_open(broker: OwnBroker) -> None:
    broker.freeze()
    try:
        publisher = EventPublisher(broker.address)
        results: list[Future[EventPosition]] = [publisher.send(new_event()) for _ in range(20)]
        began = time.monotonic()
        with pytest.raises(EventNotWritten, match="closed: 20"):
            publisher.close(timeout_s=0.5)
        assert time.monotonic() - began < 5
        assert all(isinstance(result.exception(0), EventNotWritten) for result in results)
    finally:
        broker.thaw()


def test_close_ends_the_wait_for_room_and_later_events_are_refused(broker: OwnBroker) -> None:
    broker.freeze()
    refusals: list[BaseException] = []
    try:
        publisher = EventPublisher(broker.address, buffer_events=1)
        publisher.send(new_event())

        def wait_for_room() -> None:
            try:
                publisher.send(new_event(), HANGS_AFTER_S)
            except PublisherClosed as refusal:
                refusals.append(refusal)

        waiting = threading.Thread(target=wait_for_room)
        waiting.start()
        wait_until(lambda: publisher._waiters, "it waits for room")
    finally:
        broker.thaw()
    publisher.close()
    publisher.close()  # a second time it has nothing to do
    waiting.join()
    with pytest.raises(PublisherClosed):
        publisher.send(new_event())
    assert refusals


def test_an_event_larger_than_kafka_takes_is_refused_and_the_next_one_is_not(broker: OwnBroker) -> None:
    with EventPublisher(broker.address) as publisher:
        with pytest.raises(InvalidEvent, match="larger than Kafka takes"):
            publisher.send(new_event(properties={"text": "x" * 1_100_000}))
        assert publisher.send(new_event()).result(HANGS_AFTER_S)


def test_a_forked_process_is_told_to_make_a_publisher_of_its_own(broker: OwnBroker) -> None:
    with EventPublisher(broker.address) as publisher:
        child = os.fork()
        if child == 0:
            try:
                publisher.send(new_event())
            except PublisherClosed as refusal:
                os._exit(0 if "forked" in str(refusal) else 2)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_is_left_when_the_interpreter_ends_is_written(broker: OwnBroker) -> None:

    event = new_event()
    program = "import sys; from web.publisher import EventPublisher; from schemas.events import Event;"
    program += "EventPublisher(sys.argv[1]).send(Event.model_validate_json(sys.argv[2]))"
    subprocess.run([sys.executable, "-c", program, broker.address, event.model_dump_json()], check=True, timeout=60)
    assert written(broker.address, [event]) == once_each([event])
