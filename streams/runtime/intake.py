"""The consume thread: it owns the consumer, polls all the time, and hands records over by partition.

Rebalance callbacks run in this thread, inside the poll, and block it until the application has handled them: so a
revoked partition is committed before another member gets it. Knows no Faust and not what records mean.

A confluent-kafka consumer serves one thread: called from another, `committed()` starves behind `consume()` for ever.
All calls come through `call`.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeVar

import confluent_kafka
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from infra.kafka.connection import Connection
from infra.kafka.topics import TopicPartition

T = TypeVar("T")
log = structlog.get_logger()

SAY_S = 30.0
"""The time between two log lines for one error code: an absent broker causes ten errors a second."""


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """How the consumer presents itself and how much it takes."""

    group: str
    instance: str | None = None
    """group.instance.id: with it, a restart within the session timeout causes no rebalance."""
    session_timeout_ms: int = 10_000
    poll_s: float = 0.05
    batch: int = 2_000
    held_records: int = 20_000
    """Polling pauses while this many records are handed over and not yet released. Bounds memory."""

    def consumer(self, connection: Connection) -> dict[str, str | int | float | bool]:
        """The consumer's settings."""
        static = {} if self.instance is None else {"group_instance_id": self.instance}
        return connection.client(
            group_id=self.group,
            enable_auto_commit=False,
            enable_auto_offset_store=False,
            enable_partition_eof=True,  # says where a partition ends behind control records and compacted ones
            auto_offset_reset="error",  # every start is explicit; a gap is said, never skipped
            isolation_level="read_committed",
            partition_assignment_strategy="range",  # co-partitions topics that have one partition count
            session_timeout_ms=self.session_timeout_ms,
            heartbeat_interval_ms=self.session_timeout_ms // 5,
            queued_min_messages=100_000,
            queued_max_messages_kbytes=4 * 1024,
            max_partition_fetch_bytes=256 * 1024,  # compressed: of small records it is many times that
            fetch_queue_backoff_ms=10,  # by default a partition is left alone for a second when the queue is full
            fetch_wait_max_ms=100,
            topic_metadata_refresh_interval_ms=30_000,
            **static,
        )


class IntakeListener(Protocol):
    """Receives the intake's callbacks. The consume thread calls the first two and blocks until they return."""

    def assigned(self, places: frozenset[TopicPartition], membership: object) -> None:
        """The group assigned these partitions. `membership` fences transactions; it is captured now, not at commit."""

    def revoked(self, places: frozenset[TopicPartition], lost: bool) -> None:
        """The partitions are revoked and go to another member next; with `lost` they have gone already."""

    def arrived(self) -> None:
        """Records can be taken. Called in the consume thread; must not block."""

    def failed(self, reason: str) -> None:
        """The consumer cannot go on: end the process. Called in any thread."""


@dataclass(slots=True)
class Arrival:
    """Records of one partition that arrived together, and the offset after them (after control records too)."""

    place: TopicPartition
    records: list[Message]
    position: int


class Intake(threading.Thread):
    """Consumes for `listener`. Records that it hands over count as held until `release`."""

    def __init__(self, connection: Connection, settings: IntakeSettings, listener: IntakeListener) -> None:
        super().__init__(name="intake", daemon=True)
        self._settings = settings
        self._listener = listener
        self._consumer = Consumer({**settings.consumer(connection), "error_cb": self._on_error})
        self._calls: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._arrivals: list[Arrival] = []
        self._held = 0
        self._starving: frozenset[TopicPartition] = frozenset()
        self._paused: set[TopicPartition] = set()
        self._held_by: defaultdict[TopicPartition, int] = defaultdict(int)
        self._positions: dict[TopicPartition, int] = {}
        self._excused: set[TopicPartition] = set()
        """Partitions that reported an error since the last call of `unhindered`."""
        self._withheld = False
        """Whether the intake was full at some time since then."""
        self._subscribed = False
        self._stopping = False
        self._ended = False
        self._epoch = 0
        self._said_s: dict[int, float] = {}

    def subscribe(self, topics: Iterable[str]) -> None:
        """Joins the group for these topics."""

        def do() -> None:
            self._consumer.subscribe(
                sorted(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            self._subscribed = True

        self.call(do)

    def start_at(self, offsets: Mapping[TopicPartition, int]) -> "Future[None]":
        """Begins to fetch the assigned partitions at these offsets."""

        def do() -> None:
            self._forget()
            begins = [confluent_kafka.TopicPartition(p.topic, p.partition, offset) for p, offset in offsets.items()]
            self._consumer.assign(begins)
            self._consumer.resume(begins)  # librdkafka keeps a partition paused across assignments
            self._positions.update(offsets)

        return self.call(do)

    def call(self, do: Callable[[], T]) -> "Future[T]":
        """Runs `do` in the consume thread; fails with _DESTROY if the thread ends first."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                if self._ended:
                    raise KafkaException(KafkaError(KafkaError._DESTROY, "the consume thread has ended"))
                future.set_result(do())
            except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
                future.set_exception(error)

        with self._changed:
            if not self._ended:
                self._calls.append(run)
                self._changed.notify()
                return future
        run()
        return future

    def committed(
        self, places: Iterable[TopicPartition], timeout_s: float = 2.0
    ) -> "Future[list[confluent_kafka.TopicPartition]]":
        """The group's stable offsets; fails with _TIMED_OUT while a transaction on one of them is open."""
        asked = [confluent_kafka.TopicPartition(*place) for place in places]
        return self.call(lambda: self._consumer.committed(asked, timeout_s))

    def watermarks(self, place: TopicPartition, timeout_s: float = 2.0) -> "Future[tuple[int, int]]":
        """The first and the next offset of a partition."""
        return self.call(
            lambda: self._consumer.get_watermark_offsets(confluent_kafka.TopicPartition(*place), timeout_s)
        )

    def unhindered(self) -> "Future[dict[TopicPartition, int]]":
        """The positions of the partitions that were free to deliver since the last call: not paused, without an error,
        and with an intake that was not full."""

        def do() -> dict[TopicPartition, int]:
            hindered = self._positions.keys() if self._withheld else self._excused | self._paused
            self._excused, self._withheld = set(), False
            return {place: at for place, at in self._positions.items() if place not in hindered}

        return self.call(do)

    def refetch(self, place: TopicPartition, at: int) -> "Future[bool]":
        """Makes librdkafka fetch a partition again from offset `at`; False if its position has changed.

        Records read before are handed over already, and the seek discards those that wait in the client: none is lost
        or read twice. Fails with KafkaException if the client refuses.
        """

        def do() -> bool:
            if self._positions.get(place) != at or place in self._paused:
                return False
            self._consumer.resume([confluent_kafka.TopicPartition(*place)])
            self._consumer.seek(confluent_kafka.TopicPartition(*place, at))
            return True

        return self.call(do)

    def take(self) -> list[Arrival]:
        """What has arrived since the last call, in order within each partition."""
        with self._changed:
            arrivals, self._arrivals = self._arrivals, []
        return arrivals

    def release(self, place: TopicPartition, count: int) -> None:
        """Releases `count` records of `place`: they are applied and no longer held."""
        with self._changed:
            was_full = self._held >= self._settings.held_records
            self._held -= count
            self._held_by[place] -= count
            if was_full:  # else nobody waits for it
                self._changed.notify()

    @property
    def held(self) -> int:
        """The number of records handed over and not released."""
        return self._held

    @property
    def paused(self) -> frozenset[TopicPartition]:
        """The partitions paused in favour of those that the application waits for."""
        return frozenset(self._paused)

    def starve(self, places: frozenset[TopicPartition]) -> None:
        """Sets the partitions that the application waits for; others may be paused in their favour."""
        with self._changed:
            self._starving = places
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
                self._turn()
            self._consumer.close()
        except Exception as error:
            log.exception("intake_failed")
            self._listener.failed(f"the consume thread ended: {error}")
        finally:
            with self._changed:
                self._ended = True
            self._answer()  # whoever still waits would hold up the stop

    def _answer(self) -> None:
        while self._calls:
            self._calls.popleft()()

    def _turn(self) -> None:
        self._answer()
        if not self._subscribed:
            with self._changed:
                self._changed.wait(0.05)
            return
        epoch = self._epoch
        messages = self._poll()
        if epoch != self._epoch:  # a rebalance was served inside: all is read again, but not what ends the consumer
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
        self._resume(self._paused & starving)  # however little is held: all others may wait for them
        if not full:
            return self._consumer.consume(self._settings.batch, self._settings.poll_s)
        self._withheld = True
        with self._changed:
            if self._held >= self._settings.held_records and not self._calls:
                self._changed.wait(self._settings.poll_s)
        return self._consumer.consume(1, 0)  # serves rebalances, at the price of a record

    def _pause_others(self) -> None:
        """Otherwise full partitions would keep the one that all wait for from being polled for ever."""
        with self._changed:
            others = {p for p, held in self._held_by.items() if held and p not in self._starving} - self._paused
        if others:
            self._consumer.pause([confluent_kafka.TopicPartition(*place) for place in others])
            self._paused |= others

    def _resume(self, places: set[TopicPartition]) -> None:
        if places:
            self._consumer.resume([confluent_kafka.TopicPartition(*place) for place in places])
            self._paused = self._paused - places

    def _hand_over(self, messages: list[Message]) -> None:
        records: defaultdict[tuple[str | None, int | None], list[Message]] = defaultdict(list)
        ends: dict[tuple[str | None, int | None], int] = {}
        for message in messages:  # the hot loop of this thread: it holds the interpreter against the event loop
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
                self._held_by[arrival.place] += len(arrival.records)
                self._positions[arrival.place] = max(arrival.position, self._positions.get(arrival.place, 0))
        self._listener.arrived()

    def _take_event(self, message: Message, ends: dict[tuple[str | None, int | None], int]) -> None:
        """Handles an error or the end of a partition. Records that follow lie behind this position in any case."""
        error, offset = message.error(), message.offset()
        assert error is not None
        topic, partition = message.topic(), message.partition()
        if error.code() == KafkaError._PARTITION_EOF:
            ends[topic, partition] = offset or 0
        else:
            self._excused.add(TopicPartition(topic, partition))  # type: ignore[arg-type]
            self._on_error(error, "" if topic is None else f"{topic}[{partition}]@{offset}: ")

    def _on_assign(self, consumer: Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        self._epoch += 1
        self._forget()
        consumer.assign([])  # nothing is fetched before the state is recovered
        if self._stopping:
            return
        membership = consumer.consumer_group_metadata()  # asked at commit it may name a newer generation, or none
        self._listener.assigned(frozenset(TopicPartition(p.topic, p.partition) for p in partitions), membership)

    def _on_revoke(self, consumer: Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        self._give_up(consumer, partitions, lost=False)

    def _on_lost(self, consumer: Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        self._give_up(consumer, partitions, lost=True)

    def _give_up(self, consumer: Consumer, partitions: list[confluent_kafka.TopicPartition], lost: bool) -> None:
        self._epoch += 1
        began = time.monotonic()
        if not self._stopping:
            self._listener.revoked(frozenset(TopicPartition(p.topic, p.partition) for p in partitions), lost)
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
        self._excused, self._withheld = set(), False

    def _on_error(self, error: KafkaError, where: str = "") -> None:
        fatal = {KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID, KafkaError._AUTO_OFFSET_RESET}
        if error.fatal() or error.code() in fatal:
            self._listener.failed(f"the consumer cannot go on: {where}{error.str()}")
            return
        now_s = time.monotonic()
        if now_s - self._said_s.get(error.code(), -SAY_S) >= SAY_S:
            self._said_s[error.code()] = now_s
            log.warning("consumer_waits", error=f"{where}{error.str()}")
