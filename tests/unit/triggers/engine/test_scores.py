"""Scores and time: old and late events, backfills, and crossings that move."""

import pytest
from drivers.trigger_world import World, at, event

from triggers.rules.encoding import decode, encode

PING = "trigger: t\npurpose: marketing\non: ping\n"
SCORE = "score: s\ndecay: {curve: exponential, half_life: 1d}\nadd: {event: ping, points: event.n}\n"
FALL = (
    SCORE + "---\ntrigger: t\npurpose: marketing\non: {score: s, falls_below: 0.2, rearm: 0.5}\nmax_age: 10m\nsend: a\n"
)
RISE = SCORE + "---\ntrigger: t\npurpose: marketing\non: {score: s, reaches: 2, rearm: 1}\nsend: a\n"


def test_an_old_event_begins_nothing_and_is_counted() -> None:
    world = World(PING + "max_age: 10m\nsend: a\n")
    world.event("2026-01-05 09:50", "ping", arrives="2026-01-05 10:00")
    world.event("2026-01-05 09:49:59.999", "ping", arrives="2026-01-05 10:00")
    assert len(world.commands) == 1
    assert world.counts == {"stale": 1}


def test_an_event_from_the_future_is_clamped_and_counted() -> None:
    world = World(PING + "after: 1h\nsend: a\n")
    world.event("2026-01-05 10:05", "ping", arrives="2026-01-05 10:00")
    world.event("2026-01-05 10:05:00.001", "ping", arrives="2026-01-05 10:00")
    world.until("2026-01-06 00:00")
    assert world.counts == {"clamped": 1}
    assert [moment for moment, _, _ in world.sent] == ["2026-01-05 11:00:00", "2026-01-05 11:05:00"]


def test_a_backfill_builds_the_score_and_sends_nothing() -> None:
    """Crossings between two old events are true and too old; the last event's crossing is still to come."""
    world = World(FALL, "2026-03-01 00:00")
    for moment in ("2026-01-05 00:00", "2026-02-05 00:00", "2026-02-28 00:00"):
        world.event(moment, "ping", arrives="2026-03-01 00:00", n=1)
    assert (world.commands, world.counts) == ([], {"stale": 2})
    world.until("2026-04-01 00:00")
    assert world.sent == [("2026-03-02 07:43:34", "t", "a")]  # log2(1 / 0.2) days after the last


def test_a_later_backfilled_event_takes_back_a_crossing_that_was_none() -> None:
    """The first event's crossing was counted as long past before the second, older than it, arrived."""
    world = World(FALL, "2026-01-08 00:00")
    world.event("2026-01-05 00:00", "ping", arrives="2026-01-08 00:00", n=0.6)
    world.until("2026-01-08 00:05")
    assert world.counts == {"stale": 1}
    world.event("2026-01-06 00:00", "ping", arrives="2026-01-08 00:10", n=0.1)
    level = world.state.levels["t#0"]
    assert (level.armed, level.due) == (True, at("2026-01-07 00:00") + 1)


def test_a_late_event_moves_a_crossing_that_is_due_and_not_yet_fired() -> None:
    world = World(FALL)
    world.event("2026-01-05 00:00", "ping", n=0.8)
    late = event("ping", at("2026-01-06 00:00"), "late", n=0.8)
    effects = world.evaluator.apply_event(world.state, late, at("2026-01-07 00:05"))
    assert (effects.records, effects.counts) == ([], {})
    assert world.state.next_due() is not None
    world.until("2026-01-07 12:00")
    assert world.sent == []


def test_a_crossing_of_the_last_minutes_still_begins() -> None:
    world = World(FALL, "2026-01-07 00:00")
    world.event("2026-01-05 00:00", "ping", arrives="2026-01-07 00:09", n=0.8)
    world.until("2026-01-07 00:10")
    assert world.sent == [("2026-01-07 00:09:00", "t", "a")]
    assert world.decisions[0].inputs["due"] == "2026-01-07T00:00:00.001000+00:00"


def test_a_new_event_moves_the_crossing() -> None:
    world = World(FALL)
    world.event("2026-01-05 00:00", "ping", n=0.8)
    world.event("2026-01-06 00:00", "ping", n=0.4)
    world.until("2026-02-01 00:00")
    assert world.sent == [("2026-01-08 00:00:00", "t", "a")]


def test_a_rising_score_fires_once_until_it_was_below_the_rearm_line() -> None:
    world = World(RISE)
    world.event("2026-01-05 00:00", "ping", n=3)
    world.event("2026-01-05 01:00", "ping", n=3)
    world.event("2026-01-06 12:00", "ping", n=3)
    assert len(world.commands) == 1
    world.event("2026-01-20 00:00", "ping", n=3)
    assert len(world.commands) == 2
    assert world.commands[1].occurrence == '["e4"]'


def test_points_that_are_negative_or_missing_are_reported_and_add_nothing() -> None:
    world = World(SCORE)
    world.event("2026-01-05 00:00", "ping", n=-1)
    world.event("2026-01-05 00:00", "ping")
    assert [p.trigger for p in world.problems] == ["score/s", "score/s"]
    assert "s" not in world.state.scores


@pytest.mark.parametrize(
    "curve", ["exponential, half_life: 1d", "linear, lifetime: 9d", "power, scale: 1d, exponent: 2"]
)
def test_hostile_points_do_not_break_a_score(curve: str) -> None:
    world = World(FALL.replace("exponential, half_life: 1d", curve))
    for second in range(400):
        world.event(f"2026-01-05 00:{second // 60:02d}:{second % 60:02d}", "ping", n=1.7e308)
    assert 0 < world.score("s") <= 1e15
    assert decode("u1", encode(world.state)[0]) == world.state
