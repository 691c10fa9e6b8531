"""Writes events to Kafka and tells when all in-sync replicas have them, at a few microseconds an event.

librdkafka reports on each message where `poll` is called. That is the event loop, every millisecond while a report is
missing: a thread of its own would wake the loop for each message. One future and one counter stand for all events of a
call.

Once the oldest event has waited for longer than AWAY_AFTER_S, Kafka counts as away: calls are refused at once, and a
thread asks for the topic's leaders until all of them answer.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.kafka.connection import Connection
from infra.service.outages import Outage
from infra.service.tasks import run_in_thread
from schemas import codec
from schemas.topics import EVENTS
from web.ingest.outlets import LogAway, LogFull
from web.ingest.reading import EventRecord

POLL_S = 0.001
LINGER_MS = 5
"""With 2 ms, librdkafka makes a request for each partition, and the broker works four times as much."""
WRITE_WITHIN_MS = 3_500
"""librdkafka looks for late messages once a second, so a call is answered within 5 s. SDKs give up after 10 s."""
AWAY_AFTER_S = 2.0
PROBE_S = 1.0
MOST_EVENTS = 100_000
MOST_BYTES = 64 * 1024 * 1024
"""What may wait for Kafka in one process: a second of the most that it takes."""
ANONYMOUS: list[tuple[str, str | bytes | None]] = [("ebbtide-anonymous", b"1")]
"""The header of an event whose user is only a visitor's anonymous id."""


class LogObserver(Protocol):
    """Is told of every call's events."""

    def acknowledged(self, seconds: float) -> None:
        """All in-sync replicas have them, so long after the call gave them."""


class _Receipt:
    """The events of one call on which Kafka has not reported yet."""

    __slots__ = ("_log", "done", "error", "left", "since_s", "size", "total")

    def __init__(self, log: "EventLog", total: int, size: int, since_s: float) -> None:
        self._log = log
        self.total = self.left = total
        self.size = size
        self.since_s = since_s
        self.error: KafkaError | None = None
        self.done: asyncio.Future[None] = log.loop.create_future()

    def reported(self, error: KafkaError | None, _: Message) -> None:
        """Kafka has an event, or never will."""
        if error is not None:
            self.error = error
        self.left -= 1
        if not self.left:
            self._log.settle(self)


class EventLog:
    """Used in the thread of the event loop that runs where it is made. `clock` returns seconds."""

    def __init__(
        self,
        connection: Connection,
        outage: Outage,
        observer: LogObserver,
        clock: Callable[[], float] = time.monotonic,
        most_events: int = MOST_EVENTS,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self.loop.create_future()
        """Raises the error after which this process can write no more."""
        self.events = 0
        """How many events wait for Kafka."""
        self.bytes = 0
        self._outage = outage
        self._observer = observer
        self._clock = clock
        self._most_events = most_events
        self._receipts: deque[_Receipt] = deque()
        self._polling = False
        self._probe: asyncio.Task[None] | None = None
        self._back_s = float("-inf")
        self._producer = Producer(
            connection.client(
                acks="all",
                enable_idempotence=True,
                partitioner=codec.PARTITIONER,
                compression_type="lz4",
                linger_ms=LINGER_MS,
                message_timeout_ms=WRITE_WITHIN_MS,
                queue_buffering_max_messages=2 * most_events,
                queue_buffering_max_kbytes=2 * MOST_BYTES // 1024,
            )
        )

    async def look(self) -> None:
        """Asks once whether Kafka is there, so that calls are refused from the first one on if it is not."""
        if not await run_in_thread("kafka-probe", lambda: self._has_leaders(AWAY_AFTER_S)):
            self._note_away()

    async def write(self, records: Sequence[EventRecord]) -> None:
        """Returns when all in-sync replicas have the records. Raises LogAway or LogFull, at once if that is known."""
        if not records:
            return
        size = sum(len(record.value) for record in records)
        self.require_room(len(records), size)
        receipt = _Receipt(self, len(records), size, self._clock())
        self._receipts.append(receipt)
        self.events += receipt.total
        self.bytes += size
        self._produce(records, receipt)
        if not self._polling:
            self._polling = True
            self.loop.call_later(POLL_S, self._poll)
        try:
            await receipt.done
        finally:
            del receipt, records  # its error has this frame, and would keep them until a search for cycles

    def require_room(self, events: int, size: int) -> None:
        """Raises LogAway while Kafka is away, and LogFull if so much more may not wait for it."""
        if self._probe is not None:
            raise LogAway
        if self.events and (self.events + events > self._most_events or self.bytes + size > MOST_BYTES):
            raise LogFull

    def _produce(self, records: Sequence[EventRecord], receipt: _Receipt) -> None:
        produce, topic, reported = self._producer.produce, EVENTS.name, receipt.reported
        done = 0
        try:
            for record in records:
                if record.anonymous:
                    produce(topic, record.value, record.key, on_delivery=reported, headers=ANONYMOUS)
                else:
                    produce(topic, record.value, record.key, on_delivery=reported)
                done += 1
        except BufferError:
            self._cut(receipt, done, KafkaError(KafkaError._QUEUE_FULL))
        except KafkaException as exception:
            self._cut(receipt, done, exception.args[0])

    def _cut(self, receipt: _Receipt, done: int, error: KafkaError) -> None:
        """Notes that librdkafka took only so many events of a call."""
        receipt.error = error
        receipt.left = done
        if not done:
            self.settle(receipt)

    def settle(self, receipt: _Receipt) -> None:
        """Ends the wait of a call on whose last event Kafka has reported."""
        self.events -= receipt.total
        self.bytes -= receipt.size
        if receipt.done.done():  # the client has gone
            return
        if receipt.error is None:
            self._observer.acknowledged(self._clock() - receipt.since_s)
            receipt.done.set_result(None)
        else:
            receipt.done.set_exception(self._problem(receipt.error))

    def _problem(self, error: KafkaError) -> Exception:
        if error.fatal() or error.code() == KafkaError._FATAL:
            if not self.failed.done():
                self.failed.set_exception(KafkaException(error))
        elif error.code() == KafkaError._QUEUE_FULL:
            return LogFull()
        return LogAway(error.name())

    def _poll(self) -> None:
        self._producer.poll(0)
        receipts = self._receipts
        while receipts and not receipts[0].left:
            receipts.popleft()
        if not receipts:
            self._polling = False
            return
        self.loop.call_later(POLL_S, self._poll)
        if self._probe is None and self._clock() - max(receipts[0].since_s, self._back_s) > AWAY_AFTER_S:
            self._note_away()

    def _note_away(self) -> None:
        self._outage.away(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
        self._probe = asyncio.create_task(self._until_back(), name="kafka-probe")

    async def _until_back(self) -> None:
        while True:
            asked_s = self._clock()
            if await run_in_thread("kafka-probe", self._has_leaders):
                break
            await asyncio.sleep(max(0.0, PROBE_S - (self._clock() - asked_s)))
        self._back_s = self._clock()
        self._probe = None
        self._outage.back()

    def _has_leaders(self, within_s: float = PROBE_S) -> bool:
        """Whether a broker answers, and knows a leader of each partition. Blocks."""
        try:
            topic = self._producer.list_topics(EVENTS.name, timeout=within_s).topics[EVENTS.name]
        except KafkaException:
            return False
        return topic.error is None and all(partition.leader >= 0 for partition in topic.partitions.values())

    async def finish(self, within_s: float) -> int:
        """Waits until Kafka has reported on all events, at most this long. Returns on how many it has not."""
        waiting = [receipt.done for receipt in self._receipts if not receipt.done.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=within_s)
        if self._probe is not None:
            self._probe.cancel()
        return self.events
