"""Measures one partition as the stream runtime decides it, without Kafka."""

import cProfile
import gc
import pstats
import resource
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import orjson
from pydantic import BaseModel

from cli.rules.event_log import LogReader
from perf.engine_rules import EngineWorkload, rule_texts
from schemas.codec import encode, is_in_own_partition
from schemas.plain import plain_event
from schemas.profiles import Consent, Profile
from schemas.topics import COMMANDS, DECISIONS, EVENTS, PROFILES
from streams.decisions.evaluate import Decider
from streams.decisions.update import InputRecord, Update
from streams.runtime.timers import TimerIndex
from triggers.cases.backtest import BacktestScope, play
from triggers.cel.conditions import Context, compile_condition
from triggers.engine.evaluator import Evaluator
from triggers.loader import load_rules
from triggers.rules.events import StoredEvent, stored_plain_event
from triggers.rules.ruleset import RuleSet
from triggers.rules.state import User

START_MS = 1_780_000_000_000
CONDITION = 'event.total >= 100 && event.device in ["phone", "tablet"]'
CONDITIONS = 200_000
HOT = 25
"""How many functions a profile shows."""


class Point(BaseModel):
    """The results of one rule set over one workload."""

    rules: int
    distribution: str
    events: int
    users: int
    load_s: float
    """How long it took to read, check and compile the set."""
    events_per_s: float
    us_per_event: float
    matched: float
    """The share of events and timers that changed a user's state."""
    decided: float
    sent: float
    state_bytes: float
    """The average size, including the profile, over the users whose state an event changed."""
    users_changed: int
    peak_mib: float


class EnginePartition:
    """States by key, their timers, and the counts of outputs."""

    def __init__(self, rules: RuleSet) -> None:
        self.states: dict[bytes, bytes] = {}
        self.changed = 0
        self.touched: set[bytes] = set()
        self.written: Counter[str] = Counter()
        self._decider = Decider(Evaluator(rules, default_zone="UTC"))
        self._timers = TimerIndex()

    def profiles(self, users: int) -> None:
        """Gives every user a profile with consent."""
        for user in range(users):
            self.profile(b"user-%07d" % user, _profile(f"user-{user:07d}"))

    def profile(self, key: bytes, value: bytes) -> None:
        """Applies a profile."""
        record = InputRecord(PROFILES.name, 0, 0, key, value)
        self._store(self._decider.apply(record, 1, self.states.get(key), START_MS))

    def read(self, records: list[tuple[int, bytes, bytes]]) -> None:
        """Decides events, each at its own time, after the timers that are due before it."""
        decider, states, pop_due = self._decider, self.states, self._timers.pop_due
        types, relevant_context = decider.read_types, decider.relevant_context
        for at_ms, key, value in records:
            while (entry := pop_due(at_ms - 1)) is not None:
                due_ms, due_key = entry
                self._store(decider.fire_due(0, due_key.decode(), states[due_key], due_ms, at_ms - 1))
            event = plain_event(value)
            assert event is not None
            assert is_in_own_partition(key, event.user_id, 0, 1)
            if event.type in types:
                stored = stored_plain_event(event, value)
                assert stored is not None
                if (context := relevant_context(stored, at_ms)) is not None:
                    state = states.get(key)
                    if (changed := decider.changed_state(context, state)) is not None:
                        self.changed += 1
                        self.touched.add(key)
                        states[key] = changed
                    else:
                        record = InputRecord(EVENTS.name, 0, 0, key, value)
                        self._store(decider.decide(context, event.user_id, record, state, at_ms))

    def _store(self, update: Update) -> None:
        if update.state is not None:
            self.changed += 1
            self.touched.add(update.key)
            self.states[update.key] = update.state
            self._timers.set(update.key, update.next_due_ms)
        for output in update.outgoing:
            self.written[output.topic] += 1


def measure(count: int, zipf: bool, events: int, users: int, profiled: bool) -> Point:
    """Measures a set of `count` rules. Every user has a profile and consent before the clock starts."""
    began = time.perf_counter()
    rules = load_rules(rule_texts(count), {"plain": "0" * 64})
    load_s = time.perf_counter() - began
    partition = EnginePartition(rules)
    partition.profiles(users)
    records = list(EngineWorkload(events, users, zipf, count, START_MS).records())
    partition.changed = 0
    partition.touched.clear()
    partition.written.clear()
    gc.collect()
    gc.freeze()  # as a worker does with long-lived objects
    profiler = cProfile.Profile()
    began = time.perf_counter()
    if profiled:
        profiler.runcall(partition.read, records)
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(HOT)
    else:
        partition.read(records)
    took_s = time.perf_counter() - began
    return Point(
        rules=count,
        distribution="zipf" if zipf else "uniform",
        events=events,
        users=users,
        load_s=load_s,
        events_per_s=events / took_s,
        us_per_event=took_s / events * 1e6,
        matched=partition.changed / events,
        decided=partition.written[DECISIONS.name] / events,
        sent=partition.written[COMMANDS.name] / events,
        state_bytes=sum(len(partition.states[key]) for key in partition.touched) / max(1, len(partition.touched)),
        users_changed=len(partition.touched),
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def _profile(user: str) -> bytes:
    given = Consent(granted=True, time=datetime.fromtimestamp(START_MS / 1000 - 86_400, UTC), method="form")
    profile = Profile(user_id=user, address=f"{user}@mail.example", zone="Europe/Berlin", consent={"marketing": given})
    return encode(profile)


def backtest_per_s(count: int, events: int, users: int) -> float:
    """Events a second of a backtest of the same rules over the same events, drawn evenly, from a log of them."""
    rules = load_rules(rule_texts(count), {"plain": "0" * 64})
    with NamedTemporaryFile(suffix=".jsonl") as log:
        for _, _, value in EngineWorkload(events, users, False, count, START_MS).records():
            log.write(value + b"\n")
        log.flush()
        gc.collect()
        gc.freeze()
        began = time.perf_counter()
        play(Evaluator(rules), LogReader(Path(log.name)).events(), scope=BacktestScope())
        return events / (time.perf_counter() - began)


def conditions_per_s() -> float:
    """The number of evaluations of one condition in a second, each on a different event."""
    condition = compile_condition(CONDITION, "truth")
    events = [orjson.loads(value) for _, _, value in EngineWorkload(CONDITIONS, 1_000, False, 20, START_MS).records()]
    contexts = [event_context(event) for event in events]
    gc.collect()
    gc.freeze()
    began = time.perf_counter()
    for context in contexts:
        condition.holds(context)
    return CONDITIONS / (time.perf_counter() - began)


def event_context(event: dict[str, Any]) -> Context:
    """What a condition over an event reads, of a user who has no scores."""
    stored = StoredEvent(event["id"], event["type"], START_MS, event["source"], event["properties"])
    return Context(stored, User("u"), None, _no_score, START_MS)


def _no_score(name: str) -> float:
    raise KeyError(name)
