"""Receives commands as a delivery worker would, and records when each arrived. A separate process, until SIGTERM."""

import signal
import sys
import time
from pathlib import Path

import orjson
from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from infra.kafka.client import client_config
from schemas.topics import COMMANDS

READY = "receiving"


def main(kafka: str, partitions: int, file: Path) -> None:
    """Writes a line for each command: the event that caused it, and the time of receipt in milliseconds."""
    settings: dict[str, str | int | float | bool] = {
        "group.id": "perf-commands",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": 10,
    }
    consumer = Consumer(client_config(kafka, **settings))
    consumer.assign([TopicPartition(COMMANDS.name, partition, OFFSET_END) for partition in range(partitions)])
    received: list[tuple[float, bytes]] = []
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    consumer.consume(1, 2.0)  # after this it knows where the partitions end
    sys.stdout.write(READY + "\n")
    sys.stdout.flush()
    while not ended:
        message = consumer.poll(0.05)
        if message is not None and message.error() is None:
            received.append((time.time() * 1000, message.value() or b""))
    consumer.close()
    with file.open("wb") as lines:
        for at_ms, value in received:
            lines.write(orjson.dumps([orjson.loads(value)["data"]["event"], at_ms]) + b"\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
