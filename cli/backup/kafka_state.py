"""What a backup keeps of Kafka: up to where groups have read, and the topics `rules` and `control` whole."""

import gzip
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import confluent_kafka
import orjson
from confluent_kafka import Consumer, KafkaException, Message
from confluent_kafka.admin import AdminClient

from cli.backup.folder import Offsets, WrongBackup
from infra.kafka.client import TIMEOUT_S, client_config
from infra.kafka.publisher import Publisher
from infra.kafka.retry import retry
from infra.kafka.topic_reader import read_all, read_to_ends, reader_config, watermarks
from schemas.errors import UserError
from schemas.topics import COMMANDS, CONTROL, DECISIONS, OUTCOMES, PROFILES, RULES

GROUPS: Mapping[str, tuple[str, ...]] = {
    "ebbtide-senders": (COMMANDS.name,),
    "ebbtide-recorder": (DECISIONS.name, OUTCOMES.name),
}
"""The groups whose place is in Kafka alone. Those of other readers are in the tables that they write."""
OF_TABLES = (
    *GROUPS,
    "ebbtide-recipients",
    "ebbtide-web-profiles",
    "ebbtide-web-visitors",
    "ebbtide-web-consent-profiles",
    "ebbtide-web-consent-outcomes",
)
"""The groups of all readers that write tables."""
WHOLE = (RULES.name, CONTROL.name)
_IDLE = ("EMPTY", "DEAD", "UNKNOWN")


class WorkersRun(UserError):
    """Workers still run, which would read and write what is restored."""


def cluster_id(kafka: str) -> str:
    """Which cluster this is."""
    return str(AdminClient(client_config(kafka)).list_topics(timeout=TIMEOUT_S).cluster_id)


def partitions(kafka: str) -> int:
    """How many partitions user-keyed topics have; 0 if there are none yet."""
    found = AdminClient(client_config(kafka)).list_topics(timeout=TIMEOUT_S).topics.get(PROFILES.name)
    return 0 if found is None else len(found.partitions)


def committed(kafka: str, group: str, topics: Iterable[str]) -> Offsets:
    """Up to where a group has committed; where it has not, the first offset that is kept."""
    consumer = Consumer(reader_config(kafka, group))
    try:
        found: dict[str, dict[int, int]] = {}
        for topic in topics:
            low = watermarks(consumer, topic).low
            wanted = [confluent_kafka.TopicPartition(topic, number) for number in low]
            answers = retry(lambda: consumer.committed(wanted, timeout=TIMEOUT_S), TIMEOUT_S) if wanted else []  # noqa: B023
            found[topic] = {each.partition: max(each.offset, low[each.partition]) for each in answers}
        return found
    finally:
        consumer.close()


def ends(kafka: str, topic: str) -> Mapping[int, int]:
    """Where the partitions of a topic end."""
    consumer = Consumer(reader_config(kafka, "ebbtide-reader"))
    try:
        return watermarks(consumer, topic).high
    finally:
        consumer.close()


def require_idle(kafka: str, groups: Collection[str]) -> None:
    """Raises WorkersRun if a group has members."""
    admin = AdminClient(client_config(kafka))
    for group, future in admin.describe_consumer_groups(list(groups), request_timeout=TIMEOUT_S).items():
        if (state := future.result(TIMEOUT_S).state.name) not in _IDLE:
            raise WorkersRun(
                f"workers of the group {group} still run ({state.lower()}): stop all workers, wait 10 s, run this again"
            )


def commit(kafka: str, group: str, offsets: Offsets) -> None:
    """Let a group without members go on at these offsets."""
    places = [
        confluent_kafka.TopicPartition(topic, number, offset)
        for topic, found in offsets.items()
        for number, offset in found.items()
    ]
    consumer = Consumer(reader_config(kafka, group))
    try:
        for each in consumer.commit(offsets=places, asynchronous=False) if places else ():
            if each.error is not None:
                raise KafkaException(each.error)
    finally:
        consumer.close()


def records_since(kafka: str, topic: str, offsets: Mapping[int, int]) -> Iterator[Message]:
    """The committed records of a topic from these offsets to its end at the time of the call."""
    consumer = Consumer(reader_config(kafka, "ebbtide-reader"))
    try:
        found = watermarks(consumer, topic)
        starts = {number: max(offsets.get(number, 0), found.low[number]) for number in found.high}
        wanted = {number: at for number, at in starts.items() if at < found.high[number]}
        if wanted:
            consumer.assign([confluent_kafka.TopicPartition(topic, number, at) for number, at in wanted.items()])
            yield from read_to_ends(consumer, {(topic, number) for number in wanted})
    finally:
        consumer.close()


def save_topic(kafka: str, topic: str, folder: Path) -> int:
    """Write the records of a topic to a file, one JSON object a line; returns how many."""
    count = 0
    with gzip.open(folder / f"{topic}.jsonl.gz", "wb", compresslevel=1) as file:
        for message in read_all(kafka, topic):
            key, value = message.key(), message.value()
            said = {"key": None if key is None else key.hex(), "value": None if value is None else value.hex()}
            file.write(orjson.dumps(said) + b"\n")
            count += 1
    return count


def require_new_topics(kafka: str, count: int) -> None:
    """Raises WrongBackup if a cluster has topics with another count of partitions, or records where a backup's go."""
    if (found := partitions(kafka)) not in (0, count):
        raise WrongBackup(f"the topics have {found} partitions, in the backup {count}: name a cluster without topics")
    for topic in WHOLE:
        _require_empty(kafka, topic)


def _require_empty(kafka: str, topic: str) -> None:
    if any(ends(kafka, topic).values()):
        raise WrongBackup(f"the topic {topic} has records already, and this is another cluster than the backup's")


def load_topic(kafka: str, topic: str, folder: Path) -> int:
    """Publish the records of a file to a topic that has none; returns how many. Raises WrongBackup if it has some."""
    _require_empty(kafka, topic)
    count = 0
    with gzip.open(folder / f"{topic}.jsonl.gz", "rb") as file, Publisher(kafka) as publisher:
        for line in file:
            said: dict[str, Any] = orjson.loads(line)
            key, value = (None if said[name] is None else bytes.fromhex(said[name]) for name in ("key", "value"))
            publisher.send(topic, key or b"", value)
            count += 1
    return count
