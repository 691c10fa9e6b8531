"""Creates the topics, and refuses those that exist with another partition count."""

from collections.abc import Iterable

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # not in its __all__

from infra.kafka.client import TIMEOUT_S, client_config
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
    return [topic.topic for topic in missing]
