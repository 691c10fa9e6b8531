"""The users and the commands of a chaos run, from a seed. Run as a program it publishes them, in its own process.

Most commands can be sent. One in ten calls an endpoint, and some have a budget. Some are there twice, have expired,
name a template that is nowhere or lack what it needs; some users have no profile, no consent or another address later.
"""

import argparse
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from chaos_senders.endpoints import NAMES
from chaos_senders.receiver import DOMAINS, NEVER_TAKES
from drivers.running_senders import TEMPLATE

from infra.kafka.publisher import Publisher
from schemas.budgets import Budget
from schemas.codec import encode
from schemas.commands import SendCommand, command_id
from schemas.endpoints import WEBHOOK
from schemas.profiles import Consent, Profile
from schemas.rules import text_hash
from schemas.topics import COMMANDS, PROFILES
from schemas.vocabulary import TRANSACTIONAL

COMMANDS_A_USER = 20
PURPOSES = {"marketing": 50, "news": 20, TRANSACTIONAL: 30}
WEBHOOKS = 0.1
BUDGETED = 0.03
SPREE = "policy/spree"
"""The budget that lets a third of its commands through."""
RECENT = 1_000
TopicRecord = tuple[str, str, bytes]
"""Topic, key and value."""


class SenderFeed:
    """What is published, in order."""

    def __init__(self, seed: int, commands: int, expire_s: float) -> None:
        self._seed, self._commands = seed, commands
        self._expire = timedelta(seconds=expire_s)
        self._chance = Random(seed)
        self._domains = {
            f"u{seed}-{number}": self._chance.choices(list(DOMAINS), list(DOMAINS.values()))[0]
            for number in range(max(50, commands // COMMANDS_A_USER))
        }
        self._users = list(self._domains)
        self._template = text_hash(TEMPLATE)
        self.budget = Budget(name=SPREE, max=max(1, round(commands * BUDGETED / 3)), per_ms=86_400_000)

    def profiles(self) -> Iterator[TopicRecord]:
        """The profiles of most users."""
        for user_id in self._users:
            if self._chance.random() < 0.99:
                yield self._profile(user_id)

    def commands(self) -> Iterator[TopicRecord]:
        """So many commands, with repeated ones and new profiles among them."""
        recent: deque[TopicRecord] = deque(maxlen=RECENT)
        for number in range(self._commands):
            recent.append(self._command(number))
            yield recent[-1]
            if self._chance.random() < 0.01:
                yield self._chance.choice(recent)
            if self._chance.random() < 0.005:
                yield self._profile(self._chance.choice(self._users))

    def _profile(self, user_id: str) -> TopicRecord:
        now = datetime.now(UTC)
        consent = {
            "marketing": Consent(granted=self._chance.random() < 0.98, time=now),
            "news": Consent(granted=self._chance.random() < 0.9, time=now),
        }
        address = f"{user_id}.{self._chance.randrange(3)}@{self._domains[user_id]}"
        return PROFILES.name, user_id, encode(Profile(user_id=user_id, address=address, consent=consent))

    def _command(self, number: int) -> TopicRecord:
        chance, now = self._chance, datetime.now(UTC)
        user_id = chance.choice(self._users)
        expires_at = now + (self._expire if self._domains[user_id] == NEVER_TAKES else timedelta(hours=1))
        changes: dict[str, Any] = {}
        dice = chance.random()
        if dice < 0.005:
            changes = {"template_hash": text_hash("nowhere")}
        elif dice < 0.01:
            changes = {"data": {}}
        elif dice < 0.015:
            changes = {"decided_at": now - timedelta(seconds=9), "expires_at": now - timedelta(seconds=1)}
        elif dice < 0.025:
            changes = {"to": f"other-{number}@plain.example"}
        elif dice < 0.025 + BUDGETED:
            changes = {"to": f"spree-{number}@plain.example", "budgets": (self.budget,)}
            changes["expires_at"] = now + timedelta(hours=1)
        elif dice < 0.025 + BUDGETED + WEBHOOKS:
            changes = {"channel": WEBHOOK, "template": chance.choice(NAMES), "template_hash": ""}
        fields: dict[str, Any] = {
            "id": command_id("hello", user_id, f"{self._seed}.{number}", "send"),
            "trigger": "hello",
            "rule_hash": "chaos",
            "occurrence": f"{self._seed}.{number}",
            "step": "send",
            "user_id": user_id,
            "template": "hello",
            "template_hash": self._template,
            "purpose": chance.choices(list(PURPOSES), list(PURPOSES.values()))[0],
            "data": {"word": f"harbour {number}"},
            "decided_at": now,
            "expires_at": expires_at,
            "priority": chance.choice((10, 50, 50, 90)),
        }
        return COMMANDS.name, user_id, encode(SendCommand(**(fields | changes)))


def publish(kafka: str, feed: SenderFeed, per_s: float) -> None:
    """Publishes all profiles, then the commands at a rate; raises where something was not taken."""
    with Publisher(kafka, **{"message.timeout.ms": 300_000}) as publisher:
        for topic, key, value in feed.profiles():
            publisher.send(topic, key.encode(), value)
        publisher.flush(300)
        began_s = time.monotonic()
        for number, (topic, key, value) in enumerate(feed.commands()):
            while number > (time.monotonic() - began_s) * per_s:
                time.sleep(0.005)
            publisher.send(topic, key.encode(), value)
        publisher.flush(300)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", required=True)
    for name in ("seed", "commands"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("per-s", "expire-s"):
        parser.add_argument(f"--{name}", type=float, required=True)
    given = parser.parse_args()
    publish(given.kafka, SenderFeed(given.seed, given.commands, given.expire_s), given.per_s)
