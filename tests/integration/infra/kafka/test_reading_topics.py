"""A topic read to its end from outside: whole, and no longer than that takes."""

import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from infra.kafka.topic_reader import arrived, read_all, reader_config

pytestmark = pytest.mark.servers


@pytest.fixture
def topic(servers, topic_prefix) -> str:
    """Ten records in one partition."""
    name = f"{topic_prefix}read"
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
    producer = Producer({"bootstrap.servers": servers.kafka})
    for number in range(10):
        producer.produce(name, b"%d" % number)
    assert producer.flush(30) == 0
    return name


def test_a_topic_whose_first_records_are_gone_is_read_from_the_first_that_is_left(servers, topic):
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    [deleted] = admin.delete_records([TopicPartition(topic, 0, 4)]).values()
    deleted.result(30)
    assert [message.value() for message in read_all(servers.kafka, topic)] == [b"%d" % n for n in range(4, 10)]


def test_messages_that_have_arrived_are_returned_at_once(servers, topic):
    consumer = Consumer(reader_config(servers.kafka, "reading"))
    consumer.assign([TopicPartition(topic, 0, 0)])
    began_s, values = time.monotonic(), []
    while len(values) < 10:
        values += [message.value() for message in arrived(consumer, wait_s=60.0)]
    consumer.close()
    assert values[:10] == [b"%d" % n for n in range(10)]
    assert time.monotonic() - began_s < 30.0
