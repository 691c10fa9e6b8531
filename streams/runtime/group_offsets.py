"""The group's committed offsets and partition watermarks, requested through the consume thread. For other threads."""

from collections.abc import Iterable

import confluent_kafka
from confluent_kafka import KafkaException

from infra.kafka.futures import REQUEST_TIMEOUT_S
from infra.kafka.topics import TopicPartition
from streams.runtime.intake import Intake


class GroupOffsets:
    """Blocking requests over `intake`. Each raises KafkaException if the broker does not answer."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def committed(self, partitions: Iterable[TopicPartition]) -> list[confluent_kafka.TopicPartition]:
        """The stable committed offsets with their metadata. The offset is negative if the group has none."""
        answers = self._intake.committed(partitions).result(2 * REQUEST_TIMEOUT_S)
        for answer in answers:
            if answer.error is not None:
                raise KafkaException(answer.error)
        return answers

    def any_committed(self, partitions: Iterable[TopicPartition]) -> bool:
        """Whether the group has committed an offset of one of these."""
        return any(answer.offset >= 0 for answer in self.committed(partitions))

    def watermarks(self, partition: TopicPartition) -> tuple[int, int]:
        """The first and the next offset of a partition."""
        return self._intake.watermarks(partition).result(2 * REQUEST_TIMEOUT_S)
