"""Topics that a command creates are there for the command that follows."""

from dataclasses import replace

import pytest
from confluent_kafka.admin import AdminClient
from drivers.real_servers import RealServers

from infra.kafka.partition_counts import existing_topics
from infra.kafka.topic_setup import ensure_topics
from schemas.topics import EVENTS

pytestmark = pytest.mark.servers


def test_topics_are_described_as_soon_as_they_are_created(servers: RealServers, topic_prefix: str) -> None:
    with AdminClient({"bootstrap.servers": servers.kafka}) as admin:
        for round_ in range(5):
            topics = [replace(EVENTS, name=f"{topic_prefix}{round_}-{number}") for number in range(10)]
            created = ensure_topics(servers.kafka, 2, topics=topics)
            assert sorted(existing_topics(admin, created)) == sorted(topic.name for topic in topics)
