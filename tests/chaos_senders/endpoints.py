"""The endpoints of a chaos run, over real HTTP. Run as a program it is their receiver, in a process that can be killed.

What a request gets is a function of the seed, of its id and of how often that came before. Each request is kept in a
file, one a line, before it is answered.
"""

import argparse
import hashlib
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Literal

import orjson
from drivers.webhook_receiver import SECRET, HttpAnswer, HttpCall, WebhookReceiver

from schemas.endpoints import Endpoint

SECRETS = {"signing": SECRET}
TIMEOUT_MS = 1_000
HOST = "127.0.0.1"
Answer = Literal["taken", "error", "asked to wait", "hung up", "silent"]
ANSWERS: Mapping[Answer, HttpAnswer] = {
    "taken": HttpAnswer(),
    "error": HttpAnswer(500),
    "asked to wait": HttpAnswer(429, {"Retry-After": "1"}),
    "hung up": HttpAnswer(close=True),
    "silent": HttpAnswer(after_s=3 * TIMEOUT_MS / 1000, close=True),
}
SHARES: Mapping[Answer, int] = {"taken": 80, "error": 8, "asked to wait": 1, "hung up": 8, "silent": 3}
"""Of a hundred requests."""


@dataclass(frozen=True, slots=True)
class ReceivedCall:
    """One request, as the receiver kept it."""

    id: str
    body: str
    """The hash of its bytes."""
    signed: bool
    answer: Answer


def documents(port: int) -> list[Endpoint]:
    """The endpoints that commands name: a patient one, and one whose retries are used up now and then."""
    fields = {"secrets": list(SECRETS), "timeout_ms": TIMEOUT_MS}
    return [
        Endpoint.model_validate(fields | {"name": name, "url": f"http://{HOST}:{port}/{name}"} | more)
        for name, more in {"crm": {"retries": 12}, "stock": {"retries": 1, "method": "put"}}.items()
    ]


NAMES = tuple(each.name for each in documents(1))


def read_calls(kept: Path) -> dict[str, list[ReceivedCall]]:
    """The requests that were received, by id."""
    found: defaultdict[str, list[ReceivedCall]] = defaultdict(list)
    for line in kept.read_bytes().splitlines() if kept.exists() else ():
        call = ReceivedCall(**orjson.loads(line))
        found[call.id].append(call)
    return dict(found)


class ChaosReceiver(WebhookReceiver):
    """Answers at random."""

    def __init__(self, port: int, seed: int, kept: Path) -> None:
        super().__init__(port)
        self._seed = seed
        self._came = Counter({id_: len(calls) for id_, calls in read_calls(kept).items()})
        self._kept = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def take(self, call: HttpCall) -> HttpAnswer:
        """Keeps a request; returns its answer."""
        with self._lock:
            self._came[call.id] += 1
            chance = Random(f"{self._seed} {call.id} {self._came[call.id]}")
        answer = chance.choices(list(SHARES), list(SHARES.values()))[0]
        body = hashlib.blake2b(call.body, digest_size=16).hexdigest()
        received = ReceivedCall(call.id, body, call.is_signed_by(SECRET), answer)
        os.write(self._kept, orjson.dumps(asdict(received)) + b"\n")
        return ANSWERS[answer]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--kept", type=Path, required=True)
    given = parser.parse_args()
    with ChaosReceiver(given.port, given.seed, given.kept):
        signal.pause()
