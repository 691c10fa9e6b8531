"""Writes checkpoints: changelog, outputs, journal, dead letters and offsets in one Kafka transaction (KIP-98).

The group membership of the partitions' owner fences the transaction (KIP-447).
"""

import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import partial
from typing import Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from infra.kafka.retry import RETRIABLE, error_of
from streams.runtime import failpoints
from streams.runtime.checkpoint import Transaction

log = structlog.get_logger()


class CommitOutcome(StrEnum):
    """How a commit ended."""

    OK = "ok"
    LOST = "lost"
    """The group has rebalanced, and another member may own the partitions. Drop the state and recover."""
    FATAL = "fatal"
    """This producer is fenced, or a retry cannot help. End the process."""


LOST = frozenset({KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_INSTANCE_ID})
NOT_RETRIABLE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE})
"""Errors that the same records cause however often they are sent."""
CALL_S = 5.0
STUCK_S = 20.0
"""How long a call with the timeout CALL_S may take. librdkafka takes twice the timeout if the broker has just gone
away, and `send_offsets` may wait for ever for a coordinator that went away (its issues 5456 and 5511)."""
ANY_PARTITION = -1
"""librdkafka's number for the partition that the partitioner chooses."""
ATTEMPTS = 20
"""How often one checkpoint is sent before the process ends."""


class TransactionalProducer(Protocol):
    """The methods of confluent_kafka.Producer that the committer uses."""

    def init_transactions(self, timeout: float) -> None: ...
    def begin_transaction(self) -> None: ...
    def produce(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int, **headers: object
    ) -> None: ...
    def poll(self, timeout: float) -> int: ...
    def send_offsets_to_transaction(self, offsets: list[TopicPartition], metadata: object, timeout: float) -> None: ...
    def commit_transaction(self, timeout: float) -> None: ...


class Committer:
    """Commits transactions, one at a time, with producers that `connect` creates.

    Call `stage` in the event loop's thread: in another it competes with the agents for the interpreter. Call `commit`
    in another thread: it waits for the broker as long as necessary. Retriable errors are retried without end, because
    the outcome of an abandoned commit is unknown. The loss of partitions must not wait for `commit`.

    After any other error the producer is replaced instead of aborting its transaction. A new producer with the same
    transactional id makes the coordinator abort the old transaction, and its sequence numbers start again. A producer
    whose messages timed out is rejected (OUT_OF_ORDER_SEQUENCE_NUMBER), and was seen to hang in that state. It also
    hung when `send_offsets_to_transaction` was retried after a broker's death, so that call is not retried. Only a
    commit is retried with the same producer, because it may have succeeded.
    """

    def __init__(self, connect: Callable[[], TransactionalProducer]) -> None:
        self._connect = connect
        self._producer: TransactionalProducer
        self._call = ""
        self._call_began_s: float | None = None
        self.failures = 0
        """How many transactions failed since the start, including those that were sent again and committed."""

    def open(self) -> None:
        """Connects, and fences every earlier producer of this transactional id. Blocks until the broker answers.

        Raises KafkaException if the broker refuses.
        """
        self._timed("connect", self._replace_producer)
        self._retry("init_transactions", lambda: self._producer.init_transactions(CALL_S))

    def _replace_producer(self) -> None:
        self._producer = self._connect()  # this destroys the earlier producer, which may hang

    def stage(self, transaction: Transaction) -> KafkaException | None:
        """Begins the transaction and produces its records. Returns an error for `commit` to handle, or None."""
        try:
            self._producer.begin_transaction()
            self._produce(transaction)
        except KafkaException as exception:
            return exception
        failpoints.reach("after_produce")
        return None

    def commit(self, transaction: Transaction, staged: KafkaException | None = None) -> CommitOutcome:
        """Commits what was staged. After an error that allows it, sends the same records again. Blocks."""
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
                if not _is_temporary(error):
                    attempt += 1
                time.sleep(min(1.0, 0.05 + 0.05 * attempt))
                problem = self.stage(transaction)
            else:
                failpoints.reach("after_commit")
                return CommitOutcome.OK
        log.critical("checkpoint_never_commits", attempts=ATTEMPTS, records=transaction.records_by_topic().total())
        return CommitOutcome.FATAL

    def is_stuck(self) -> bool:
        """Whether a call to the client library does not return."""
        began_s = self._call_began_s
        stuck = began_s is not None and time.monotonic() - began_s > STUCK_S
        if stuck:
            log.error("call_stuck", call=self._call, longest_s=STUCK_S)
        return stuck

    def _produce(self, transaction: Transaction) -> None:
        produce = self._producer.produce
        for topic, partition, records in transaction.changes:
            self._write(produce, topic, partition, records)
        for topic, key, value, place, headers in transaction.outputs:
            write = partial(produce, headers=list(headers)) if headers else produce
            self._write(write, topic, ANY_PARTITION if place is None else place, ((key, value),))

    def _write(
        self,
        produce: Callable[[str, bytes | None, bytes | None, int], None],
        topic: str,
        partition: int,
        records: Iterable[tuple[bytes | None, bytes | None]],
    ) -> None:
        for key, value in records:
            while True:
                try:
                    produce(topic, value, key, partition)  # keywords would take half as long again
                    break
                except BufferError:
                    self._producer.poll(0.1)
                except KafkaException:
                    log.error("record_not_taken", topic=topic, bytes=len(value or b""))
                    raise

    def _finish(self, transaction: Transaction) -> None:
        self._send_offsets(transaction)
        failpoints.reach("after_send_offsets")
        if failpoints.triggers("abort_before_commit"):
            raise KafkaException(KafkaError(KafkaError.TRANSACTION_ABORTABLE, "failpoint", txn_requires_abort=True))
        failpoints.reach("before_commit")
        self._retry("commit_transaction", lambda: self._producer.commit_transaction(CALL_S))

    def _send_offsets(self, transaction: Transaction) -> None:
        offsets = list(transaction.offsets)
        membership = transaction.membership
        self._timed("send_offsets", lambda: self._producer.send_offsets_to_transaction(offsets, membership, CALL_S))

    def _recover(self, error: KafkaError) -> CommitOutcome | None:
        """Ends the failed transaction. Returns None if its records can be sent again."""
        self.failures += 1
        log.warning("checkpoint_failed", error=error.str(), code=error.name(), fatal=error.fatal())
        if error.fatal() or error.code() in NOT_RETRIABLE:
            return CommitOutcome.FATAL
        try:
            self.open()
        except KafkaException as exception:
            log.critical("producer_refused", error=error_of(exception).str())
            return CommitOutcome.FATAL
        return CommitOutcome.LOST if error.code() in LOST else None

    def _retry(self, name: str, call: Callable[[], None]) -> None:
        logged = False
        while True:
            try:
                return self._timed(name, call)
            except KafkaException as exception:
                error = error_of(exception)
                if error.fatal() or error.txn_requires_abort() or not _is_temporary(error):
                    raise
                if not logged:
                    log.warning("checkpoint_waits", error=error.str())
                    logged = True
            time.sleep(0.1)

    def _timed(self, name: str, call: Callable[[], None]) -> None:
        self._call = name
        self._call_began_s = time.monotonic()
        try:
            call()
        finally:
            self._call_began_s = None


def _is_temporary(error: KafkaError) -> bool:
    """Whether the error ends by itself, however long that takes: the broker is away, starts or moves."""
    return error.retriable() or error.code() in RETRIABLE
