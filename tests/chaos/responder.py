"""Stands in for delivery: reads commands read_committed in its own process, and answers with outcomes.

What it answers is a function of the seed and the command's id. It keeps what it read in a file, one command a line. A
line on its standard input ends the answers, the end of the input ends it, once everything is read.
"""

import argparse
import heapq
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from infra.kafka.client import KafkaAway, client_config
from infra.kafka.topic_reader import reader_config
from schemas.codec import PARTITIONER
from schemas.endpoints import WEBHOOK
from schemas.outcomes import outcome_id
from schemas.topics import COMMANDS, OUTCOMES
from schemas.vocabulary import OutcomeKind


def answers(seed: int, command_id: str, channel: str = "email") -> list[tuple[float, OutcomeKind, dict[str, Any]]]:
    """What becomes of a command, and how many seconds later. Nobody reads a webhook."""
    chance = Random(f"{seed}.{command_id}")
    if chance.random() < 0.12:
        kinds = (OutcomeKind.REFUSED, OutcomeKind.EXPIRED, OutcomeKind.FAILED)
        return [(chance.uniform(0, 4), chance.choice(kinds), {})]
    found: list[tuple[float, OutcomeKind, dict[str, Any]]] = [(0.0, OutcomeKind.ACCEPTED, {})]
    if channel == WEBHOOK:
        return found
    dice, after_s = chance.random(), chance.uniform(0.2, 3)
    if dice < 0.3:
        found.append((after_s, OutcomeKind.CLICKED, {"url": "https://shop.example/"}))
    elif dice < 0.33:
        found.append((after_s, OutcomeKind.UNSUBSCRIBED, {}))
    elif dice < 0.34:
        found.append((after_s, OutcomeKind.COMPLAINED, {}))
    elif dice < 0.36:
        code = chance.choice((452, 550))
        found.append((after_s, OutcomeKind.BOUNCED, {"reply": {"code": code, "text": "mailbox"}, "hard": code == 550}))
    return found * 2 if chance.random() < 0.05 else found  # some are reported twice


SILENCE_S = 8.0
"""After so long without a command, with the workers gone, none is left."""
STALLED_S = 40.0
"""A producer that delivers nothing for so long though records wait is replaced; a broker is away for less."""
FLUSH_S = 120.0
REOPEN_S = 3.0
"""After so long without a command another client is taken: confluent-kafka 2.16 was seen to fetch nothing any more
after a broker's restart, and to say nothing of it."""


class SteadyPublisher:
    """Publishes outcomes, and takes another producer when the one it has delivers nothing any more.

    An outcome is kept until Kafka has it. One that is sent again may be there twice: the workers know it by its id.
    """

    def __init__(self, kafka: str) -> None:
        self._kafka = kafka
        self._kept: dict[int, tuple[bytes, bytes]] = {}
        self._number = 0
        self._open()

    def _open(self) -> None:
        settings = {"partitioner": PARTITIONER, "enable.idempotence": True, "linger.ms": 5, "compression.type": "lz4"}
        limits = {"message.timeout.ms": 300_000, "queue.buffering.max.messages": 1_000_000}
        self._producer = Producer(client_config(self._kafka, **settings | limits))
        self._moved_s = time.monotonic()

    def send(self, key: bytes, value: bytes) -> None:
        """Queues one outcome."""
        self._number += 1
        self._kept[self._number] = (key, value)
        self._produce(self._number)

    def _produce(self, number: int) -> None:
        def written(error: KafkaError | None, _: Message) -> None:
            if error is None:
                self._moved_s = time.monotonic()
                self._kept.pop(number, None)

        key, value = self._kept[number]
        self._producer.produce(OUTCOMES.name, value, key, on_delivery=written)

    def check(self) -> None:
        """Takes another producer where this one has delivered nothing for `STALLED_S` though outcomes wait."""
        self._producer.poll(0)
        if not self._kept:
            self._moved_s = time.monotonic()
        elif time.monotonic() - self._moved_s > STALLED_S:
            print(f"the responder takes another producer; outcomes waiting: {len(self._kept)}", file=sys.stderr)  # noqa: T201
            self._open()
            for number in list(self._kept):
                self._produce(number)

    def flush(self) -> None:
        """Waits until Kafka has every outcome."""
        ends_s = time.monotonic() + FLUSH_S
        while self._kept:
            if time.monotonic() > ends_s:
                raise TimeoutError(f"outcomes not written within {FLUSH_S:g} s: {len(self._kept)}")
            self.check()
            time.sleep(0.01)


class Responder:
    """Commands in, outcomes out."""

    def __init__(self, kafka: str, partitions: int, seed: int, kept: Path) -> None:
        self._kafka, self._seed = kafka, seed
        self._kept = kept.open("wb")
        self._due: list[tuple[float, int, str, bytes]] = []
        self._number = 0
        self._next = dict.fromkeys(range(partitions), 0)

    def _open(self) -> Consumer:
        consumer = Consumer(reader_config(self._kafka, "chaos-responder") | {"enable.partition.eof": False})
        consumer.assign([TopicPartition(COMMANDS.name, number, offset) for number, offset in self._next.items()])
        return consumer

    def _another(self, consumer: Consumer) -> Consumer:
        try:
            fresh = self._open()
        except KafkaAway:
            return consumer
        consumer.close()
        return fresh

    def run(self, quiet: threading.Event, ending: threading.Event) -> None:
        """Answers until `quiet` is set, reads until `ending` is, and what is there then."""
        consumer = self._open()
        heard_s = opened_s = time.monotonic()
        publisher = SteadyPublisher(self._kafka)
        while not ending.is_set() or time.monotonic() - heard_s < SILENCE_S:
            for message in consumer.consume(500, 0.05):
                heard_s = time.monotonic()
                self._take(message)
            if time.monotonic() - max(heard_s, opened_s) > REOPEN_S:
                consumer, opened_s = self._another(consumer), time.monotonic()
            while self._due and self._due[0][0] <= time.monotonic() and not quiet.is_set():
                self._answer(publisher, *heapq.heappop(self._due)[2:])
            publisher.check()
            self._kept.flush()
        publisher.flush()
        consumer.close()

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            if error.code() not in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):
                print(f"the responder waits: {error.str()}", file=sys.stderr)  # noqa: T201
            return
        self._next[message.partition() or 0] = (message.offset() or 0) + 1
        value, key = message.value() or b"", message.key() or b""
        self._kept.write(value + b"\n")
        command = orjson.loads(value)
        command_id, channel = command["id"], command["channel"]
        of_webhook = {"channel": WEBHOOK, "trigger": command["trigger"], "step": command["step"]}
        for after_s, kind, more in answers(self._seed, command_id, channel):
            self._number += 1
            body = {"id": outcome_id(command_id, kind, 1), "command_id": command_id, "kind": kind, **more}
            body |= of_webhook if channel == WEBHOOK else {}
            body |= {"user_id": key.decode(), "attempt": 1}
            heapq.heappush(self._due, (time.monotonic() + after_s, self._number, key.decode(), orjson.dumps(body)))

    def _answer(self, publisher: SteadyPublisher, user_id: str, body: bytes) -> None:
        stamped = orjson.loads(body) | {"time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        publisher.send(user_id.encode(), orjson.dumps(stamped))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--kept", type=Path, required=True)
    given = parser.parse_args()
    stop, over = threading.Event(), threading.Event()

    def listen() -> None:
        sys.stdin.readline()
        stop.set()
        sys.stdin.read()
        over.set()

    threading.Thread(target=listen, daemon=True).start()
    Responder(given.kafka, given.partitions, given.seed, given.kept).run(stop, over)
