"""The consume thread: it owns the consumer, polls all the time, and hands records over by partition.

Rebalance callbacks run in this thread, inside the poll, and block it until the application has handled them. So a
revoked partition is committed before another member gets it. Knows neither Faust nor what records mean.

A confluent-kafka consumer serves one thread: called from another, `committed()` starves behind `consume()` for ever.
All calls go through `call`.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeVar

import confluent_kafka
import structlog
from confluent_kafka import Consumer, KafkaError, Message

from infra.kafka.connection import Connection
from infra.kafka.topics import TopicPartition
from streams.runtime.call_queue import CallQueue
from streams.runtime.intake_settings import IntakeSettings

T = TypeVar("T")
log = structlog.get_logger()

LOG_INTERVAL_S = 30.0
"""The time between two log lines for one error code: an absent broker causes ten errors a second."""


class IntakeListener(Protocol):
    """Receives the intake's callbacks. The consume thread calls the first two and blocks until they return."""

    def assigned(self, partitions: frozenset[TopicPartition], membership: object) -> None:
        """The group assigned these partitions. `membership` fences transactions; it is captured now, not at commit."""

    def revoked(self, partitions: frozenset[TopicPartition], lost: bool) -> None:
        """The partitions are revoked and go to another member next; with `lost` they have gone already."""

    def arrived(self) -> None:
        """Records can be taken. Called in the consume thread; must not block."""

    def failed(self, reason: str) -> None:
        """The consumer cannot continue: end the process. Called in any thread."""


@dataclass(slots=True)
class Arrival:
    """Records of one partition that arrived together, and the offset after them (after control records too)."""

    partition: TopicPartition
    records: list[Message]
    position: int


class Intake(threading.Thread):
    """Consumes for `listener`. Records that it hands over count as held until `release`."""

    def __init__(self, connection: Connection, settings: IntakeSettings, listener: IntakeListener) -> None:
        super().__init__(name="intake", daemon=True)
        self._settings = settings
        self._listener = listener
        self._consumer = Consumer({**settings.consumer(connection), "error_cb": self._on_error})
        self._changed = threading.Condition()
        self._calls = CallQueue(self._changed)
        self._arrivals: list[Arrival] = []
        self._held = 0
        self._held_by: defaultdict[TopicPartition, int] = defaultdict(int)
        self._starving: frozenset[TopicPartition] = frozenset()
        self._paused: set[TopicPartition] = set()
        self._positions: dict[TopicPartition, int] = {}
        self._errored: set[TopicPartition] = set()
        """Partitions that reported an error since the last call of `fetchable_positions`."""
        self._was_full = False
        """Whether the intake was full at some time since then."""
        self._subscribed = False
        self._stopping = False
        self._epoch = 0
        self._logged_s: dict[int, float] = {}

    def subscribe(self, topics: Iterable[str]) -> None:
        """Joins the group for these topics."""

        def subscribe() -> None:
            self._consumer.subscribe(
                sorted(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            self._subscribed = True

        self.call(subscribe)

    def start_at(self, offsets: Mapping[TopicPartition, int]) -> "Future[None]":
        """Begins to fetch the assigned partitions at these offsets."""

        def start() -> None:
            self._forget()
            starts = [confluent_kafka.TopicPartition(*tp, offset) for tp, offset in offsets.items()]
            self._consumer.assign(starts)
            self._consumer.resume(starts)  # librdkafka keeps a partition paused across assignments
            self._positions.update(offsets)

        return self.call(start)

    def call(self, function: Callable[[], T]) -> "Future[T]":
        """Calls `function` in the consume thread; fails with _DESTROY if the thread ends first."""
        return self._calls.add(function)

    def committed(
        self, partitions: Iterable[TopicPartition], timeout_s: float = 2.0
    ) -> "Future[list[confluent_kafka.TopicPartition]]":
        """The group's stable offsets; fails with _TIMED_OUT while a transaction on one of them is open."""
        wanted = [confluent_kafka.TopicPartition(*tp) for tp in partitions]
        return self.call(lambda: self._consumer.committed(wanted, timeout_s))

    def watermarks(self, partition: TopicPartition, timeout_s: float = 2.0) -> "Future[tuple[int, int]]":
        """The first and the next offset of a partition."""
        wanted = confluent_kafka.TopicPartition(*partition)
        return self.call(lambda: self._consumer.get_watermark_offsets(wanted, timeout_s))

    def fetchable_positions(self) -> "Future[dict[TopicPartition, int]]":
        """The positions of the partitions that nothing kept from being fetched since the last call.

        A partition is kept from it if it was paused or reported an error, and all of them if the intake was full.
        """

        def positions() -> dict[TopicPartition, int]:
            excluded = self._positions.keys() if self._was_full else self._errored | self._paused
            self._errored, self._was_full = set(), False
            return {tp: position for tp, position in self._positions.items() if tp not in excluded}

        return self.call(positions)

    def refetch(self, partition: TopicPartition, position: int) -> "Future[bool]":
        """Makes librdkafka fetch a partition again from its position; False if the position has changed.

        Records read before are handed over already, and the seek discards those that wait in the client: none is lost
        or read twice. Fails with KafkaException if the client refuses.
        """

        def refetch() -> bool:
            if self._positions.get(partition) != position or partition in self._paused:
                return False
            self._consumer.resume([confluent_kafka.TopicPartition(*partition)])
            self._consumer.seek(confluent_kafka.TopicPartition(*partition, position))
            return True

        return self.call(refetch)

    def take(self) -> list[Arrival]:
        """What has arrived since the last call, in order within each partition."""
        with self._changed:
            arrivals, self._arrivals = self._arrivals, []
        return arrivals

    def release(self, partition: TopicPartition, count: int) -> None:
        """Releases `count` records: they are applied and no longer held."""
        with self._changed:
            was_full = self._held >= self._settings.held_records
            self._held -= count
            self._held_by[partition] -= count
            if was_full:  # otherwise nothing waits for it
                self._changed.notify()

    @property
    def held(self) -> int:
        """The number of records handed over and not released."""
        return self._held

    @property
    def paused(self) -> frozenset[TopicPartition]:
        """The partitions paused in favour of those that the application waits for."""
        return frozenset(self._paused)

    def starve(self, partitions: frozenset[TopicPartition]) -> None:
        """Sets the partitions that the application waits for; others may be paused in their favour."""
        with self._changed:
            self._starving = partitions
            self._changed.notify()

    def stop(self) -> None:
        """Tells the thread to leave the group and end. No callback follows."""
        self._stopping = True
        with self._changed:
            self._changed.notify()

    def run(self) -> None:
        """Polls until stopped. A failure here ends the process."""
        try:
            while not self._stopping:
                self._poll_once()
            self._consumer.close()
        except Exception as error:
            log.exception("intake_failed")
            self._listener.failed(f"the consume thread ended: {error}")
        finally:
            self._calls.close()  # a caller that still waits would delay the stop

    def _poll_once(self) -> None:
        self._calls.run_all()
        if not self._subscribed:
            with self._changed:
                self._changed.wait(0.05)
            return
        epoch = self._epoch
        messages = self._poll()
        if epoch != self._epoch:  # a rebalance was served inside: records are read again, errors of the consumer not
            messages = [message for message in messages if message.error() is not None and message.topic() is None]
        if messages:
            self._hand_over(messages)

    def _poll(self) -> list[Message]:
        full, starving = self._held >= self._settings.held_records, self._starving
        if full and starving:
            self._pause_others()
            full = False
        elif self._paused and self._held < self._settings.held_records // 2:
            self._resume(self._paused)
        self._resume(self._paused & starving)  # even if few records are held: all others may wait for these
        if not full:
            return self._consumer.consume(self._settings.batch, self._settings.poll_s)
        self._was_full = True
        with self._changed:
            if self._held >= self._settings.held_records and not self._calls:
                self._changed.wait(self._settings.poll_s)
        return self._consumer.consume(1, 0)  # serves rebalances, and may return one record

    def _pause_others(self) -> None:
        """Pauses full partitions, which would otherwise prevent polls of the partition that all others wait for."""
        with self._changed:
            others = {tp for tp, held in self._held_by.items() if held and tp not in self._starving} - self._paused
        if others:
            self._consumer.pause([confluent_kafka.TopicPartition(*tp) for tp in others])
            self._paused |= others

    def _resume(self, partitions: set[TopicPartition]) -> None:
        if partitions:
            self._consumer.resume([confluent_kafka.TopicPartition(*tp) for tp in partitions])
            self._paused = self._paused - partitions

    def _hand_over(self, messages: list[Message]) -> None:
        records: defaultdict[tuple[str | None, int | None], list[Message]] = defaultdict(list)
        ends: dict[tuple[str | None, int | None], int] = {}
        for message in messages:  # the hot loop of this thread: it holds the interpreter lock against the event loop
            if message.error() is None:
                records[message.topic(), message.partition()].append(message)
            else:
                self._take_event(message, ends)
        arrivals = [Arrival(TopicPartition(*name), ms, (ms[-1].offset() or 0) + 1) for name, ms in records.items()]  # type: ignore[arg-type]
        arrivals += [Arrival(TopicPartition(*name), [], end) for name, end in ends.items()]  # type: ignore[arg-type]
        with self._changed:
            self._arrivals += arrivals
            for arrival in arrivals:
                self._held += len(arrival.records)
                self._held_by[arrival.partition] += len(arrival.records)
                self._positions[arrival.partition] = max(arrival.position, self._positions.get(arrival.partition, 0))
        self._listener.arrived()

    def _take_event(self, message: Message, ends: dict[tuple[str | None, int | None], int]) -> None:
        """Handles an error or the end of a partition. Records that follow are always behind this position."""
        error, offset = message.error(), message.offset()
        assert error is not None
        topic, partition = message.topic(), message.partition()
        if error.code() == KafkaError._PARTITION_EOF:
            ends[topic, partition] = offset or 0
        else:
            self._errored.add(TopicPartition(topic, partition))  # type: ignore[arg-type]
            self._on_error(error, f"{topic}[{partition}]@{offset}: ")

    def _on_assign(self, consumer: Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        self._epoch += 1
        self._forget()
        consumer.assign([])  # nothing is fetched before the state is recovered
        if self._stopping:
            return
        membership = consumer.consumer_group_metadata()  # at commit it could have a newer generation, or none
        self._listener.assigned(_named(partitions), membership)

    def _on_revoke(self, consumer: Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        self._give_up(consumer, partitions, lost=False)

    def _on_lost(self, consumer: Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        self._give_up(consumer, partitions, lost=True)

    def _give_up(self, consumer: Consumer, partitions: list[confluent_kafka.TopicPartition], lost: bool) -> None:
        self._epoch += 1
        began = time.monotonic()
        if not self._stopping:
            self._listener.revoked(_named(partitions), lost)
        self._forget()
        consumer.unassign()
        took_s = round(time.monotonic() - began, 3)
        log.info("partitions_lost" if lost else "partitions_revoked", count=len(partitions), took_s=took_s)

    def _forget(self) -> None:
        with self._changed:
            self._arrivals.clear()
            self._held_by.clear()
            self._held = 0
            self._starving = frozenset()
        self._paused.clear()
        self._positions.clear()
        self._errored, self._was_full = set(), False

    def _on_error(self, error: KafkaError, prefix: str = "") -> None:
        if prefix.startswith("None["):  # it is an error of the consumer, not of a partition
            prefix = ""
        fatal = {KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID, KafkaError._AUTO_OFFSET_RESET}
        if error.fatal() or error.code() in fatal:
            self._listener.failed(f"the consumer cannot continue: {prefix}{error.str()}")
            return
        now_s = time.monotonic()
        if now_s - self._logged_s.get(error.code(), -LOG_INTERVAL_S) >= LOG_INTERVAL_S:
            self._logged_s[error.code()] = now_s
            log.warning("consumer_waits", error=f"{prefix}{error.str()}")


def _named(partitions: list[confluent_kafka.TopicPartition]) -> frozenset[TopicPartition]:
    return frozenset(TopicPartition(tp.topic, tp.partition) for tp in partitions)
