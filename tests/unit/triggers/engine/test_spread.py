"""`spread`: users whose sends wait for the same room leave at moments of their own."""

from datetime import UTC, datetime, timedelta

import pytest
from drivers.trigger_world import World

from schemas.decisions import Decision
from triggers.cases.verification import verify
from triggers.engine.gates.table import GATES
from triggers.rules.assignment import moment_within

WEEKLY = """trigger: t
purpose: marketing
on: ping
cap: {max: 1, per: calendar week, over: defer, spread: 2h}
expires: EXPIRES
send: a
"""
MONDAY = datetime(2026, 1, 12, tzinfo=UTC)
USERS = [f"u{number}" for number in range(60)]


def played(user_id: str, rule: str = WEEKLY, expires: str = "7d") -> list[Decision]:
    """Two events in a week: the second send waits for Monday, and leaves then."""
    world = World(rule.replace("EXPIRES", expires), user_id=user_id)
    world.event("2026-01-08 10:00", "ping")
    world.event("2026-01-09 10:00", "ping")
    world.until("2026-01-13 10:00")
    return world.decisions


def test_users_leave_at_moments_of_their_own_within_the_spread() -> None:
    moments = {}
    for user_id in USERS:
        sent, deferred, released = played(user_id)
        assert (sent.outcome, deferred.outcome, released.outcome) == ("send", "defer", "send")
        assert deferred.gates[-1].next_eligible == released.decided_at
        moments[user_id] = released.decided_at
    assert all(MONDAY <= moment < MONDAY + timedelta(hours=2) for moment in moments.values())
    assert len(set(moments.values())) == len(USERS)
    quarters = {int((moment - MONDAY) / timedelta(minutes=30)) for moment in moments.values()}
    assert quarters == {0, 1, 2, 3}
    assert moments == {user_id: played(user_id)[2].decided_at for user_id in USERS}


def test_without_a_spread_all_leave_when_there_is_room() -> None:
    rule = WEEKLY.replace(", spread: 2h", "")
    assert {played(user_id, rule)[2].decided_at for user_id in USERS[:5]} == {MONDAY}


def test_another_rule_spreads_its_users_in_another_order() -> None:
    other = WEEKLY.replace("trigger: t", "trigger: other")
    order = {rule: sorted(USERS, key=lambda user: played(user, rule)[2].decided_at) for rule in (WEEKLY, other)}
    assert order[WEEKLY] != order[other]


def test_a_spread_is_no_longer_than_what_is_left_until_the_expiry() -> None:
    """The second send is due on Friday at 10:00, and too late on Monday at 00:10."""
    for user_id in USERS[:20]:
        _, deferred, released = played(user_id, expires="62h10m")
        assert (deferred.outcome, released.outcome) == ("defer", "send")
        assert MONDAY <= released.decided_at < MONDAY + timedelta(minutes=10)


def test_a_send_that_has_no_room_before_its_expiry_is_dropped_at_once() -> None:
    _, dropped = played("u1", expires="62h")
    assert (dropped.outcome, dropped.reason) == ("drop", "expired")


def test_the_deferral_says_that_it_is_spread_and_follows_from_its_stored_values() -> None:
    _, deferred, _ = played("u1")
    [cap] = deferred.gates[-1:]
    assert cap.limit == {"max": 1, "per": "calendar week", "by": "trigger", "spread": "2h"}
    assert GATES[cap.gate].words(cap).startswith("1 so far, of 1 per calendar week by trigger; free again 2026-01-12 0")
    assert GATES[cap.gate].words(cap).endswith(" UTC, spread over 2h")
    assert verify(deferred).verified


def test_of_several_full_caps_the_latest_moment_counts() -> None:
    caps = "cap:\n  - {max: 1, per: 1h, over: defer, spread: 7d}\n  - {max: 1, per: calendar week, over: defer}\n"
    world = World(f"trigger: t\npurpose: marketing\non: ping\nexpires: 14d\n{caps}send: a\n")
    world.event("2026-01-11 23:30", "ping")
    world.event("2026-01-11 23:40", "ping")
    own = datetime(2026, 1, 12, 0, 30, tzinfo=UTC) + timedelta(
        milliseconds=moment_within(7 * 86_400_000, "spread", "t", "u1")
    )
    assert world.decisions[1].gates[-1].next_eligible == max(own, MONDAY)


@pytest.mark.parametrize("ms", [1, 2, 1000, 7 * 86_400_000])
def test_a_moment_is_within_its_time(ms: int) -> None:
    found = [moment_within(ms, "spread", "t", user_id) for user_id in USERS]
    assert all(0 <= each < ms for each in found)
