"""The slow model on histories small enough to be reasoned by hand: the settled cases of the language, by number."""

from datetime import UTC, datetime
from typing import Any

import pytest
from slow_model.documents import read_book
from slow_model.expressions import Failed, holds, value
from slow_model.localtime import first_loud, zone_of
from slow_model.past import NEVER_ACCEPTED, Points, faded, measured
from slow_model.rulebook import Curve, Measure, Pattern, Quiet, Window
from slow_model.timeline import Fact, Timeline, Versions, ms
from slow_model.user import SlowUser

PING = "trigger: t\npurpose: marketing\non: ping\n"
CART = """
trigger: t
purpose: marketing
on: cart_updated
key: event.cart
after: 1h
unless: {event: ordered, same: cart}
send: a
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


def at(text: str) -> int:
    """`2026-01-05 10:00`, in UTC, as milliseconds."""
    return ms(datetime.fromisoformat(text).replace(tzinfo=UTC).isoformat())


class World:
    """A user, a clock that stops where something is said, and rules that may be replaced."""

    def __init__(self, *rules: str) -> None:
        self.timeline, self.rules, self.position, self.version = Timeline(), rules, 0, 1
        self.paused: dict[int, frozenset[str]] = {0: frozenset()}
        self.control = 0
        consent = {"marketing": {"granted": True, "time": "2026-01-01T00:00:00+00:00"}}
        self.profile("2026-01-01 00:00", zone="UTC", consent=consent)

    @property
    def versions(self) -> Versions:
        return Versions(self.version, self.control)

    def until(self, moment: str) -> None:
        """Timers due by then are looked at, every minute."""
        last = self.timeline.looks[-1].now_ms if self.timeline.looks else at(moment) - 60_000
        for now_ms in sorted({*range(last + 60_000, at(moment), 60_000), at(moment)}):
            self.position += 1
            self.timeline.look(self.position, now_ms, self.versions)

    def say(self, moment: str, topic: str, body: dict[str, Any]) -> None:
        self.position += 1
        self.timeline.look(self.position, at(moment) - 1, self.versions)
        self.position += 1
        self.timeline.facts["u1"].append(Fact(self.position, at(moment), self.versions, topic, body))

    def event(self, moment: str, name: str, own: str = "", event_id: str = "", **properties: Any) -> None:
        time = datetime.fromisoformat(own or moment).replace(tzinfo=UTC).isoformat()
        body = {"id": event_id or f"e{self.position}", "type": name, "time": time, "properties": properties}
        self.say(moment, "events", body)

    def profile(self, moment: str, **more: Any) -> None:
        self.say(moment, "profiles", {"user_id": "u1", **more})

    def outcome(self, moment: str, kind: str, command_id: str) -> None:
        time = datetime.fromisoformat(moment).replace(tzinfo=UTC).isoformat()
        self.say(moment, "outcomes", {"id": f"o{self.position}", "command_id": command_id, "kind": kind, "time": time})

    def decided(self) -> list[str]:
        """Every decision: its minute, what it was and why."""
        return [
            f"{d['decided_at'][5:16].replace('T', ' ')} {d['outcome']} {d['reason'] or ''}".strip()
            for d in self.written().decisions
        ]

    def written(self) -> Any:
        def books(versions: Versions) -> Any:
            templates = [(name * 32, {"kind": "template", "path": f"{name}.liquid", "body": ""}) for name in "ab"]
            body = self.rules[versions.manifest - 1]
            rules = [("r", {"kind": "rule", "path": "r.yaml", "body": body})]
            return read_book([*rules, *templates]), self.paused[versions.control]

        return SlowUser("u1", self.timeline, books).decide()


def test_1_a_cap_is_open_at_its_old_end() -> None:
    world = World(PING + "cap: {max: 1, per: 3d}\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-08 09:59:59.999", "ping")
    world.event("2026-01-08 10:00", "ping")
    assert world.decided() == ["01-05 10:00 send", "01-08 09:59 drop cap", "01-08 10:00 send"]


def test_1_a_deferring_cap_leaves_at_the_first_instant_with_room() -> None:
    world = World(PING + "cap: {max: 1, per: 3d, over: defer}\nexpires: 5d\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-08 09:59", "ping")
    world.until("2026-01-08 10:01")
    assert world.decided() == ["01-05 10:00 send", "01-08 09:59 defer cap", "01-08 10:00 send"]


def test_2_a_night_in_which_the_clocks_go_forward_is_an_hour_shorter() -> None:
    night = Quiet("21:00", "08:00", None, "defer")
    assert first_loud((night,), zone_of("Europe/Berlin"), at("2026-03-28 22:00")) == at("2026-03-29 06:00")


@pytest.mark.parametrize(("expires", "expected"), [("9h", "drop expired"), ("9h1m", "defer quiet")])
def test_5_a_deferral_must_end_before_the_expiry(expires: str, expected: str) -> None:
    world = World(PING + f'quiet: {{from: "21:00", to: "08:00"}}\nexpires: {expires}\nsend: a\n')
    world.event("2026-01-05 23:00", "ping")
    assert world.decided() == [f"01-05 23:00 {expected}"]


def test_6_an_event_at_the_instant_of_a_timer_goes_first() -> None:
    world = World(CART)
    world.event("2026-01-05 10:00", "cart_updated", cart="c1")
    world.event("2026-01-05 11:00", "ordered", cart="c1")
    world.until("2026-01-05 12:00")
    assert world.decided() == []


@pytest.mark.parametrize("first", ["cart_updated", "ordered"])
def test_7_an_order_at_the_entry_s_own_instant_ends_it_in_either_order(first: str) -> None:
    world = World(CART)
    world.event("2026-01-05 10:00", first, cart="c1")
    world.event("2026-01-05 10:00", "ordered" if first == "cart_updated" else "cart_updated", cart="c1")
    world.event("2026-01-05 10:00", "cart_updated", cart="c2")
    world.until("2026-01-05 12:00")
    assert world.decided() == ["01-05 11:00 send"]


def test_8_a_score_falls_only_after_it_was_armed() -> None:
    world = World(SCORE)
    world.event("2026-01-05 00:00", "ping", n=0.4)
    world.until("2026-01-07 00:00")
    assert world.decided() == []
    world.event("2026-01-07 00:00", "ping", n=0.7)  # 0.8: two half-lives from the line, and a millisecond
    world.until("2026-01-09 00:02")
    assert world.decided() == ["01-09 00:00 send"]


def test_10_a_held_send_is_planned_anew_where_the_user_moves() -> None:
    world = World(PING + 'quiet: {from: "21:00", to: "08:00"}\nsend: a\n')
    world.event("2026-01-05 23:00", "ping")
    world.profile(
        "2026-01-06 03:00", zone="Asia/Tokyo", consent={"marketing": {"granted": True, "time": "2026-01-05T00:00Z"}}
    )
    assert world.decided() == ["01-05 23:00 defer quiet", "01-06 03:00 send"]


def test_11_consent_that_is_withdrawn_while_it_waits_stops_the_send() -> None:
    world = World(CART)
    world.event("2026-01-05 10:00", "cart_updated", cart="c1")
    world.profile(
        "2026-01-05 10:30", zone="UTC", consent={"marketing": {"granted": False, "time": "2026-01-05T10:30Z"}}
    )
    world.until("2026-01-05 12:00")
    assert world.decided() == ["01-05 11:00 drop no_consent"]


def test_12_a_removed_rule_sends_nothing_and_one_that_is_off_drops_what_falls_due() -> None:
    other = SCORE.replace("trigger: t", "trigger: other")
    for second, expected in ((other, []), (CART + "mode: off\n", ["01-05 11:00 drop mode"])):
        world = World(CART, second)
        world.event("2026-01-05 10:00", "cart_updated", cart="c1")
        world.version = 2
        world.until("2026-01-05 12:00")
        assert world.decided() == expected


def test_a_paused_scope_drops_and_one_that_goes_on_sends() -> None:
    world = World(CART)
    world.paused[1] = frozenset({"purpose/marketing"})
    world.event("2026-01-05 10:00", "cart_updated", cart="c1")
    world.control = 1
    world.until("2026-01-05 11:30")
    world.event("2026-01-05 11:30", "cart_updated", cart="c2")
    world.control = 0
    world.until("2026-01-05 13:00")
    assert world.decided() == ["01-05 11:00 drop mode", "01-05 12:30 send"]


def test_13_what_is_decided_stands_when_an_earlier_event_comes_late() -> None:
    world = World(CART)
    world.event("2026-01-05 10:00", "cart_updated", cart="c1")
    world.until("2026-01-05 11:00")
    world.event("2026-01-05 11:01", "ordered", own="2026-01-05 10:59", cart="c1")
    assert world.decided() == ["01-05 11:00 send"]


def test_14_of_two_sends_at_one_instant_the_higher_priority_takes_the_slot() -> None:
    cap = "cap: {max: 1, per: 1d, scope: purpose}\nsend: a\n"
    second = f"trigger: u\npurpose: marketing\npriority: 60\non: ping\n{cap}"
    world = World(f"{PING}{cap}---\n{second}")
    world.event("2026-01-05 10:00", "ping")
    assert [(d["trigger"], d["outcome"]) for d in world.written().decisions] == [("u", "send"), ("t", "drop")]


def test_16_a_restart_after_the_first_step_does_not_send_it_again() -> None:
    steps = "steps:\n  - send: {template: a, id: first}\n  - wait: 1h\n  - send: {template: b, id: second}\n"
    world = World(f"{PING}key: event.k\n{steps}")
    world.event("2026-01-05 10:00", "ping", k="x")
    world.event("2026-01-05 10:30", "ping", k="x")
    world.until("2026-01-05 12:00")
    assert world.decided() == ["01-05 10:00 send", "01-05 10:30 drop duplicate", "01-05 11:30 send"]


def test_a_repeated_event_id_changes_nothing_and_is_forgotten_behind_64_others() -> None:
    world = World(f"{PING}send: a\n")
    world.event("2026-01-05 10:00", "ping", event_id="same")
    world.event("2026-01-05 10:01", "ping", event_id="same")
    for number in range(64):
        world.event("2026-01-05 10:02", "ping", event_id=f"other-{number}")
    world.event("2026-01-05 10:03", "ping", event_id="same")
    decided = world.decided()
    assert len(decided) == 66
    assert decided[-1] == "01-05 10:03 drop duplicate"  # the same occurrence, so the same command


@pytest.mark.parametrize("kind", [*NEVER_ACCEPTED, "accepted", "in_doubt"])
def test_an_outcome_that_nobody_accepted_gives_the_cap_back(kind: str) -> None:
    world = World(PING + "cap: {max: 1, per: 3d}\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.outcome("2026-01-05 10:05", kind, world.written().commands[0]["id"])
    world.event("2026-01-05 10:10", "ping")
    assert world.decided()[-1] == f"01-05 10:10 {'send' if kind in NEVER_ACCEPTED else 'drop cap'}"


def test_a_count_reaches_its_line_once_and_again_after_it_was_below_rearm() -> None:
    world = World("trigger: t\npurpose: marketing\non: {event: ping, within: 1m, reaches: 3, rearm: 2}\nsend: a\n")
    for second in (0, 10, 20, 30):
        world.event(f"2026-01-05 10:00:{second}".ljust(19, "0"), "ping")
    world.event("2026-01-05 10:01:29", "ping")  # of the last minute only the one of :30
    world.event("2026-01-05 10:01:29.500", "ping")
    assert world.decided() == ["01-05 10:00 send", "01-05 10:01 send"]


def test_inactivity_begins_when_the_last_event_leaves_the_window() -> None:
    world = World("trigger: t\npurpose: marketing\non: {event: ping, inactive: 30m}\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-05 10:20", "ping")
    world.until("2026-01-05 12:00")
    assert world.decided() == ["01-05 10:50 send"]


def test_a_window_is_open_at_its_old_end_and_a_ceiling_cuts_after_each_addition() -> None:
    counted = [Points(1_000, "a", (0.0, None)), Points(2_000, "b", (0.0, None))]
    assert measured(counted, Measure(Pattern(("e",)), Window(1_000)), zone_of("UTC"), 2_000).count == 1
    added = [Points(0, "a", 8.0), Points(1_000, "b", 8.0)]
    half = Curve("exponential", 1_000)
    assert faded(added, half, None, 1_000) == 12.0
    assert faded(added, half, 10.0, 2_000) == 5.0


def test_an_expression_that_reads_a_missing_field_fails_unless_the_other_side_decides() -> None:
    roots = {"event": {"n": 5}.__getitem__}
    assert holds("event.n >= 5 && !(event.n == 6)", roots)
    assert value("event.n / 2", roots) == 2.5
    assert holds("event.missing == 1 || event.n == 5", roots)
    with pytest.raises(Failed, match="missing"):
        holds("event.missing == 1 && event.n == 5", roots)
