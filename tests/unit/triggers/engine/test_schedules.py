"""Schedules as sources: every user with a profile, at each slot, once for each local date."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from drivers.trigger_world import DAY, MINUTE, TEMPLATES, World, at, rules, shown, zone_of
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers.cases.case_runner import run_cases
from triggers.engine.evaluator import Evaluator
from triggers.language.diagnostics import CODES, Diagnostic, InvalidRules, SourceFile
from triggers.loader import check
from triggers.measures.local_time import slot_after
from triggers.measures.shapes import Schedule, clock_time
from triggers.rules.encoding import decode, encode, new_state
from triggers.rules.state import User

DAILY = 'trigger: t\npurpose: marketing\non: {every: day, at: "09:00"}\nsend: a\n'


def slots(schedule: Schedule, zone: str, start: str, count: int) -> list[str]:
    """The first slots after an instant, with their local dates."""
    found, now = [], at(start)
    for _ in range(count):
        now, day = slot_after(schedule, zone_of(zone), now)
        found.append(f"{shown(now)[:16]} {day}")
    return found


def every(at_text: str, *weekdays: int, day: int | None = None) -> Schedule:
    """A schedule of weekdays or, with none, of every day; with `day`, of every month."""
    return Schedule(clock_time(at_text), None if day is not None else frozenset(weekdays or range(7)), day or None)


def test_a_daily_slot_comes_at_the_user_s_own_time() -> None:
    world = World(DAILY, "2026-01-05 00:00", zone="America/New_York")
    world.until("2026-01-07 00:00")
    assert world.sent == [("2026-01-05 14:00:00", "t", "a"), ("2026-01-06 14:00:00", "t", "a")]
    assert [d.occurrence for d in world.decisions] == ['["2026-01-05"]', '["2026-01-06"]']
    assert [d.event_ids for d in world.decisions] == [["2026-01-05"], ["2026-01-06"]]


def test_a_zone_that_the_rule_names_counts_for_everybody() -> None:
    world = World(DAILY.replace('"09:00"', '"09:00", zone: Europe/Berlin'), zone="America/New_York")
    world.until("2026-01-05 23:00")
    assert world.sent == [("2026-01-05 08:00:00", "t", "a")]


@pytest.mark.parametrize(
    ("every_text", "expected"),
    [
        ("every: monday", ["2026-01-12", "2026-01-19", "2026-01-26"]),
        ("every: [mon, thursday]", ["2026-01-08", "2026-01-12", "2026-01-15"]),
        ("every: month, day: 15", ["2026-01-15", "2026-02-15", "2026-03-15"]),
        ("every: month, day: last", ["2026-01-31", "2026-02-28", "2026-03-31"]),
        ("every: month", ["2026-02-01", "2026-03-01", "2026-04-01"]),
    ],
)
def test_slots_are_on_the_days_that_are_written(every_text: str, expected: list[str]) -> None:
    world = World(DAILY.replace("every: day", every_text), "2026-01-05 09:00")
    world.until("2026-04-02 00:00")
    assert [moment[:10] for moment, _, _ in world.sent][:3] == expected


def test_a_first_slot_is_strictly_later_than_the_profile() -> None:
    world = World(DAILY, "2026-01-05 09:00")
    world.until("2026-01-06 08:59")
    assert world.sent == []


def test_a_profile_that_says_the_same_again_at_its_own_instant_makes_no_slot_of_that() -> None:
    world = World(DAILY, "2026-01-05 09:00")
    world.profile("2026-01-05 09:00")
    world.until("2026-01-06 08:59")
    assert world.sent == []


def test_a_user_without_a_profile_has_no_slots() -> None:
    evaluator, state = Evaluator(rules(DAILY)), new_state(User("u1"))
    assert evaluator.plan(state, at("2026-01-05 00:00")) is None
    assert not evaluator.fire_due(state, at("2026-01-07 00:00")).records
    assert state.next_due() is None


def test_a_profile_that_says_the_same_again_at_the_instant_of_a_slot_neither_loses_nor_doubles_it() -> None:
    world = World(DAILY)
    world.profile("2026-01-05 09:00")
    world.until("2026-01-05 09:00")
    world.profile("2026-01-05 09:00")
    world.until("2026-01-06 08:00")
    assert world.sent == [("2026-01-05 09:00:00", "t", "a")]


def test_a_rule_that_was_published_while_the_user_waited_begins_at_the_next_slot_once_planned() -> None:
    world = World("trigger: t\npurpose: marketing\non: ping\nsend: a\n")
    assert world.state.next_due() is None
    world.evaluator = Evaluator(rules(DAILY))
    assert world.evaluator.plan(world.state, at("2026-01-05 10:00")) is not None
    assert world.evaluator.plan(world.state, at("2026-01-05 10:00")) is None
    assert world.state.next_due() == at("2026-01-06 09:00")


def test_an_edited_schedule_continues_and_a_removed_one_leaves_nothing() -> None:
    world = World(DAILY)
    world.until("2026-01-05 10:00")
    world.evaluator = Evaluator(rules(DAILY.replace("09:00", "18:00")))
    world.evaluator.plan(world.state, at("2026-01-05 10:00"))
    assert world.state.next_due() == at("2026-01-06 18:00")  # for the 5th it has begun already
    world.evaluator = Evaluator(rules("trigger: t\npurpose: marketing\non: ping\nsend: a\n"))
    world.event("2026-01-05 12:00", "ping")
    assert (world.state.next_due(), world.state.plans) == (None, {})


def test_an_outage_of_three_days_fires_no_slot_older_than_max_age_and_counts_each() -> None:
    world = World(DAILY)
    world.take(world.evaluator.fire_due(world.state, at("2026-01-08 09:00")))
    assert [d.occurrence for d in world.decisions] == ['["2026-01-07"]', '["2026-01-08"]']
    assert world.counts == {"stale": 2}
    assert world.state.next_due() == at("2026-01-09 09:00")


def test_two_slots_of_one_rule_on_one_date_are_one_occurrence() -> None:
    world = World(DAILY.replace('{every: day, at: "09:00"}', '[{every: day, at: "09:00"}, {every: mon, at: "18:00"}]'))
    world.until("2026-01-06 08:00")
    assert [reason for _, reason in world.decided] == ["send", "drop duplicate"]


def test_of_rules_with_one_slot_the_higher_priority_is_decided_first() -> None:
    cap = "cap: {max: 1, per: 1h, scope: all}\n"
    low, high = DAILY + cap, DAILY.replace("trigger: t", "trigger: u") + cap + "priority: 60\n"
    world = World(f"{low}---\n{high}")
    world.until("2026-01-05 09:00")
    assert world.decided == [("2026-01-05 09:00:00", "send"), ("2026-01-05 09:00:00", "drop cap")]
    assert [d.trigger for d in world.decisions] == ["u", "t"]


def test_a_key_a_cap_and_unless_work_on_slots_as_on_events() -> None:
    world = World(DAILY.replace("send: a", "key: user.id\nafter: 1h\nunless: ordered\nsend: a"))
    world.event("2026-01-05 09:30", "ordered")
    world.until("2026-01-06 12:00")
    assert world.sent == [("2026-01-06 10:00:00", "t", "a")]
    assert world.decisions[0].occurrence == '["u1","2026-01-06"]'


@pytest.mark.parametrize(
    ("zone", "start", "every_text", "expected"),
    [
        # Settled case 4: what does not exist is the jump, what comes twice is the first.
        ("Europe/Berlin", "2026-03-28 12:00", "02:30", ["2026-03-29 01:00 2026-03-29", "2026-03-30 00:30 2026-03-30"]),
        ("Europe/Berlin", "2026-10-24 12:00", "02:30", ["2026-10-25 00:30 2026-10-25", "2026-10-26 01:30 2026-10-26"]),
        # Half an hour only: 02:00 to 02:30 on 2026-10-04, and 02:00 back to 01:30 on 2026-04-05.
        ("Australia/Lord_Howe", "2026-10-03 12:00", "02:15", ["2026-10-03 15:30 2026-10-04"]),
        ("Australia/Lord_Howe", "2026-04-04 12:00", "01:45", ["2026-04-04 14:45 2026-04-05"]),
        # 2011-12-30 is no day in Apia: it has no slot.
        ("Pacific/Apia", "2011-12-29 12:00", "09:00", ["2011-12-29 19:00 2011-12-29", "2011-12-30 19:00 2011-12-31"]),
        # The clocks of St. John's once changed at one minute past midnight: 00:01 to 01:01, and back to 23:01.
        ("America/St_Johns", "2010-03-13 12:00", "00:30", ["2010-03-14 03:31 2010-03-14"]),
        (
            "America/St_Johns",
            "2010-11-06 12:00",
            "23:30",
            ["2010-11-07 02:00 2010-11-06", "2010-11-08 03:00 2010-11-07"],
        ),
    ],
)
def test_slots_on_days_when_the_clocks_change(zone: str, start: str, every_text: str, expected: list[str]) -> None:
    assert slots(every(every_text), zone, start, len(expected)) == expected


ZONES = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns", "Africa/Casablanca"]
DAYS = ["2026-03-27", "2026-10-23", "2026-04-03", "2026-10-02", "2011-12-28", "2011-04-01", "2010-03-12", "2010-11-05"]


def slots_by_minutes(schedule: Schedule, zone: ZoneInfo, start: int, minutes: int) -> list[tuple[int, date]]:
    """Slots found by looking at a clock on the wall every minute: each day's first with the time or later."""
    shows = [datetime.fromtimestamp((start + n * MINUTE) // 1000, zone).replace(tzinfo=None) for n in range(minutes)]
    days = sorted({wall.date() for wall in shows})
    found = []
    for day in days[1:-1]:
        if schedule.falls_on(day):
            wanted = datetime.combine(day, schedule.at)
            begins = next(n for n, wall in enumerate(shows) if wall.date() == day)
            first = next(n for n, wall in enumerate(shows) if n >= begins and wall >= wanted)
            found.append((start + first * MINUTE, day))
    return found


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.sampled_from(DAYS),
    st.integers(0, 24 * 60 - 1),
    st.frozensets(st.integers(0, 6), min_size=3),
)
def test_slots_are_those_that_a_clock_on_the_wall_shows_minute_by_minute(
    name: str, day: str, minute: int, weekdays: frozenset[int]
) -> None:
    schedule = Schedule(clock_time(f"{minute // 60:02d}:{minute % 60:02d}"), weekdays)
    zone, start = zone_of(name), at(f"{day} 00:00")
    expected = slots_by_minutes(schedule, zone, start, 4 * 24 * 60)
    if expected:
        found, now = [], expected[0][0] - 1
        while len(found) < len(expected):
            now, local = slot_after(schedule, zone, now)
            found.append((now, local))
        assert found == expected


moves = st.lists(
    st.tuples(st.integers(1, 30 * 60), st.sampled_from([*ZONES, "Pacific/Kiritimati", "Pacific/Honolulu"]))
)


@settings(max_examples=80, deadline=None)
@given(moves)
def test_no_local_date_begins_twice_after_any_moves_and_state_survives_encoding(
    journey: list[tuple[int, str]],
) -> None:
    world = World(DAILY)
    for minutes, zone in journey:
        world.profile(shown(world.now + minutes * MINUTE), zone=zone)
        assert decode("u1", encode(world.state)[0]) == world.state
    world.until(world.now + 3 * DAY)
    occurrences = [decision.occurrence for decision in world.decisions]
    assert len(occurrences) == len(set(occurrences))
    assert all(d.outcome == "send" for d in world.decisions)


def test_a_case_of_a_schedule_runs_to_its_end_and_follows_the_profile() -> None:
    text = DAILY + (
        "cases:\n"
        "  - name: moves west at night\n"
        "    user: {zone: Europe/Berlin}\n"
        '    given: [{at: "+1d 03:00", user: {zone: America/New_York}}]\n'
        '    expect: [{at: "09:00", send: a}, {at: "+1d 15:00", send: a}]\n'
        '    until: "+2d 03:00"\n'
    )
    [result] = run_cases(rules(text.replace("every: day", "every: [mon, tue]")))
    assert result.diff == ()


def test_a_case_of_a_schedule_needs_an_end() -> None:
    text = DAILY + 'cases: [{name: c, given: [], expect: [{at: "09:00", send: a}]}]\n'
    with pytest.raises(InvalidRules) as caught:
        rules(text)
    [found] = caught.value.diagnostics
    message = "missing key `until` in a case of a rule that recurs by the clock"
    assert str(found) == f"rules.yaml:5:9: error: {message} [missing-key]"
    assert found.hint == 'as in until: "+7d 00:00"'


def test_a_slot_does_not_have_the_properties_of_an_event() -> None:
    with pytest.raises(InvalidRules, match=r"`event\.total`: no event begins this rule.*\[no-properties\]"):
        rules(DAILY.replace("send: a", "when: event.total > 1\nsend: a"))


EVERYTHING = """
trigger: t
purpose: marketing
on:
  - {every: [mon, thursday], at: "09:00", zone: user}
  - {every: month, day: last, at: "10:00", zone: Europe/Berlin}
  - {date: timestamp(user.trial_ends), before: 3d, at: "10:00"}
  - {date: user.birthday, yearly: true, zone: UTC}
  - {sequence: [view, {event: [buy, take], where: event.n > 1}], within: 1h, same: [k, l]}
after: {every: day, at: "09:00"}
on_edit: pin
steps: [{wait: {until: timestamp(user.x)}}, {send: a}, {wait: {every: month, at: "09:00"}}, {send: b}]
"""
pieces = st.sampled_from(
    ["{", "}", "[", "]", ": ", ", ", '"', "every", "date", "0", "day", "last", "until", "- ", "\\n", "@"]
)


def checked(text: str) -> list[Diagnostic]:
    """The diagnostics of a text. Any other exception fails the test."""
    try:
        rules(text)
    except InvalidRules as invalid:
        return invalid.diagnostics
    return check([SourceFile("rules.yaml", text)], TEMPLATES)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(EVERYTHING)), st.integers(0, 15), pieces | st.text(max_size=4))
def test_a_damaged_file_gives_rules_or_diagnostics_and_nothing_else(start: int, length: int, put: str) -> None:
    assert {each.code for each in checked(EVERYTHING[:start] + put + EVERYTHING[start + length :])} <= set(CODES)


def test_every_form_together_loads() -> None:
    loaded = rules(EVERYTHING)
    assert (len(loaded.clocks), len(loaded.sequences)) == (4, 1)
