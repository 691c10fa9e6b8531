"""`on_edit: follow`: running occurrences continue with the newest text, from behind the last send that they passed."""

import pytest
from drivers.trigger_world import World, at
from drivers.user_states import contents

from schemas.rules import text_hash
from triggers.rules.encoding import decode, encode

HEAD = "trigger: t\npurpose: marketing\non: ping\n"
FOLLOW = HEAD + "on_edit: follow\n"
TWO = "steps: [{send: a}, {wait: 3d}, {send: b}]\n"
OTHER = "trigger: other\npurpose: marketing\non: pong\nsend: a\n"


def edited(old: str, new: str, moment: str = "2026-01-06 10:00", **profile: object) -> World:
    """A world in which something began on the 5th at 10:00 by the old text, which was replaced later."""
    world = World(HEAD + old, **profile)  # type: ignore[arg-type]
    world.event("2026-01-05 10:00", "ping", k="x", n=1)
    world.edit(moment, FOLLOW + new, HEAD + old)
    return world


def sent(world: World, moment: str = "2026-01-20 00:00") -> list[str]:
    """What was sent up to a moment: day, time and step."""
    world.until(moment)
    return [f"{instant[8:16]} {step}" for instant, _, step in world.sent]


def test_12_a_wait_is_computed_again_from_when_it_began() -> None:
    assert sent(edited(TWO, TWO.replace("3d", "2d"))) == ["05 10:00 a", "07 10:00 b"]
    assert sent(edited(TWO, TWO.replace("3d", "5d"))) == ["05 10:00 a", "10 10:00 b"]


def test_12_what_is_past_by_the_new_wait_is_due_at_once_and_not_expired() -> None:
    world = edited(TWO, TWO.replace("3d", "1h"), "2026-01-08 09:00")
    assert sent(world) == ["05 10:00 a", "08 09:00 b"]
    assert world.decisions[-1].inputs["due"] == "2026-01-08T09:00:00+00:00"


def test_the_place_is_behind_the_last_send_that_was_passed() -> None:
    """Steps before it do not come again, and those put in behind it come."""
    new = "steps: [{send: c}, {send: a}, {send: d}, {wait: 3d}, {send: b}]\n"
    assert sent(edited(TWO, new)) == ["05 10:00 a", "06 10:00 d", "09 10:00 b"]


def test_without_that_send_the_place_is_behind_the_one_before_it() -> None:
    old = "steps: [{send: a}, {wait: 1d}, {send: b}, {wait: 3d}, {send: c}]\n"
    new = "steps: [{send: a}, {wait: 2d}, {send: d}]\n"
    assert sent(edited(old, new, "2026-01-07 10:00")) == ["05 10:00 a", "06 10:00 b", "08 10:00 d"]


def test_an_occurrence_that_passed_no_send_begins_again_as_of_its_entry() -> None:
    assert sent(edited("after: 2d\nsend: a\n", "after: 3d\nsend: b\n")) == ["08 10:00 b"]
    assert sent(edited("after: 2d\nsend: a\n", "after: 1h\nsend: b\n")) == ["06 10:00 b"]


def test_a_text_with_nothing_behind_the_place_ends_the_occurrence() -> None:
    world = edited(TWO, "steps: [{send: a}]\n")
    assert world.state.running == []
    assert sent(world) == ["05 10:00 a"]


def test_unless_when_and_the_message_are_the_new_ones() -> None:
    world = edited("unless: stop\n" + TWO, "unless: halt\n" + TWO.replace("send: b", "send: {template: c, id: b}"))
    world.event("2026-01-06 12:00", "stop")
    assert sent(world) == ["05 10:00 a", "08 10:00 b"]
    assert world.commands[-1].template == "c"
    halted = edited(TWO, "unless: halt\n" + TWO)
    halted.event("2026-01-06 12:00", "halt")
    assert sent(halted) == ["05 10:00 a"]
    world = edited(TWO, "when: event.n > 1\n" + TWO)
    world.until("2026-01-20 00:00")
    assert world.decided[1:] == [("2026-01-08 10:00:00", "drop condition")]


def test_the_entry_stays_and_decisions_name_the_new_text() -> None:
    new = TWO.replace("3d", "2d")
    world = edited(TWO, new)
    world.until("2026-01-20 00:00")
    assert {(d.occurrence, *d.event_ids) for d in world.decisions} == {('["e1"]', "e1")}
    assert [d.rule_hash for d in world.decisions] == [text_hash(HEAD + TWO), text_hash(FOLLOW + new)]


def test_12_a_rule_that_is_removed_ends_with_withdrawn() -> None:
    world = World(FOLLOW + TWO)
    world.event("2026-01-05 10:00", "ping")
    world.edit("2026-01-06 10:00", OTHER, FOLLOW + TWO)
    world.until("2026-01-20 00:00")
    assert world.decided[1:] == [("2026-01-08 10:00:00", "drop withdrawn")]


def test_an_edit_elsewhere_moves_nothing() -> None:
    """A send that is held stays held, and no decision is made again."""
    night = "quiet: {from: '21:00', to: '08:00'}\nsteps: [{wait: 12h}, {send: a}, {wait: 1d}, {send: b}]\n"
    world = edited(night, night.replace("{send: b}", "{send: c}"), "2026-01-06 01:00")
    world.until("2026-01-10 00:00")
    assert world.decided == [
        ("2026-01-05 22:00:00", "defer quiet"),
        ("2026-01-06 08:00:00", "send"),
        ("2026-01-07 08:00:00", "send"),
    ]
    assert [step for _, _, step in world.sent] == ["a", "c"]


def test_a_held_send_that_is_gone_gives_way_to_what_stands_there_now() -> None:
    night = "quiet: {from: '21:00', to: '08:00'}\nsteps: [{wait: 12h}, {send: %s}]\n"
    world = edited(night % "a", night % "b", "2026-01-06 01:00")
    assert sent(world) == ["06 08:00 b"]
    assert [d.step for d in world.decisions] == ["a", "b", "b"]


def test_a_branch_is_taken_again_by_the_new_text() -> None:
    old = "steps: [{send: a}, {if: user.vip == true, then: [{wait: 3d}], else: [{wait: 1d}]}, {send: b}]\n"
    assert sent(edited(old, old.replace("wait: 3d", "wait: 2d"), vip=True)) == ["05 10:00 a", "07 10:00 b"]
    assert sent(edited(old, old.replace("user.vip == true", "event.n > 1"), vip=True)) == ["05 10:00 a", "06 10:00 b"]


def test_a_branch_that_changes_behind_the_place_is_not_taken_again() -> None:
    """The profile would now say otherwise."""
    old = "steps: [{send: a}, {if: user.vip == true, then: [{wait: 3d}, {send: b}], else: [{send: c}]}]\n"
    world = World(HEAD + old, vip=True)
    world.event("2026-01-05 10:00", "ping")
    world.profile("2026-01-06 00:00", vip=False)
    world.edit("2026-01-06 10:00", FOLLOW + old.replace("{send: b}]", "{send: b}, {wait: 1d}, {send: d}]"), HEAD + old)
    assert sent(world) == ["05 10:00 a", "08 10:00 b", "09 10:00 d"]


def test_what_was_seen_and_gathered_is_kept() -> None:
    waits = "key: user.id\noverlap: gather\nsteps: [{wait: %s}, {wait_for: order, up_to: 1d}, {send: {template: a, "
    waits += "data: {n: occurrence.matched.n, count: size(occurrence.events)}}}]\n"
    world = World(HEAD + waits % "3d")
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-05 11:00", "ping")
    world.event("2026-01-05 12:00", "order", n=7)
    world.edit("2026-01-06 10:00", FOLLOW + waits % "2d", HEAD + waits % "3d")
    assert sent(world) == ["07 10:00 a"]
    assert world.commands[0].data == {"n": 7, "count": 2}


def test_a_wait_for_an_event_begins_when_the_wait_before_it_did() -> None:
    new = "steps: [{send: a}, {wait_for: order, up_to: 2d, then: [{send: c}], else: [{send: b}]}]\n"
    assert sent(edited(TWO, new)) == ["05 10:00 a", "07 10:00 b"]
    met = edited(TWO, new)
    met.event("2026-01-06 12:00", "order")
    assert sent(met) == ["05 10:00 a", "06 12:00 c"]


MET = "steps: [{wait_for: order, up_to: 7d, then: [{wait: 1d}, {send: a}], else: [{send: b}]}]\n"


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (MET.replace("wait: 1d", "wait: 2d"), ["09 10:00 a"]),
        (MET.replace("7d", "8d"), ["08 10:00 a"]),
        (MET.replace("7d", "2d"), ["08 10:00 a"]),
        (MET.replace("7d", "1d"), ["07 22:00 b"]),
    ],
)
def test_an_event_that_came_counts_from_when_it_did_and_only_within_the_new_wait(new: str, expected: list[str]) -> None:
    world = World(HEAD + MET)
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-07 10:00", "order")
    world.edit("2026-01-07 22:00", FOLLOW + new, HEAD + MET)
    assert sent(world) == expected


def test_the_variant_follows_the_experiment() -> None:
    experiment = "experiment: {variants: {%s: 1, other: 0}}\n"
    world = edited(experiment % "one" + TWO, experiment % "two" + TWO)
    world.until("2026-01-20 00:00")
    assert [decision.inputs["variant"] for decision in world.decisions] == ["one", "two"]


def test_without_its_old_text_an_occurrence_still_finds_its_place() -> None:
    world = World(HEAD + TWO)
    world.event("2026-01-05 10:00", "ping")
    world.edit("2026-01-06 10:00", FOLLOW + TWO.replace("3d", "2d"))
    assert sent(world) == ["05 10:00 a", "07 10:00 b"]
    assert world.counts == {}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (TWO.replace("3d", "7d"), TWO.replace("3d", "2d"), ["10 10:00 b"]),
        (TWO.replace("3d", "7d"), TWO.replace("3d", "6d"), ["11 10:00 b"]),
        (
            "steps: [{wait: 3d}, {send: a}, {wait: 7d}, {send: b}]\n",
            "steps: [{send: a}, {wait: 4d}, {send: b}]\n",
            ["12 10:00 b"],
        ),
        (
            "steps: [{send: a}, {wait: {every: day, at: '09:00'}}, {wait: 7d}, {send: b}]\n",
            "steps: [{send: a}, {wait: 2d}, {send: c}]\n",
            ["10 10:00 c"],
        ),
    ],
)
def test_an_occurrence_of_before_sends_were_remembered_finds_its_place_by_its_old_text(
    old: str, new: str, expected: list[str]
) -> None:
    world = World(HEAD + old)
    world.event("2026-01-05 10:00", "ping")
    world.until("2026-01-10 09:00")
    [running] = world.state.running
    running.journey = None
    world.decisions.clear()
    world.edit("2026-01-10 10:00", FOLLOW + new, HEAD + old)
    assert sent(world) == expected


def test_a_user_without_a_profile_follows_too() -> None:
    text = "purpose: transactional\non: ping\n"
    world = World("trigger: t\n" + text + TWO, known=False)
    world.event("2026-01-05 10:00", "ping")
    world.edit("2026-01-06 10:00", "trigger: t\non_edit: follow\n" + text + TWO.replace("3d", "2d"))
    assert sent(world) == ["05 10:00 a", "07 10:00 b"]


def test_a_user_without_a_profile_takes_the_fast_path_beside_a_rule_that_follows() -> None:
    score = "score: s\ndecay: {curve: exponential, half_life: 1d}\nadd: {event: view, points: 1}\n"
    world = World(f"{FOLLOW}{TWO}---\n{score}", known=False)
    for minute in range(3):
        world.event(f"2026-01-05 10:0{minute}", "view")
    assert world.paths.fast == 2


def test_a_later_edit_to_pin_keeps_the_text_that_was_followed_last() -> None:
    first, second, third = HEAD + TWO, FOLLOW + TWO.replace("3d", "2d"), HEAD + TWO.replace("3d", "9d")
    world = World(first)
    world.event("2026-01-05 10:00", "ping")
    world.edit("2026-01-06 10:00", second, first)
    world.edit("2026-01-06 12:00", third, first, second)
    assert sent(world) == ["05 10:00 a", "07 10:00 b"]


@pytest.mark.parametrize("recode", [False, True])
def test_it_follows_with_the_next_event_where_nobody_asked_before(recode: bool) -> None:
    """`plan` comes first in a worker; whatever else comes first does the same."""
    world = World(HEAD + TWO)
    world.event("2026-01-05 10:00", "ping")
    new = World(FOLLOW + TWO.replace("3d", "1h")).evaluator.rules
    world.until("2026-01-06 10:00")
    world.evaluator.rules = new
    if recode:
        again = decode("u1", encode(world.state)[0])
        assert contents(again) == contents(world.state)
        world.state = again
    world.take(world.evaluator.fire_due(world.state, at("2026-01-06 10:00")))
    assert sent(world) == ["05 10:00 a", "06 10:00 b"]
