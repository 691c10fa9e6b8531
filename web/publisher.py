"""Publishes events from Python services, without HTTP: one result an event, and a bounded buffer while Kafka is away.

An event is validated by its model before it is taken, and taken means that it has a result: where it was written, or
why not. `infra.kafka.publisher` is another thing: it serves one command, and fails as a whole.
"""

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.kafka.connection import ACCESS_ERRORS, Connection
from schemas.codec import PARTITIONER, DecodeError, decode, encode
from schemas.events import Event
from schemas.plain import plain_event
from schemas.topics import EVENTS
from schemas.waiting import event_within

ANONYMOUS = "ebbtide-anonymous"
"""The header of an event whose `user_id` is only the visitor's anonymous id."""
WAIT_S = 10.0
CLOSE_S = 30.0
POLL_S = 0.1
"""How long the polling thread waits for reports, and so how long `close` may wait for that thread."""
PURGE_S = 5.0
"""For the reports of events that are given up; they are in the client's memory."""

log = structlog.get_logger("web.publisher")


class InvalidEvent(ValueError):
    """An event that readers would refuse. It was not taken; the message names the fields and repeats no value."""


class BufferFull(Exception):
    """The buffer had no room in time: Kafka is away or slower than the service. The event was not taken."""


class PublisherClosed(Exception):
    """The publisher is closed, or belongs to another process. The event was not taken."""


class EventNotWritten(Exception):
    """Kafka did not acknowledge the event. It may be written all the same: publish it again with the same id."""


class EventPosition(NamedTuple):
    """Where an event was written."""

    partition: int
    offset: int


class ProducerRecord(NamedTuple):
    """What a producer is given for an event."""

    key: bytes | None
    value: bytes
    headers: dict[str, str | bytes | None]


def event_record(event: Event) -> ProducerRecord:
    """The record of an event. Raises InvalidEvent if readers would refuse it.

    An event without `user_id` belongs to its visitor: `anonymous_id` takes that place, and a header says so.
    """
    anonymous = event.user_id is None and event.anonymous_id is not None
    if anonymous:
        event = event.model_copy(update={"user_id": event.anonymous_id})
    try:
        value = encode(event)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent(f"the event cannot be written as JSON: {type(error).__name__}") from None
    if plain_event(value) is None:
        try:
            decode(Event, value)
        except DecodeError as error:
            raise InvalidEvent(error.detail) from None
    key = None if event.user_id is None else event.user_id.encode()
    return ProducerRecord(key, value, {ANONYMOUS: b"1"} if anonymous else {})


class EventPublisher:
    """Publishes events from any number of threads and event loops of one process, which is not forked afterwards.

    `buffer_events` and `buffer_bytes` bound what waits for Kafka. An event that is not acknowledged within `give_up_s`
    is given up, and its result says so. Leaving the `with` or `async with` block closes the publisher.
    """

    def __init__(
        self,
        connection: Connection | str,
        *,
        buffer_events: int = 100_000,
        buffer_bytes: int = 64 * 1024 * 1024,
        give_up_s: float = 120.0,
    ) -> None:
        if isinstance(connection, str):
            connection = Connection(connection)
        settings: dict[str, Any] = connection.client(
            partitioner=PARTITIONER,
            enable_idempotence=True,
            acks="all",
            compression_type="lz4",
            linger_ms=5,
            queue_buffering_max_messages=buffer_events,
            queue_buffering_max_kbytes=max(1, buffer_bytes // 1024),
            message_timeout_ms=int(give_up_s * 1000),
        )
        self._producer = Producer({**settings, "error_cb": self._note_trouble})
        self._process = os.getpid()
        self._closed = False
        self._closing = threading.Lock()
        """Held while an event is taken, so that none is taken after `close` began to flush."""
        self._waiters: set[Callable[[], None]] = set()
        self._waiters_lock = threading.Lock()
        self._taken = 0
        self._acknowledged = 0
        self._failed = 0
        self._reason = ""
        """Why an event failed last."""
        self._trouble = ""
        """Why Kafka is away, as far as the client knows."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="event-publisher", daemon=True)
        self._thread.start()
        atexit.register(self._close_at_exit)

    @property
    def outstanding(self) -> int:
        """How many events wait for Kafka's acknowledgement."""
        return self._taken - self._acknowledged - self._failed

    def send(self, event: Event, wait_s: float = WAIT_S) -> "Future[EventPosition]":
        """Takes an event, and returns its result. While the buffer is full it waits; with `wait_s=0` it raises at once.

        Raises InvalidEvent, BufferFull, PublisherClosed, and EventNotWritten where Kafka refuses this client for good.
        The result raises EventNotWritten. What is called when it is done runs in the publisher's own thread, and must
        neither wait nor close the publisher.
        """
        record, result = event_record(event), _new_result()
        if self._take(record, result):
            return result
        end = time.monotonic() + wait_s
        while True:
            room = threading.Event()
            with self._waiting(room.set):
                if self._take(record, result):
                    return result
                if not room.wait(max(0.0, end - time.monotonic())):
                    raise _full(wait_s)

    async def send_async(self, event: Event, wait_s: float = WAIT_S) -> "asyncio.Future[EventPosition]":
        """Does the same without blocking the event loop: `await` it for the room, and what it returns for the result.

        A cancelled result changes nothing: the event is on its way.
        """
        record, result, loop = event_record(event), _new_result(), asyncio.get_running_loop()
        if self._take(record, result):
            return asyncio.wrap_future(result)
        end = time.monotonic() + wait_s
        while True:
            room = asyncio.Event()
            with self._waiting(partial(_set_in, loop, room)):
                if self._take(record, result):
                    return asyncio.wrap_future(result)
                if not await event_within(room, max(0.0, end - time.monotonic())):
                    raise _full(wait_s)

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Takes no more events, and waits until Kafka has acknowledged those that it took.

        Raises EventNotWritten if it has not within `timeout_s`; then each of them has that result. Blocks.
        """
        with self._closing:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self._close_at_exit)
        self._wake()
        before = self._failed
        if self._producer.flush(timeout_s):
            self._producer.purge()
            self._producer.flush(PURGE_S)
        self._ended.set()
        self._thread.join()
        self._producer.close()
        if lost := self._failed - before:
            raise EventNotWritten(f"events not written when the publisher was closed: {lost}; {self._reason}")

    async def close_async(self, timeout_s: float = CLOSE_S) -> None:
        """Does the same without blocking the event loop."""
        await asyncio.to_thread(self.close, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close_async()

    def _take(self, record: ProducerRecord, result: "Future[EventPosition]") -> bool:
        """Whether the buffer had room for the record."""
        if self._process != os.getpid():  # librdkafka's threads do not survive a fork: the event would wait for ever
            raise PublisherClosed("the publisher was made before this process was forked: make one in each process")
        with self._closing:
            if self._closed:
                raise PublisherClosed("the publisher is closed")
            try:
                self._producer.produce(
                    EVENTS.name,
                    record.value,
                    record.key,
                    headers=record.headers,
                    on_delivery=partial(self._delivered, result),
                )
            except BufferError:
                return False
            except KafkaException as exception:
                error: KafkaError = exception.args[0]
                if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    raise InvalidEvent(f"larger than Kafka takes: {len(record.value)} bytes") from None
                raise EventNotWritten(error.str()) from None
            self._taken += 1
        return True

    def _poll(self) -> None:
        logged = 0
        while not self._ended.is_set():
            if self._producer.poll(POLL_S):
                self._wake()
            if (failed := self._failed) > logged:
                log.error("events_not_written", count=failed - logged, reason=self._reason)
                logged = failed

    def _delivered(self, result: "Future[EventPosition]", error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._acknowledged += 1
            self._trouble = ""
            result.set_result(EventPosition(message.partition() or 0, message.offset() or 0))
        else:
            self._failed += 1
            self._reason = f"{error.str()}: {self._trouble}" if self._trouble else error.str()
            result.set_exception(EventNotWritten(self._reason))

    def _note_trouble(self, error: KafkaError) -> None:
        """Keeps why Kafka is away: a report says only that the time is over."""
        advice = ACCESS_ERRORS.get(error.code())
        self._trouble = f"{error.str()}; {advice}" if advice else error.str()

    @contextmanager
    def _waiting(self, wake: Callable[[], None]) -> Iterator[None]:
        """Calls `wake` when there may be room. It begins before the buffer is tried again, so no moment is missed."""
        with self._waiters_lock:
            self._waiters.add(wake)
        try:
            yield
        finally:
            with self._waiters_lock:
                self._waiters.discard(wake)

    def _wake(self) -> None:
        with self._waiters_lock:
            waiters = list(self._waiters)
        for wake in waiters:
            wake()

    def _close_at_exit(self) -> None:
        if self._process == os.getpid():
            self.close()


def _new_result() -> "Future[EventPosition]":
    result: Future[EventPosition] = Future()
    result.set_running_or_notify_cancel()  # from now on it cannot be cancelled, as the event cannot
    return result


def _set_in(loop: asyncio.AbstractEventLoop, room: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
        loop.call_soon_threadsafe(room.set)


def _full(wait_s: float) -> BufferFull:
    return BufferFull(f"no room in the buffer within {wait_s:g} s: Kafka is away, or slower than the service")
