"""The settled cases of the language, by number, as far as this version runs them."""

import pytest
from drivers.trigger_world import DAY, World, at, shown

from schemas.vocabulary import OutcomeKind
from schemas.zones import zone_named
from triggers.measures.local_time import first_outside
from triggers.measures.shapes import DailyPeriod, clock_time
from triggers.rules.assignment import in_holdout, variant

PING = "trigger: t\npurpose: marketing\non: ping\n"
CART = """
trigger: t
purpose: marketing
on: cart_updated
key: event.cart
after: 1h
unless: {event: ordered, same: cart}
"""
SCORE = """
score: s
decay: {curve: exponential, half_life: 1d}
add: {event: ping, points: event.n}
---
trigger: t
purpose: marketing
on: {score: s, falls_below: 0.2, rearm: 0.5}
max_age: 10m
send: a
"""


def night(end: str, zone: str, due: str) -> str:
    """When something due at an instant leaves a quiet period from 21:00 on."""
    period = DailyPeriod(clock_time("21:00"), clock_time(end), None, None)
    found = zone_named(zone)
    assert found is not None
    until = first_outside([(period, found)], at(due))
    assert until is not None
    return shown(until)


def test_1_a_cap_is_open_at_its_old_end() -> None:
    world = World(PING + "cap: {max: 1, per: 3d}\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-08 09:59:59.999", "ping")
    world.event("2026-01-08 10:00", "ping")
    assert [reason for _, reason in world.decided] == ["send", "drop cap", "send"]


def test_1_a_deferring_cap_leaves_at_the_first_instant_with_room() -> None:
    world = World(PING + "cap: {max: 1, per: 3d, over: defer}\nexpires: 5d\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-08 09:59:59.999", "ping")
    world.until("2026-01-09 00:00")
    assert world.sent == [("2026-01-05 10:00:00", "t", "a"), ("2026-01-08 10:00:00", "t", "a")]


def test_2_a_night_in_which_the_clocks_go_forward_is_an_hour_shorter() -> None:
    assert night("08:00", "Europe/Berlin", "2026-03-28 22:00") == "2026-03-29 06:00:00.000"


def test_3_a_closing_time_that_does_not_exist_is_the_jump() -> None:
    assert night("02:30", "Europe/Berlin", "2026-03-28 22:00") == "2026-03-29 01:00:00.000"


def test_3_a_closing_time_that_comes_twice_is_the_first_and_the_second_hour_is_quiet_again() -> None:
    assert night("02:30", "Europe/Berlin", "2026-10-24 22:00") == "2026-10-25 00:30:00.000"
    assert night("02:30", "Europe/Berlin", "2026-10-25 00:45") == "2026-10-25 00:45:00.000"
    assert night("02:30", "Europe/Berlin", "2026-10-25 01:10") == "2026-10-25 01:30:00.000"


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("2026-03-28 12:00", ["2026-03-29 01:00:00", "2026-03-30 00:30:00"]),
        ("2026-10-24 12:00", ["2026-10-25 00:30:00", "2026-10-26 01:30:00"]),
    ],
)
def test_4_a_slot_that_does_not_exist_is_the_jump_and_one_that_comes_twice_the_first(
    start: str, expected: list[str]
) -> None:
    daily = 'trigger: t\npurpose: marketing\non: {every: day, at: "02:30"}\nsend: a\n'
    world = World(daily, start, zone="Europe/Berlin")
    world.until(at(start) + 2 * DAY)
    assert [moment for moment, _, _ in world.sent] == expected
    assert [decision.occurrence for decision in world.decisions] == [f'["{moment[:10]}"]' for moment in expected]


@pytest.mark.parametrize(("expires", "expected"), [("9h", "drop expired"), ("9h1m", "defer quiet")])
def test_5_a_deferral_must_end_before_the_expiry(expires: str, expected: str) -> None:
    world = World(PING + f'quiet: {{from: "21:00", to: "08:00"}}\nexpires: {expires}\nsend: a\n')
    world.event("2026-01-05 23:00", "ping")
    assert world.decided == [("2026-01-05 23:00:00", expected)]
    decision = world.decisions[0]
    assert next(gate.gate for gate in decision.gates if not gate.passed) == "quiet"
    if expires == "9h":
        assert decision.inputs["cause"] == "quiet"
        assert [gate.gate for gate in decision.gates if not gate.passed] == ["quiet", "expiry"]
    world.until("2026-01-06 12:00")
    assert len(world.sent) == (expires == "9h1m")


def test_6_an_event_at_the_instant_of_a_timer_goes_first() -> None:
    world = World(CART + "send: a\n")
    world.event("2026-01-05 10:00", "cart_updated", cart="c1")
    world.event("2026-01-05 11:00", "ordered", cart="c1")
    world.until("2026-01-05 12:00")
    assert world.sent == []
    assert [exited.event_type for exited in world.exits] == ["ordered"]


@pytest.mark.parametrize("first", ["cart_updated", "ordered"])
def test_7_an_order_at_the_entry_s_own_instant_ends_it_in_either_order(first: str) -> None:
    world = World(CART + "send: a\n")
    second = "ordered" if first == "cart_updated" else "cart_updated"
    world.event("2026-01-05 10:00", first, cart="c1")
    world.event("2026-01-05 10:00", second, cart="c1")
    world.until("2026-01-05 12:00")
    assert world.sent == []


def test_7_an_order_before_the_entry_or_of_another_cart_ends_nothing() -> None:
    world = World(CART + "send: a\n")
    world.event("2026-01-05 09:59", "ordered", cart="c1")
    world.event("2026-01-05 10:00", "ordered", cart="c2")
    world.event("2026-01-05 10:00", "cart_updated", cart="c1")
    world.until("2026-01-05 12:00")
    assert world.sent == [("2026-01-05 11:00:00", "t", "a")]


@pytest.mark.parametrize(("moment", "count"), [("08:59:59.999", 1), ("09:00", 0)])
def test_7_an_order_at_a_slot_s_own_instant_ends_what_it_would_begin(moment: str, count: int) -> None:
    daily = 'trigger: t\npurpose: marketing\non: {every: day, at: "09:00"}\nunless: ordered\nsend: a\n'
    world = World(daily)
    world.event(f"2026-01-05 {moment}", "ordered")
    world.until("2026-01-05 12:00")
    assert len(world.sent) == count


def test_8_a_score_that_was_not_armed_does_not_fall() -> None:
    world = World(SCORE)
    world.event("2026-01-05 00:00", "ping", n=0.1)
    world.event("2026-01-05 00:00", "ping", n=0.3)
    world.until("2026-02-05 00:00")
    assert world.sent == []


def test_8_reaching_exactly_the_rearm_line_arms() -> None:
    world = World(SCORE)
    world.event("2026-01-05 00:00", "ping", n=0.5)
    world.until("2026-02-05 00:00")
    assert len(world.sent) == 1
    world.event("2026-02-05 00:00", "ping", n=0.4)
    world.until("2026-03-05 00:00")
    assert len(world.sent) == 1


def test_9_an_iso_week_in_the_user_s_zone_spans_the_year() -> None:
    world = World(
        PING + "cap: {max: 2, per: calendar week, over: defer}\nexpires: 7d\nsend: a\n",
        "2026-12-28 00:00",
        zone="Pacific/Auckland",
    )
    world.event("2026-12-29 00:00", "ping")
    world.event("2026-12-31 00:00", "ping")
    world.event("2027-01-02 00:00", "ping")
    world.until("2027-01-10 00:00")
    assert [moment for moment, _, _ in world.sent][2] == "2027-01-03 11:00:00"  # Monday 4 January, 00:00 in Auckland


def test_10_a_held_send_is_planned_anew_when_the_zone_changes() -> None:
    world = World(PING + 'quiet: {from: "21:00", to: "08:00"}\nsend: a\n', zone="Europe/Berlin")
    world.event("2026-01-05 22:00", "ping")
    world.profile("2026-01-06 02:00", zone="America/New_York")
    world.until("2026-01-07 00:00")
    assert world.sent == [("2026-01-06 13:00:00", "t", "a")]


def test_10_a_slot_that_fired_for_a_local_date_does_not_fire_for_it_again() -> None:
    daily = 'trigger: t\npurpose: marketing\non: {every: day, at: "09:00"}\nsend: a\n'
    world = World(daily, zone="Europe/Berlin")
    world.until("2026-01-05 09:00")
    world.profile("2026-01-05 10:00", zone="America/New_York")  # where it is 05:00 of the same Monday
    world.until("2026-01-06 20:00")
    assert [moment for moment, _, _ in world.sent] == ["2026-01-05 08:00:00", "2026-01-06 14:00:00"]


def test_10_earlier_sends_count_by_their_instants_in_the_new_zone_s_weeks() -> None:
    """Sent on Sunday 20:00 in New York, which is Monday in Auckland: of the user who moves there, this week's slot."""
    world = World(PING + "cap: {max: 1, per: calendar week}\nsend: a\n", zone="America/New_York")
    world.event("2026-01-12 01:00", "ping")
    world.event("2026-01-13 12:00", "ping")
    world.profile("2026-01-13 13:00", zone="Pacific/Auckland")
    world.event("2026-01-13 14:00", "ping")
    assert [reason for _, reason in world.decided] == ["send", "send", "drop cap"]


def test_11_consent_is_asked_at_the_send_and_a_refusal_reserves_nothing() -> None:
    world = World(PING + "after: 1h\ncap: {max: 1, per: 3d}\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.profile("2026-01-05 10:30", consent=())
    world.event("2026-01-05 12:00", "ping")
    world.profile("2026-01-05 12:30", consent=("marketing",))
    world.until("2026-01-06 00:00")
    assert [reason for _, reason in world.decided] == ["drop no_consent", "send"]


def test_12_what_falls_due_while_off_is_dropped_and_not_kept() -> None:
    world = World(PING + "after: 1h\nmode: off\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.until("2026-01-06 00:00")
    assert world.decided == [("2026-01-05 11:00:00", "drop mode")]


@pytest.mark.parametrize(
    ("settle", "arrives", "sent"),
    [("", "11:00:30", True), ("settle: 1m\n", "11:00:30", False), ("settle: 1m\n", "11:01:01", True)],
)
def test_13_settling_lets_a_late_event_count(settle: str, arrives: str, sent: bool) -> None:
    world = World(CART + settle + "send: a\n")
    world.event("2026-01-05 10:00", "cart_updated", cart="c1")
    world.event("2026-01-05 10:59:50", "ordered", arrives=f"2026-01-05 {arrives}", cart="c1")
    world.until("2026-01-05 12:00")
    assert (len(world.sent) == 1) is sent


def test_14_of_two_rules_at_one_instant_the_higher_priority_takes_the_slot() -> None:
    cap = "cap: {max: 1, per: 1d, scope: all}\n"
    world = World(
        f"trigger: aa\npurpose: marketing\non: ping\n{cap}send: a\n---\n"
        f"trigger: bb\npurpose: marketing\non: ping\npriority: 60\n{cap}send: b\n---\n"
        f"trigger: cc\npurpose: marketing\non: ping\npriority: 60\n{cap}send: c\n"
    )
    world.event("2026-01-05 10:00", "ping")
    assert [trigger for _, trigger, _ in world.sent] == ["bb"]


def test_15_a_released_reservation_wakes_nothing() -> None:
    world = World(PING + "cap: {max: 1, per: 1d, over: defer}\nexpires: 3d\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-05 11:00", "ping")
    world.outcome("2026-01-05 12:00", OutcomeKind.REFUSED, world.commands[0].id)
    assert len(world.sent) == 1
    world.until("2026-01-07 00:00")
    assert [moment for moment, _, _ in world.sent] == ["2026-01-05 10:00:00", "2026-01-06 10:00:00"]


def test_16_a_restart_after_the_first_step_does_not_send_it_twice() -> None:
    world = World(PING + "key: event.k\nsteps: [{send: a}, {wait: 1d}, {send: b}]\n")
    world.event("2026-01-05 10:00", "ping", k="x")
    world.event("2026-01-05 20:00", "ping", k="x")
    world.until("2026-01-08 00:00")
    assert [(moment, reason) for moment, reason in world.decided] == [
        ("2026-01-05 10:00:00", "send"),
        ("2026-01-05 20:00:00", "drop duplicate"),
        ("2026-01-06 20:00:00", "send"),
    ]


def test_17_an_event_id_met_again_after_a_day_begins_again_under_the_same_command() -> None:
    world = World(PING + "max_age: 3d\nsend: a\n")
    world.event("2026-01-05 10:00", "ping", event_id="same")
    world.event("2026-01-05 10:00", "ping", event_id="same", arrives="2026-01-06 09:59:59")
    assert world.counts == {"duplicate": 1}
    world.event("2026-01-05 10:00", "ping", event_id="same", arrives="2026-01-06 10:00")
    assert [reason for _, reason in world.decided] == ["send", "drop duplicate"]
    assert world.decisions[0].command_id == world.decisions[1].gates[1].observed


def test_18_a_crossing_is_the_first_millisecond_below_the_line() -> None:
    world = World(SCORE)
    world.event("2026-01-05 00:00", "ping", n=0.8)
    world.until("2026-02-05 00:00")
    assert shown(int(world.decisions[0].decided_at.timestamp() * 1000)) == "2026-01-07 00:00:00.001"


def test_18_a_step_curve_crosses_at_its_jump() -> None:
    world = World(SCORE.replace("{curve: exponential, half_life: 1d}", "{curve: step, lifetime: 1d}"))
    world.event("2026-01-05 00:00", "ping", n=0.8)
    world.until("2026-02-05 00:00")
    assert world.sent == [("2026-01-06 00:00:00", "t", "a")]


def test_20_data_that_is_missing_drops_the_send_and_names_the_path() -> None:
    world = World(PING + "send: {template: a, data: {total: event.total}}\n")
    world.event("2026-01-05 10:00", "ping")
    assert world.decided == [("2026-01-05 10:00:00", "drop invalid_data")]
    assert world.decisions[0].inputs["path"] == "data.total"
    assert [(p.trigger, p.place) for p in world.problems] == [("t", "data.total")]


def test_20_a_where_that_fails_is_false_and_reported() -> None:
    world = World("trigger: t\npurpose: marketing\non: {event: ping, where: event.n > 1}\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    assert world.decided == []
    assert [(p.trigger, p.place) for p in world.problems] == [("t", "on")]


@pytest.mark.parametrize("zone", [None, "", "Mars/Olympus", "../../etc/passwd", "America"])
def test_21_an_unknown_zone_is_the_default_and_the_decision_says_so(zone: str | None) -> None:
    world = World(PING + 'quiet: {from: "21:00", to: "08:00"}\nsend: a\n', zone=zone, default_zone="America/New_York")
    world.event("2026-01-05 22:00", "ping")
    decision = world.decisions[0]
    assert (decision.outcome, decision.inputs["zone"]) == ("send", "America/New_York")
    assert decision.inputs["zone_given"] == (zone or "")


def test_22_a_grown_weight_moves_only_users_into_it_and_holdouts_stay() -> None:
    users = [f"u{n}" for n in range(4_000)]
    before = {user: variant("s", user, {"a": 50, "b": 50}) for user in users}
    after = {user: variant("s", user, {"a": 60, "b": 40}) for user in users}
    moved = [user for user in users if before[user] != after[user]]
    assert {after[user] for user in moved} == {"a"}
    assert 0.08 < len(moved) / len(users) < 0.12
    small = {user for user in users if in_holdout("t", user, 10)}
    assert small < {user for user in users if in_holdout("t", user, 20)}
    assert 0.08 < len(small) / len(users) < 0.12


COUNTED = "trigger: t\npurpose: marketing\non: {event: ordered, within: 1h, reaches: %s}\nunless: ordered\nsend: a\n"


def test_what_makes_a_level_rise_does_not_end_what_the_rise_begins() -> None:
    world = World(COUNTED % 2)
    world.event("2026-01-05 10:00", "ordered")
    world.event("2026-01-05 10:30", "ordered")
    assert world.sent == [("2026-01-05 10:30:00", "t", "a")]


def test_7_an_order_at_the_instant_of_a_crossing_ends_what_it_begins() -> None:
    world = World("trigger: t\npurpose: marketing\non: {event: view, inactive: 1h}\nunless: ordered\nsend: a\n")
    world.event("2026-01-05 10:00", "view")
    world.event("2026-01-05 11:00", "ordered")
    world.event("2026-01-05 12:00", "view")
    world.event("2026-01-05 12:59:59.999", "ordered")
    world.until("2026-01-05 14:00")
    assert world.sent == [("2026-01-05 13:00:00", "t", "a")]


@pytest.mark.parametrize(("one", "other"), [(2, 2.0), (0, -0.0)])
def test_a_key_s_number_is_the_same_however_json_writes_it(one: float, other: float) -> None:
    world = World(PING + "key: event.n\nreentry: never\nsend: a\n")
    world.event("2026-01-05 10:00", "ping", n=one)
    world.event("2026-01-05 11:00", "ping", n=other)
    assert len(world.sent) == 1


def test_an_occurrence_is_over_with_its_last_send_however_its_branches_are_written() -> None:
    steps = "steps: [{if: user.vip == true, then: [{send: a}], else: [{wait: 1h}]}]\n"
    world = World(
        f"trigger: t\npurpose: marketing\non: [ping, {{event: view, inactive: 1h}}]\nkey: user.id\nafter: 30m\n{steps}",
        vip=True,
    )
    world.event("2026-01-05 10:00", "view")
    world.event("2026-01-05 10:00", "ping")
    for moment in ("2026-01-05 12:00", "2026-01-05 13:00"):  # late: the ping's send of 10:30, the crossing of 11:00
        world.take(world.evaluator.fire_due(world.state, at(moment)))
    assert [each.occurrence for each in world.decisions] == ['["u1","e2"]', '["u1","e1"]']


NIGHT_AND_HOLIDAYS = """
trigger: t
purpose: marketing
on: ping
expires: 5d
quiet: [{from: "21:00", to: "08:00"}, {from: "2026-12-24", through: "2026-12-26", over: drop}]
send: a
"""


@pytest.mark.parametrize(
    ("zone", "due", "eight"),
    [
        ("UTC", "2026-12-23 22:00", "2026-12-24 08:00:00"),
        ("America/New_York", "2026-12-24 03:00", "2026-12-24 13:00:00"),
    ],
)
def test_25_what_a_night_holds_is_dropped_in_the_holidays_that_it_ends_in(zone: str, due: str, eight: str) -> None:
    world = World(NIGHT_AND_HOLIDAYS, zone=zone)
    world.event(due, "ping")
    world.until("2026-12-30 00:00")
    decided = [(f"{each.decided_at:%Y-%m-%d %H:%M:%S}", each.outcome, each.reason) for each in world.decisions]
    assert decided == [(f"{due}:00", "defer", "quiet"), (eight, "drop", "quiet")]
    assert world.decisions[1].gates[-1].limit == {"from": "2026-12-24", "through": "2026-12-26"}


def test_25_holidays_that_hold_end_in_a_night_that_drops() -> None:
    text = NIGHT_AND_HOLIDAYS.replace(", over: drop}]", "}]").replace('to: "08:00"}', 'to: "08:00", over: drop}')
    world = World(text)
    world.event("2026-12-24 10:00", "ping")
    world.until("2026-12-30 00:00")
    decided = [(f"{each.decided_at:%m-%d %H:%M}", each.outcome, each.reason) for each in world.decisions]
    assert decided == [("12-24 10:00", "defer", "quiet"), ("12-27 00:00", "drop", "quiet")]


def test_25_a_cap_s_deferral_ends_in_a_period_that_drops() -> None:
    quiet = "quiet: {from: '11:00', to: '12:00', over: drop}"
    world = World(f"{PING}cap: {{max: 1, per: 1h, over: defer}}\n{quiet}\nsend: a\n")
    world.event("2026-01-05 10:10", "ping")
    world.event("2026-01-05 10:20", "ping")
    world.until("2026-01-06 00:00")
    assert [reason for _, reason in world.decided] == ["send", "defer cap", "drop quiet"]


def test_25_a_drop_says_when_no_period_would_hold_the_send() -> None:
    world = World(NIGHT_AND_HOLIDAYS)
    world.event("2026-12-26 10:00", "ping")
    eligible = world.decisions[0].gates[-1].next_eligible
    assert eligible is not None
    assert f"{eligible:%m-%d %H:%M}" == "12-27 08:00"


LEVEL = "trigger: t\npurpose: marketing\non: {%s}\nsend: a\n"
STEPS = "score: s\ndecay: {curve: step, lifetime: 2d}\nadd: {event: ping, points: 1}\n---\n"


def daily(text: str, clock: str = "02:00", days: int = 6, each: int = 1) -> World:
    """A batch at the same time every day, and what comes after it."""
    world = World(text, zone="UTC")
    for day in range(days):
        for number in range(each):
            world.event(f"2026-01-{5 + day:02d} {clock}", "ping", n=1, k=f"{day}/{number}")
    world.until("2026-01-20 00:00")
    return world


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        (LEVEL % "event: ping, within: 2d, reaches: 2", ["2026-01-06 02:00:00"]),
        (LEVEL % "event: ping, within: 2d, reaches: 2, sum: event.n", ["2026-01-06 02:00:00"]),
        (LEVEL % "event: ping, within: 2d, reaches: 2, distinct: event.k", ["2026-01-06 02:00:00"]),
        (LEVEL % "event: ping, within: 2d, reaches: 2, rearm: 1", ["2026-01-06 02:00:00"]),
        (LEVEL % "event: ping, within: 1d, reaches: 1", ["2026-01-05 02:00:00"]),
        (LEVEL % "event: ping, within: 2d, falls_below: 2", ["2026-01-11 02:00:00"]),
        (LEVEL % "event: ping, inactive: 1d", ["2026-01-11 02:00:00"]),
        (STEPS + LEVEL % "score: s, reaches: 2", ["2026-01-06 02:00:00"]),
        (STEPS + LEVEL % "score: s, falls_below: 2", ["2026-01-11 02:00:00"]),
    ],
)
def test_23_a_daily_batch_crosses_its_line_once(text: str, sent: list[str]) -> None:
    assert [at for at, *_ in daily(text).sent] == sent


def test_23_events_at_every_midnight_keep_a_calendar_day_at_one() -> None:
    world = daily(LEVEL % "event: ping, within: calendar day, reaches: 1", "00:00")
    assert [at for at, *_ in world.sent] == ["2026-01-05 00:00:00"]


@pytest.mark.parametrize("source", ["event: ping, within: 2d, reaches: 3", "score: s, reaches: 3"])
def test_23_several_events_of_one_instant_cross_once_and_none_of_them_is_a_dip(source: str) -> None:
    world = daily(STEPS + LEVEL % source, each=4)
    assert [at for at, *_ in world.sent] == ["2026-01-05 02:00:00"]


def test_23_a_level_that_is_low_for_a_millisecond_has_dipped() -> None:
    world = World(LEVEL % "event: ping, within: 1h, reaches: 1")
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-05 11:00:00.001", "ping")
    assert len(world.sent) == 2


def test_23_one_of_a_batch_that_comes_late_does_not_cross_again() -> None:
    world = World(LEVEL % "event: ping, within: 1d, reaches: 2")
    for number in (1, 2):
        world.event("2026-01-05 02:00", "ping")
        world.event("2026-01-06 02:00" if number == 2 else "2026-01-05 02:00", "ping")
    world.event("2026-01-06 02:00", "ping", arrives="2026-01-06 02:05")
    assert [at for at, *_ in world.sent] == ["2026-01-05 02:00:00"]


def test_23_a_segment_sees_no_dip_either() -> None:
    metric = "metric: m\nevent: ping\nwithin: 2d\n---\nsegment: keen\nwhen: metric.m.count >= 2\n---\n"
    world = daily(
        metric + LEVEL % "enters: keen" + "---\n" + (LEVEL % "leaves: keen").replace("trigger: t", "trigger: l")
    )
    assert [(at, name) for at, name, _ in world.sent] == [("2026-01-06 02:00:00", "t"), ("2026-01-11 02:00:00", "l")]


LAPSED = """
metric: orders
event: ordered
within: ever
---
segment: lapsed
when: metric.orders.count > 0 && now - metric.orders.last > days(10)
---
trigger: t
purpose: marketing
on: {enters: lapsed}
send: a
"""
OTHERS = [
    "---\ntrigger: other\npurpose: marketing\nmode: off\non: ping\nsend: a\n",
    "---\ntrigger: other\npurpose: marketing\non: nothing\nunless: ping\nsend: a\n",
    "---\nmetric: pings\nevent: ping\nwithin: 1d\n---\nsegment: keen\nwhen: metric.pings.count >= 1\n",
    "---\ntrigger: other\npurpose: marketing\nmode: off\non: {event: ordered, where: event.n == 2}\nsend: a\n",
]


@pytest.mark.parametrize("other", ["", *OTHERS])
def test_24_a_segment_over_now_is_entered_at_midnight_whatever_other_rules_hear(other: str) -> None:
    text = LAPSED.replace("event: ordered", "event: ordered\nwhere: event.n == 1") + other
    world = World(text)
    world.event("2026-02-25 12:00", "ordered", n=1)
    world.event("2026-03-07 15:00", "ping", n=2)
    world.event("2026-03-07 16:00", "ordered", n=2)
    world.profile("2026-03-07 17:00", plan="team")
    world.until("2026-03-10 00:00")
    assert world.sent == [("2026-03-08 00:00:00", "t", "a")]
    assert [each.occurrence for each in world.commands] == ['["2026-03-08T00:00:00+00:00"]']


def test_24_an_event_that_only_others_hear_at_the_very_midnight_does_not_name_the_move() -> None:
    world = World(LAPSED + OTHERS[0])
    world.event("2026-02-25 12:00", "ordered")
    world.event("2026-03-08 00:00", "ping")
    world.until("2026-03-10 00:00")
    assert [each.occurrence for each in world.commands] == ['["2026-03-08T00:00:00+00:00"]']


def test_24_the_same_profile_again_moves_no_segment_and_a_changed_one_those_that_read_the_user() -> None:
    text = LAPSED.replace("days(10)", "days(10) && user.vip == true")
    world = World(text, vip=True)
    world.event("2026-02-25 12:00", "ordered")
    world.profile("2026-03-07 15:00", vip=True)
    assert world.decisions == []
    world.profile("2026-03-07 16:00", vip=True, plan="team")
    assert [at for at, *_ in world.sent] == ["2026-03-07 16:00:00"]
