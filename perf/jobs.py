"""The same work without Ebbtide, over dictionaries: what the bare loop does, and what a run must send.

They share only the form of command ids with the trigger core.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson

from perf.workloads import POINTS
from schemas.commands import command_id

DAY_MS = 86_400_000
HALF_LIFE_MS = 14 * DAY_MS
WEIGHTS: Mapping[str, float] = POINTS | {"page_viewed": 0.1, "product_viewed": 0.2}
"""The points that the spike job adds for each event; 0.05 for other types."""
EVERY_EVENT_POINTS: Mapping[str, float] = {
    "page_viewed": 1.0,
    "product_viewed": 2.0,
    "cart_updated": 3.0,
    "checkout_started": 4.0,
    "order_completed": 5.0,
}
EVERY_EVENT_BEGINS = "cart_updated"
HOT = 8.0
TRIGGER = "keen"
"""The name of the one rule."""
REACHES, WITHIN_MS = 3, 2_000
KEEN = 2.5
CAP, CAP_MS = 1, 60 * 60_000

Written = tuple[str, bytes]
"""A topic and a value."""


class Job(Protocol):
    """The work for each event. `users` has each user's state. A changed state is written once a transaction."""

    users: dict[bytes, Any]

    def apply(self, key: bytes, value: bytes, now_ms: int) -> tuple[bool, list[Written]]:
        """Applies one event; returns whether the user's state changed, and what to write."""


class SpikeJob:
    """A decayed score for every event, and a command for a few."""

    def __init__(self) -> None:
        self.users: dict[bytes, Any] = {}

    def apply(self, key: bytes, value: bytes, now_ms: int) -> tuple[bool, list[Written]]:
        """One event."""
        state, written = score(self.users.get(key), value, now_ms)
        self.users[key] = state
        return True, written


def score(state: list[Any] | None, value: bytes, now_ms: int) -> tuple[list[Any], list[Written]]:
    """The spike job on one event: the user's state after it, [score, at_ms, events], and what to write."""
    event = orjson.loads(value)
    if state is None:
        state = [0.0, now_ms, 0]
    kind = event["type"]
    state[0] = state[0] * 0.5 ** ((now_ms - state[1]) / HALF_LIFE_MS) + WEIGHTS.get(kind, 0.05)
    state[1] = now_ms
    state[2] += 1
    if kind != "checkout_started":
        return state, []
    command = {"id": event["id"], "user_id": event["user_id"], "trigger": "spike", "score": state[0], "at": now_ms}
    return state, [("commands", orjson.dumps(command))]


class CountingJob(Job, Protocol):
    """A job that counts the commands that it writes."""

    sends: int


class RuleJob:
    """The work of `rules/one/`, written by hand. State: [score, at_ms, times in the window, times of sends]."""

    def __init__(self) -> None:
        self.users: dict[bytes, Any] = {}
        self.sends = 0

    def apply(self, key: bytes, value: bytes, now_ms: int) -> tuple[bool, list[Written]]:
        """Applies one event. Events that no rule reads are only parsed."""
        event = orjson.loads(value)
        points = POINTS.get(event["type"])
        if points is None:
            return False, []
        at_ms = _at_ms(event)
        state = self.users.get(key)
        if state is None:
            state = self.users[key] = [0.0, at_ms, [], []]
        state[0] = _score(state, at_ms) + points
        state[1] = at_ms
        before = [t for t in state[2] if t > at_ms - WITHIN_MS]
        state[2] = [*before, at_ms]
        return True, self._decide(event, state, now_ms) if len(before) + 1 == REACHES else []

    def _decide(self, event: dict[str, Any], state: list[Any], now_ms: int) -> list[Written]:
        """The gates `when` and cap at the clock: a decision, and the command where both pass."""
        score = _score(state, now_ms)
        state[3] = [t for t in state[3] if t > now_ms - CAP_MS]
        reason = "condition" if score < KEEN else "cap" if len(state[3]) >= CAP else None
        if reason is None:
            self.sends += 1
            state[3].append(now_ms)
        return _decided(TRIGGER, event, {"score.intent": score}, reason, now_ms)


class EveryEventJob:
    """What `rules/every-event/` says, by hand. State: [score, at_ms, time of the last send].

    How many it sends does not depend on times while a run takes less than a day: within one, a score of 9 stays above
    8 (it needs 2.4 days to fall there), a score of 8 never is, and a user has one send. So all who read the same
    events in each user's order send the same number, whether by event time, append time or stream time.
    """

    def __init__(self) -> None:
        self.users: dict[bytes, Any] = {}
        self.sends = 0

    def apply(self, key: bytes, value: bytes, now_ms: int) -> tuple[bool, list[Written]]:
        """One event."""
        event = orjson.loads(value)
        kind = event["type"]
        at_ms = _at_ms(event)
        state = self.users.get(key)
        if state is None:
            state = self.users[key] = [0.0, at_ms, 0]
        state[0] = _score(state, at_ms) + EVERY_EVENT_POINTS[kind]
        state[1] = at_ms
        return True, self._decide(event, state, now_ms) if kind == EVERY_EVENT_BEGINS else []

    def _decide(self, event: dict[str, Any], state: list[Any], now_ms: int) -> list[Written]:
        """The gates `when` and cap at the clock."""
        score = _score(state, now_ms)
        reason = "condition" if score <= HOT else "cap" if state[2] > now_ms - DAY_MS else None
        if reason is None:
            self.sends += 1
            state[2] = now_ms
        return _decided("hot", event, {"score.keen": score}, reason, now_ms)


def _at_ms(event: dict[str, Any]) -> int:
    return round(datetime.fromisoformat(event["time"]).timestamp() * 1000)


def _score(state: list[Any], now_ms: int) -> float:
    """The score of a state that begins with it and its time."""
    score: float = state[0] * 0.5 ** (max(0, now_ms - state[1]) / HALF_LIFE_MS)
    return score


def _decided(
    trigger: str, event: dict[str, Any], inputs: dict[str, float], reason: str | None, now_ms: int
) -> list[Written]:
    """A decision, and the command if no gate gave a reason."""
    name = command_id(trigger, event["user_id"], event["id"], trigger)
    decision = {
        "id": f"{name}-decision",
        "trigger": trigger,
        "user_id": event["user_id"],
        "occurrence": event["id"],
        "step": trigger,
        "outcome": "drop" if reason else "send",
        "reason": reason,
        "inputs": inputs,
        "decided_at": _moment(now_ms),
    }
    written = [("decisions", orjson.dumps(decision))]
    if reason is None:
        command = {
            "id": name,
            "trigger": trigger,
            "occurrence": event["id"],
            "step": trigger,
            "user_id": event["user_id"],
            "template": trigger,
            "purpose": "marketing",
            "data": {"event": event["id"], **inputs},
            "decided_at": _moment(now_ms),
            "expires_at": _moment(now_ms + DAY_MS),
        }
        written.append(("commands", orjson.dumps(command)))
    return written


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
