"""Drawn histories for backtests: rules of every kind, and events, profiles and outcomes that meet in few instants; and
lines that are none of them."""

import json
from pathlib import Path
from typing import Any

from drivers.trigger_world import TEMPLATES, at
from hypothesis import strategies as st

from cli.backtest.job import BacktestJob, RuleTexts
from schemas.codec import encode
from schemas.events import Event
from schemas.outcomes import Outcome
from schemas.profiles import Profile
from triggers.cases.backtest import TimedProfile
from triggers.cel.runtime import as_time
from triggers.language.diagnostics import SourceFile

RULES = """\
score: warm
decay: {curve: exponential, half_life: 2h}
add: {event: view, points: 1}
---
trigger: keen
purpose: marketing
on: {score: warm, reaches: 2}
send: a
---
trigger: left
purpose: marketing
on: ping
after: 1h
unless: buy
cap: {max: 1, per: 1d, over: defer}
quiet: {from: "20:00", to: "08:00"}
send: a
---
trigger: daily
purpose: news
on: {every: day, at: "10:00"}
send: b
---
trigger: opened
purpose: news
on: email.opened
send: c
---
trigger: restocked
purpose: news
on: ping
steps:
  - wait_for: {event: buy, same: n}
    up_to: 12h
    then: [{send: d}]
"""
OLD_RULES = RULES.replace("max: 1, per: 1d", "max: 2, per: 1d").replace("reaches: 2", "reaches: 3")
START = at("2026-01-05 08:00")
CONSENT = {name: {"granted": True, "time": "2020-01-01T00:00:00Z"} for name in ("marketing", "news")}
users = st.integers(0, 6).map(lambda number: f"u{number}")
instants = st.sampled_from([0, 1, 600_000, 3_600_000, 40_000_000, 90_000_000]).map(lambda ms: as_time(START + ms))
events = st.builds(
    Event,
    id=st.integers(0, 30).map(lambda number: f"e{number}"),
    type=st.sampled_from(["ping", "buy", "view", "view", "unread"]),
    user_id=st.one_of(users, users, users, st.none()),
    time=instants,
    properties=st.sampled_from([{}, {"n": 1}, {"n": 2}]),
)
profiles = st.tuples(
    st.sampled_from([None, START - 1, START + 600_000, START + 40_000_000]),
    st.builds(
        Profile,
        user_id=users,
        zone=st.sampled_from([None, "Europe/Berlin", "Pacific/Auckland", "Mars/Olympus"]),
        consent=st.sampled_from([CONSENT, CONSENT, {}]),
    ),
)
outcomes = st.builds(
    Outcome,
    id=st.integers(0, 9).map(lambda number: f"o{number}"),
    command_id=st.just("c"),
    user_id=users,
    kind=st.sampled_from(["opened", "bounced", "unsubscribed"]),
    hard=st.booleans(),
    time=instants,
)


def job_of(
    folder: Path, log: list[Event], people: list[TimedProfile] | None, told: list[Outcome] | None, **more: Any
) -> BacktestJob:
    """The same log in files."""
    job: dict[str, Any] = {"events": folder / "events.jsonl"}
    job["events"].write_bytes(b"\n".join(map(encode, log)))
    if people is not None:
        job["profiles"] = folder / "profiles.jsonl"
        lines = [
            json.loads(encode(each)) | ({} if ms is None else {"time": f"{as_time(ms).isoformat()}"})
            for ms, each in people
        ]
        job["profiles"].write_text("\n".join(map(json.dumps, lines)))
    if told is not None:
        job["outcomes"] = folder / "outcomes.jsonl"
        job["outcomes"].write_bytes(b"\n".join(map(encode, told)))
    return BacktestJob(sets=(texts(RULES),), write_decisions=True, **job, **more)


def texts(text: str) -> RuleTexts:
    return RuleTexts([SourceFile("rules.yaml", text)], TEMPLATES)


def event_at(time: object, number: int = 0) -> bytes:
    """The line of an event."""
    event = {"id": str(number), "user_id": "u", "type": "ping", "time": time}
    return json.dumps(event).encode() + b"\n"


BAD_LINES = {
    "not JSON": [b"oops\n", b"{\n", b'{"id": "caf\xe9"}\n', b"\xff\xff\n"],
    "not an event (id, time, type, user_id)": [b"{}\n"],
    "not an event (record)": [b"[]\n", b"7\n", b"null\n"],
    "not an event (time)": [
        *(event_at("0001-01-01T00:00:00Z"), event_at("9999-12-31T23:59:59Z"), event_at("0000-01-01T00:00:00Z")),
        *(event_at("0001-01-01T00:00:00+14:00"), event_at("9999-12-31T23:59:59-12:00"), event_at(1e300)),
        *(event_at("2026-01-05"), event_at("2026-01-05T10:00:00"), event_at(-1)),
    ],
    "not an event": [b'{"id": "' + b"x" * 3_000_000 + b'"}\n'],
}
"""By the kind that reports name."""
