"""Every writer puts a key into the same partition: confluent-kafka on a real broker, as Faust and as Java do."""

import random

import pytest
from drivers.whole_pipeline import PARTITIONS, new_topics

from infra.kafka.publisher import Publisher
from infra.kafka.topic_reader import read_all
from schemas.codec import partition_for

pytestmark = pytest.mark.servers


def test_confluent_kafka_publishes_a_thousand_keys_to_the_partitions_of_murmur2(servers):
    """`test_a_thousand_keys_have_the_partitions_that_faust_chooses` compares this function with Faust's."""
    new_topics(servers.kafka)
    rng = random.Random(7)
    keys = {rng.randbytes(rng.randint(1, 40)) for _ in range(1000)}
    with Publisher(servers.kafka) as publisher:
        for key in keys:
            publisher.send("events", key, b"{}")
    landed = {message.key(): message.partition() for message in read_all(servers.kafka, "events")}
    assert landed == {key: partition_for(key, PARTITIONS) for key in keys}
