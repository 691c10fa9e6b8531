"""Writes sealed checkpoints: changelog, outputs, journal, dead letters and offsets in one Kafka transaction (KIP-98),
fenced by the group membership of whoever owned the partitions (KIP-447).
"""

import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams import failpoints
from streams.broker import error_of
from streams.checkpoint import Output, Sealed

log = structlog.get_logger()


class Outcome(StrEnum):
    """How a commit ended."""

    OK = "ok"
    LOST = "lost"
    """The group has moved on: another member may own the partitions. Drop the state and recover."""
    FATAL = "fatal"
    """This producer is fenced or broken. End the process."""


LOST = frozenset({KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_INSTANCE_ID})
CALL_S = 5.0
ABORTS = 20
"""How many times one checkpoint is sent again after an abort before something else must be wrong with it."""


class TransactionalProducer(Protocol):
    """What the committer needs of confluent_kafka.Producer."""

    def begin_transaction(self) -> None: ...
    def produce(self, topic: str, value: bytes | None, key: bytes | None, **where: object) -> None: ...
    def poll(self, timeout: float) -> int: ...
    def send_offsets_to_transaction(self, offsets: list[TopicPartition], metadata: object, timeout: float) -> None: ...
    def commit_transaction(self, timeout: float) -> None: ...
    def abort_transaction(self, timeout: float) -> None: ...


class Committer:
    """Writes sealed checkpoints, one at a time.

    `stage` belongs to the event loop's thread (elsewhere it fights the agents for the interpreter), `commit` to
    another, for it waits for the broker as long as that takes: retriable errors are tried again without end, since
    giving up would say less than is true. What must not wait for it is the loss of the partitions.
    """

    def __init__(self, producer: TransactionalProducer) -> None:
        self._producer = producer

    def stage(self, sealed: Sealed) -> KafkaException | None:
        """Begins the transaction and produces its records; returns what went wrong, for `commit` to deal with."""
        try:
            self._producer.begin_transaction()
            self._produce(sealed.outputs)
        except KafkaException as exception:
            return exception
        failpoints.reach("after_produce")
        return None

    def commit(self, sealed: Sealed, staged: KafkaException | None = None) -> Outcome:
        """Commits what was staged; after an abortable error sends the same records again. Blocks."""
        problem = staged
        for attempt in range(ABORTS):
            try:
                if problem is not None:
                    raise problem
                self._finish(sealed)
            except KafkaException as exception:
                outcome = self._abort(error_of(exception))
                if outcome is not None:
                    return outcome
                time.sleep(min(1.0, 0.05 * attempt))
                problem = self.stage(sealed)
            else:
                failpoints.reach("after_commit")
                return Outcome.OK
        log.critical("checkpoint_never_commits", attempts=ABORTS, records=len(sealed.outputs))
        return Outcome.FATAL

    def _produce(self, outputs: Sequence[Output]) -> None:
        produce = self._producer.produce
        for topic, key, value, partition, headers in outputs:
            where: dict[str, object] = {} if partition is None else {"partition": partition}
            if headers:
                where["headers"] = list(headers)
            while True:
                try:
                    produce(topic, value, key, **where)
                    break
                except BufferError:
                    self._producer.poll(0.1)

    def _finish(self, sealed: Sealed) -> None:
        self._send_offsets(sealed)
        failpoints.reach("after_send_offsets")
        if failpoints.strikes("abort_before_commit"):
            raise KafkaException(KafkaError(KafkaError.TRANSACTION_ABORTABLE, "failpoint", txn_requires_abort=True))
        failpoints.reach("before_commit")
        self._patiently(lambda: self._producer.commit_transaction(CALL_S))

    def _send_offsets(self, sealed: Sealed) -> None:
        offsets = list(sealed.offsets)
        self._patiently(lambda: self._producer.send_offsets_to_transaction(offsets, sealed.membership, CALL_S))

    def _abort(self, error: KafkaError) -> Outcome | None:
        """Ends the transaction that failed; None where it can be sent again."""
        log.warning("checkpoint_failed", error=error.str(), code=error.name(), fatal=error.fatal())
        if error.fatal():
            return Outcome.FATAL
        try:
            self._patiently(lambda: self._producer.abort_transaction(CALL_S))
        except KafkaException as exception:
            log.critical("abort_failed", error=error_of(exception).str())
            return Outcome.FATAL
        return Outcome.LOST if error.code() in LOST else None

    @staticmethod
    def _patiently(call: Callable[[], None]) -> None:
        said = False
        while True:
            try:
                return call()
            except KafkaException as exception:
                error = error_of(exception)
                if error.fatal() or error.txn_requires_abort() or not error.retriable():
                    raise
                if not said:
                    log.warning("checkpoint_waits", error=error.str())
                    said = True
                time.sleep(0.1)
