"""Rollups count each fact once, whichever order and however often facts come, and counting anew comes to the same."""

from collections import Counter
from datetime import timedelta
from threading import Thread
from typing import Any

import psycopg
import pytest
from drivers.recorded_facts import (
    BEGAN,
    COUNTED,
    a_command,
    a_decision,
    an_outcome,
    expected,
    forget_rollups,
    kept,
    record,
    rows_of,
)
from drivers.running_senders import wait_until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from schemas.decisions import Decision
from schemas.outcomes import Outcome
from schemas.people import NOBODY
from schemas.vocabulary import ENGAGEMENT, DecisionOutcome, Evidence, OutcomeKind, Reason
from senders.recording.hypertables import ALL
from senders.recording.rebuild import NotRecorded, days_to_count, rebuild

pytestmark = pytest.mark.servers

COMMANDS, DAYS = st.integers(0, 3), st.integers(0, 3 * 24 * 60)
KNOWN = {"trigger": "hello", "step": "first", "purpose": "news"}


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    """An outcome by a writer that knows its command, or not."""
    kind = draw(st.sampled_from(OutcomeKind))
    more: dict[str, Any] = dict(KNOWN) if draw(st.booleans()) else {}
    if more and draw(st.booleans()):
        more["brand"] = "shop"
    if more and draw(st.booleans()):
        more |= {"variant": draw(st.sampled_from(["a", "b"])), "decided_at": BEGAN + timedelta(minutes=draw(DAYS))}
    if kind in ENGAGEMENT:
        more["evidence"] = draw(st.sampled_from([None, Evidence.PROXY, Evidence.NAVIGATION, Evidence.HEAD]))
        more["machine"] = draw(st.sampled_from([True, False, "unknown"]))
    else:
        more["provider"] = draw(st.sampled_from(["", "gmail", "yahoo"]))
        more["attempt"] = draw(st.integers(0, 3))
        more["classification"] = draw(st.sampled_from([None, "quota_issues", "header: Subject"]))
    return an_outcome(draw(COMMANDS), kind, draw(DAYS), **more)


@st.composite
def decisions(draw: st.DrawFn) -> Decision:
    """A decision; a goal says when its send or hold-out was."""
    outcome = draw(st.sampled_from(DecisionOutcome))
    inputs = {"variant": draw(st.sampled_from(["a", "b"]))} if draw(st.booleans()) else {}
    minutes = draw(DAYS)
    command = draw(COMMANDS) if outcome in (DecisionOutcome.SEND, DecisionOutcome.GOAL) else None
    if outcome is DecisionOutcome.GOAL:
        command = command if draw(st.booleans()) else None
        sent_at = BEGAN + timedelta(minutes=draw(st.integers(0, minutes)))
        inputs |= {"sent_at": sent_at.isoformat(), "held_out": command is None}
    made = a_decision(command, outcome, minutes, **inputs)
    return made.model_copy(update={"reason": Reason.CAP}) if outcome is DecisionOutcome.DROP else made


FACTS = st.lists(st.one_of(outcomes(), decisions()), max_size=12)
OLDEST = a_decision(None, DecisionOutcome.HELD_OUT, 0)
"""Rollups of days before the oldest row are not counted anew."""


@pytest.fixture
def connection(database_url: str) -> Any:
    with psycopg.connect(database_url, autocommit=True, options="-c timezone=UTC") as made:
        yield made


def by_day(connection: Connection[Any]) -> dict[str, Counter[tuple[Any, ...]]]:
    """The rollups by day as `expected` returns them."""
    found = {
        name: Counter({row[:-1]: row[-1] for row in rows_of(connection, f"rollup_{name}_day")})
        for name in ("decisions", "engagement", "goals")
    }
    found["deliveries"] = Counter({row[:-2]: row[-2] for row in rows_of(connection, "rollup_deliveries_day")})
    found["mails"] = Counter(
        {
            (*row[:7], name): count
            for row in rows_of(connection, "rollup_mails_day")
            for name, count in zip(COUNTED, row[7:], strict=True)
            if count
        }
    )
    return found


def test_rollups_count_each_fact_once_and_counting_anew_comes_to_the_same(connection: Connection[Any]) -> None:
    @settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
    @given(FACTS, st.randoms(use_true_random=False))
    def check(facts: list[Decision | Outcome], chance: Any) -> None:
        forget_rollups(connection, rows=True)
        facts = [OLDEST, *facts]
        coming = facts + chance.sample(facts, len(facts) // 2)
        chance.shuffle(coming)
        while coming:
            size = chance.randint(1, 5)
            record(connection, coming[:size])
            del coming[:size]
        assert by_day(connection) == expected(facts)
        before = kept(connection)
        record(connection, facts)
        assert kept(connection) == before, "a replay changes nothing"
        rebuild(connection, days_to_count(connection, None, None))
        assert kept(connection) == before, "nor does counting beside what is kept"
        forget_rollups(connection)
        rebuild(connection, days_to_count(connection, None, None))
        assert kept(connection) == before

    check()


def test_what_a_reader_did_moves_to_the_day_of_the_send_once_that_is_known(connection: Connection[Any]) -> None:
    opened = an_outcome(1, OutcomeKind.OPENED, 60 * 24, machine=False)
    record(connection, [opened])
    counted = "SELECT sent::date::text, trigger, variant, provider, opened_by_people, accepted FROM rollup_mails_day"
    assert connection.execute(counted).fetchall() == [("1970-01-01", "", "", "", 1, 0)]
    about = {**KNOWN, "variant": "a", "decided_at": BEGAN, "provider": "gmail", "attempt": 1}
    record(connection, [an_outcome(1, OutcomeKind.ACCEPTED, 3, **about)])
    moved = connection.execute(f"{counted} ORDER BY 1 DESC").fetchall()
    assert moved == [("2026-11-01", "hello", "a", "gmail", 1, 1), ("1970-01-01", "", "", "", 0, 0)]
    delays = connection.execute("SELECT measure, seconds_below, mails FROM rollup_delays_day").fetchall()
    assert delays == [("acceptance", 256.0, 1)]


def test_a_person_who_is_erased_while_a_recorder_holds_their_row_stays_erased(
    connection: Connection[Any], database_url: str
) -> None:
    about = {**KNOWN, "attempt": 1, "decided_at": BEGAN}
    record(connection, [an_outcome(1, OutcomeKind.ACCEPTED, 0, **about)])
    with psycopg.connect(database_url) as erasing:
        erasing.execute("UPDATE mails SET user_id = %s", [NOBODY])
        late = an_outcome(1, OutcomeKind.OPENED, 5, machine=False)
        recorder = Thread(target=record, args=(connection, [late]))
        recorder.start()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        wait_until(lambda: erasing.execute(waits).fetchall() == [(1,)], "the recorder waits for the row")
    recorder.join(30)
    assert connection.execute("SELECT user_id, seen > 1 FROM mails").fetchall() == [(NOBODY, True)]


def test_an_id_that_no_command_has_counts_by_its_own_time_alone(connection: Connection[Any]) -> None:
    odd = an_outcome(1, OutcomeKind.OPENED, 0).model_copy(update={"command_id": "no-command"})
    record(connection, [odd])
    assert len(rows_of(connection, "rollup_engagement_day")) == 1
    assert rows_of(connection, "mails") == rows_of(connection, "rollup_mails_day") == set()


def test_a_rebuild_leaves_days_of_which_no_rows_are_left(connection: Connection[Any]) -> None:
    about = {**KNOWN, "attempt": 1}
    old = an_outcome(1, OutcomeKind.ACCEPTED, 0, **about, decided_at=BEGAN)
    later = BEGAN + timedelta(days=3)
    new = an_outcome(2, OutcomeKind.ACCEPTED, 3 * 24 * 60, **about, decided_at=later)
    record(connection, [old, new])
    before = kept(connection)
    connection.execute("SELECT drop_chunks('deliveries', older_than => %s)", [later - timedelta(days=1)])
    assert {id_ for (id_,) in connection.execute("SELECT command_id FROM deliveries")} == {a_command(2)}
    days = days_to_count(connection, None, None)
    assert (days.first, len(days)) == (later.date(), 1)
    rebuild(connection, days)
    assert kept(connection) == before
    with pytest.raises(NotRecorded, match=r"rows begin on 2026-11-04"):
        days_to_count(connection, BEGAN.date(), None)


def test_a_rebuild_leaves_what_was_counted_of_a_table_whose_rows_are_gone(connection: Connection[Any]) -> None:
    def a_life(command: int, minutes: int) -> list[Decision | Outcome]:
        sent = BEGAN + timedelta(minutes=minutes)
        return [
            a_decision(command, DecisionOutcome.SEND, minutes),
            an_outcome(command, OutcomeKind.ACCEPTED, minutes, **KNOWN, attempt=1, decided_at=sent),
            an_outcome(command, OutcomeKind.OPENED, minutes + 1, machine=False),
            a_decision(command, DecisionOutcome.GOAL, minutes + 2, sent_at=sent.isoformat(), held_out=False),
        ]

    second_day = 24 * 60
    for gone in ALL:
        forget_rollups(connection, rows=True)
        record(connection, [*a_life(1, 0), *a_life(2, second_day)])
        before = kept(connection)
        for number in (1, 2):
            midnight = BEGAN.replace(hour=0, minute=0) + timedelta(days=number)
            dropped = "SELECT drop_chunks(%s::regclass, older_than => %s)"
            assert len(connection.execute(dropped, [gone.name, midnight]).fetchall()) == 1
            rebuild(connection, days_to_count(connection, None, None))
            assert kept(connection) == before, f"{gone.name} without the first {number} days"


def test_a_webhook_is_counted_as_a_delivery_and_as_no_mail(connection: Connection[Any]) -> None:
    forget_rollups(connection)
    webhook = an_outcome(1, OutcomeKind.ACCEPTED, 1, channel="webhook", provider="webhook", **KNOWN)
    record(connection, [webhook, an_outcome(2, OutcomeKind.ACCEPTED, 1, **KNOWN)])
    assert sum(row[-2] for row in rows_of(connection, "rollup_deliveries_day")) == 2
    assert connection.execute("SELECT replace(command::text, '-', '') FROM mails").fetchall() == [(a_command(2),)]
