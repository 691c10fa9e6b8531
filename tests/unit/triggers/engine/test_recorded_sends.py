"""Shadow, canaries and holdouts: a recorded send is one that would have been sent."""

import pytest
from drivers.trigger_world import World

from schemas.vocabulary import OutcomeKind
from triggers.rules.assignment import in_canary

REAL = "trigger: a\npurpose: marketing\non: x\nsend: a\n---\n"
POLICY = "policy: calm\nfor: {purpose: marketing}\ncap: {max: 1, per: calendar week, scope: %s}\n---\n"
RECORDED = ["mode: shadow", "holdout: 100%", "mode: canary 1%"]
OUTSIDE = next(user for user in map("u{}".format, range(99)) if not in_canary("b", user, 1.0))


def world(how: str, rest: str, first: str = REAL) -> World:
    return World(f"{first}trigger: b\npurpose: marketing\non: y\n{how}\n{rest}send: a\n", user_id=OUTSIDE)


def outcomes(played: World) -> list[tuple[str, str]]:
    return [(each.trigger, " ".join(filter(None, (each.outcome, each.reason)))) for each in played.decisions]


@pytest.mark.parametrize("how", RECORDED)
@pytest.mark.parametrize("scope", ["purpose", "channel", "all"])
def test_a_real_send_counts_in_the_cap_of_recorded_sends(how: str, scope: str) -> None:
    played = world(how, "", REAL + POLICY % scope)
    played.event("2026-01-05 10:00", "x")
    played.event("2026-01-06 10:00", "y")
    assert outcomes(played) == [("a", "send"), ("b", "drop cap")]


@pytest.mark.parametrize("how", RECORDED)
def test_recorded_sends_count_only_in_their_own_cap(how: str) -> None:
    played = world(how, "", REAL + POLICY % "purpose")
    for minute, name in enumerate(["y", "y", "x", "x"]):
        played.event(f"2026-01-05 10:0{minute}", name)
    assert [trigger for trigger, outcome in outcomes(played) if outcome != "drop cap"] == ["b", "a"]


@pytest.mark.parametrize("how", RECORDED)
def test_a_recorded_send_waits_for_the_room_that_a_real_send_takes(how: str) -> None:
    played = world(how, "cap: {max: 1, per: 1h, scope: all, over: defer}\n")
    played.event("2026-01-05 10:00", "x")
    played.event("2026-01-05 10:30", "y")
    played.until("2026-01-05 12:00")
    decided = [(f"{each.decided_at:%H:%M}", each.outcome) for each in played.decisions]
    assert decided[:2] == [("10:00", "send"), ("10:30", "defer")]
    assert (decided[2][0], played.decisions[2].outcome != "drop", len(decided)) == ("11:00", True, 3)


@pytest.mark.parametrize("how", RECORDED)
def test_a_real_send_that_was_not_accepted_frees_its_place_for_recorded_sends(how: str) -> None:
    played = world(how, "", REAL + POLICY % "purpose")
    played.event("2026-01-05 10:00", "x")
    played.outcome("2026-01-05 10:01", OutcomeKind.REFUSED, played.commands[0].id)
    played.event("2026-01-05 10:02", "y")
    assert outcomes(played)[1][1] != "drop cap"


@pytest.mark.parametrize("how", RECORDED)
def test_a_recorded_send_of_a_restarted_occurrence_is_a_duplicate(how: str) -> None:
    steps = "key: user.id\nsteps: [{send: a}, {wait: 1h}, {send: b}]\n"
    played = World(f"trigger: b\npurpose: marketing\non: y\n{how}\n{steps}", user_id=OUTSIDE)
    played.event("2026-01-05 10:00", "y")
    played.event("2026-01-05 10:30", "y")
    assert outcomes(played)[1] == ("b", "drop duplicate")


def test_a_send_recorded_in_shadow_is_sent_when_its_rule_is_live_and_counts_once() -> None:
    steps = "steps: [{send: a}, {wait: 1h}, {send: b}]\n"
    text = f"trigger: b\npurpose: marketing\non: y\nkey: user.id\ncap: {{max: 2, per: 1d}}\nMODE\n{steps}"
    shadow, live = text.replace("MODE", "mode: shadow"), text.replace("MODE", "mode: live")
    played = World(shadow)
    played.event("2026-01-05 10:00", "y")
    played.edit("2026-01-05 10:10", live, shadow)
    played.event("2026-01-05 10:20", "y")
    played.edit("2026-01-05 10:30", shadow, live)
    played.until("2026-01-05 12:00")
    assert [outcome for _, outcome in outcomes(played)] == ["shadow mode", "send", "shadow mode"]


def test_a_rule_name_never_equals_the_key_of_recorded_commands() -> None:
    played = World("trigger: shadow/b\npurpose: marketing\non: y\nmode: shadow\nkey: user.id\nsend: a\n")
    played.event("2026-01-05 10:00", "y")
    assert list(played.state.sent) == ["shadow shadow/b"]
