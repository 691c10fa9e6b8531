"""Topics and their partitions as the broker describes them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]  # no __all__

from infra.kafka.futures import REQUEST_TIMEOUT_S, completed
from infra.kafka.retry import error_of, retry


class TopicPartition(NamedTuple):
    """One partition of one topic. A dictionary key, which confluent_kafka.TopicPartition with its offset is not."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic beyond its name: recreated under that name, it has another id."""

    id: str
    partitions: int
    config: Mapping[str, str]


def describe(admin: AdminClient, topic: str, keep_trying: Callable[[], bool]) -> TopicDescription:
    """Asks the broker about a topic, with retries. Blocks; raises KafkaException."""

    def request() -> TopicDescription:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        configs = admin.describe_configs([resource], request_timeout=REQUEST_TIMEOUT_S)
        topics = admin.describe_topics(TopicCollection([topic]), request_timeout=REQUEST_TIMEOUT_S)
        description = completed(topics, 2 * REQUEST_TIMEOUT_S)[topic].result()
        entries = completed(configs, 2 * REQUEST_TIMEOUT_S)[resource].result()
        config = {name: str(entry.value) for name, entry in entries.items()}
        return TopicDescription(str(description.topic_id), len(description.partitions), config)

    return retry(request, keep_trying=keep_trying)


def create_topics(admin: AdminClient, topics: Sequence[NewTopic], timeout_s: float) -> None:
    """Creates the topics. One that another process created first stays as it is. Blocks; raises KafkaException."""
    for created in admin.create_topics(list(topics)).values() if topics else ():
        try:
            created.result(timeout_s)
        except KafkaException as exception:
            if error_of(exception).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
