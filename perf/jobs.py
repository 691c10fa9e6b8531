"""The same work without Ebbtide, by hand over dictionaries: what the bare loop does, and what a run must have sent.

They share nothing with the trigger core but the form of command ids.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson

from perf.workloads import POINTS
from schemas.commands import command_id

HALF_LIFE_MS = 14 * 86_400_000
WEIGHTS: Mapping[str, float] = POINTS | {"page_viewed": 0.1, "product_viewed": 0.2}
"""What the spike job adds for each event; 0.05 for what is not here."""
TRIGGER = "keen"
"""The name of the one rule."""
REACHES, WITHIN_MS = 3, 2_000
KEEN = 2.5
CAP, CAP_MS = 1, 60 * 60_000

Written = tuple[str, bytes]
"""A topic and a value."""


class Job(Protocol):
    """What is done for each event. `users` holds each user's state; a changed one is written once a transaction."""

    users: dict[bytes, Any]

    def apply(self, key: bytes, value: bytes, now_ms: int) -> tuple[bool, list[Written]]:
        """One event: whether the user's state changed, and what to write."""


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


class RuleJob:
    """What `rules/one/` says, by hand. State: [score, at_ms, times in the window, times of sends]."""

    def __init__(self) -> None:
        self.users: dict[bytes, Any] = {}
        self.sends = 0

    def apply(self, key: bytes, value: bytes, now_ms: int) -> tuple[bool, list[Written]]:
        """One event. Those that no rule looks at are parsed and left."""
        event = orjson.loads(value)
        points = POINTS.get(event["type"])
        if points is None:
            return False, []
        at_ms = round(datetime.fromisoformat(event["time"]).timestamp() * 1000)
        state = self.users.get(key)
        if state is None:
            state = self.users[key] = [0.0, at_ms, [], []]
        state[0] = state[0] * 0.5 ** ((at_ms - state[1]) / HALF_LIFE_MS) + points
        state[1] = at_ms
        before = [t for t in state[2] if t > at_ms - WITHIN_MS]
        state[2] = [*before, at_ms]
        return True, self._decide(event, state, now_ms) if len(before) + 1 == REACHES else []

    def _decide(self, event: dict[str, Any], state: list[Any], now_ms: int) -> list[Written]:
        """The gates `when` and cap at the clock: a decision, and the command where both pass."""
        score = state[0] * 0.5 ** (max(0, now_ms - state[1]) / HALF_LIFE_MS)
        state[3] = [t for t in state[3] if t > now_ms - CAP_MS]
        reason = "condition" if score < KEEN else "cap" if len(state[3]) >= CAP else None
        name = command_id(TRIGGER, event["user_id"], event["id"], "keen")
        decision = {
            "id": f"{name}-decision",
            "trigger": TRIGGER,
            "user_id": event["user_id"],
            "occurrence": event["id"],
            "step": "keen",
            "outcome": "drop" if reason else "send",
            "reason": reason,
            "inputs": {"score.intent": score},
            "decided_at": _moment(now_ms),
        }
        written = [("decisions", orjson.dumps(decision))]
        if reason is None:
            self.sends += 1
            state[3].append(now_ms)
            command = {
                "id": name,
                "trigger": TRIGGER,
                "occurrence": event["id"],
                "step": "keen",
                "user_id": event["user_id"],
                "template": "keen",
                "purpose": "marketing",
                "data": {"event": event["id"], "score": score},
                "decided_at": _moment(now_ms),
                "expires_at": _moment(now_ms + 86_400_000),
            }
            written.append(("commands", orjson.dumps(command)))
        return written


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
