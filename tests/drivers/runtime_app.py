"""A small application for tests of the runtime: decays and counts, with a second input and a timer for each user.

Any record that is lost, doubled or out of order shows in the value of a command. Run as a program it is one worker;
RUNTIME_CONTROL makes it one of the mistakes that a test of exactly-once must be able to see.
"""

import asyncio
import faulthandler
import heapq
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

import faust
import orjson
from confluent_kafka import Message, TopicPartition

from infra.kafka.connection import Connection
from infra.service.logs import configure_logging
from streams.decisions.journal import CheckpointJournal
from streams.faust.assignment import AssignmentRecovery
from streams.faust.runtime import Runtime
from streams.faust.settings import RuntimeSettings
from streams.faust.worker import StreamWorker
from streams.runtime import failpoints
from streams.runtime.checkpoint import OffsetMetadata, Output, Transaction
from streams.runtime.clock import Batch, Piece
from streams.runtime.commit import Committer

HALF_LIFE_MS = 60_000
QUIET_MS = 1_500
"""How long after a user's last event the timer fires."""
POINTS = {"page_viewed": 1.0, "product_viewed": 2.0, "cart_updated": 3.0, "order_completed": 5.0}


class Names:
    """The topics of one test, under its prefix."""

    def __init__(self, prefix: str) -> None:
        self.events = f"{prefix}events"
        self.weights = f"{prefix}weights"
        self.commands = f"{prefix}commands"
        self.journal = f"{prefix}journal"
        self.letters = f"{prefix}letters"
        self.orders = f"{prefix}orders"
        self.receipts = f"{prefix}receipts"
        self.app = f"{prefix}app"
        self.changelog = f"{prefix}app-users-changelog"

    def to_make(self) -> tuple[str, ...]:
        """Topics that must be there before a worker starts."""
        return self.events, self.weights, self.commands, self.journal, self.letters, self.orders, self.receipts


class Counting:
    """The job over a plain dictionary: applied to a record or an instant it says what to write.

    A user's state is [score, at_ms, count, weight, due_ms].
    """

    def __init__(self, users: dict[str, list[Any]]) -> None:
        self.users = users
        self.timers = [(state[4], user) for user, state in users.items() if state[4]]
        heapq.heapify(self.timers)

    def apply(self, weights: bool, user: str, value: bytes, now_ms: int) -> list[bytes]:
        """One record; raises ValueError for a poisonous one, having changed nothing."""
        body = orjson.loads(value)
        if body.get("poison"):
            raise ValueError("poison")
        state = self.users.setdefault(user, [0.0, now_ms, 0, 1.0, 0])
        if weights:
            state[3] = body["weight"]
            return []
        state[0] = state[0] * 0.5 ** ((now_ms - state[1]) / HALF_LIFE_MS) + POINTS[body["type"]] * state[3]
        if not state[4]:  # else its timer, once it is due, is set anew: one a user, however many records come
            heapq.heappush(self.timers, (now_ms + QUIET_MS, user))
        state[1], state[2], state[4] = now_ms, state[2] + 1, now_ms + QUIET_MS
        return [_command(f"third-{body['id']}", user, state, now_ms)] if state[2] % 3 == 0 else []

    def fire(self, now_ms: int) -> list[tuple[str, bytes]]:
        """All timers due by `now_ms`, in order of (due, user)."""
        fired = []
        while self.timers and self.timers[0][0] <= now_ms:
            due_ms, user = heapq.heappop(self.timers)
            state = self.users[user]
            if state[4] > due_ms:
                heapq.heappush(self.timers, (state[4], user))
            elif state[4] == due_ms:
                state[4] = 0
                fired.append((user, _command(f"quiet-{user}-{due_ms}", user, state, now_ms)))
        return fired


def _command(key: str, user: str, state: list[Any], now_ms: int) -> bytes:
    """What is written; it holds enough to betray any wrong history."""
    return orjson.dumps({"id": key, "user": user, "count": state[2], "score": state[0], "now": now_ms})


class JobProcessor:
    """The job as the runtime's steps."""

    def __init__(self, runtime: Runtime, names: Names, slow_s: float = 0.0) -> None:
        self._emit = runtime.emit
        self._names = names
        self._slow_s = slow_s
        codec = (lambda _, state: orjson.dumps(state), lambda _, raw: orjson.loads(raw))
        self._table = runtime.app.Table("users", partitions=runtime.settings.partitions, options={"codec": codec}).local
        self._jobs: dict[int, Counting] = {}

    def ready(self, versions: Mapping[str, int]) -> bool:
        return versions.get("manifest", 1) == 1

    def loaded(self, partition: int, metadata: OffsetMetadata) -> None:  # noqa: ARG002
        users = {key.decode(): orjson.loads(raw) for key, raw in self._table.raw(partition).items()}
        self._jobs[partition] = Counting(users)

    def dropped(self) -> None:
        self._jobs.clear()

    def before_batch(self, partition: int, clock_ms: int) -> int:  # noqa: ARG002
        return 0

    def record_handler(self, partition: int, topic: str) -> Callable[[Message, int], None]:
        job, weights = self._jobs[partition], topic == self._names.weights

        def apply(record: Message, now_ms: int) -> None:
            key = record.key()
            user = key.decode()
            written = job.apply(weights, user, record.value(), now_ms)
            self._table.put(partition, key, job.users[user])
            for value in written:
                self._emit(Output(self._names.commands, key, value, partition))
            if self._slow_s:
                time.sleep(self._slow_s)

        return apply

    def failed(self, partition: int, record: Message, error: Exception, now_ms: int) -> None:  # noqa: ARG002
        letter = orjson.dumps({"topic": record.topic(), "offset": record.offset(), "cause": str(error)})
        self._emit(Output(self._names.letters, record.key(), letter, partition))

    def fire(self, partition: int, now_ms: int) -> int:
        job = self._jobs[partition]
        fired = job.fire(now_ms)
        for user, value in fired:
            self._table.put(partition, user.encode(), job.users[user])
            self._emit(Output(self._names.commands, user.encode(), value, partition))
        return len(fired)

    def versions(self) -> Mapping[str, int]:
        return {"manifest": 1, "control": 0}


class SplitCommitter(Committer):
    """A mistake: the offsets in a second transaction."""

    def _send_offsets(self, transaction: Transaction) -> None:
        self._producer.commit_transaction(20.0)
        failpoints.reach("after_commit")
        self._producer.begin_transaction()
        offsets: list[TopicPartition] = list(transaction.offsets)
        self._producer.send_offsets_to_transaction(offsets, transaction.membership, 20.0)


class AwaitingRuntime(Runtime):
    """A mistake: suspends in the middle of its first batches. The gate must make it harmless."""

    long_awaits = 12

    async def apply(self, run: Batch[Message]) -> None:
        processor = self.processor
        assert processor is not None
        halves, versions = _halves(run), processor._processor.versions()
        fired = processor.work(halves[0])
        if not run.is_tick and self.long_awaits > 0:
            self.long_awaits -= 1
            await self.suspend(len(halves[0]))
        if not self.buffer.owned:  # lost meanwhile: the state that this belongs to is gone
            return
        fired += sum(processor.work(half) for half in halves[1:])
        processor.record(run, fired, versions)

    async def suspend(self, applied: int) -> None:  # noqa: ARG002 - for those who count
        """Suspends after so many records of a batch, for longer than from one checkpoint to the next."""
        await asyncio.sleep(0.3)


def wait_for_nobody(runtime: Runtime) -> None:
    """A mistake: checkpoints that come in the middle of what others have begun."""

    async def at_once() -> None:
        """As if no work had begun."""

    runtime.checkpointer.gate.wait_idle = at_once  # type: ignore[method-assign]


def _halves(run: Batch[Message]) -> list[Batch[Message]]:
    """The run in two parts of as many records; a tick is one."""
    left = len(run) // 2
    if run.is_tick or not left:
        return [run]
    front, back = [], []
    for piece in run.pieces:
        count = min(left, len(piece.records))
        left -= count
        if count:
            front.append(Piece(piece.topic, piece.records[:count], piece.times_ms[:count]))
        if count < len(piece.records):
            back.append(Piece(piece.topic, piece.records[count:], piece.times_ms[count:]))
    return [Batch(run.partition, 0, front, front[-1].times_ms[-1]), Batch(run.partition, 0, back, run.clock_ms)]


def serve_orders(app: Any, names: Names, partitions: int) -> None:
    """An ordinary Faust agent beside the batches: one record at a time, a table as a mapping, an awaited send."""
    orders = app.topic(names.orders, key_serializer="raw", value_serializer="raw", partitions=partitions)
    receipts = app.topic(names.receipts, key_serializer="raw", value_serializer="raw", partitions=partitions)
    counts = app.Table("counts", partitions=partitions)

    @app.agent(orders)
    async def count(stream: Any) -> None:
        async for event in stream.events():
            key = event.key
            counts[key] = b"%d" % (int(counts.get(key, b"0")) + 1)
            await asyncio.sleep(0.001)  # between two changes of one event
            await receipts.send(key=key, value=event.value + b" " + counts[key], partition=event.message.partition)


def stalls_on_signal(runtime: Runtime) -> None:
    """At SIGURG the client silently stops fetching all of its partitions."""

    def stall(*_: object) -> None:
        intake = runtime.app.consumer.intake
        consumer = intake._consumer
        intake.call(lambda: consumer.pause(consumer.assignment()))

    signal.signal(signal.SIGURG, stall)


def build(variables: Mapping[str, str]) -> faust.App:
    """The application as the environment describes it."""
    names = Names(variables["RUNTIME_PREFIX"])
    control = variables.get("RUNTIME_CONTROL", "")
    chosen = RuntimeSettings(
        name=names.app,
        slot=variables.get("RUNTIME_SLOT", "0"),
        connection=Connection(variables["RUNTIME_KAFKA"]),
        inputs=(names.weights, names.events),
        partitions=int(variables["RUNTIME_PARTITIONS"]),
        transaction_timeout_ms=int(variables.get("RUNTIME_TRANSACTION_MS", "10000")),
        session_timeout_ms=int(variables.get("RUNTIME_SESSION_MS", "6000")),
        other_topics=(names.commands, names.journal, names.letters, names.receipts),
        snapshot_s=float(variables.get("RUNTIME_SNAPSHOT_S", "60")) or None,
        faust={"web_enabled": False, "datadir": variables["RUNTIME_DATA"]},
    )
    kind = AwaitingRuntime if control.startswith("awaiting") else Runtime
    committer = SplitCommitter if control == "split" else Committer
    runtime = kind(chosen, CheckpointJournal(names.journal), committer)
    if control == "awaiting-unguarded":
        wait_for_nobody(runtime)
    if control in ("split", "awaiting-unguarded"):  # else the runtime itself refuses the state that these leave alone
        AssignmentRecovery.check_state_has_offsets = lambda *_: None  # type: ignore[method-assign]
    runtime.process_with(JobProcessor(runtime, names, float(variables.get("RUNTIME_SLOW_S", "0"))))
    stalls_on_signal(runtime)
    serve_orders(runtime.app, names, chosen.partitions)
    return runtime.app


if __name__ == "__main__":
    faulthandler.register(signal.SIGPROF, all_threads=True)  # for a test that finds it stuck
    configure_logging()
    StreamWorker(build(os.environ)).execute_from_commandline()
