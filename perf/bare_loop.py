"""The bare loop: consumes, processes and produces in transactions, written by hand. A separate process.

It is exactly-once only while nothing fails: it has no rebalance, no recovery, no timers and no clock. The comparison
shows what these cost.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import orjson
from confluent_kafka import Producer, TopicPartition

from infra.kafka.client import client_config
from perf.inside import Meter, reader, wait_to_be_ended
from perf.jobs import EveryEventJob, Job, RuleJob, SpikeJob
from schemas.codec import PARTITIONER

JOBS: dict[str, Callable[[], Job]] = {"spike": SpikeJob, "rule": RuleJob, "every-event": EveryEventJob}
TRANSACTION_S = 0.2
TIMEOUT_S = 30.0


class BareLoop:
    """Does a job over a topic, and writes to topics named after the group."""

    def __init__(self, kafka: str, group: str, topic: str, job: Job) -> None:
        self._topic, self._group, self._job = topic, group, job
        self._consumer = reader(kafka, group)
        settings: dict[str, str | int | float | bool] = {
            "transactional.id": group,
            "partitioner": PARTITIONER,
            "linger.ms": 5,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
            "delivery.report.only.error": True,
        }
        self._producer = Producer(client_config(kafka, **settings))

    def run(self, events: int) -> None:
        """Processes `events` records."""
        self._producer.init_transactions(TIMEOUT_S)
        self._consumer.subscribe([self._topic])
        meter, done = Meter(), 0
        while done < events:
            done += self._transaction(meter)
        meter.end(done)

    def _transaction(self, meter: Meter) -> int:
        consume, apply = self._consumer.consume, self._job.apply
        dirty: dict[bytes, int] = {}
        written: list[tuple[str, bytes, bytes]] = []
        offsets: dict[int, int] = {}
        done, end = 0, time.monotonic() + TRANSACTION_S
        while time.monotonic() < end:
            records: list[Any] = consume(2_000, 0.05)
            if not records:
                continue
            meter.begin()
            for record in records:
                key, partition = record.key(), record.partition()
                changed, values = apply(key, record.value(), record.timestamp()[1])
                if changed:
                    dirty[key] = partition
                for topic, value in values:
                    written.append((topic, key, value))
                offsets[partition] = record.offset() + 1
            done += len(records)
        if done:
            self._commit(dirty, written, offsets)
        return done

    def _commit(
        self, dirty: dict[bytes, int], written: list[tuple[str, bytes, bytes]], offsets: dict[int, int]
    ) -> None:
        produce, users = self._producer.produce, self._job.users
        self._producer.begin_transaction()
        changelog = f"{self._group}-changelog"
        for key, partition in dirty.items():
            produce(changelog, orjson.dumps(users[key]), key, partition=partition)
        for topic, key, value in written:
            produce(f"{self._group}-{topic}", value, key)
        self._producer.send_offsets_to_transaction(
            [TopicPartition(self._topic, partition, offset) for partition, offset in offsets.items()],
            self._consumer.consumer_group_metadata(),
            TIMEOUT_S,
        )
        self._producer.commit_transaction(TIMEOUT_S)


if __name__ == "__main__":
    kafka, group, topic, job, events = sys.argv[1:]
    BareLoop(kafka, group, topic, JOBS[job]()).run(int(events))
    wait_to_be_ended()
