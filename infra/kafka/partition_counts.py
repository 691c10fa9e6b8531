"""Which topics exist, and the partition count that the user-keyed ones share."""

from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from infra.kafka.futures import REQUEST_TIMEOUT_S, completed
from infra.kafka.retry import error_of
from schemas.errors import UserError


class TopicsMissing(UserError):
    """Topics do not exist, or disagree on their partition count."""


class TopicIdentity(NamedTuple):
    """What identifies a topic: recreated under its name, it has another id."""

    id: str
    partitions: int


def existing_topics(admin: AdminClient, names: Iterable[str]) -> dict[str, TopicIdentity]:
    """The topics among `names` that exist. Blocks; raises KafkaException if the broker does not answer."""
    wanted = list(names)
    if not wanted:
        return {}
    found = {}
    requests = admin.describe_topics(TopicCollection(wanted), request_timeout=REQUEST_TIMEOUT_S)
    for name, answer in completed(requests, 2 * REQUEST_TIMEOUT_S).items():
        try:
            topic = answer.result()
        except KafkaException as exception:
            if error_of(exception).code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
        else:
            found[name] = TopicIdentity(str(topic.topic_id), len(topic.partitions))
    return found


def shared_partition_count(admin: AdminClient, co_partitioned: Iterable[str], others: Iterable[str]) -> int:
    """The partition count of all topics in `co_partitioned`.

    Blocks. Raises TopicsMissing if they have different counts, or if any topic does not exist.
    """
    together = list(co_partitioned)
    found = existing_topics(admin, [*together, *others])
    absent = sorted({*together, *others} - set(found))
    if absent:
        raise TopicsMissing(f"no topic {', '.join(absent)}; run `ebbtide topics` first")
    counts = {name: found[name].partitions for name in together}
    if len(set(counts.values())) > 1:
        raise TopicsMissing(f"topics disagree on their partition count {counts}; recreate them with one count")
    return counts[together[0]]
