"""The bounce listener in a thread, on real Kafka and PostgreSQL, and what it publishes."""

import asyncio
import smtplib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition
from drivers.free_ports import free_port
from drivers.real_servers import RealServers
from drivers.running_senders import have_topics
from pydantic import SecretStr

from schemas.codec import decode
from schemas.outcomes import Outcome
from schemas.topics import OUTCOMES
from senders.bounces.app import run
from senders.bounces.settings import BounceSettings
from senders.bounces.verp import ReturnPaths

KEYS = (SecretStr("n" * 16), SecretStr("o" * 16))
DOMAIN = "bounces.harbour.example"
COMMAND = "00112233445566778899aabbccddeeff"


@dataclass
class RunningListener:
    settings: BounceSettings
    consumer: Consumer

    def send(self, recipient: str, mail: bytes, sender: str = "") -> None:
        with smtplib.SMTP("127.0.0.1", self.settings.bounces_port, timeout=30) as client:
            client.sendmail(sender, [recipient], mail)

    def path(self, command: str = COMMAND, key: SecretStr = KEYS[0]) -> str:
        paths = ReturnPaths.of(DOMAIN, [key])
        assert paths is not None
        return paths.address(command) or ""

    def outcomes(self, count: int) -> list[Outcome]:
        """The next outcomes; fails if there are fewer after 20 s, or more in the second after them."""
        found: list[Outcome] = []
        end = time.monotonic() + 20
        while len(found) < count and time.monotonic() < end:
            if (message := self.consumer.poll(0.2)) is not None:
                found.append(decode(Outcome, message.value()))
        more = self.consumer.poll(0.5)
        assert more is None, decode(Outcome, more.value())
        assert len(found) == count
        return found


def listening(servers: RealServers, database_url: str, **more: Any) -> Iterator[RunningListener]:
    partitions = have_topics(servers.kafka)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            """INSERT INTO ledger_outcomes (command_id, user_id, partition, trigger, purpose, attempt, hard, state,
                                            state_at, admitted_at)
               VALUES (%s::uuid, 'u1', 0, 't', 'marketing', 1, false, 'accepted', now(), now())""",
            [COMMAND],
        )
    settings = BounceSettings(
        kafka=servers.kafka,
        database_url=database_url,
        bounce_domain=DOMAIN,
        bounce_keys=KEYS,
        bounces_port=free_port(),
        **more,
    )
    consumer = Consumer({"bootstrap.servers": servers.kafka, "group.id": f"test-{time.time_ns()}"})
    consumer.assign([_end(consumer, partition) for partition in range(partitions)])
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(run(settings, stop)))
    thread.start()
    try:
        _await_port(settings.bounces_port)
        yield RunningListener(settings, consumer)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()
        consumer.close()
    assert not thread.is_alive()


def _end(consumer: Consumer, partition: int) -> TopicPartition:
    """The end of a partition, which may be so new that it has no leader yet."""
    end = time.monotonic() + 20
    while True:
        try:
            _, high = consumer.get_watermark_offsets(TopicPartition(OUTCOMES.name, partition), timeout=20)
            return TopicPartition(OUTCOMES.name, partition, high)
        except KafkaException:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _await_port(port: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError("the listener does not listen")
