"""Creates the topics, and refuses those that exist with another partition count."""

import time
from collections.abc import Iterable, Sequence

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # not in its __all__

from infra.kafka.client import TIMEOUT_S, client_config
from infra.kafka.partition_counts import TopicsMissing, existing_topics
from infra.kafka.retry import PAUSE_S
from infra.kafka.topics import create_topics
from schemas.errors import UserError
from schemas.topics import TOPICS, Topic


class TopicDisagreement(UserError):
    """A topic exists with another partition count than the one asked for."""


def ensure_topics(
    kafka: str, user_partitions: int, replication: int = 1, topics: Iterable[Topic] = TOPICS
) -> list[str]:
    """Creates the topics that are missing and returns their names; raises TopicDisagreement for a wrong count."""
    admin = AdminClient(client_config(kafka))
    known = admin.list_topics(timeout=TIMEOUT_S).topics
    missing = []
    for topic in topics:
        wanted = topic.partitions(user_partitions)
        if topic.name not in known:
            missing.append(NewTopic(topic.name, wanted, replication, config=topic.config()))
        elif (found := len(known[topic.name].partitions)) != wanted:
            raise TopicDisagreement(
                f"topic {topic.name} has {found} partitions, not {wanted}; "
                f"use --partitions {found}, or delete the topic and publish again"
            )
    create_topics(admin, missing, TIMEOUT_S)
    created = [topic.topic for topic in missing]
    _wait_until_known(admin, created)
    return created


def _wait_until_known(admin: AdminClient, names: Sequence[str]) -> None:
    """Waits until a broker describes the topics: it learns of them a moment after the controller has created them."""
    end = time.monotonic() + TIMEOUT_S
    while absent := sorted(set(names) - set(existing_topics(admin, names))):
        if time.monotonic() > end:
            raise TopicsMissing(f"Kafka created {', '.join(absent)} and does not list them; see the broker's log")
        time.sleep(PAUSE_S)
