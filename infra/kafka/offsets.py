"""Where partitions end, by one request for all of them."""

from collections.abc import Callable, Iterable
from contextlib import suppress

import confluent_kafka
from confluent_kafka import IsolationLevel, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # not in its __all__

from infra.kafka.futures import REQUEST_TIMEOUT_S, completed
from infra.kafka.retry import retry
from infra.kafka.topics import TopicPartition


class EndOffsets:
    """Reads end offsets over one admin client.

    The client is kept: if it is dropped, its futures never resolve. After an error its metadata is refreshed: by itself
    it would keep leader epochs from before a broker's restart, and every request would fail (confluent-kafka 2.16).
    """

    def __init__(self, admin: AdminClient, timeout_s: float | None = None) -> None:
        self._admin = admin
        self._timeout_s = REQUEST_TIMEOUT_S if timeout_s is None else timeout_s

    def last_stable(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The ends that a read_committed reader sees, without those of partitions that do not answer. Blocks."""
        ends, failed = self._list(partitions, IsolationLevel.READ_COMMITTED)
        if failed is not None:
            with suppress(KafkaException):  # still away: the next call refreshes it
                self._refresh()
        return ends

    def high_watermarks(
        self, partitions: Iterable[TopicPartition], keep_trying: Callable[[], bool]
    ) -> dict[TopicPartition, int]:
        """The ends with what open transactions wrote, of all partitions, with retries. Blocks; raises
        KafkaException."""
        wanted = list(partitions)

        def request() -> dict[TopicPartition, int]:
            ends, failed = self._list(wanted, IsolationLevel.READ_UNCOMMITTED)
            if failed is not None:
                self._refresh()
                raise failed
            return ends

        return retry(request, keep_trying=keep_trying) if wanted else {}

    def _list(
        self, partitions: Iterable[TopicPartition], level: IsolationLevel
    ) -> tuple[dict[TopicPartition, int], KafkaException | None]:
        wanted = {confluent_kafka.TopicPartition(*tp): OffsetSpec.latest() for tp in partitions}  # type: ignore[no-untyped-call]
        futures = self._admin.list_offsets(wanted, isolation_level=level, request_timeout=self._timeout_s)
        ends, failed = {}, None
        for tp, future in completed(futures, 2 * self._timeout_s).items():
            try:
                offset = int(future.result().offset)
            except KafkaException as exception:
                failed = exception
            else:
                if offset >= 0:
                    ends[TopicPartition(tp.topic, tp.partition)] = offset
                else:  # a broker that was frozen before it could answer (confluent-kafka 2.16)
                    failed = KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return ends, failed

    def _refresh(self) -> None:
        self._admin.list_topics(timeout=self._timeout_s)
