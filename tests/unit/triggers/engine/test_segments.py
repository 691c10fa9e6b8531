"""Segments: who is in them, and the instants at which they are entered and left, by events and by time."""

from typing import Any

import pytest
from drivers.trigger_world import DAY, HOUR, MINUTE, TEMPLATES, World, at, rules, shown
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.vocabulary import OutcomeKind
from triggers.cases.case_runner import run_cases
from triggers.cel.runtime import as_ms
from triggers.engine.evaluator import Evaluator
from triggers.language.diagnostics import SourceFile
from triggers.loader import check
from triggers.rules.encoding import decode, encode

ORDERS = "metric: orders\nevent: order\nwithin: %s\nsum: event.n\n---\n"
SCORE = "score: s\ndecay: {curve: exponential, half_life: 1d}\nadd: {event: view, points: event.n}\n---\n"
BY_IT = "---\ntrigger: t\npurpose: marketing\non: {enters: it%s}\nkey: event.k\nsend: a\n"
IN_AND_OUT = """---
trigger: in
purpose: marketing
on: {enters: it}
send: a
---
trigger: out
purpose: marketing
on: {leaves: it}
send: b
"""


def segment(when: str, before: str = "", after: str = IN_AND_OUT) -> str:
    return f"{before}segment: it\nwhen: {when}\n{after}"


def moves(world: World) -> list[tuple[str, str]]:
    """Who entered and left: (trigger, instant to the millisecond)."""
    return [(each.trigger, shown(as_ms(each.decided_at))) for each in world.commands]


def member(world: World) -> bool:
    """Whether the user is in the segment according to the state."""
    return any(each.inside for each in world.state.segments.values())


def test_a_user_enters_by_the_event_that_moves_the_segment_and_leaves_at_the_millisecond_it_is_over() -> None:
    world = World(segment("metric.orders.count >= 2", ORDERS % "1d"))
    world.event("2026-01-05 10:00", "order", event_id="one", n=1)
    world.event("2026-01-05 11:00", "order", event_id="two", n=1)
    world.event("2026-01-05 12:00", "order", event_id="three", n=1)
    world.until("2026-01-08 00:00")
    assert moves(world) == [("in", "2026-01-05 11:00:00.000"), ("out", "2026-01-06 11:00:00.000")]
    assert [each.occurrence for each in world.commands] == ['["two"]', '["2026-01-06T11:00:00+00:00"]']
    assert world.state.next_due() is None


@pytest.mark.parametrize("when", ["score.s >= 1", "!(score.s < 1.0)", "1 <= score.s"])
def test_18_a_score_leaves_at_the_first_millisecond_below_the_line(when: str) -> None:
    world = World(segment(f"'{when}'", SCORE))
    world.event("2026-01-05 10:00", "view", n=4)
    world.until("2026-01-10 00:00")
    # at 10:00 exactly it is 1, which is not below 1
    assert moves(world) == [("in", "2026-01-05 10:00:00.000"), ("out", "2026-01-07 10:00:00.001")]


@pytest.mark.parametrize("when", ["score.s > 1", "1.0 < score.s"])
def test_a_score_that_must_be_above_its_line_leaves_as_soon_as_it_is_at_it(when: str) -> None:
    world = World(segment(f"'{when}'", SCORE))
    world.event("2026-01-05 10:00", "view", n=4)
    world.until("2026-01-10 00:00")
    assert moves(world) == [("in", "2026-01-05 10:00:00.000"), ("out", "2026-01-07 10:00:00.000")]


def test_a_segment_below_a_line_is_entered_by_time() -> None:
    world = World(segment("'metric.orders.count > 0 && score.s < 1'", ORDERS % "ever" + SCORE))
    world.event("2026-01-05 09:00", "view", n=4)
    world.event("2026-01-05 10:00", "order", n=1)
    world.until("2026-01-10 00:00")
    assert moves(world) == [("in", "2026-01-07 09:00:00.001")]


def test_a_profile_change_moves_a_segment_and_names_the_move_by_its_instant() -> None:
    world = World(segment("user.plan == 'team'"), plan="free")
    world.profile("2026-01-05 10:00", plan="team")
    world.profile("2026-01-05 11:00", plan="team")
    world.profile("2026-01-05 12:00", plan="free")
    assert moves(world) == [("in", "2026-01-05 10:00:00.000"), ("out", "2026-01-05 12:00:00.000")]
    assert [each.occurrence for each in world.commands] == [
        '["2026-01-05T10:00:00+00:00"]',
        '["2026-01-05T12:00:00+00:00"]',
    ]


def test_a_segment_that_names_now_is_evaluated_at_each_local_midnight() -> None:
    when = "now - timestamp(user.joined) >= days(2)"
    world = World(segment(f"'{when}'"), zone="Europe/Berlin", joined="2026-01-05T10:00:00Z")
    world.until("2026-01-10 00:00")
    assert moves(world) == [("in", "2026-01-07 23:00:00.000")]
    assert world.state.next_due() == at("2026-01-10 23:00")


def test_a_segment_that_names_now_is_not_evaluated_at_an_event_that_only_others_read() -> None:
    when = "now - timestamp(user.joined) >= days(2)"
    after = "---\nmetric: pings\nevent: ping\nwithin: 1d\n" + IN_AND_OUT
    world = World(segment(f"'{when}'", after=after), joined="2026-01-05T10:00:00Z")
    world.event("2026-01-07 09:00", "ping")
    world.event("2026-01-07 11:00", "nothing")
    world.event("2026-01-07 12:00", "ping")
    world.until("2026-01-10 00:00")
    assert moves(world) == [("in", "2026-01-08 00:00:00.000")]


def test_a_calendar_metric_ends_at_the_users_midnight_and_is_recounted_after_a_zone_change() -> None:
    text = segment("metric.orders.count >= 1", ORDERS % "calendar day")
    world = World(text, zone="Europe/Berlin")
    world.event("2026-01-05 10:00", "order", n=1)
    world.until("2026-01-06 00:00")
    assert moves(world) == [("in", "2026-01-05 10:00:00.000"), ("out", "2026-01-05 23:00:00.000")]
    world.event("2026-01-06 03:00", "order", n=1)
    world.profile("2026-01-06 12:00", zone="America/New_York")  # there it was the evening of the 5th
    assert moves(world)[2:] == [("in", "2026-01-06 03:00:00.000"), ("out", "2026-01-06 12:00:00.000")]


def test_an_outcome_moves_a_segment() -> None:
    opened = "metric: opened\nevent: email.opened\nwithin: 1d\n---\n"
    world = World(segment("metric.opened.count > 0", opened))
    world.outcome("2026-01-05 10:00", OutcomeKind.OPENED, "0" * 32)
    assert moves(world) == [("in", "2026-01-05 10:00:00.000")]


# what comes first ----------------------------------------------------------------------------------------------------


def publish(world: World, text: str) -> None:
    """Other rules from now on, with the state as it is stored."""
    world.evaluator = Evaluator(rules(text))
    world.state = decode("u1", encode(world.state)[0])


def test_19_a_segment_true_when_first_published_must_change() -> None:
    world = World("trigger: t\npurpose: marketing\non: ping\nsend: c\n", plan="team")
    publish(world, segment("user.plan == 'team'"))
    world.profile("2026-01-05 10:00", plan="team", more=1)
    assert moves(world) == []
    world.profile("2026-01-05 11:00", plan="free")
    world.profile("2026-01-05 12:00", plan="team")
    assert moves(world) == [("out", "2026-01-05 11:00:00.000"), ("in", "2026-01-05 12:00:00.000")]


def test_nobody_enters_or_leaves_a_segment_by_its_edit() -> None:
    world = World(segment("user.n > 5"), n=4)
    publish(world, segment("user.n > 3"))
    world.profile("2026-01-05 10:00", n=4, more=1)
    assert moves(world) == []
    world.profile("2026-01-05 11:00", n=3)
    assert moves(world) == [("out", "2026-01-05 11:00:00.000")]


def test_19_a_level_above_its_line_when_first_published_must_change() -> None:
    world = World(SCORE + "trigger: t\npurpose: marketing\non: ping\nsend: c\n")
    world.event("2026-01-05 10:00", "view", n=4)
    publish(world, SCORE + "trigger: t\npurpose: marketing\non: {score: s, reaches: 3, rearm: 1}\nsend: a\n")
    world.event("2026-01-05 11:00", "view", n=1)
    world.event("2026-01-06 11:00", "view", n=3)  # it was below 3, but not below 1
    assert moves(world) == []
    world.event("2026-01-12 11:00", "view", n=3)
    assert moves(world) == [("t", "2026-01-12 11:00:00.000")]


def test_the_very_first_event_or_profile_of_a_user_is_a_change() -> None:
    world = World(segment("'metric.orders.count > 0 || user.plan == \"team\"'", ORDERS % "1d"), plan="team")
    assert [each.trigger for each in world.commands] == ["in"]


def test_a_removed_segment_is_forgotten_when_the_state_is_next_written() -> None:
    world = World(segment("metric.orders.count >= 1", ORDERS % "1d"))
    world.event("2026-01-05 10:00", "order", n=1)
    publish(world, ORDERS % "1d" + "trigger: t\npurpose: marketing\non: order\nsend: c\n")
    assert len(world.state.segments) == 1
    world.until("2026-01-07 00:00")  # its timer finds that it is gone
    assert world.state.segments == {}
    assert moves(world) == [("in", "2026-01-05 10:00:00.000")]


def test_a_case_begins_with_the_segments_value_at_its_start() -> None:
    case = (
        "cases:\n  - name: it\n    user: {plan: team, metric: {orders: 600}}\n    given: []\n"
        "    expect: [{at: '+1d 00:00', send: %s}]\n"
    )
    text = segment("'user.plan == \"team\" && metric.orders.sum > 500'", ORDERS % "1d", "---\n")
    text += "trigger: out\npurpose: marketing\non: {leaves: it}\nsend: a\n" + case % "a"
    results = run_cases(rules(text))
    assert [(each.name, each.diff) for each in results] == [("it", ())]


def test_a_case_with_a_segment_that_names_now_ends_without_until() -> None:
    text = segment("'now - timestamp(user.joined) >= days(30)'", after="---\n") + (
        "trigger: in\npurpose: marketing\non: {enters: it}\nsend: a\ncases:\n"
        "  - {name: it, user: {joined: '2026-01-05T10:00:00Z'}, given: [], expect: [{at: '+31d 00:00', send: a}]}\n"
        "  - {name: not yet, user: {joined: '2026-01-05T10:00:00Z'}, given: [], expect: [], until: '+30d 23:00'}\n"
    )
    assert [(each.name, each.diff) for each in run_cases(rules(text))] == [("it", ()), ("not yet", ())]


# what reads them -----------------------------------------------------------------------------------------------------


def test_expressions_read_segments_after_the_event_has_moved_them() -> None:
    after = (
        "---\ntrigger: t\npurpose: marketing\non: {event: order, where: segment.it}\n"
        "after: 30h\nwhen: '!segment.it'\nsend: {template: a, data: {in: segment.it}}\n"
    )
    world = World(segment("metric.orders.count >= 2", ORDERS % "1d", after))
    world.event("2026-01-05 10:00", "order", n=1)
    world.event("2026-01-05 11:00", "order", n=1)
    world.until("2026-01-07 00:00")
    assert world.sent == [("2026-01-06 17:00:00", "t", "a")]
    assert world.commands[0].data == {"in": False}
    assert world.decisions[0].inputs["segments"] == {"it": False}


def test_an_event_at_the_instant_of_a_segments_timer_sees_its_new_membership() -> None:
    after = "---\nmetric: pings\nevent: ping\nwithin: 1d\n" + IN_AND_OUT
    after += "---\ntrigger: t\npurpose: marketing\non: {event: ping, where: '!segment.it'}\nsend: c\n"
    world = World(segment("metric.orders.count >= 1", ORDERS % "1d", after))
    world.event("2026-01-05 10:00", "order", n=1)
    world.event("2026-01-06 10:00", "ping", event_id="ping")
    world.until("2026-01-06 10:00")
    left = ("out", '["2026-01-06T10:00:00+00:00"]')
    assert [(each.trigger, each.occurrence) for each in world.commands[1:]] == [("t", '["ping"]'), left]


def test_a_segment_whose_expression_fails_is_false_and_reported() -> None:
    world = World(segment("user.spent > 100", ORDERS % "1d"))
    world.profile("2026-01-05 10:00", spent=200)
    world.problems.clear()
    world.profile("2026-01-05 11:00")
    assert [trigger for trigger, _ in moves(world)] == ["in", "out"]
    assert [(each.trigger, each.place) for each in world.problems] == [("segment/it", "when")]


def test_an_old_event_moves_a_segment_and_begins_nothing() -> None:
    world = World(segment("metric.orders.count >= 1", ORDERS % "ever"))
    world.event("2026-01-05 00:00", "order", arrives="2026-01-06 00:00:00.001", n=1)
    assert moves(world) == []
    assert world.counts == {"stale": 1}
    assert member(world)


def test_the_event_that_moves_a_segment_does_not_end_the_occurrence_that_begins_by_it() -> None:
    after = "---\ntrigger: t\npurpose: marketing\non: {enters: it}\nafter: 1h\nunless: order\nsend: a\n"
    world = World(segment("metric.orders.count >= 1", ORDERS % "ever", after))
    world.event("2026-01-05 10:00", "order", n=1)
    world.until("2026-01-06 00:00")
    assert len(world.sent) == 1


def test_the_entry_event_of_a_segment_has_no_properties() -> None:
    text = segment("user.vip == true", after=BY_IT % "")
    found = check([SourceFile("rules.yaml", text)], TEMPLATES)
    assert [each.code for each in found] == ["no-properties"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (segment("event.n > 1"), "cel-name"),
        (segment("segment.it"), "cel-name"),
        (segment("score.s == 1", SCORE), "segment-score"),
        (segment("score.s + 1.0 > 2.0", SCORE), "segment-score"),
        (segment("'score.s > 0'", SCORE), "segment-score"),
        (segment("metric.orders.count"), "cel-type"),
        (segment("user.a == 1", after=BY_IT % ", leaves: it"), "conflict"),
        ("segment: it\n", "missing-key"),
        ("metric: m\nevent: e\n", "missing-key"),
        ("metric: m\nevent: e\nwithin: calendar year\n", "invalid-window"),
        ("metric: m\nevent: e\nwithin: 401d\n", "invalid-duration"),
        ("metric: m\nevent: e\nwithin: ever\nwhere: metric.m.count > 1\n", "cel-name"),
        ("metric: m\nevent: e\nwithin: ever\nsums: event.n\n", "unknown-key"),
    ],
)
def test_an_invalid_definition_is_reported(text: str, code: str) -> None:
    found = check([SourceFile("rules.yaml", text)], TEMPLATES)
    assert code in {each.code for each in found}


# against asking again ------------------------------------------------------------------------------------------------

BUSY = """
metric: recent
event: [view, order]
within: 6h
sum: event.n
---
metric: today
event: view
within: calendar day
distinct: event.k
---
score: s
decay: {curve: exponential, half_life: 5h}
add: {event: view, points: event.n}
---
score: l
decay: {curve: linear, lifetime: 8h}
add: {event: order, points: event.n}
---
segment: it
when: '(metric.recent.sum >= 3 && score.s < 2.5) || metric.today.distinct >= 2 && score.l > 0.7 || score.s > 4'
"""
HAPPENINGS = st.lists(
    st.tuples(
        st.integers(0, 10 * 60).map(lambda minutes: minutes * MINUTE),
        st.sampled_from(["view", "view", "order", "profile"]),
        st.integers(0, 3),
        st.sampled_from(["a", "b"]),
    ),
    min_size=1,
    max_size=12,
)
SAMPLES = st.lists(st.integers(0, 3 * DAY), max_size=20)


def inside(lines: list[Any], zone: str, now: int) -> bool:
    """Whether the user is in the segment at an instant, by everything that happened, counted again."""
    seen = [(time, name, n, k) for time, name, n, k in lines if time <= now and name != "profile"]
    recent = sum(n for time, _, n, _ in seen if now - 6 * HOUR < time)
    offset = {"UTC": 0, "Asia/Kathmandu": 5 * HOUR + 45 * MINUTE}[zone]
    midnight = (now + offset) // DAY * DAY - offset
    today = len({k for time, name, _, k in seen if name == "view" and time >= midnight})
    views = [(time, n) for time, name, n, _ in seen if name == "view"]
    orders = [(time, n) for time, name, n, _ in seen if name == "order"]
    s = sum(n * 2.0 ** (-(now - time) / (5 * HOUR)) for time, n in views)
    linear = sum(n * max(0.0, 1 - (now - time) / (8 * HOUR)) for time, n in orders)
    return (recent >= 3 and s < 2.5) or (today >= 2 and linear > 0.7) or s > 4


def changes(world: World, before: list[tuple[int, bool]], now: int) -> None:
    """Records the user's membership if it changed."""
    if not before or before[-1][1] is not member(world):
        before.append((now, member(world)))


@settings(max_examples=100, deadline=None)
@given(HAPPENINGS, SAMPLES, st.sampled_from(["UTC", "Asia/Kathmandu"]))
def test_membership_equals_a_new_evaluation_at_any_millisecond(
    happenings: list[Any], samples: list[int], zone: str
) -> None:
    """Between its changes a new evaluation gives the same membership, and each change is at the very millisecond."""
    world = World(BUSY, zone=zone)
    start = now = world.now
    lines = []
    for gap, name, n, k in happenings:
        now += gap
        lines.append((now, name, n, k))
    seen: list[tuple[int, bool]] = []
    waiting = [*lines]
    for moment in sorted({*(start + sample for sample in samples), *(time for time, *_ in lines)}):
        while (due := world.state.next_due()) is not None and due < moment:
            world.until(due)
            changes(world, seen, due)
        world.until(moment - 1)
        while waiting and waiting[0][0] == moment:
            _, name, n, k = waiting.pop(0)
            if name == "profile":
                world.now = moment
                world.profile(zone=zone, more=n)
            else:
                world.event(moment, name, n=n, k=k)
            world.state = decode("u1", encode(world.state)[0])
        world.until(moment)
        changes(world, seen, moment)
        assert member(world) is inside(lines, zone, moment)
    for instant, value in seen[1:]:
        assert inside(lines, zone, instant) is value
        assert inside([line for line in lines if line[0] < instant], zone, instant - 1) is not value


def test_at_one_instant_events_go_before_timers() -> None:
    """The second order comes at the very millisecond at which the first leaves the window."""
    world = World(segment("metric.orders.count >= 1", ORDERS % "1d"))
    world.event("2026-01-05 10:00", "order", n=1)
    world.event("2026-01-06 10:00", "order", n=1)
    world.until("2026-01-06 10:00")
    assert moves(world) == [("in", "2026-01-05 10:00:00.000")]
    world.until("2026-01-08 00:00")
    assert moves(world)[1:] == [("out", "2026-01-07 10:00:00.000")]


def test_an_event_at_the_instant_of_a_timer_names_the_move_that_stands_after_all_records_of_the_instant() -> None:
    world = World(segment("metric.orders.count >= 2", ORDERS % "1d"))
    for name in ("one", "two"):
        world.event("2026-01-05 10:00", "order", event_id=name, n=1)
    world.event("2026-01-06 10:00", "order", event_id="three", n=1)
    world.until("2026-01-06 10:00")
    assert [(each.trigger, each.occurrence) for each in world.commands] == [("in", '["two"]'), ("out", '["three"]')]


def test_an_event_at_midnight_sees_where_it_moved_the_user_in_a_segment_that_names_now() -> None:
    after = "---\ntrigger: t\npurpose: marketing\non: {event: order, where: segment.it}\nsend: c\n" + IN_AND_OUT
    world = World(segment("metric.orders.count >= 2 && now > timestamp('2020-01-01T00:00:00Z')", ORDERS % "9d", after))
    world.event("2026-01-05 10:00", "order", event_id="one", n=1)
    world.event("2026-01-06 00:00", "order", event_id="two", n=1)
    world.until("2026-01-06 00:00")
    assert [(each.trigger, each.occurrence) for each in world.commands] == [("t", '["two"]'), ("in", '["two"]')]
