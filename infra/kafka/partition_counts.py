"""Which topics exist, and the partition count that the user-keyed ones share."""

import asyncio
from collections.abc import Callable, Iterable
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from infra.kafka.client import KafkaAway
from infra.kafka.connection import Connection, connect_admin
from infra.kafka.futures import REQUEST_TIMEOUT_S, completed
from infra.kafka.retry import error_of
from infra.service.outages import Outage, backoff_s
from infra.service.tasks import run_in_thread
from schemas.errors import UserError

CONNECT_S = 10.0


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


def ask_partition_count(
    connection: Connection, co_partitioned: Iterable[str], others: Iterable[str], timeout_s: float = CONNECT_S
) -> int:
    """The same of a broker that is there.

    Blocks. Raises KafkaAway if it does not answer within `timeout_s`, AccessDenied and TopicsMissing.
    """
    try:
        return shared_partition_count(connect_admin(connection, timeout_s), co_partitioned, others)
    except KafkaException as exception:
        raise KafkaAway(
            f"Kafka does not answer at {connection.servers} ({error_of(exception).name()}); "
            "`make status` tells what runs, `make up` starts it"
        ) from None


async def partition_count_once_there(ask: Callable[[], int], kafka: Outage, beat: Callable[[], None]) -> int:
    """What `ask` returns, asked in a thread until it does not raise KafkaAway. Calls `beat` each time before."""
    for wait_s in backoff_s():
        beat()
        try:
            count = await run_in_thread("ask-topics", ask)
        except KafkaAway as away:
            kafka.away(away)
            await asyncio.sleep(wait_s)
        else:
            kafka.back()
            return count
    raise AssertionError("the waits have no end")
