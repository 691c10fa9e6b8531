"""The HTTP edges in a thread, on real Kafka and PostgreSQL, and what they write."""

import asyncio
import base64
import http.client
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
import uvloop
from confluent_kafka import Consumer, Message, TopicPartition
from drivers.free_ports import free_port
from drivers.running_senders import have_topics, wait_until

from infra.local.holders import answers
from infra.postgres.migrate import migrate
from schemas.topics import EVENTS
from web.app import run
from web.keys import key_table
from web.keys.key_table import KeyRow
from web.keys.secret import hash_of, secret_of
from web.keys.write_key import KeyClass
from web.publication.app import run as publish
from web.settings import ProfileSettings, WebSettings

READERS = frozenset({"profile-follower", "visitor-reader", "consent-profiles", "consent-outcomes"})
"""Threads that may outlive a process that ends at once, and would hold their clients into the next test."""


@dataclass(frozen=True)
class Told:
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


@dataclass
class RunningWeb:
    """Where the edges listen, and keys that they know."""

    settings: WebSettings
    server_key: str
    browser_key: str
    ended: list[BaseException | None] = field(default_factory=list)

    def ask(
        self,
        path: str,
        body: bytes | dict[str, Any] | None = None,
        method: str | None = None,
        key: str | None = None,
        **headers: str,
    ) -> Told:
        """One request on a connection of its own; with the server key, unless `key` names another, or is empty."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        secret = self.server_key if key is None else key
        if secret:
            named["Authorization"] = basic(secret)
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        connection = http.client.HTTPConnection("127.0.0.1", self.settings.http_port, timeout=30)
        connection.request(method or ("GET" if body is None else "POST"), path, content, named)
        answer = connection.getresponse()
        told = Told(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        connection.close()
        return told

    def events(self, user: str) -> list[dict[str, Any]]:
        """All events of a user that are in Kafka."""
        return [
            json.loads(message.value()) for message in records(self.settings.kafka) if message.key() == user.encode()
        ]


def basic(secret: str) -> str:
    """The header of Basic auth by which SDKs send a key."""
    return f"Basic {base64.b64encode(f'{secret}:'.encode()).decode()}"


def records(kafka: str, topic: str = EVENTS.name) -> list[Message]:
    """All records of a topic."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": f"test-{time.time_ns()}"})
    partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
    places = [TopicPartition(topic, number, 0) for number in partitions]
    total = sum(consumer.get_watermark_offsets(place, timeout=20)[1] for place in places)
    consumer.assign(places)
    found: list[Message] = []
    while len(found) < total:
        found += consumer.consume(total - len(found), 5.0)
    consumer.close()
    return found


def new_key(
    database_url: str, key_class: KeyClass, *origins: str, source: str = "", events_per_s: float | None = None
) -> str:
    """Makes a write key in the database, and returns its secret."""
    secret = secret_of(key_class, os.urandom(20))
    source = source or f"{key_class} source"
    row = KeyRow(secret[-12:], key_class, source, origins, events_per_s, datetime.now(UTC))
    with psycopg.connect(database_url) as connection:
        key_table.add(connection, row, hash_of(secret), "test")
    return secret


@contextmanager
def running_web(kafka: str, database_url: str, *, publishes: bool = False, **more: Any) -> Iterator[RunningWeb]:
    """The edges, up, with what publishes profiles if that is asked for.

    The keys are a server's, and one of the pages of `https://shop.example`.
    """
    have_topics(kafka)
    migrate(database_url)
    settings = WebSettings(kafka=kafka, database_url=database_url, http_port=free_port(), **more)
    keys = new_key(database_url, KeyClass.SERVER), new_key(database_url, KeyClass.BROWSER, "https://shop.example")
    web = RunningWeb(settings, *keys)
    loop, stop = uvloop.new_event_loop(), asyncio.Event()

    async def parts() -> None:
        publishing = [publish(ProfileSettings(kafka=kafka, database_url=database_url), stop)] if publishes else []
        await asyncio.gather(run(settings, stop), *publishing)

    def serve() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(parts())
        except BaseException as error:  # noqa: BLE001  # the test shows it
            web.ended.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        wait_until(lambda: web.ended or answers(settings.http_port), "the edges listen")
        yield web
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        for reader in [each for each in threading.enumerate() if each.name in READERS]:
            reader.join(30)
        loop.run_until_complete(asyncio.sleep(0))  # takes what they said at their end; a closed loop would keep it
        loop.close()
    assert not thread.is_alive()
    assert web.ended == []
