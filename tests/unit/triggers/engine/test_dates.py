"""Dates of profiles as sources: before, on and after them, once or every year."""

import io
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from drivers.trigger_world import DAY, HOUR, World, at, event, rules, shown, zone_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from cli.rules import case_runs
from schemas.profiles import Profile
from schemas.vocabulary import ProblemCause
from schemas.zones import zone_names
from triggers.cases.backtest import backtest
from triggers.cases.case_runner import run_cases
from triggers.cel.conditions import compile_condition
from triggers.engine.dates import LocalDate, UnreadableDate, local_date, moment_after
from triggers.language.diagnostics import InvalidRules
from triggers.rules.encoding import decode, encode
from triggers.rules.rule import Anniversary

RULE = "trigger: t\npurpose: marketing\non: {%s}\nsend: a\n"
TRIAL = RULE % "date: timestamp(user.trial_ends), before: 3d"
BIRTHDAY = RULE % 'date: user.birthday, yearly: true, at: "10:00"'
ANY = compile_condition("user.x", "value")


def sent(date_text: str, until: str = "2029-12-31 00:00", start: str = "2026-01-05 00:00", **user: Any) -> list[str]:
    """When a rule with this source sends."""
    world = World(RULE % date_text, start, **user)
    world.until(until)
    return [moment for moment, _, _ in world.sent]


def test_without_at_the_time_is_exact() -> None:
    world = World(TRIAL, trial_ends="2026-03-31T15:30:00+02:00", zone="Europe/Berlin")
    world.until("2026-05-01 00:00")
    assert world.sent == [("2026-03-28 13:30:00", "t", "a")]  # 72 hours, one of them in another offset
    assert world.decisions[0].occurrence == '["2026-03-28"]'
    assert world.state.next_due() is None


def test_with_at_whole_local_days_are_counted_and_then_the_clock_is_set() -> None:
    date_text = 'date: timestamp(user.trial_ends), before: 3d, at: "10:00"'
    assert sent(date_text, trial_ends="2026-03-31T23:30:00Z", zone="Europe/Berlin") == ["2026-03-29 08:00:00"]
    assert sent(date_text, trial_ends="2026-03-31T23:30:00Z", zone="UTC") == ["2026-03-28 10:00:00"]
    assert sent(date_text + ", zone: America/New_York", trial_ends="2026-03-31T03:30:00Z") == ["2026-03-27 14:00:00"]


@pytest.mark.parametrize(
    ("date_text", "expected"),
    [
        ("date: user.joined", ["2026-03-29 00:00:00"]),
        ("date: user.joined, zone: Europe/Berlin", ["2026-03-28 23:00:00"]),
        ("date: user.joined, after: 1d, zone: Europe/Berlin", ["2026-03-29 23:00:00"]),
        ('date: user.joined, after: 1d, at: "00:00", zone: Europe/Berlin', ["2026-03-29 22:00:00"]),
        ('date: user.joined, at: "02:30", zone: Europe/Berlin', ["2026-03-29 01:00:00"]),
        ('date: user.joined, before: 2w, at: "09:00"', ["2026-03-15 09:00:00"]),
    ],
)
def test_a_plain_date_is_a_local_day_and_its_first_instant(date_text: str, expected: list[str]) -> None:
    assert sent(date_text, joined="2026-03-29") == expected


@pytest.mark.parametrize("birthday", ["1992-02-29", "1990-02-29", "1992-02-29T12:00:00Z"])
def test_who_was_born_on_the_29th_of_february_has_a_birthday_on_the_28th_in_other_years(birthday: str) -> None:
    found = sent('date: user.birthday, yearly: true, at: "10:00"', birthday=birthday)
    assert found == ["2026-02-28 10:00:00", "2027-02-28 10:00:00", "2028-02-29 10:00:00", "2029-02-28 10:00:00"]


def test_an_anniversary_never_comes_before_the_date_itself() -> None:
    assert sent("date: user.joined, yearly: true", joined="2028-06-01") == [
        "2028-06-01 00:00:00",
        "2029-06-01 00:00:00",
    ]
    found = sent("date: user.joined, yearly: true, before: 1d", joined="2028-06-01T07:30:00Z")
    assert found == ["2028-05-31 07:30:00", "2029-05-31 07:30:00"]


def test_a_yearly_timestamp_is_exact_in_its_own_year_and_the_same_reading_in_others() -> None:
    """02:00 in Berlin, the second time that night: a year later there is only one, in winter time too."""
    found = sent(
        "date: user.joined, yearly: true", "2028-01-01 00:00", zone="Europe/Berlin", joined="2026-10-25T01:00:00Z"
    )
    assert found == ["2026-10-25 01:00:00", "2027-10-25 00:00:00"]


def test_a_yearly_date_is_named_by_each_year_s_own_day() -> None:
    world = World(BIRTHDAY, birthday="1990-06-12")
    world.until("2028-01-01 00:00")
    assert [d.occurrence for d in world.decisions] == ['["2026-06-12"]', '["2027-06-12"]']


def test_a_moment_already_past_never_fires() -> None:
    assert sent("date: user.joined, after: 3d", joined="2026-01-01") == []
    assert sent('date: user.joined, at: "09:00"', start="2026-01-05 10:00", joined="2026-01-05") == []


def test_a_changed_date_is_planned_anew() -> None:
    world = World(TRIAL, trial_ends="2026-02-01T00:00:00Z")
    world.profile("2026-01-10 00:00", trial_ends="2026-03-01T00:00:00Z")
    world.until("2026-02-20 00:00")
    assert world.sent == []
    world.profile("2026-02-20 00:00", trial_ends="2026-02-21T00:00:00Z")  # three days before that is past
    world.until("2026-04-01 00:00")
    assert world.sent == []


def test_a_date_that_is_gone_is_not_waited_for_and_a_missing_one_is_counted() -> None:
    world = World(TRIAL, trial_ends="2026-02-01T00:00:00Z")
    world.profile("2026-01-10 00:00")
    assert (world.state.next_due(), world.counts, world.problems) == (None, {"undated": 1}, [])


def test_a_date_moved_after_it_fired_fires_again_on_another_day_only() -> None:
    world = World(TRIAL.replace("3d", '3d, at: "10:00"'), trial_ends="2026-02-01T00:00:00Z")
    world.until("2026-01-29 12:00")
    world.profile("2026-01-29 12:00", zone="Pacific/Honolulu", trial_ends="2026-02-01T12:00:00Z")  # the 29th again
    world.until("2026-01-30 12:00")
    assert len(world.sent) == 1
    world.profile("2026-01-30 12:00", trial_ends="2026-03-01T00:00:00Z")
    world.until("2026-04-01 00:00")
    assert [d.occurrence for d in world.decisions] == ['["2026-01-29"]', '["2026-02-26"]']


PLACES = {
    "America/Los_Angeles": "2026-05-03 17:00:00",
    "Europe/Berlin": "2026-05-03 08:00:00",
    "Pacific/Kiritimati": "2026-05-02 20:00:00",
    "Pacific/Niue": "2026-05-03 21:00:00",
}
"""Ten in the morning of 3 May, in UTC."""


@pytest.mark.parametrize(("zone", "expected"), PLACES.items())
@pytest.mark.parametrize(
    "date", ["user.birthday", "timestamp(user.birthday)", "has(user.x) ? timestamp(user.x) : timestamp(user.birthday)"]
)
@pytest.mark.parametrize(
    "birthday",
    [
        "1990-05-03",
        "1990-05-03T00:00:00Z",
        "1990-05-03T00:00:00.000Z",
        "1990-05-03T00:00:00+00:00",
        "1990-05-03T00:00:00+03:00",
        641_692_800,
        641_692_800.0,
    ],
)
def test_a_birthday_is_that_day_at_ten_in_the_zone_of_the_user(
    birthday: Any, date: str, zone: str, expected: str
) -> None:
    date_text = f'date: "{date}", yearly: true, at: "10:00"'
    found = sent(date_text, "2026-06-01 00:00", "2026-04-01 00:00", zone=zone, birthday=birthday)
    assert found == [expected]


@pytest.mark.parametrize("moment", ["2026-05-03T02:00:00Z", 1_777_773_600])
def test_an_instant_with_a_time_counts_by_its_local_day(moment: Any) -> None:
    date_text = 'date: timestamp(user.x), at: "10:00"'
    assert sent(date_text, "2026-06-01 00:00", zone="America/Los_Angeles", x=moment) == ["2026-05-02 17:00:00"]
    assert sent(date_text, "2026-06-01 00:00", zone="Europe/Berlin", x=moment) == ["2026-05-03 08:00:00"]


@pytest.mark.parametrize("date", ["user.x", "timestamp(user.x)"])
def test_without_a_clock_a_midnight_is_an_instant_and_a_plain_date_a_local_midnight(date: str) -> None:
    zone = "America/Los_Angeles"
    assert sent(f"date: {date}", zone=zone, x="2026-05-03T00:00:00Z") == ["2026-05-03 00:00:00"]
    assert sent(f"date: {date}", zone=zone, x="2026-05-03") == ["2026-05-03 07:00:00"]


def test_milliseconds_are_divided_by_a_thousand() -> None:
    assert sent("date: user.x / 1000", x=1_777_773_600_000) == ["2026-05-03 02:00:00"]


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("3.5.1990", "not_a_date"),
        ("05/03/1990", "not_a_date"),
        ("1990-05-03T10:00:00", "not_a_date"),
        (True, "not_a_date"),
        (["1990-05-03"], "not_a_date"),
        ({"year": 1990}, "not_a_date"),
        ("1990-02-30", "no_such_day"),
        ("1990-13-01", "no_such_day"),
        ("0000-05-03", "year_out_of_range"),
        ("1026-01-01T00:00:00Z", "year_out_of_range"),
        ("1026-01-01T08:00:00Z", "year_out_of_range"),
        (0, "number_out_of_range"),
        (1990, "number_out_of_range"),
        (32_996, "number_out_of_range"),
        (19_900_503, "number_out_of_range"),
        (641_692_800_000, "number_out_of_range"),
        (-1e300, "number_out_of_range"),
        (9_999_999_999, "year_out_of_range"),
    ],
)
@pytest.mark.parametrize("date", ["user.birthday", "timestamp(user.birthday)"])
def test_a_date_that_cannot_be_read_is_a_problem_with_its_cause(value: Any, cause: str, date: str) -> None:
    world = World(BIRTHDAY.replace("user.birthday", date), birthday=value)
    assert world.state.next_due() is None
    assert [(p.trigger, p.place, p.cause) for p in world.problems] == [("t", "on.date", cause)]


@example(float("inf"))
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=12), st.lists))
def test_any_value_is_a_date_or_none_or_a_problem(value: Any) -> None:
    for whole_days in (True, False):
        try:
            found = local_date(value, zone_of("Europe/Berlin"), whole_days=whole_days)
        except UnreadableDate as error:
            causes = {error.cause}
        else:
            causes = set[ProblemCause]()
            assert (found is None) == (value in (None, ""))
        assert causes <= {*ProblemCause}


@given(st.dates(date(1900, 1, 1), date(2199, 12, 31)), st.sampled_from(sorted(zone_names())))
def test_the_ways_to_write_a_day_are_the_same_local_day_in_every_zone(day: date, name: str) -> None:
    seconds = (day - date(1970, 1, 1)).days * 86_400
    ways = [day.isoformat(), f"{day}T00:00:00Z", f"{day}T00:00:00.000-08:00", *([seconds] if seconds else [])]
    found = {local_date(way, zone_of(name), whole_days=True) for way in ways}
    assert found == {LocalDate(day.year, day.month, day.day)}


UNREADABLE = BIRTHDAY + (
    "cases:\n  - name: c\n    user: {birthday: '3.5.1990'}\n    given: []\n    until: '+400d 00:00'\n    expect: []\n"
)


def test_a_case_says_that_its_date_cannot_be_read_also_where_it_passes() -> None:
    [result] = run_cases(rules(UNREADABLE))
    assert result.passed
    assert [each.startswith("on.date: not a date: write 1990-05-03") for each in result.unread] == [True]
    out = io.StringIO()
    case_runs.show(Console(file=out), case_runs.CaseRun([case_runs.TimedCase(result, 0.0)], ""))
    assert "problem: on.date: not a date: write 1990-05-03" in out.getvalue()


def test_a_backtest_counts_the_dates_that_cannot_be_read_and_says_why() -> None:
    profiles = {
        name: Profile(user_id=name, attributes={"birthday": value})
        for name, value in {"u1": "3.5.1990", "u2": True, "u3": "1990-02-30", "u4": "1990-05-03", "u5": ""}.items()
    }
    found = backtest(rules(BIRTHDAY), [event("x", 0, "e1")], profiles)
    notes = [note.split(":", 2)[:2] for note in found.notes if "could not be read" in note]
    assert notes == [
        ["t", " 2 dates of `on.date` could not be read"],
        ["t", " 1 date of `on.date` could not be read"],
    ]
    assert found.counts["problems"] == 3
    assert found.counts["undated"] == 1


@pytest.mark.parametrize(
    "value", ["soon", "2026-13-01", "1990-02-30", "1026-01-01", "9999-12-31T23:59:59-12:00", 5, True, [], "2026-1-1"]
)
def test_a_value_that_is_not_a_date_never_matches_and_is_reported(value: Any) -> None:
    world = World(BIRTHDAY, birthday=value)
    assert world.state.next_due() is None
    assert [(p.trigger, p.place) for p in world.problems] == [("t", "on.date")]


@pytest.mark.parametrize("value", [None, ""])
def test_an_empty_date_is_none(value: Any) -> None:
    world = World(BIRTHDAY, birthday=value)
    assert (world.state.next_due(), world.problems) == (None, [])


def test_max_age_limits_dates_after_an_outage_as_it_does_slots() -> None:
    world = World(TRIAL, trial_ends="2026-02-01T00:00:00Z")
    world.take(world.evaluator.fire_due(world.state, at("2026-01-30 00:00:00.001")))
    assert (world.sent, world.counts) == ([], {"stale": 1})


def test_a_case_gives_the_date_in_its_profile() -> None:
    text = TRIAL + (
        "cases:\n"
        "  - name: the trial is longer\n"
        "    user: {trial_ends: '2026-01-20T09:00:00Z'}\n"
        "    given: [{at: '+2d 00:00', user: {trial_ends: '2026-01-25T09:00:00Z'}}]\n"
        "    expect: [{at: '+17d 09:00', send: a}]\n"
    )
    [result] = run_cases(rules(text))
    assert result.diff == ()


@pytest.mark.parametrize(
    ("date_text", "expected"),
    [
        ("date: user.x, before: 1d, after: 1d", "3:32: conflict a date takes only one of `before` and `after`"),
        ('date: user.x, before: 36h, at: "09:00"', "3:20: invalid-duration with `at`, before counts whole days"),
        ("date: user.x, yearly: often", "3:28: wrong-type yearly takes true or false, not `often`"),
        ("date: has(user.x)", "3:12: cel-type date: gives a bool, not a date"),
        ("date: event.x", "3:12: cel-name date: `event`"),
        ("date: user.x, every: day", "3:20: unknown-key unknown key `every` in on"),
        ('date: user.x, at: "9:00"', "3:24: invalid-schedule at: `9:00` is not a time of day"),
    ],
)
def test_a_wrong_date_is_reported_at_its_place(date_text: str, expected: str) -> None:
    with pytest.raises(InvalidRules) as caught:
        rules(RULE % date_text)
    first = caught.value.diagnostics[0]
    assert f"{first.line}:{first.column}: {first.code} {first.message}".startswith(expected)


def brute_force(source: Anniversary, target: LocalDate, zone: ZoneInfo, start: int) -> int | None:
    """The first moment later than `start`, by trying every year and every minute around the day wanted."""
    for year in range(target.year, 2035) if source.yearly else [target.year]:
        try:
            day = date(year, target.month, target.day)
        except ValueError:
            day = date(year, 2, 28)
        day += timedelta(days=source.offset_ms // DAY) if source.at is not None else timedelta()
        wall = datetime.combine(day, source.at or target.clock)
        base = int(datetime.combine(day, wall.time(), UTC).timestamp()) * 1000 - 26 * HOUR
        minutes = range(base, base + 52 * HOUR, 60_000)
        moment = next(m for m in minutes if datetime.fromtimestamp(m / 1000, zone).replace(tzinfo=None) >= wall)
        moment += source.offset_ms if source.at is None else 0
        if moment > start:
            return moment
    return None


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns"]),
    st.dates(date(1990, 1, 1), date(2030, 12, 31)),
    st.integers(-400, 400),
    st.none() | st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    st.booleans(),
    st.integers(at("2012-06-01 00:00"), at("2030-01-01 00:00")),
)
def test_moments_are_those_found_by_trying_every_year_and_minute(
    zone: str, day: date, offset: int, clock: Any, yearly: bool, start: int
) -> None:
    source = Anniversary(ANY, offset * DAY, clock, yearly)
    target = local_date(day.isoformat(), zone_of(zone))
    assert target is not None
    expected = brute_force(source, target, zone_of(zone), start)
    found = moment_after(source, target, zone_of(zone), start)
    assert (found and shown(found[0])) == (expected and shown(expected))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.dates(date(2026, 1, 1), date(2026, 12, 31))), max_size=8))
def test_however_a_date_moves_each_day_begins_once_and_state_is_the_same_as_bytes(
    changes: list[tuple[int, date]],
) -> None:
    world = World(RULE % "date: user.x, after: 1d")
    for days, day in changes:
        world.profile(shown(world.now + days * DAY), x=day.isoformat())
        assert decode("u1", encode(world.state)[0]) == world.state
    world.until("2028-01-01 00:00")
    occurrences = [decision.occurrence for decision in world.decisions]
    assert len(occurrences) == len(set(occurrences))
    assert world.state.next_due() is None
