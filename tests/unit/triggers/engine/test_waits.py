"""Waits at any step: elapsed time, the next slot, and a timestamp that follows the profile."""

from itertools import pairwise
from typing import Any

import pytest
from drivers.trigger_world import DAY, MINUTE, World, at, rules, shown
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers.cases.case_runner import run_cases
from triggers.cel.runtime import as_time
from triggers.language.diagnostics import InvalidRules
from triggers.rules.encoding import decode, encode

RULE = "trigger: t\npurpose: marketing\non: ping\n"
SLOT = RULE + 'steps: [{send: a}, {wait: {every: day, at: "09:00"}}, {send: b}]\n'
UNTIL = RULE + "steps: [{send: a}, {wait: {until: timestamp(user.trial_ends) - days(1)}}, {send: b}]\n"


def test_a_step_waits_for_the_next_slot_of_the_user_s_day() -> None:
    world = World(SLOT, zone="America/New_York")
    world.event("2026-01-05 10:00", "ping")
    world.until("2026-01-07 00:00")
    assert [moment for moment, _, _ in world.sent] == ["2026-01-05 10:00:00", "2026-01-05 14:00:00"]


def test_a_slot_that_is_now_is_not_the_next_one() -> None:
    world = World(SLOT)
    world.event("2026-01-05 09:00", "ping")
    world.until("2026-01-07 00:00")
    assert [moment for moment, _, _ in world.sent] == ["2026-01-05 09:00:00", "2026-01-06 09:00:00"]


def test_a_wait_counts_from_when_the_step_before_it_was_due() -> None:
    """Sign-up Monday 10:00, one day, then the next 09:00: Wednesday, as in an onboarding."""
    world = World(RULE + 'steps: [{wait: 1d}, {wait: {every: day, at: "09:00"}}, {send: a}]\n')
    world.event("2026-01-05 10:00", "ping")
    world.until("2026-01-09 00:00")
    assert world.sent == [("2026-01-07 09:00:00", "t", "a")]


def test_after_may_be_a_slot_or_a_timestamp_and_counts_from_the_event_s_own_time() -> None:
    world = World(RULE + 'after: {every: [tue, thu], at: "18:30", zone: Europe/Berlin}\nsend: a\n')
    world.event("2026-01-05 10:00", "ping", arrives="2026-01-05 12:00")
    world.until("2026-01-09 00:00")
    assert world.sent == [("2026-01-06 17:30:00", "t", "a")]
    world = World(RULE + "after: {until: timestamp(event.starts)}\nsend: a\n")
    world.event("2026-01-05 10:00", "ping", starts="2026-01-08T12:00:00+01:00")
    world.until("2026-01-09 00:00")
    assert world.sent == [("2026-01-08 11:00:00", "t", "a")]


def test_a_user_who_moves_waits_for_the_slot_of_the_new_zone() -> None:
    world = World(SLOT, zone="Europe/Berlin")
    world.event("2026-01-05 10:00", "ping")
    world.profile("2026-01-06 02:00", zone="America/New_York")
    world.until("2026-01-07 00:00")
    assert world.sent[1:] == [("2026-01-06 14:00:00", "t", "b")]


def test_a_slot_in_a_zone_of_the_rule_s_own_does_not_move() -> None:
    world = World(SLOT.replace('"09:00"', '"09:00", zone: Europe/Berlin'), zone="Europe/Berlin")
    world.event("2026-01-05 10:00", "ping")
    world.profile("2026-01-06 02:00", zone="America/New_York")
    world.until("2026-01-07 00:00")
    assert world.sent[1:] == [("2026-01-06 08:00:00", "t", "b")]


def test_a_timestamp_is_waited_for_and_followed_when_the_profile_changes() -> None:
    world = World(UNTIL, trial_ends="2026-01-10T12:00:00Z")
    world.event("2026-01-05 10:00", "ping")
    world.profile("2026-01-08 00:00", trial_ends="2026-02-01T12:00:00Z")
    world.until("2026-01-20 00:00")
    assert len(world.sent) == 1
    world.profile("2026-01-20 00:00", trial_ends="2026-01-25T12:00:00Z")
    world.until("2026-01-30 00:00")
    assert world.sent[1:] == [("2026-01-24 12:00:00", "t", "b")]


def test_a_timestamp_that_moves_into_the_past_is_due_at_once() -> None:
    world = World(UNTIL, trial_ends="2026-02-10T12:00:00Z")
    world.event("2026-01-05 10:00", "ping")
    world.profile("2026-01-20 00:00", trial_ends="2026-01-10T12:00:00Z")
    assert world.sent[1:] == [("2026-01-20 00:00:00", "t", "b")]


def test_a_timestamp_in_the_past_causes_no_wait() -> None:
    world = World(UNTIL, trial_ends="2026-01-01T00:00:00Z")
    world.event("2026-01-05 10:00", "ping")
    assert [moment for moment, _, _ in world.sent] == ["2026-01-05 10:00:00"] * 2


def test_a_wait_that_was_over_stays_so_also_while_its_send_is_held_or_settles() -> None:
    world = World(UNTIL + 'quiet: {from: "21:00", to: "08:00"}\n', trial_ends="2026-01-11T22:00:00Z")
    world.event("2026-01-05 10:00", "ping")
    world.profile("2026-01-10 23:00", trial_ends="2026-02-01T00:00:00Z")
    world.until("2026-02-05 00:00")
    assert world.sent[1:] == [("2026-01-11 08:00:00", "t", "b")]
    world = World(UNTIL + "settle: 1h\n", trial_ends="2026-01-11T12:00:00Z")
    world.event("2026-01-05 10:00", "ping")
    world.profile("2026-01-10 12:30", trial_ends="2026-02-01T00:00:00Z")
    world.until("2026-02-05 00:00")
    assert world.sent[1:] == [("2026-01-10 13:00:00", "t", "b")]


def test_a_branch_around_a_wait_is_not_taken_for_the_wait() -> None:
    steps = (
        "steps: [{if: event.n > 1, then: [{wait: {until: timestamp(user.x)}}], else: [{wait: 1h}]}, {send: b}]\n"
        "settle: 1m\n"
    )
    world = World(RULE + steps, x="2026-03-01T00:00:00Z")
    world.event("2026-01-05 10:00", "ping", n=1)
    world.profile("2026-01-05 11:00", x="2026-04-01T00:00:00Z")
    world.until("2026-01-06 00:00")
    assert world.sent == [("2026-01-05 11:01:00", "t", "b")]


@pytest.mark.parametrize(
    ("moment", "ends", "sent"),
    [
        ("timestamp(user.x)", "2026-01-10", "2026-01-10 08:00:00"),
        ("user.x", "2026-01-10", "2026-01-10 08:00:00"),
        ("user.x", "2026-01-10T00:00:00Z", "2026-01-10 00:00:00"),
        ("user.x / 1000", 1_768_003_200_000, "2026-01-10 00:00:00"),
    ],
)
def test_a_wait_until_a_plain_date_ends_when_that_day_begins_for_the_user(moment: str, ends: Any, sent: str) -> None:
    rule = RULE + f"steps: [{{wait: {{until: {moment}}}}}, {{send: b}}]\n"
    world = World(rule, zone="America/Los_Angeles", x=ends)
    world.event("2026-01-05 10:00", "ping")
    world.until("2026-01-20 00:00")
    assert world.sent == [(sent, "t", "b")]


@pytest.mark.parametrize("value", [None, "soon", "2028-06-01T00:00:00Z", 7])
def test_a_wait_without_a_timestamp_ends_the_journey_and_mails_nobody(value: Any) -> None:
    attributes = {} if value is None else {"trial_ends": value}
    world = World(UNTIL, **attributes)
    world.event("2026-01-05 10:00", "ping")
    assert [reason for _, reason in world.decided] == ["send", "drop condition_error"]
    assert [(p.trigger, p.place) for p in world.problems] == [("t", "until")]
    assert world.state.running == []


def test_a_timestamp_that_is_taken_away_while_it_is_waited_for_ends_the_journey() -> None:
    world = World(UNTIL, trial_ends="2026-02-10T12:00:00Z")
    world.event("2026-01-05 10:00", "ping")
    world.profile("2026-01-20 00:00")
    assert [reason for _, reason in world.decided] == ["send", "drop condition_error"]
    assert world.state.next_due() is None


def test_a_restart_forgets_the_wait() -> None:
    world = World(
        RULE + "key: user.id\nsteps: [{wait: 1h}, {wait: {until: timestamp(user.x)}}, {send: a}]\n",
        x="2026-02-01T00:00:00Z",
    )
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-05 12:00", "ping")
    world.profile("2026-01-05 12:30", x="2026-03-01T00:00:00Z")
    world.until("2026-03-02 00:00")
    assert world.sent == [("2026-03-01 00:00:00", "t", "a")]


def test_a_case_follows_a_timestamp() -> None:
    text = UNTIL + (
        "cases:\n"
        "  - name: the trial is longer\n"
        "    user: {trial_ends: '2026-01-20T09:00:00Z'}\n"
        "    given:\n"
        "      - {at: '10:00', ping: {}}\n"
        "      - {at: '+2d 00:00', user: {trial_ends: '2026-01-25T09:00:00Z'}}\n"
        "    expect: [{at: '10:00', send: a}, {at: '+19d 09:00', send: b}]\n"
    )
    [result] = run_cases(rules(text))
    assert result.diff == ()


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        ("{until: event.x == 1}", "cel-type until: gives a bool, not a date"),
        ("{until: now, at: '09:00'}", "unknown-key unknown key `at` in wait"),
        ("{at: '09:00'}", "missing-key missing key `every` in wait"),
        ("{every: day}", "missing-key missing key `at` in wait"),
        ("{every: day, at: '09:00', day: 3}", "conflict `day` goes with `every: month`"),
        (
            "{every: {}, at: '09:00'}",
            "wrong-type every takes day, month, a weekday or a list of weekdays",
        ),
        ("{every: day, at: '09:00', zone: Mars}", "invalid-zone unknown time zone `Mars`"),
        ("soon", "invalid-duration wait: `soon` is not a duration"),
    ],
)
def test_a_wrong_wait_is_reported(wait: str, expected: str) -> None:
    with pytest.raises(InvalidRules) as caught:
        rules(RULE + f"steps: [{{wait: {wait}}}, {{send: a}}]\n")
    assert expected in "\n".join(f"{each.code} {each.message}" for each in caught.value.diagnostics)


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland"]
changes = st.lists(st.tuples(st.integers(1, 20 * 60), st.sampled_from(ZONES), st.integers(0, 10 * 24 * 60)), max_size=8)


@settings(max_examples=80, deadline=None)
@given(changes)
def test_a_followed_wait_ends_at_the_newest_date_or_when_that_date_arrived(steps: list[tuple[int, str, int]]) -> None:
    """After any change of the profile, the send comes at the first instant not before the date it has then."""
    start = at("2026-01-05 10:00")
    world = World(RULE + "after: {until: timestamp(user.x)}\nsend: a\n", x=as_time(start + DAY).isoformat())
    world.event(start, "ping")
    windows = [(start, start + DAY)]
    for minutes, zone, ends in steps:
        now = world.now + minutes * MINUTE
        world.profile(shown(now), zone=zone, x=as_time(start + ends * MINUTE).isoformat())
        world.state = decode("u1", encode(world.state)[0])
        windows.append((now, start + ends * MINUTE))
    world.until(start + 400 * DAY)
    ends_at = [
        (max(now, ends), following) for (now, ends), (following, _) in pairwise([*windows, (start + 400 * DAY, 0)])
    ]
    expected = next(ends for ends, following in ends_at if ends < following)
    assert [moment for moment, _, _ in world.sent] == [shown(expected)[:19]]
