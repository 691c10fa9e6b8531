"""The evaluator: gates and their reasons, journeys, goals, policies, and bounds."""

import pytest
from drivers.trigger_world import HOUR, World, at, event
from drivers.user_states import contents

from schemas.commands import command_id
from schemas.vocabulary import Gate
from triggers.engine.evaluator import Evaluator
from triggers.rules.assignment import in_canary, in_holdout
from triggers.rules.encoding import decode, encode

PING = "trigger: t\npurpose: marketing\non: ping\n"
SCORE = "score: s\ndecay: {curve: exponential, half_life: 1d}\nadd: {event: ping, points: event.n}\n"
FALL = (
    SCORE + "---\ntrigger: t\npurpose: marketing\non: {score: s, falls_below: 0.2, rearm: 0.5}\nmax_age: 10m\nsend: a\n"
)
RISE = SCORE + "---\ntrigger: t\npurpose: marketing\non: {score: s, reaches: 2, rearm: 1}\nsend: a\n"


def outside(percent: float, *, inside: bool) -> str:
    """A user inside or outside the holdout of the rule `t`."""
    return next(f"u{n}" for n in range(1_000) if in_holdout("t", f"u{n}", percent) is inside)


def test_a_command_carries_what_delivery_needs() -> None:
    world = World(
        PING + "key: event.k\nexpires: 2h\npriority: 70\n"
        "send: {template: b, id: first, to: event.mail, data: {n: event.n, when: event.time}}\n"
    )
    world.event("2026-01-05 10:00", "ping", k="x", n=3, mail="other@example.org")
    [command] = world.commands
    assert command.id == command_id("t", "u1", '["x","e1"]', "first") == world.decisions[0].command_id
    assert (command.template, command.template_hash, command.step) == ("b", "b" * 32, "first")
    assert (command.to, command.data) == ("other@example.org", {"n": 3, "when": "2026-01-05T10:00:00Z"})
    assert (command.priority, command.purpose, command.channel) == (70, "marketing", "email")
    assert f"{command.expires_at:%H:%M}" == "12:00"


@pytest.mark.parametrize("mail", ["a@b@c", "x\r\nBcc: y@example.org", "two@a.example, two@b.example", "", 7])
def test_an_address_that_is_none_drops_the_send(mail: object) -> None:
    world = World(PING + "send: {template: a, to: event.mail}\n")
    world.event("2026-01-05 10:00", "ping", mail=mail)
    assert world.commands == []
    assert world.decisions[0].inputs["path"] == "to"
    assert str(mail) not in world.problems[0].detail or mail == ""


def test_every_gate_answers_in_order() -> None:
    world = World(PING + 'quiet: {from: "21:00", to: "08:00"}\ncap: {max: 2, per: 1d}\nwhen: event.n > 1\nsend: a\n')
    world.event("2026-01-05 10:00", "ping", n=2)
    assert [answer.gate for answer in world.decisions[0].gates] == list(Gate)
    assert all(answer.passed for answer in world.decisions[0].gates)
    cap = world.decisions[0].gates[-1]
    assert (cap.observed, cap.limit) == (0, {"max": 2, "per": "1d", "by": "trigger"})


def test_the_first_gate_that_does_not_pass_answers_last() -> None:
    world = World(PING + "cap: {max: 1, per: 1d}\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-05 11:00", "ping")
    cap = world.decisions[1].gates[-1]
    assert (cap.gate, cap.passed, cap.observed) == (Gate.CAP, False, 1)
    assert cap.next_eligible is not None
    assert f"{cap.next_eligible:%Y-%m-%d %H:%M}" == "2026-01-06 10:00"


@pytest.mark.parametrize("scope", ["global", "trigger/t", "purpose/marketing"])
def test_a_paused_scope_drops_with_mode(scope: str) -> None:
    world = World(PING + "send: a\n", paused=frozenset({scope}))
    world.event("2026-01-05 10:00", "ping")
    assert world.decided == [("2026-01-05 10:00:00", "drop mode")]
    assert world.decisions[0].gates[0].observed == {"paused": scope}


def test_another_paused_scope_pauses_nothing() -> None:
    world = World(PING + "send: a\n", paused=frozenset({"trigger/other", "purpose/news"}))
    world.event("2026-01-05 10:00", "ping")
    assert len(world.commands) == 1


def test_a_shadow_passes_the_gates_against_its_own_reservations() -> None:
    cap = "cap: {max: 1, per: 1d, scope: purpose}\n"
    world = World(
        PING + "mode: shadow\n" + cap + f"send: a\n---\ntrigger: u\npurpose: marketing\non: ping\n{cap}send: b\n"
    )
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-05 11:00", "ping")
    assert [reason for _, reason in world.decided] == ["shadow mode", "send", "drop cap", "drop cap"]
    assert len(world.commands) == 1


@pytest.mark.parametrize("inside", [True, False])
def test_a_canary_sends_to_its_share_and_records_the_rest(inside: bool) -> None:
    user = next(user for number in range(100) if in_canary("t", user := f"u{number}", 50) is inside)
    world = World(PING + "mode: canary 50%\nsend: a\n", user_id=user)
    world.event("2026-01-05 10:00", "ping")
    assert [reason for _, reason in world.decided] == (["send"] if inside else ["shadow mode"])
    assert len(world.commands) == inside


@pytest.mark.parametrize("inside", [True, False])
def test_a_holdout_member_is_recorded_instead_of_sent(inside: bool) -> None:
    world = World(PING + "holdout: 10%\nsend: a\n", user_id=outside(10, inside=inside))
    world.event("2026-01-05 10:00", "ping")
    assert world.decisions[0].outcome == ("held_out" if inside else "send")
    assert len(world.commands) == (not inside)


def test_an_unless_that_fails_drops_the_send() -> None:
    world = World(PING + "after: 1h\nunless: {event: stop, where: event.n > 1}\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-05 10:30", "stop")
    world.until("2026-01-05 12:00")
    assert world.decided == [("2026-01-05 10:30:00", "drop condition_error")]
    assert [(p.trigger, p.place) for p in world.problems if p.place == "unless"]


def test_an_unless_may_compare_with_the_entry() -> None:
    world = World(PING + "after: 1h\nunless: {event: stop, where: event.n > occurrence.event.n}\nsend: a\n")
    world.event("2026-01-05 10:00", "ping", n=5)
    world.event("2026-01-05 10:10", "stop", n=5)
    assert len(world.state.running) == 1
    world.event("2026-01-05 10:20", "stop", n=6)
    assert world.state.running == []


def test_overlap_restarts_with_the_new_event_or_ignores_it() -> None:
    text = PING + "key: event.k\nafter: 1h\nsend: {template: a, data: {n: event.n}}\n"
    for overlap, expected in (("restart", [("11:30", 2)]), ("ignore", [("11:00", 1)])):
        world = World(text + f"overlap: {overlap}\n")
        world.event("2026-01-05 10:00", "ping", k="x", n=1)
        world.event("2026-01-05 10:30", "ping", k="x", n=2)
        world.until("2026-01-05 13:00")
        assert [(f"{c.decided_at:%H:%M}", c.data["n"]) for c in world.commands] == expected
        assert world.commands[0].occurrence == '["x","e1"]'


def test_an_older_entry_that_arrives_late_does_not_restart() -> None:
    world = World(PING + "key: event.k\nafter: 1h\nsend: {template: a, data: {n: event.n}}\n")
    world.event("2026-01-05 10:30", "ping", k="x", n=2)
    world.event("2026-01-05 10:00", "ping", arrives="2026-01-05 10:40", k="x", n=1)
    world.until("2026-01-05 13:00")
    assert [(f"{c.decided_at:%H:%M}", c.data["n"]) for c in world.commands] == [("11:30", 2)]
    assert world.counts == {"late": 1}


@pytest.mark.parametrize(("reentry", "sends"), [("always", 3), ("3d", 2), ("never", 1)])
def test_reentry_lets_a_key_in_again(reentry: str, sends: int) -> None:
    world = World(PING + f"key: event.k\nreentry: {reentry}\nsend: a\n")
    for moment in ("2026-01-05 10:00", "2026-01-08 09:59", "2026-01-08 10:00"):
        world.event(moment, "ping", k="x")
    assert len(world.commands) == sends


def test_a_key_of_several_values_keeps_them_apart() -> None:
    world = World(PING + "key: [event.a, event.b]\nreentry: never\nsend: a\n")
    for a, b in (("x", "y,z"), ("x,y", "z"), ("x", "y,z")):
        world.event("2026-01-05 10:00", "ping", a=a, b=b)
    assert [c.occurrence for c in world.commands] == ['[["x","y,z"],"e1"]', '[["x,y","z"],"e2"]']


def test_a_journey_waits_branches_and_exits() -> None:
    text = PING + (
        "steps:\n  - send: a\n  - wait: 1d\n  - if: event.n > 1\n    then: [{send: b}, exit]\n    else: [{send: c}]\n"
        "  - send: d\n"
    )
    for n, expected in ((2, ["a", "b"]), (1, ["a", "c", "d"])):
        world = World(text)
        world.event("2026-01-05 10:00", "ping", n=n)
        world.until("2026-01-10 00:00")
        assert [step for _, _, step in world.sent] == expected
        assert world.state.running == []


def test_after_stands_before_the_branches_of_the_steps() -> None:
    world = World(PING + "after: 1h\nsteps: [{if: 'event.n > 1', then: [{send: b}], else: [{send: c}]}]\n")
    world.event("2026-01-05 10:00", "ping", n=1)
    world.until("2026-01-10 00:00")
    assert world.sent == [("2026-01-05 11:00:00", "t", "c")]


def test_a_dropped_send_is_skipped_and_the_journey_goes_on() -> None:
    world = World(PING + "cap: {max: 1, per: 12h}\nsteps: [{send: a}, {send: b}, {wait: 1d}, {send: c}]\n")
    world.event("2026-01-05 10:00", "ping")
    world.until("2026-01-10 00:00")
    assert [(f"{d.decided_at:%d %H:%M}", d.outcome.value) for d in world.decisions] == [
        ("05 10:00", "send"),
        ("05 10:00", "drop"),
        ("06 10:00", "send"),
    ]


def test_a_key_of_any_length_does_not_fill_the_state() -> None:
    world = World(PING + "key: event.k\nreentry: never\nsend: a\n")
    world.event("2026-01-05 10:00", "ping", k="x" * 10_000)
    world.event("2026-01-05 10:00", "ping", k=["x"])
    assert [p.place for p in world.problems] == ["key", "key"]
    assert world.state.entries == {}


def test_a_goal_is_counted_once_after_each_send_within_its_time() -> None:
    world = World(PING + "goal: {event: bought, same: k, within: 1d}\nsend: a\n")
    world.event("2026-01-05 10:00", "ping", k="x")
    world.event("2026-01-05 11:00", "bought", k="y")
    world.event("2026-01-05 12:00", "bought", k="x")
    world.event("2026-01-05 13:00", "bought", k="x")
    world.event("2026-01-05 14:00", "ping", k="x")
    world.event("2026-01-06 14:00:00.001", "bought", k="x")
    goals = [d for d in world.decisions if d.outcome == "goal"]
    assert [(f"{d.decided_at:%d %H:%M}", d.command_id) for d in goals] == [("05 12:00", world.commands[0].id)]


def test_policies_add_caps_and_quiet_and_the_smallest_expiry_but_spare_transactional_rules() -> None:
    world = World(
        "policy: calm\nfor: {}\ncap: {max: 1, per: 1d, scope: all}\nexpires: 2h\n---\n"
        + PING
        + "send: a\n---\ntrigger: u\npurpose: transactional\non: ping\nsend: b\n"
    )
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-05 11:00", "ping")
    assert [(c.trigger, f"{c.expires_at - c.decided_at}") for c in world.commands] == [
        ("t", "2:00:00"),
        ("u", "1 day, 0:00:00"),
        ("u", "1 day, 0:00:00"),
    ]


def test_a_cap_by_key_counts_each_key_and_a_maximum_may_be_an_expression() -> None:
    world = World(PING + "key: event.k\ncap: {max: user.most, per: 1d, scope: key}\nsend: a\n", most=2)
    for key in ("x", "y", "x", "x", "y"):
        world.event("2026-01-05 10:00", "ping", k=key)
    assert [reason for _, reason in world.decided] == ["send", "send", "send", "drop cap", "send"]


def test_running_occurrences_are_bounded_and_the_oldest_is_evicted() -> None:
    world = World(PING + "after: 1d\nsend: a\n")
    for _ in range(66):
        world.event("2026-01-05 10:00", "ping")
    assert len(world.state.running) == 64
    assert [reason for _, reason in world.decided] == ["drop evicted", "drop evicted"]


def test_an_occurrence_of_a_rule_that_is_gone_ends() -> None:
    world = World(PING + "after: 1h\nsend: a\n---\ntrigger: u\npurpose: marketing\non: ping\nsend: b\n")
    world.event("2026-01-05 10:00", "ping")
    state = decode("u1", encode(world.state)[0])
    evaluator = Evaluator(world.evaluator.rules.only(world.evaluator.rules.triggers["u"], ()))
    effects = evaluator.fire_due(state, at("2026-01-05 11:00"))
    assert (effects.commands, effects.counts, state.running) == ([], {"withdrawn": 1}, [])


def test_events_after_an_outage_are_decided_at_the_clock() -> None:
    world = World(PING + "after: 1h\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    effects = world.evaluator.fire_due(world.state, at("2026-01-05 15:00"))
    assert f"{effects.commands[0].decided_at:%H:%M}" == "15:00"
    assert effects.decisions[0].inputs["due"] == "2026-01-05T11:00:00+00:00"


def test_timers_due_before_an_event_fire_before_it_without_fire_due() -> None:
    world = World(PING + "after: 1h\nunless: stop\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    stop = event("stop", at("2026-01-05 12:00"), "late")
    effects = world.evaluator.apply_event(world.state, stop, at("2026-01-05 12:00"))
    assert len(effects.commands) == 1


def test_an_unknown_default_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="default_zone"):
        Evaluator(World(PING + "send: a\n").evaluator.rules, "Mars/Olympus")


def test_an_event_that_no_rule_reads_leaves_nothing_behind() -> None:
    world = World(PING + "send: a\n")
    before = contents(decode("u1", encode(world.state)[0]))
    world.event(at("2026-01-05 10:00") + HOUR, "unheard_of")
    assert contents(world.state) == before


def test_an_event_that_only_an_unless_reads_is_remembered() -> None:
    world = World(RISE.replace("send: a", "unless: stop\nsend: a"))
    world.event("2026-01-05 10:00", "stop")
    assert "e1" in world.state.seen


def test_event_ids_are_forgotten_after_a_day() -> None:
    world = World(PING + "send: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-06 10:00", "ping")
    assert "e2" in world.state.seen
    assert "e1" not in world.state.seen


def test_a_full_cap_names_the_sends_that_it_counted_oldest_first_and_of_many_the_newest() -> None:
    world = World(PING + "cap: {max: 2, per: 1d}\nsend: a\n")
    for hour in range(10, 14):
        world.event(f"2026-01-05 {hour}:00", "ping")
    sent = [command.id for command in world.commands]
    assert [decision.inputs.get("counted") for decision in world.decisions] == [None, None, sent, sent]
    world = World(PING + "cap: {max: 30, per: 1d}\nsend: a\n")
    for minute in range(31):
        world.event(f"2026-01-05 10:{minute:02d}", "ping")
    assert world.decisions[-1].inputs["counted"] == [command.id for command in world.commands[10:]]
    assert world.decisions[-1].gates[-1].observed == 30


def test_a_full_cap_names_sends_of_other_rules_that_its_scope_counts() -> None:
    both = PING.replace("trigger: t", "trigger: first") + "priority: 90\nsend: a\n---\n" + PING
    world = World(both + "cap: {max: 1, per: 1d, scope: purpose}\nsend: b\n")
    world.event("2026-01-05 10:00", "ping")
    [command] = world.commands
    assert (command.trigger, world.decisions[-1].inputs["counted"]) == ("first", [command.id])
