"""Steps that wait for an event: satisfied by the first match since the entry, or over when their time is."""

import pytest
from drivers.trigger_world import World
from drivers.user_states import contents

from triggers.engine.fast_path import FastPath
from triggers.rules.encoding import decode, encode

HEAD = "trigger: t\npurpose: marketing\non: ping\n"
ORDERED = HEAD + "steps: [{wait_for: {event: order%s}, up_to: 1d, then: [{send: a}], else: [{send: b}]}, {send: c}]\n"
SEEN = HEAD + "steps: [{wait: 1d}, {wait_for: order, up_to: 1d, then: [{send: a}], else: [{send: b}]}, {send: c}]\n"
DATA = "{send: {template: %s, id: %s, data: {n: occurrence.matched.n}}}"


def world(text: str, **profile: str) -> World:
    """A world in which something began at 10:00."""
    made = World(text, **profile)
    made.event("2026-01-05 10:00", "ping", k="x")
    return made


def sent(world: World, moment: str = "2026-01-12 00:00") -> list[str]:
    """What was sent up to a moment: day, time and step."""
    world.until(moment)
    return [f"{instant[8:16]} {step}" for instant, _, step in world.sent]


def test_the_event_continues_with_then_at_once() -> None:
    waiting = world(ORDERED % "")
    waiting.event("2026-01-05 12:00", "order")
    assert sent(waiting) == ["05 12:00 a", "05 12:00 c"]
    assert waiting.state.running == []


def test_without_the_event_it_continues_with_else_when_the_time_is_over() -> None:
    assert sent(world(ORDERED % "")) == ["06 10:00 b", "06 10:00 c"]


def test_an_event_at_the_last_instant_counts_and_one_after_it_does_not() -> None:
    for moment, wanted in (("2026-01-06 10:00", "a"), ("2026-01-06 10:00:00.001", "b")):
        waiting = world(ORDERED % "")
        waiting.event(moment, "order")
        assert [step for _, _, step in waiting.sent][:1] == [wanted]


def test_an_event_that_came_since_the_entry_satisfies_the_wait_at_once() -> None:
    waiting = world(SEEN)
    waiting.event("2026-01-05 12:00", "order")
    assert sent(waiting) == ["06 10:00 a", "06 10:00 c"]


def test_an_event_before_the_entry_counts_for_nothing_and_neither_does_the_entry_itself() -> None:
    late = world(SEEN)
    late.event("2026-01-05 09:59", "order", arrives="2026-01-05 10:30")
    assert sent(late) == ["07 10:00 b", "07 10:00 c"]
    own = World(HEAD + "steps: [{wait_for: ping, up_to: 1h, then: [{send: a}], else: [{send: b}]}]\n")
    own.event("2026-01-05 10:00", "ping")
    assert sent(own) == ["05 11:00 b"]


def test_where_and_same_decide_which_event_counts() -> None:
    waiting = world(ORDERED % ", same: k, where: event.n > 1")
    for number, (k, n) in enumerate([("y", 2), ("x", 1), ("x", 2)]):
        waiting.event(f"2026-01-05 12:0{number}", "order", k=k, n=n)
    assert sent(waiting) == ["05 12:02 a", "05 12:02 c"]


def test_a_where_that_fails_is_no_match_and_is_reported() -> None:
    waiting = world(ORDERED % ", where: event.n > 1")
    waiting.event("2026-01-05 12:00", "order")
    assert [(problem.trigger, problem.place) for problem in waiting.problems] == [("t", "wait_for")]
    assert sent(waiting) == ["06 10:00 b", "06 10:00 c"]


def test_the_first_match_is_the_one_that_is_remembered() -> None:
    read = DATA % ("a", "a")
    waiting = world(HEAD + f"steps: [{{wait: 1d}}, {{wait_for: order, up_to: 1d}}, {read}]\n")
    for number in (1, 2, 3):
        waiting.event(f"2026-01-05 1{number}:00", "order", n=number)
    waiting.until("2026-01-06 10:00")
    assert [command.data for command in waiting.commands] == [{"n": 1}]


def test_the_match_is_read_by_when_if_and_data_and_named_by_the_decision() -> None:
    steps = f"[{{wait_for: order, up_to: 1d}}, {{if: occurrence.matched.n > 1, then: [{DATA % ('a', 'a')}]}}]"
    waiting = world(HEAD + f"when: occurrence.matched.k == 'x'\nsteps: {steps}\n")
    waiting.event("2026-01-05 12:00", "order", event_id="o1", n=2, k="x")
    assert [command.data for command in waiting.commands] == [{"n": 2}]
    assert waiting.decisions[0].event_ids == ["e1", "o1"]


def test_of_several_waits_the_last_satisfied_one_is_the_match() -> None:
    steps = f"[{{wait_for: order, up_to: 1d}}, {DATA % ('a', 'a')}, {{wait_for: paid, up_to: 1d}}, {DATA % ('b', 'b')}]"
    waiting = world(HEAD + f"steps: {steps}\n")
    waiting.event("2026-01-05 11:00", "paid", n=7)
    waiting.event("2026-01-05 12:00", "order", n=8)
    assert [command.data for command in waiting.commands] == [{"n": 8}, {"n": 7}]


def test_one_event_satisfies_every_wait_with_the_same_pattern() -> None:
    again = "{wait_for: order, up_to: 1d, then: [{send: %s}]}"
    waiting = world(HEAD + f"steps: [{again % 'a'}, {{wait: 1h}}, {again % 'b'}]\n")
    waiting.event("2026-01-05 12:00", "order")
    assert sent(waiting) == ["05 12:00 a", "05 13:00 b"]


def test_without_a_match_reading_it_fails_and_has_says_so() -> None:
    text = HEAD + "steps: [{wait_for: order, up_to: 1h}, {if: has(occurrence.matched), then: [{send: a}]}, %s]\n"
    assert sent(world(text % "{send: b}")) == ["05 11:00 b"]
    failing = world(text % (DATA % ("b", "b")))
    failing.until("2026-01-05 11:00")
    assert failing.decided == [("2026-01-05 11:00:00", "drop invalid_data")]


def test_a_wait_after_the_match_counts_from_the_event_and_not_from_its_arrival() -> None:
    waiting = world(HEAD + "steps: [{wait_for: order, up_to: 1d}, {wait: 1h}, {send: a}]\n")
    waiting.event("2026-01-05 12:00", "order", arrives="2026-01-05 12:30")
    assert sent(waiting) == ["05 13:00 a"]


def test_a_restart_forgets_what_was_seen() -> None:
    waiting = World(SEEN + "key: user.id\n")
    waiting.event("2026-01-05 10:00", "ping")
    waiting.event("2026-01-05 11:00", "order")
    waiting.event("2026-01-05 12:00", "ping")
    assert sent(waiting) == ["07 12:00 b", "07 12:00 c"]


def test_an_event_that_ends_the_occurrence_satisfies_no_wait() -> None:
    waiting = world(ORDERED % "" + "unless: order\n")
    waiting.event("2026-01-05 12:00", "order")
    assert sent(waiting) == []


@pytest.mark.parametrize(
    ("up_to", "over"),
    [("{every: day, at: '09:00'}", "06 09:00 b"), ("{until: timestamp(user.x)}", "08 00:00 b"), ("0s", "05 10:00 b")],
)
def test_it_lasts_up_to_any_kind_of_wait(up_to: str, over: str) -> None:
    text = HEAD + f"steps: [{{wait_for: order, up_to: {up_to}, then: [{{send: a}}], else: [{{send: b}}]}}]\n"
    assert sent(world(text, x="2026-01-08T00:00:00Z")) == [over]


def test_its_end_follows_the_profile() -> None:
    text = "steps: [{wait_for: order, up_to: {until: timestamp(user.x)}, then: [{send: a}], else: [{send: b}]}]\n"
    waiting = world(HEAD + text, x="2026-01-08T00:00:00Z")
    waiting.profile("2026-01-06 00:00", x="2026-01-07T00:00:00Z")
    assert sent(waiting) == ["07 00:00 b"]


def test_a_profile_at_the_last_instant_ends_no_wait_before_an_event_of_that_instant() -> None:
    waiting = world(ORDERED % "")
    waiting.profile("2026-01-06 10:00", vip=True)
    waiting.event("2026-01-06 10:00", "order")
    assert sent(waiting) == ["06 10:00 a", "06 10:00 c"]


def test_an_end_that_cannot_be_computed_ends_the_occurrence() -> None:
    waiting = world(HEAD + "steps: [{wait_for: order, up_to: {until: timestamp(user.x)}}, {send: a}]\n")
    assert waiting.decided == [("2026-01-05 10:00:00", "drop condition_error")]
    assert waiting.state.running == []


def test_settle_waits_longer_for_what_happened_in_time() -> None:
    """The wait is over at 10:00 of the next day, and is decided ten minutes later."""
    for happened, arrives, wanted in (
        ("2026-01-06 09:59", "2026-01-06 10:09", "06 10:09 a"),
        ("2026-01-06 10:01", "2026-01-06 10:09", "06 10:10 b"),
    ):
        waiting = world(ORDERED % "" + "settle: 10m\n")
        waiting.event(happened, "order", arrives=arrives)
        assert sent(waiting)[0] == wanted


def test_a_wait_of_the_old_text_hears_events_that_the_new_text_does_not_read() -> None:
    waiting = world(ORDERED % "")
    waiting.edit("2026-01-05 11:00", HEAD + "send: a\n", ORDERED % "")
    waiting.event("2026-01-05 12:00", "order")
    assert sent(waiting) == ["05 12:00 a", "05 12:00 c"]


def test_a_profile_finds_the_wait_at_the_end_of_a_branch() -> None:
    """Another wait stands before the step that follows."""
    branch = (
        "{if: user.vip == true, then: [{wait: {until: timestamp(user.x)}}], else: [{wait: {until: timestamp(user.y)}}]}"
    )
    waiting = World(
        HEAD + f"steps: [{branch}, {{send: a}}]\n", vip=True, x="2026-01-08T00:00:00Z", y="2026-01-09T00:00:00Z"
    )
    waiting.event("2026-01-05 10:00", "ping")
    waiting.profile("2026-01-06 00:00", vip=True, x="2026-01-07T00:00:00Z", y="2026-01-09T00:00:00Z")
    assert sent(waiting) == ["07 00:00 a"]


def test_what_is_dropped_next_is_not_of_the_branch_that_was_not_taken() -> None:
    branch = "{if: user.vip == true, then: [{wait: 1h}], else: [{send: a}]}"
    text = HEAD + f"steps: [{branch}, {{send: b}}]\n"
    waiting = World(text, vip=True)
    waiting.event("2026-01-05 10:00", "ping")
    waiting.edit("2026-01-05 10:30", HEAD.replace("trigger: t", "trigger: other") + "send: a\n", text)
    waiting.until("2026-01-05 12:00")
    assert [(d.step, str(d.reason)) for d in waiting.decisions] == [("b", "withdrawn")]


def test_what_was_seen_survives_its_bytes() -> None:
    waiting = world(SEEN)
    waiting.event("2026-01-05 12:00", "order", n=1)
    again = decode("u1", encode(waiting.state)[0])
    assert contents(again) == contents(waiting.state)
    waiting.state = again
    assert sent(waiting) == ["06 10:00 a", "06 10:00 c"]


def test_events_that_steps_wait_for_take_the_general_path() -> None:
    waiting = World(ORDERED % "" + "---\nmetric: orders\nevent: order\nwithin: 1d\n")
    assert FastPath(waiting.evaluator.rules).refused["order"] == "`wait_for` of trigger t reads it"
