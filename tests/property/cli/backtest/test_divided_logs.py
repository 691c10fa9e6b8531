"""A backtest that divides its log among files and processes tells what the engine tells in memory."""

import json
from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from drivers.trigger_world import TEMPLATES, at
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from cli.backtest.job import BacktestJob, RuleTexts
from cli.backtest.run import BacktestRun, run_backtest
from cli.rules import log_blocks
from cli.step_printer import StepPrinter
from schemas.codec import decode, encode
from schemas.decisions import Decision
from schemas.events import Event
from schemas.outcomes import Outcome
from schemas.profiles import Profile
from triggers.cases.backtest import TimedProfile, backtest
from triggers.cases.backtest_tally import BacktestTally
from triggers.cel.runtime import as_time
from triggers.language.diagnostics import SourceFile
from triggers.loader import load_to_try

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


def run(job: BacktestJob, **limits: Any) -> tuple[BacktestRun, list[bytes]]:
    decisions = BytesIO()
    done = run_backtest(job, StepPrinter(Console(file=None, quiet=True)), decisions, **limits)
    return done, decisions.getvalue().splitlines()


def figures(tally: BacktestTally) -> dict[str, Any]:
    """All figures. Which problems are kept depends on the order of the users."""
    return {each.name: getattr(tally, each.name) for each in fields(BacktestTally) if each.name != "problems"}


def by_user(decisions: list[bytes]) -> list[bytes]:
    return sorted(decisions, key=lambda line: decode(Decision, line).user_id)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(events, max_size=30),
    st.none() | st.lists(profiles, max_size=8),
    st.none() | st.lists(outcomes, max_size=6, unique_by=lambda each: each.id),
    st.none() | st.sampled_from([START, START + 50_000_000, START + 200_000_000]),
    st.sampled_from([1, 3]),
    st.sampled_from([1, 400, 1_000_000]),
)
def test_files_in_blocks_buckets_and_pieces_give_what_memory_gives(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    log: list[Event],
    people: list[TimedProfile] | None,
    told: list[Outcome] | None,
    until_ms: int | None,
    buckets: int,
    piece_bytes: int,
) -> None:
    expected: list[Decision] = []
    memory = backtest(
        load_to_try([SourceFile("rules.yaml", RULES)], TEMPLATES),
        log,
        people,
        told,
        until_ms=until_ms,
        on_decision=expected.append,
    )
    job = job_of(tmp_path, log, people, told, until_ms=until_ms, piece_bytes=piece_bytes)
    with monkeypatch.context() as patched:
        patched.setattr(log_blocks, "BLOCK_BYTES", 500)
        done, decisions = run(job, buckets=buckets, processes=0)
    assert by_user(decisions) == list(map(encode, expected))
    assert figures(done.result) == figures(memory)
    assert (done.result.extent, done.result.notes) == (memory.extent, memory.notes)


def test_any_number_of_processes_gives_the_same_and_old_rules_are_compared(tmp_path: Path) -> None:
    log = [
        Event(id=f"e{n}", type=kind, user_id=f"u{n * 7 % 50}", time=as_time(START + n * 977_000))
        for n in range(600)
        for kind in [("ping", "view", "buy", "view", "unread")[n * 3 % 5]]
    ]
    people = [(None, Profile(user_id=f"u{n}", consent=CONSENT)) for n in range(60)]
    job = job_of(tmp_path, log, people, [])
    old, new = (BacktestJob((texts(text),), job.events, job.profiles, job.outcomes) for text in (OLD_RULES, RULES))
    here, decisions = run(job, buckets=4, processes=0)
    both = BacktestJob((texts(OLD_RULES), texts(RULES)), job.events, job.profiles, job.outcomes, write_decisions=True)
    for processes in (1, 3):
        there, their_decisions = run(both, buckets=4, processes=processes)
        assert their_decisions == decisions
        assert there.result == here.result
        assert there.comparison is not None
        assert figures(there.comparison.old) == figures(run(old, processes=0)[0].result)
        assert there.comparison.users.total() == 60
    assert figures(run(new, processes=0)[0].result) == figures(here.result)
