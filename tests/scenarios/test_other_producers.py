"""Services in Java, Node and Python publish by the documented contract: each event is at home and processed once."""

import random
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from drivers.other_producers import publish_from_java, publish_from_node
from drivers.real_servers import RealServers
from drivers.running_senders import have_topics, wait_until
from drivers.whole_pipeline import THANKS, orders, pipeline

from infra.kafka.progress import Progress
from infra.kafka.topic_reader import read_all
from schemas.codec import decode, is_in_own_partition
from schemas.events import Event
from schemas.topics import EVENTS
from web.publisher import EventPublisher

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

STRANGE = ["Zoë", "名前", "a b", "🙂", "x" * 256, "user@shop.example", "0", "é" * 100]


def users_of(language: str) -> list[str]:
    """Ids of every length modulo four, which the hash reads at a time."""
    rng = random.Random(language)
    return [f"{language}-{rng.randbytes(rng.randint(1, 12)).hex()}" for _ in range(150)] + STRANGE


def at_home(kafka: str, since_ms: int | None = None) -> Counter[bool]:
    """How many events, all or those since then, stand in the partition that Ebbtide expects, and how many elsewhere."""
    found: Counter[bool] = Counter()
    partitions = have_topics(kafka)
    for message in read_all(kafka, EVENTS.name, since_ms):
        user = decode(Event, message.value()).user_id or ""
        found[is_in_own_partition(message.key(), user, message.partition() or 0, partitions)] += 1
    return found


def test_events_from_three_languages_are_at_home_and_processed_once(
    servers: RealServers, database_url: str, tmp_path: Path
) -> None:
    with pipeline(servers.kafka, database_url, tmp_path) as run:
        run.apply(THANKS)
        names = {language: users_of(language) for language in ("java", "node", "python")}
        run.publish_users({user for users in names.values() for user in users}, address="buyer@mail.example")
        run.start_streams()
        publish_from_java(run.kafka, "java", names["java"])
        publish_from_node(run.kafka, "node", names["node"])
        with EventPublisher(run.kafka) as publisher:
            for order in orders(names["python"], datetime.now(UTC), "python"):
                publisher.send(order)
        expected = {f"{language}-{n}" for language, users in names.items() for n in range(len(users))}
        assert at_home(run.kafka) == {True: len(expected)}
        with Progress(run.kafka) as progress:
            wait_until(lambda: progress.lag("ebbtide-streams", [EVENTS.name]) == 0, "all events are processed")
        books = run.books()
        assert Counter(command.data["order_id"] for command in books.commands) == dict.fromkeys(expected, 1)
        assert books.dead_letters == {}


@pytest.mark.parametrize(
    ("partitioner", "fits"),
    [("DefaultPartitioner", True), ("JavaCompatiblePartitioner", True), ("LegacyPartitioner", False)],
)
def test_which_partitioners_of_kafkajs_fit(servers: RealServers, partitioner: str, fits: bool) -> None:
    have_topics(servers.kafka)
    since_ms, users = int(time.time() * 1000), users_of("node")
    publish_from_node(servers.kafka, "node", users, partitioner)
    found = at_home(servers.kafka, since_ms)
    assert found.total() == len(users)
    assert (found[False] == 0) is fits
