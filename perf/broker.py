"""The measurements' own broker: emptied for each part, loaded with events, and read afterwards."""

import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # not in its __all__

from cli.manifests.publication import apply_folder
from cli.rules.rule_folder import Folder
from infra.kafka.client import client_config
from infra.kafka.retry import retry
from infra.kafka.topic_reader import reader_config
from infra.kafka.topic_setup import ensure_topics
from infra.local.kafka.server import KafkaServer
from infra.local.layout import Layout
from infra.local.ports import Ports
from perf.cpu_placement import CpuPlacement, on
from perf.workloads import Workload
from schemas.codec import PARTITIONER
from schemas.topics import PROFILES, Topic

PORT_OFFSET = 300
WRITE_S = 120.0

Report = Callable[[str], None]
Ends = Mapping[int, int]
"""By partition, the offset after its last record."""


class Broker:
    """One Kafka process with its own port and folder. Leaving the `with` block stops it and deletes its data."""

    def __init__(self, placement: CpuPlacement, report: Report) -> None:
        layout = Layout.of_project()
        self.ports = Ports(Ports.from_env().base + PORT_OFFSET)
        self.home = layout.home / "perf" / str(self.ports.base)
        self.placement = placement
        self.partitions = 0
        self._server = KafkaServer(layout.in_own_partition(self.home), self.ports)
        self._report = report

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _remove(self) -> None:
        self._server.stop()
        for folder in (self.home / "data", self.faust):
            if folder.exists():
                shutil.rmtree(folder)

    @property
    def kafka(self) -> str:
        """Its bootstrap server."""
        return f"127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """Its port."""
        return self._server.port

    @property
    def faust(self) -> Path:
        """The folder for worker files that belong to this broker's data. `fresh` deletes it too."""
        return self.home / "faust"

    def fresh(self, partitions: int) -> None:
        """Restarts it without data, and creates the product's topics."""
        self._remove()
        self.faust.mkdir(parents=True)
        with on(self.placement.broker):
            self._server.start()
        self.partitions = partitions
        ensure_topics(self.kafka, partitions)

    def topic(self, name: str, like: Topic) -> str:
        """Creates another topic with the settings of one of the product's."""
        ensure_topics(self.kafka, self.partitions, topics=[replace(like, name=name)])
        return name

    def apply(self, rules: Folder) -> None:
        """Applies these rules."""
        apply_folder(self.kafka, rules, by="perf")

    def load(self, topic: str, records: Iterable[tuple[bytes, bytes]]) -> Ends:
        """Appends all records, on any core, and returns the topic's ends."""
        loader = Loader(self.kafka)
        loader.send(topic, records)
        return self.ends(topic)

    def load_profiles(self, workload: Workload) -> Ends:
        """Appends the profile of each user."""
        return self.load(PROFILES.name, workload.profiles())

    def ends(self, topic: str, isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED) -> Ends:
        """Where the topic ends; by default with what an open transaction wrote."""
        admin = AdminClient(client_config(self.kafka))
        wanted = {TopicPartition(topic, p): OffsetSpec.latest() for p in range(self.partitions)}  # type: ignore[no-untyped-call]

        def ask() -> Ends:
            offsets = admin.list_offsets(wanted, isolation_level=isolation)
            return {place.partition: int(found.result(10).offset) for place, found in offsets.items()}

        return retry(ask, 30.0)

    def is_all_committed(self, topic: str) -> bool:
        """Whether no open transaction hides records of the topic."""
        return self.ends(topic, IsolationLevel.READ_COMMITTED) == self.ends(topic)

    def since(self, topic: str, starts: Ends) -> list[Message]:
        """The committed records from `starts` to the end."""
        ends = self.ends(topic)
        left = {p for p, end in ends.items() if end > starts[p]}
        consumer = Consumer({**reader_config(self.kafka, "perf-reader"), "fetch.wait.max.ms": 10})
        consumer.assign([TopicPartition(topic, p, starts[p]) for p in left])
        found: list[Message] = []
        while left:
            for message in consumer.consume(10_000, 0.2):
                error, partition = message.error(), message.partition()
                if error is None:
                    found.append(message)
                elif error.code() == KafkaError._PARTITION_EOF and partition is not None:
                    left.discard(partition)
                else:
                    raise KafkaException(error)
        consumer.close()
        return found


class Loader:
    """Appends records quickly. With `hidden`, in one transaction, so that all become visible at once."""

    def __init__(self, kafka: str, *, hidden: bool = False) -> None:
        settings: dict[str, str | int | float | bool] = {
            "partitioner": PARTITIONER,
            "enable.idempotence": True,
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 512 * 1024,
            "delivery.report.only.error": True,
        }
        if hidden:
            settings |= {"transactional.id": f"perf-loader-{time.time_ns()}", "transaction.timeout.ms": 600_000}
        self._producer = Producer(client_config(kafka, **settings))
        if hidden:
            self._producer.init_transactions(WRITE_S)
            self._producer.begin_transaction()

    def send(self, topic: str, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Appends all records; raises KafkaException or TimeoutError if the broker did not accept them."""
        produce, failed = self._producer.produce, list[str]()

        def delivered(error: object, _: Message) -> None:
            failed.append(str(error))

        for key, value in records:
            while True:
                try:
                    produce(topic, value, key, on_delivery=delivered)
                    break
                except BufferError:
                    self._producer.poll(0.05)
        left = self._producer.flush(WRITE_S)
        if left or failed:
            raise TimeoutError(f"{left} records for {topic} were not written within {WRITE_S:g} s {failed[:1]}")

    def send_soon(self, topic: str, key: bytes | None, value: bytes) -> None:
        """Appends one record within the linger time."""
        self._producer.produce(topic, value, key)
        self._producer.poll(0)

    def reveal(self) -> None:
        """Commits the transaction, which makes the records visible."""
        self._producer.commit_transaction(WRITE_S)
