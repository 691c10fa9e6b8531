"""Writes checkpoints: changelog, outputs, journal, dead letters and offsets in one Kafka transaction (KIP-98).

The group membership of the partitions' owner fences the transaction (KIP-447).
"""

import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from infra.kafka.retry import RETRIABLE, error_of
from streams.runtime import failpoints
from streams.runtime.checkpoint import Output, Transaction

log = structlog.get_logger()


class CommitOutcome(StrEnum):
    """How a commit ended."""

    OK = "ok"
    LOST = "lost"
    """The group has moved on: another member may own the partitions. Drop the state and recover."""
    FATAL = "fatal"
    """This producer is fenced, or nothing helps. End the process."""


LOST = frozenset({KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_INSTANCE_ID})
HOPELESS = frozenset({KafkaError.MSG_SIZE_TOO_LARGE})
"""What the same records would meet again however often they are sent."""
CALL_S = 5.0
STUCK_S = 20.0
"""How long one call may take that was told to take CALL_S: librdkafka takes twice that with a broker that has just gone
away, and `send_offsets` may wait for ever for a coordinator that went (its issues 5456 and 5511)."""
ATTEMPTS = 20
"""How many times one checkpoint is sent before something must be wrong with it."""


class TransactionalProducer(Protocol):
    """What the committer needs of confluent_kafka.Producer."""

    def init_transactions(self, timeout: float) -> None: ...
    def begin_transaction(self) -> None: ...
    def produce(self, topic: str, value: bytes | None, key: bytes | None, **where: object) -> None: ...
    def poll(self, timeout: float) -> int: ...
    def send_offsets_to_transaction(self, offsets: list[TopicPartition], metadata: object, timeout: float) -> None: ...
    def commit_transaction(self, timeout: float) -> None: ...


class Committer:
    """Writes transaction checkpoints, one at a time, over producers that `connect` makes.

    `stage` belongs to the event loop's thread (elsewhere it fights the agents for the interpreter), `commit` to
    another, for it waits for the broker as long as that takes: retriable errors are tried again without end, since
    giving up would say less than is true. What must not wait for it is the loss of the partitions.

    After any other error the producer is given up, not its transaction aborted: a new one under the same
    transactional id makes the coordinator abort what the old one left, and its sequence numbers begin anew. A
    producer whose messages timed out is refused (OUT_OF_ORDER_SEQUENCE_NUMBER), and was seen to hang in that state.
    So it was where `send_offsets_to_transaction` was tried again after a broker's death: that is given up at its first
    error. Only a commit is asked for again, by the same producer, since it may have been done.
    """

    def __init__(self, connect: Callable[[], TransactionalProducer]) -> None:
        self._connect = connect
        self._producer: TransactionalProducer
        self._call = ""
        self._call_began_s: float | None = None
        self.failures = 0
        """Transactions that did not commit, since the start; those that were sent again and did, too."""

    def open(self) -> None:
        """Connects, and fences every earlier producer of this transactional id. Blocks until the broker answers.

        Raises KafkaException where it refuses.
        """
        self._timed("connect", self._take_another)
        self._patiently("init_transactions", lambda: self._producer.init_transactions(CALL_S))

    def _take_another(self) -> None:
        self._producer = self._connect()  # the one before is destroyed here, and may hang in that

    def stage(self, transaction: Transaction) -> KafkaException | None:
        """Begins the transaction and produces its records; returns what went wrong, for `commit` to deal with."""
        try:
            self._producer.begin_transaction()
            self._produce(transaction.outputs)
        except KafkaException as exception:
            return exception
        failpoints.reach("after_produce")
        return None

    def commit(self, transaction: Transaction, staged: KafkaException | None = None) -> CommitOutcome:
        """Commits what was staged; after an error that allows it sends the same records again. Blocks."""
        problem, attempt = staged, 0
        while attempt < ATTEMPTS:
            try:
                if problem is not None:
                    raise problem
                self._finish(transaction)
            except KafkaException as exception:
                error = error_of(exception)
                result = self._recover(error)
                if result is not None:
                    return result
                if not _passes(error):
                    attempt += 1
                time.sleep(min(1.0, 0.05 + 0.05 * attempt))
                problem = self.stage(transaction)
            else:
                failpoints.reach("after_commit")
                return CommitOutcome.OK
        log.critical("checkpoint_never_commits", attempts=ATTEMPTS, records=len(transaction.outputs))
        return CommitOutcome.FATAL

    def is_stuck(self) -> bool:
        """Whether a call to the client library does not come back."""
        began_s = self._call_began_s
        stuck = began_s is not None and time.monotonic() - began_s > STUCK_S
        if stuck:
            log.error("call_stuck", call=self._call, longest_s=STUCK_S)
        return stuck

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
                except KafkaException:
                    log.error("record_not_taken", topic=topic, bytes=len(value or b""))
                    raise

    def _finish(self, transaction: Transaction) -> None:
        self._send_offsets(transaction)
        failpoints.reach("after_send_offsets")
        if failpoints.strikes("abort_before_commit"):
            raise KafkaException(KafkaError(KafkaError.TRANSACTION_ABORTABLE, "failpoint", txn_requires_abort=True))
        failpoints.reach("before_commit")
        self._patiently("commit_transaction", lambda: self._producer.commit_transaction(CALL_S))

    def _send_offsets(self, transaction: Transaction) -> None:
        offsets = list(transaction.offsets)
        membership = transaction.membership
        self._timed("send_offsets", lambda: self._producer.send_offsets_to_transaction(offsets, membership, CALL_S))

    def _recover(self, error: KafkaError) -> CommitOutcome | None:
        """Has the failed transaction ended; None where its records can be sent again."""
        self.failures += 1
        log.warning("checkpoint_failed", error=error.str(), code=error.name(), fatal=error.fatal())
        if error.fatal() or error.code() in HOPELESS:
            return CommitOutcome.FATAL
        try:
            self.open()
        except KafkaException as exception:
            log.critical("producer_refused", error=error_of(exception).str())
            return CommitOutcome.FATAL
        return CommitOutcome.LOST if error.code() in LOST else None

    def _patiently(self, name: str, call: Callable[[], None]) -> None:
        said = False
        while True:
            try:
                return self._timed(name, call)
            except KafkaException as exception:
                error = error_of(exception)
                if error.fatal() or error.txn_requires_abort() or not _passes(error):
                    raise
                if not said:
                    log.warning("checkpoint_waits", error=error.str())
                    said = True
            time.sleep(0.1)

    def _timed(self, name: str, call: Callable[[], None]) -> None:
        self._call = name
        self._call_began_s = time.monotonic()
        try:
            call()
        finally:
            self._call_began_s = None


def _passes(error: KafkaError) -> bool:
    """Whether it is the broker's absence or a moment of its life, that ends however long it takes."""
    return error.retriable() or error.code() in RETRIABLE
