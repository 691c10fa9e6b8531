"""What publishers write in a chaos run, from a seed: events late and repeated, changing profiles, records that poison.

Run as a program it is the publisher, in its own process.
"""

import argparse
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import orjson

from infra.kafka.publisher import Publisher
from schemas.codec import partition_for

EVENTS_A_USER = 100
UNSEEN = 0.15
"""The share of users whose first event comes before any profile."""
ZONES = ("UTC", "UTC", "UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland", "Nowhere/Land", None)
PURPOSES = ("marketing", "news", "shop/marketing", "shop/news", "outlet/marketing")
TYPES = {
    "page_viewed": 35,
    "product_viewed": 22,
    "cart_updated": 15,
    "signed_in": 12,
    "order_completed": 8,
    "searched": 7,  # no rule reads it
    "complaint_filed": 1,
}
SOLD_OUT = 0.0003
"""The share of events that concern no user."""
RECENT = 5_000


@dataclass
class FeedRecord:
    """One record to publish. `body` is JSON that gets a time, `lag_ms` ago, or None for a tombstone; `again` repeats
    an earlier one."""

    topic: str = "events"
    user_id: str = ""
    body: dict[str, Any] | bytes | None = field(default_factory=dict)
    lag_ms: int = 0
    partition: int | None = None
    key: str | None = None
    again: int = 0


def items(seed: int, events: int, partitions: int, users: int = 0) -> Iterator[FeedRecord]:
    """Profiles of most users, then so many events, with further profiles among them.

    Of the others the profile comes right after the first event, as of somebody who signs up, or much later, or never.
    """
    chance = Random(seed)
    known = [f"u{seed}-{number}" for number in range(users or max(30, events // EVENTS_A_USER))]
    unseen = {user_id for user_id in known if chance.random() < UNSEEN}
    for user_id in known:
        if user_id not in unseen:
            yield FeedRecord("profiles", user_id, _profile(chance, user_id))
    kinds, weights = list(TYPES), list(TYPES.values())
    number = 0
    while number < events:
        user_id = chance.choice(known)
        dice = chance.random()
        if dice < 0.015:
            yield FeedRecord("profiles", user_id, _profile(chance, user_id))
            continue
        number += 1
        if dice < 0.045:
            yield FeedRecord(again=chance.choice((1, 2, 5, 50, 500, RECENT)))
        elif dice < 0.0455:
            yield FeedRecord("profiles", user_id, None)
        elif dice < 0.0455 + SOLD_OUT:
            yield _sold_out(chance, f"{seed}.{number}")
        elif dice < 0.0475:
            yield _poison(chance, f"{seed}.{number}", user_id, partitions)
        else:
            yield _event(chance, chance.choices(kinds, weights)[0], f"{seed}.{number}", user_id)
            if user_id in unseen and chance.random() < 0.5:
                yield FeedRecord("profiles", user_id, _profile(chance, user_id))
            unseen.discard(user_id)


def _sold_out(chance: Random, event_id: str) -> FeedRecord:
    properties = {"category": chance.choice("ab"), "campaign": "x"}
    return FeedRecord(body={"id": event_id, "type": "sold_out", "user_id": None, "properties": properties})


def _profile(chance: Random, user_id: str) -> dict[str, Any]:
    answer = {"granted": True, "method": "form"}
    consent = {purpose: answer | {"granted": chance.random() < 0.95} for purpose in PURPOSES if chance.random() < 0.97}
    found: dict[str, Any] = {
        "user_id": user_id,
        "address": f"{user_id}.{chance.randrange(3)}@example.org",
        "zone": chance.choice(ZONES),
        "attributes": {"plan": chance.choice(("free", "paid", "none"))},
        "consent": consent,
    }
    if chance.random() < 0.05:
        found["paused_until"] = chance.choice((0, 5, 60))  # seconds ahead; `stamped` makes it a time
    return found


def _event(chance: Random, kind: str, event_id: str, user_id: str) -> FeedRecord:
    whole = chance.random() > 0.005  # else a field is missing that a rule reads
    cart = f"{user_id}-c{chance.randrange(3)}"
    properties: dict[str, Any] = {}
    match kind:
        case "page_viewed":
            properties = {"deep": chance.random() < 0.3}
        case "product_viewed":
            properties = {"price": chance.randrange(1, 41), "category": chance.choice("ab"), "campaign": "x"}
            if not whole:
                del properties["campaign"]
        case "cart_updated":
            properties = {"cart_id": cart} | ({"total": chance.randrange(5, 60)} if whole else {})
        case "order_completed":
            properties = {"order_id": event_id, "cart_id": cart, "store": chance.choice(("s1", "s2"))}
            properties |= {"total": chance.randrange(10, 100)} if chance.random() > 0.03 else {}
        case "signed_in":
            properties = {"device": chance.choice(("phone", "desk"))}
    lag_ms = 0
    if chance.random() < 0.1:
        lag_ms = chance.randrange(30_000)
    elif chance.random() < 0.002:
        lag_ms = -600_000  # a publisher's clock far ahead
    return FeedRecord(
        "events", user_id, {"id": event_id, "type": kind, "user_id": user_id, "properties": properties}, lag_ms
    )


def _poison(chance: Random, event_id: str, user_id: str, partitions: int) -> FeedRecord:
    body = {"id": event_id, "type": "page_viewed", "user_id": user_id}
    match chance.randrange(7):
        case 0:
            return FeedRecord("events", user_id, b"{no json")
        case 1:
            return FeedRecord("events", user_id, {name: body[name] for name in ("id", "user_id")})
        case 2:
            wrong = (partition_for(user_id.encode(), partitions) + 1) % partitions
            return FeedRecord("events", user_id, body, partition=wrong)
        case 3:
            return FeedRecord("events", user_id, body, key=f"{user_id}x")
        case 4:
            return FeedRecord("profiles", user_id, b"[]")
        case 5:  # says no, and lacks a field
            return FeedRecord("profiles", user_id, {"consent": {chance.choice(PURPOSES): {"granted": False}}})
    return FeedRecord("events", user_id, body | {"user_id": None})


def stamped(item: FeedRecord, now: datetime) -> tuple[str, bytes | None, bytes | None]:
    """Topic, key and value of an item that is published now."""
    key = (item.user_id if item.key is None else item.key).encode() or None
    if not isinstance(item.body, dict):
        return item.topic, key, item.body
    at = (now - timedelta(milliseconds=item.lag_ms)).isoformat(timespec="milliseconds")
    body = dict(item.body)
    if item.topic == "profiles":
        body["consent"] = {purpose: answer | {"time": at} for purpose, answer in body["consent"].items()}
        if "paused_until" in body:
            body["paused_until"] = (now + timedelta(seconds=body["paused_until"])).isoformat(timespec="milliseconds")
    else:
        body["time"] = at
    return item.topic, key, orjson.dumps(body)


def publish(kafka: str, items: Iterable[FeedRecord], per_s: float) -> None:
    """Publishes everything at a rate; raises where something was not taken."""
    recent: deque[tuple[str, bytes | None, bytes | None, int | None]] = deque(maxlen=RECENT)
    began = time.monotonic()
    with Publisher(kafka, **{"message.timeout.ms": 300_000, "linger.ms": 20}) as publisher:
        for number, item in enumerate(items):
            while number > (time.monotonic() - began) * per_s:
                time.sleep(0.005)
            if item.again:
                if not recent:
                    continue
                record = recent[-min(item.again, len(recent))]
            else:
                record = (*stamped(item, datetime.now(UTC)), item.partition)
            if record[1] is not None:  # the model does not know which of two equal broadcasts meets whom
                recent.append(record)
            topic, key, value, partition = record
            publisher.send(topic, key, value, partition)
        publisher.flush(300)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", required=True)
    for name in ("seed", "events", "partitions"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--per-s", type=float, required=True)
    parser.add_argument("--users", type=int, default=0)
    given = parser.parse_args()
    publish(given.kafka, items(given.seed, given.events, given.partitions, given.users), given.per_s)
