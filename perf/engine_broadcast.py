"""What an event without a user costs the engine: to find who waits for it, to keep that found, and to meet each."""

import gc
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import BaseModel

from perf.rulesets import BenchRules
from schemas.broadcasts import Broadcast
from schemas.codec import encode
from schemas.events import Event
from schemas.topics import BROADCASTS, COMMANDS, EVENTS
from streams.decisions.broadcasts import BroadcastReader
from streams.decisions.evaluate import Decider
from streams.decisions.update import InputRecord
from triggers.engine.evaluator import Evaluator
from triggers.rules.events import stored_event

T = TypeVar("T")
RULES = BenchRules("waiting", "waiting", 2)
START_MS = 1_780_000_000_000


class BroadcastCost(BaseModel):
    """The costs of one event in a partition of users who all wait, each for one thing."""

    waiting: int
    met: int
    """How many of them wait for what the event brings."""
    search_us: float
    """For each user, to find those without the index: the first event of its type."""
    index_us: float
    """For each user, to make the index, once."""
    find_us: float
    """For the whole event, with the index."""
    met_us: float
    """For each user who is met: the state decoded, the send decided, all encoded again."""


def measure(waiting: int, met: int) -> BroadcastCost:
    """Measures an event that `met` of the `waiting` users wait for."""
    decider = Decider(Evaluator(RULES.read().load()))
    states = _waiting_states(decider, waiting, max(1, waiting // met))
    reader = BroadcastReader(decider, states)
    gc.collect()
    gc.freeze()  # as a worker does with long-lived objects
    event = Broadcast.model_validate(_event("restocked-0", "restocked", None, 0))
    stored, index = stored_event(event), reader.waiting
    search_s, found = _timed(lambda: index.find(stored))
    index_s, _ = _timed(lambda: index.index(waiting))
    find_s, again = _timed(lambda: index.find(stored))
    assert found == again
    record = InputRecord(BROADCASTS.name, 0, 0, None, encode(event))
    slices = [each.value for update in reader.updates(record, START_MS + 1) for each in update.outgoing]
    met_s, commands = _timed(lambda: sum(_commands(reader, value) for value in slices))
    assert commands == len(found)
    return BroadcastCost(
        waiting=waiting,
        met=commands,
        search_us=search_s / waiting * 1e6,
        index_us=index_s / waiting * 1e6,
        find_us=find_s * 1e6,
        met_us=met_s / commands * 1e6,
    )


def _waiting_states(decider: Decider, users: int, products: int) -> dict[bytes, bytes]:
    states = {}
    for number in range(users):
        user = f"user-{number:07d}"
        value = encode(Event.model_validate(_event(f"viewed-{number}", "viewed", user, number % products)))
        update = decider.apply(InputRecord(EVENTS.name, 0, number, user.encode(), value), 1, None, START_MS)
        assert update.state is not None
        states[update.key] = update.state
    return states


def _commands(reader: BroadcastReader, value: bytes | None) -> int:
    """Meets the users whom one record names; returns how many commands that gave."""
    updates = reader.updates(InputRecord(BROADCASTS.name, 0, 0, None, value), START_MS + 1)
    return sum(output.topic == COMMANDS.name for update in updates for output in update.outgoing)


def _event(event_id: str, kind: str, user: str | None, product: int) -> dict[str, object]:
    at = datetime.fromtimestamp(START_MS / 1000, UTC)
    return {
        "id": event_id,
        "type": kind,
        "user_id": user,
        "time": at,
        "properties": {"product": f"product-{product}"},
    }


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result
