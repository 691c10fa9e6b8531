"""Events without a user while workers are killed: everybody who waits is met, once, and nobody else."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import wait_until
from drivers.running_streams import Streams
from drivers.whole_pipeline import PARTITIONS, TEMPLATE, THANKS

from cli.manifests.publication import apply_folder
from cli.rules.rule_folder import Folder
from infra.kafka.publisher import Publisher
from infra.kafka.topic_reader import read_all
from schemas.codec import encode
from schemas.events import Event
from schemas.topics import BROADCASTS, COMMANDS, EVENTS
from streams.decisions.broadcasts import SLICE
from triggers.language.diagnostics import SourceFile

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

BACK = SourceFile(
    "back.yaml",
    """
trigger: back
purpose: transactional
on: viewed
key: event.product
steps:
  - wait_for: {event: restocked, same: product}
    up_to: 7d
    then:
      - send: {template: thanks, data: {order_id: occurrence.matched.id}}
""",
)
MANY, FEW = 3 * SLICE * PARTITIONS, 200
"""So many wait for the lamp that each partition has slices."""


@pytest.fixture
def streams(servers: RealServers, tmp_path: Path) -> Iterator[Streams]:
    with Streams(servers.kafka, servers.ports.web, tmp_path) as made:
        apply_folder(made.kafka, Folder("test", [THANKS, BACK], {"thanks": TEMPLATE}))
        yield made


def publish(streams: Streams, events: Iterable[Event]) -> None:
    with Publisher(streams.kafka) as publisher:
        for event in events:
            publisher.send(EVENTS.name, None if event.user_id is None else event.user_id.encode(), encode(event))


def event(kind: str, user: str | None, product: str) -> Event:
    properties = {"product": product}
    return Event(id=f"{kind}-{user}-{product}", type=kind, user_id=user, time=datetime.now(UTC), properties=properties)


def met(streams: Streams) -> Counter[tuple[str, str]]:
    """How often each user was told which event."""
    records = read_all(streams.kafka, COMMANDS.name)
    commands: list[dict[str, Any]] = [orjson.loads(each.value() or b"") for each in records]
    told = [each for each in commands if each["trigger"] == "back"]
    return Counter((each["user_id"], each["data"]["order_id"]) for each in told)


def test_everybody_who_waits_is_met_once_while_workers_are_killed(streams: Streams) -> None:
    crowd = [f"u{number}" for number in range(MANY)]
    streams.two_ready()
    publish(streams, [event("viewed", user, "lamp") for user in crowd])
    publish(streams, [event("viewed", user, "vase") for user in crowd[:FEW]])
    streams.wait_drained()
    over = threading.Event()
    orders = streams.publishing(100_000, 500, over)
    restocked = event("restocked", None, "lamp")
    publish(streams, [restocked, event("restocked", None, "chair")])
    wait_until(lambda: any(read_all(streams.kafka, BROADCASTS.name)), "it is on its way")
    for slot in (0, 1):
        os.kill(streams.two_ready()[slot], signal.SIGKILL)
    publish(streams, [restocked])
    wait_until(lambda: len(met(streams)) == MANY, "everybody is met")
    over.set()
    orders.join()
    streams.two_ready()
    streams.wait_drained()
    assert met(streams) == Counter({(user, restocked.id): 1 for user in crowd})
    publish(streams, [event("restocked", None, "vase")])
    wait_until(lambda: len(met(streams)) == MANY + FEW, "those who wait for the vase are met")
    assert set(met(streams).values()) == {1}
    named = [orjson.loads(each.value() or b"").get("users") for each in read_all(streams.kafka, BROADCASTS.name)]
    assert len([users for users in named if users]) >= PARTITIONS
    assert streams.decided()[0][1] == streams.published + MANY + FEW
