"""A backtest that divides its log among files and processes tells what the engine tells in memory."""

from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from drivers.backtest_histories import (
    CONSENT,
    OLD_RULES,
    RULES,
    START,
    events,
    job_of,
    outcomes,
    profiles,
    texts,
)
from drivers.trigger_world import TEMPLATES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from cli.backtest.job import BacktestJob
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
