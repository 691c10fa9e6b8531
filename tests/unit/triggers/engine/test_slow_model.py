"""The slow model on histories small enough to be reasoned by hand: the settled cases of the language, by number."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from slow_model.documents import read_book
from slow_model.expressions import Failed, holds, value
from slow_model.localtime import first_loud, zone_of
from slow_model.past import NEVER_ACCEPTED, Points, faded, measured
from slow_model.rulebook import Curve, Measure, Pattern, Quiet, Window
from slow_model.sends import variant
from slow_model.timeline import Timeline, UserRecord, Versions, ms
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


CONSENT = {"marketing": {"granted": True, "time": "2026-01-01T00:00:00+00:00"}}


class ModelWorld:
    """A user, a clock that stops where something is said, and rules that may be replaced."""

    def __init__(
        self, *rules: str, begin: str = "2026-01-01 00:00", zone: str | None = "UTC", known: bool = True
    ) -> None:
        self.timeline, self.rules, self.position, self.version = Timeline(), rules, 0, 1
        self.paused: dict[int, frozenset[str]] = {0: frozenset()}
        self.control = 0
        if known:
            self.profile(begin, zone=zone, consent=CONSENT)

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
        self.timeline.facts["u1"].append(UserRecord(self.position, at(moment), self.versions, topic, body))

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
        return SlowUser("u1", self.timeline, self.books).decide()

    def books(self, versions: Versions) -> Any:
        templates = [(name * 32, {"kind": "template", "path": f"{name}.liquid", "body": ""}) for name in "ab"]
        texts = [(f"r{n}", {"kind": "rule", "path": "r.yaml", "body": body}) for n, body in enumerate(self.rules)]
        *earlier, book = [read_book([text, *templates]) for text in texts[: versions.manifest]]
        return replace(book, earlier=tuple(earlier)), self.paused[versions.control]


def test_1_a_cap_is_open_at_its_old_end() -> None:
    world = ModelWorld(PING + "cap: {max: 1, per: 3d}\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-08 09:59:59.999", "ping")
    world.event("2026-01-08 10:00", "ping")
    assert world.decided() == ["01-05 10:00 send", "01-08 09:59 drop cap", "01-08 10:00 send"]


def test_1_a_deferring_cap_leaves_at_the_first_instant_with_room() -> None:
    world = ModelWorld(PING + "cap: {max: 1, per: 3d, over: defer}\nexpires: 5d\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-08 09:59", "ping")
    world.until("2026-01-08 10:01")
    assert world.decided() == ["01-05 10:00 send", "01-08 09:59 defer cap", "01-08 10:00 send"]


def test_2_a_night_in_which_the_clocks_go_forward_is_an_hour_shorter() -> None:
    night = Quiet("21:00", "08:00", None, "defer")
    assert first_loud((night,), zone_of("Europe/Berlin"), at("2026-03-28 22:00")) == at("2026-03-29 06:00")


@pytest.mark.parametrize(
    ("due", "leaves"),
    [
        ("2026-03-28 22:00", "2026-03-29 01:00"),  # 02:30 does not exist: 03:00 there
        ("2026-10-24 22:00", "2026-10-25 00:30"),  # the first 02:30
        ("2026-10-25 01:10", "2026-10-25 01:30"),  # 02:10 for the second time is quiet again by its reading
    ],
)
def test_3_a_closing_time_that_does_not_exist_or_comes_twice(due: str, leaves: str) -> None:
    night = Quiet("21:00", "02:30", None, "defer")
    assert first_loud((night,), zone_of("Europe/Berlin"), at(due)) == at(leaves)


DAILY = 'trigger: t\npurpose: marketing\non: {every: day, at: "02:30"}\nsend: a\n'


@pytest.mark.parametrize(
    ("begin", "slots"),
    [
        ("2026-03-28 12:00", ["03-29 01:00 send", "03-30 00:30 send"]),
        ("2026-10-24 12:00", ["10-25 00:30 send", "10-26 01:30 send"]),
    ],
)
def test_4_a_slot_that_does_not_exist_comes_at_the_jump_and_one_that_comes_twice_once(
    begin: str, slots: list[str]
) -> None:
    world = ModelWorld(DAILY, begin=begin, zone="Europe/Berlin")
    world.until(f"{begin[:7]}-{int(begin[8:10]) + 2} 12:00")
    assert world.decided() == slots


@pytest.mark.parametrize(("expires", "expected"), [("9h", "drop expired"), ("9h1m", "defer quiet")])
def test_5_a_deferral_must_end_before_the_expiry(expires: str, expected: str) -> None:
    world = ModelWorld(PING + f'quiet: {{from: "21:00", to: "08:00"}}\nexpires: {expires}\nsend: a\n')
    world.event("2026-01-05 23:00", "ping")
    assert world.decided() == [f"01-05 23:00 {expected}"]


def test_6_an_event_at_the_instant_of_a_timer_goes_first() -> None:
    world = ModelWorld(CART)
    world.event("2026-01-05 10:00", "cart_updated", cart="c1")
    world.event("2026-01-05 11:00", "ordered", cart="c1")
    world.until("2026-01-05 12:00")
    assert world.decided() == []


@pytest.mark.parametrize("first", ["cart_updated", "ordered"])
def test_7_an_order_at_the_entry_s_own_instant_ends_it_in_either_order(first: str) -> None:
    world = ModelWorld(CART)
    world.event("2026-01-05 10:00", first, cart="c1")
    world.event("2026-01-05 10:00", "ordered" if first == "cart_updated" else "cart_updated", cart="c1")
    world.event("2026-01-05 10:00", "cart_updated", cart="c2")
    world.until("2026-01-05 12:00")
    assert world.decided() == ["01-05 11:00 send"]


def test_8_a_score_falls_only_after_it_was_armed() -> None:
    world = ModelWorld(SCORE)
    world.event("2026-01-05 00:00", "ping", n=0.4)
    world.until("2026-01-07 00:00")
    assert world.decided() == []
    world.event("2026-01-07 00:00", "ping", n=0.7)  # 0.8: two half-lives from the line, and a millisecond
    world.until("2026-01-09 00:02")
    assert world.decided() == ["01-09 00:00 send"]


def test_9_an_iso_week_in_the_user_s_zone_spans_the_year() -> None:
    rule = PING + "cap: {max: 2, per: calendar week, over: defer}\nexpires: 7d\nsend: a\n"
    world = ModelWorld(rule, begin="2026-12-28 00:00", zone="Pacific/Auckland")
    for day in ("2026-12-29", "2026-12-31", "2027-01-02"):
        world.event(f"{day} 00:00", "ping")
    world.until("2027-01-03 12:00")
    assert world.decided()[2:] == ["01-02 00:00 defer cap", "01-03 11:00 send"]


def test_10_a_held_send_is_planned_anew_where_the_user_moves() -> None:
    world = ModelWorld(PING + 'quiet: {from: "21:00", to: "08:00"}\nsend: a\n')
    world.event("2026-01-05 23:00", "ping")
    world.profile(
        "2026-01-06 03:00", zone="Asia/Tokyo", consent={"marketing": {"granted": True, "time": "2026-01-05T00:00Z"}}
    )
    assert world.decided() == ["01-05 23:00 defer quiet", "01-06 03:00 send"]


def test_10_a_slot_that_came_for_a_local_date_does_not_come_twice_for_it() -> None:
    world = ModelWorld(DAILY.replace("02:30", "09:00"), begin="2026-01-05 00:00", zone="Europe/Berlin")
    world.until("2026-01-05 12:00")
    world.profile("2026-01-05 12:00", zone="America/New_York", consent=CONSENT)
    world.until("2026-01-06 15:00")
    assert world.decided() == ["01-05 08:00 send", "01-06 14:00 send"]


def test_11_consent_that_is_withdrawn_while_it_waits_stops_the_send() -> None:
    world = ModelWorld(CART)
    world.event("2026-01-05 10:00", "cart_updated", cart="c1")
    world.profile(
        "2026-01-05 10:30", zone="UTC", consent={"marketing": {"granted": False, "time": "2026-01-05T10:30Z"}}
    )
    world.until("2026-01-05 12:00")
    assert world.decided() == ["01-05 11:00 drop no_consent"]


WELCOME = "trigger: t\npurpose: marketing\non: ping\nsend: a\n"


@pytest.mark.parametrize(
    ("rule", "profile", "decided"),
    [
        (WELCOME, "10:00:01", ["10:00 defer profile_unknown", "10:00 send"]),
        (WELCOME, "10:00:31", ["10:00 defer profile_unknown", "10:00 drop profile_unknown"]),
        (WELCOME + "expires: 10s\n", "10:00:09", ["10:00 defer profile_unknown", "10:00 send"]),
        (WELCOME + "expires: 10s\n", "10:00:15", ["10:00 defer profile_unknown", "10:00 drop expired"]),
        (WELCOME.replace("marketing", "transactional"), "10:00:01", ["10:00 send"]),
    ],
)
def test_27_a_send_waits_half_a_minute_for_the_first_profile(rule: str, profile: str, decided: list[str]) -> None:
    world = ModelWorld(rule, known=False)
    world.event("2026-01-05 10:00", "ping")
    for second in range(1, int(profile[-2:])):
        world.position += 1
        world.timeline.look(world.position, at("2026-01-05 10:00") + second * 1000, world.versions)
    world.profile(f"2026-01-05 {profile}", zone="UTC", consent=CONSENT)
    world.until("2026-01-05 10:05")
    assert world.decided() == [f"01-05 {each}" for each in decided]


@pytest.mark.parametrize(
    ("after", "decided"),
    [
        ("trigger: t\npurpose: marketing\non: seen\nsend: a\n", "11:30 send"),
        (PING.replace("trigger: t", "trigger: p") + "send: a\n", "12:00 drop withdrawn"),
    ],
    ids=["edited", "removed"],
)
def test_what_only_an_earlier_text_reads_concerns_users_as_long_as_its_rule_is_there(after: str, decided: str) -> None:
    world = ModelWorld(CART, after)
    world.event("2026-01-05 10:00", "cart_updated", cart="c1")
    world.version = 2
    world.event("2026-01-05 11:30", "ordered", cart="c2")
    for looks in (world.timeline.looks, world.timeline.look_positions, world.timeline._look_times):
        looks.pop()  # of one instant, timers are looked at before the first event only
    world.position += 1
    world.timeline.look(world.position, at("2026-01-05 12:00"), world.versions)
    assert world.decided() == [f"01-05 {decided}"]


def test_12_an_edited_rule_leaves_what_runs_its_steps_and_delay() -> None:
    edited = CART.replace("after: 1h", "after: 5h").replace("send: a", "send: b").replace("unless", "# unless")
    world = ModelWorld(CART, edited)
    world.event("2026-01-05 10:00", "cart_updated", cart="c1")
    world.event("2026-01-05 10:00", "cart_updated", cart="c2")
    world.version = 2
    world.event("2026-01-05 10:30", "ordered", cart="c1")
    world.until("2026-01-05 12:00")
    assert [(d["step"], d["outcome"], d["decided_at"][11:16]) for d in world.written().decisions] == [
        ("a", "send", "11:00")
    ]


def test_12_a_removed_rule_sends_nothing_and_one_that_is_off_drops_what_falls_due() -> None:
    other = SCORE.replace("trigger: t", "trigger: other")
    for second, reason in ((other, "withdrawn"), (CART + "mode: off\n", "mode")):
        world = ModelWorld(CART, second)
        world.event("2026-01-05 10:00", "cart_updated", cart="c1")
        world.version = 2
        world.until("2026-01-05 12:00")
        assert world.decided() == [f"01-05 11:00 drop {reason}"]


def test_a_paused_scope_drops_and_one_that_goes_on_sends() -> None:
    world = ModelWorld(CART)
    world.paused[1] = frozenset({"purpose/marketing"})
    world.event("2026-01-05 10:00", "cart_updated", cart="c1")
    world.control = 1
    world.until("2026-01-05 11:30")
    world.event("2026-01-05 11:30", "cart_updated", cart="c2")
    world.control = 0
    world.until("2026-01-05 13:00")
    assert world.decided() == ["01-05 11:00 drop mode", "01-05 12:30 send"]


def test_13_what_is_decided_stands_when_an_earlier_event_comes_late() -> None:
    world = ModelWorld(CART)
    world.event("2026-01-05 10:00", "cart_updated", cart="c1")
    world.until("2026-01-05 11:00")
    world.event("2026-01-05 11:01", "ordered", own="2026-01-05 10:59", cart="c1")
    assert world.decided() == ["01-05 11:00 send"]


@pytest.mark.parametrize(("arrives", "expected"), [("11:00:30", []), ("11:01:01", ["01-05 11:01 send"])])
def test_13_settling_lets_a_late_event_count(arrives: str, expected: list[str]) -> None:
    world = ModelWorld(CART + "settle: 1m\n")
    world.event("2026-01-05 10:00", "cart_updated", cart="c1")
    world.event(f"2026-01-05 {arrives}", "ordered", own="2026-01-05 10:59:50", cart="c1")
    world.until("2026-01-05 12:00")
    assert world.decided() == expected


def test_14_of_two_sends_at_one_instant_the_higher_priority_takes_the_slot() -> None:
    cap = "cap: {max: 1, per: 1d, scope: purpose}\nsend: a\n"
    second = f"trigger: u\npurpose: marketing\npriority: 60\non: ping\n{cap}"
    world = ModelWorld(f"{PING}{cap}---\n{second}")
    world.event("2026-01-05 10:00", "ping")
    assert [(d["trigger"], d["outcome"]) for d in world.written().decisions] == [("u", "send"), ("t", "drop")]


def test_15_a_released_reservation_wakes_nothing() -> None:
    world = ModelWorld(PING + "cap: {max: 1, per: 1d, over: defer}\nexpires: 3d\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-05 11:00", "ping")
    world.outcome("2026-01-05 12:00", "refused", world.written().commands[0]["id"])
    world.until("2026-01-06 11:00")
    assert world.decided() == ["01-05 10:00 send", "01-05 11:00 defer cap", "01-06 10:00 send"]


def test_16_a_restart_after_the_first_step_does_not_send_it_again() -> None:
    steps = "steps:\n  - send: {template: a, id: first}\n  - wait: 1h\n  - send: {template: b, id: second}\n"
    world = ModelWorld(f"{PING}key: event.k\n{steps}")
    world.event("2026-01-05 10:00", "ping", k="x")
    world.event("2026-01-05 10:30", "ping", k="x")
    world.until("2026-01-05 12:00")
    assert world.decided() == ["01-05 10:00 send", "01-05 10:30 drop duplicate", "01-05 11:30 send"]


def test_17_an_event_id_met_again_after_a_day_begins_again_under_the_same_command() -> None:
    world = ModelWorld(PING + "max_age: 3d\nsend: a\n")
    for moment in ("2026-01-05 10:00", "2026-01-06 09:59:59", "2026-01-06 10:00"):
        world.event(moment, "ping", own="2026-01-05 10:00", event_id="same")
    assert world.decided() == ["01-05 10:00 send", "01-06 10:00 drop duplicate"]


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ("{curve: exponential, half_life: 1d}", "2026-01-07T00:00:00.001000Z"),
        ("{curve: step, lifetime: 1d}", "2026-01-06T00:00:00Z"),
        ("{curve: linear, lifetime: 1d}", "2026-01-05T18:00:00.001000Z"),
        ("{curve: power, scale: 1d, exponent: 1}", "2026-01-08T00:00:00.001000Z"),
    ],
)
def test_18_a_crossing_is_the_first_millisecond_below_the_line(curve: str, expected: str) -> None:
    world = ModelWorld(
        SCORE.replace("{curve: exponential, half_life: 1d}", curve).replace("max_age: 10m", "max_age: 7d")
    )
    world.event("2026-01-05 00:00", "ping", n=0.8)
    for moment in ("2026-01-05T18:00:00.001000Z", "2026-01-06T00:00:00Z", "2026-01-07T00:00:00.001000Z"):
        world.until(moment[:-1].replace("T", " "))
    world.until("2026-01-08 00:00:00.001")
    assert [d["decided_at"] for d in world.written().decisions] == [expected]


SEGMENT = """
segment: loyal
when: user.vip == true
---
trigger: t
purpose: marketing
on: {enters: loyal}
send: a
"""


def test_19_a_segment_or_level_that_is_true_when_its_rule_is_published_has_not_crossed() -> None:
    world = ModelWorld(PING + "send: a\n", SEGMENT)
    world.profile("2026-01-05 10:00", zone="UTC", attributes={"vip": True}, consent=CONSENT)
    world.version = 2
    world.profile("2026-01-05 11:00", zone="UTC", attributes={"vip": True}, consent=CONSENT)
    world.profile("2026-01-05 12:00", zone="UTC", attributes={"vip": False}, consent=CONSENT)
    world.profile("2026-01-05 13:00", zone="UTC", attributes={"vip": True}, consent=CONSENT)
    assert world.decided() == ["01-05 13:00 send"]


def test_20_data_that_is_missing_drops_the_send_and_a_where_that_fails_is_false() -> None:
    world = ModelWorld(PING + "send: {template: a, data: {total: event.total}}\n")
    world.event("2026-01-05 10:00", "ping")
    assert world.decided() == ["01-05 10:00 drop invalid_data"]
    assert world.written().decisions[0]["inputs"]["path"] == "data.total"
    other = ModelWorld("trigger: t\npurpose: marketing\non: {event: ping, where: event.n > 1}\nsend: a\n")
    other.event("2026-01-05 10:00", "ping")
    assert other.decided() == []


@pytest.mark.parametrize("zone", [None, "", "Mars/Olympus"])
def test_21_an_unknown_zone_is_the_default_and_the_decision_says_so(zone: str | None) -> None:
    world = ModelWorld(PING + "send: a\n", zone=zone)
    world.event("2026-01-05 10:00", "ping")
    assert (
        world.written().decisions[0]["inputs"] | {"zone": "UTC", "zone_given": zone or ""}
        == (world.written().decisions[0]["inputs"])
    )


def test_22_a_grown_weight_moves_only_users_into_it() -> None:
    def chosen(weights: str) -> list[str]:
        text = f"{PING}experiment: {{variants: {{{weights}}}}}\nsend: a\n"
        rule = ModelWorld(text).books(Versions(1, 0))[0].rules["t"]
        return [variant(rule, f"u{number}") or "" for number in range(2_000)]

    before, after = chosen("p: 50, q: 50"), chosen("p: 60, q: 40")
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {"p"}
    assert 0.08 < len(moved) / len(after) < 0.12


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{sequence: [ping, buy], within: 1h}", ["01-05 10:30 send", "01-05 10:50 send"]),
        ("{event: ping, within: calendar day, sum: event.n, reaches: 5}", ["01-05 10:20 send"]),
        ("{event: ping, within: 1h, distinct: event.n, falls_below: 2}", ["01-05 11:00 send"]),
        ('{date: timestamp(user.trial), before: 1d, at: "09:00"}', ["01-05 09:00 send"]),
        ('{every: monday, at: "12:00"}', ["01-05 12:00 send"]),
    ],
)
def test_what_begins_a_rule_is_reasoned_by_hand(source: str, expected: list[str]) -> None:
    world = ModelWorld(f"trigger: t\npurpose: marketing\non: {source}\nsend: a\n", begin="2026-01-04 00:00")
    world.profile("2026-01-04 01:00", zone="UTC", consent=CONSENT, attributes={"trial": "2026-01-06T10:00:00Z"})
    world.until("2026-01-05 09:00")
    for minute, name, n in ((0, "ping", 2), (20, "ping", 3), (30, "buy", 0), (50, "buy", 0), (55, "buy", 0)):
        world.until(f"2026-01-05 10:{minute:02d}")
        world.event(f"2026-01-05 10:{minute:02d}", name, n=n)
    world.until("2026-01-05 13:00")
    assert world.decided() == expected


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Europe/Berlin", "Pacific/Kiritimati", "Pacific/Niue"])
@pytest.mark.parametrize("date", ["user.born", "timestamp(user.born)"])
@pytest.mark.parametrize(
    "born", ["1990-01-06", "1990-01-06T00:00:00Z", "1990-01-06T00:00:00+05:00", 631_584_000, "6.1.1990", True, None]
)
def test_a_plain_date_is_the_local_day_and_what_is_written_as_midnight_is_one(born: Any, date: str, zone: str) -> None:
    source = f'{{date: {date}, yearly: true, at: "09:00"}}'
    world = ModelWorld(f"trigger: t\npurpose: marketing\non: {source}\nsend: a\n", begin="2026-01-04 00:00")
    world.profile("2026-01-04 01:00", zone=zone, consent=CONSENT, attributes={"born": born})
    world.until("2026-01-08 00:00")
    local = {"America/Los_Angeles": "01-06 17:00", "Europe/Berlin": "01-06 08:00"}
    local |= {"Pacific/Kiritimati": "01-05 19:00", "Pacific/Niue": "01-06 20:00"}
    readable = born not in ("6.1.1990", True, None)
    assert world.decided() == ([f"{local[zone]} send"] if readable else [])


@pytest.mark.parametrize(
    ("wait", "sent"),
    [('{every: day, at: "09:00"}', "01-06 09:00"), ("{until: timestamp(user.trial)}", "01-05 16:00")],
)
def test_waits_end_at_the_next_slot_or_at_a_timestamp_that_the_profile_moves(wait: str, sent: str) -> None:
    world = ModelWorld(f"{PING}after: {wait}\nsend: a\n")
    world.profile("2026-01-05 09:00", zone="UTC", consent=CONSENT, attributes={"trial": "2026-01-07T10:00:00Z"})
    world.event("2026-01-05 10:00", "ping")
    world.profile("2026-01-05 11:00", zone="UTC", consent=CONSENT, attributes={"trial": "2026-01-05T16:00:00Z"})
    world.until("2026-01-06 10:00")
    assert world.decided() == [f"{sent} send"]


def test_a_goal_is_counted_once_within_its_time_and_a_branch_is_taken_as_of_its_due_time() -> None:
    steps = "steps:\n  - if: event.n > 1\n    then: [exit]\n  - send: a\n"
    world = ModelWorld(f"{PING}goal: {{event: buy, within: 1h}}\n{steps}")
    world.event("2026-01-05 10:00", "ping", n=2)
    world.event("2026-01-05 10:01", "ping", n=1)
    world.event("2026-01-05 11:01", "buy")
    world.event("2026-01-05 11:01", "buy")
    assert world.decided() == ["01-05 10:01 send", "01-05 11:01 goal"]


def test_a_repeated_event_id_changes_nothing_and_is_forgotten_behind_64_others() -> None:
    world = ModelWorld(f"{PING}send: a\n")
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
    world = ModelWorld(PING + "cap: {max: 1, per: 3d}\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.outcome("2026-01-05 10:05", kind, world.written().commands[0]["id"])
    world.event("2026-01-05 10:10", "ping")
    assert world.decided()[-1] == f"01-05 10:10 {'send' if kind in NEVER_ACCEPTED else 'drop cap'}"


def test_a_count_reaches_its_line_once_and_again_after_it_was_below_rearm() -> None:
    world = ModelWorld("trigger: t\npurpose: marketing\non: {event: ping, within: 1m, reaches: 3, rearm: 2}\nsend: a\n")
    for second in (0, 10, 20, 30):
        world.event(f"2026-01-05 10:00:{second}".ljust(19, "0"), "ping")
    world.event("2026-01-05 10:01:29", "ping")  # of the last minute only the one of :30
    world.event("2026-01-05 10:01:29.500", "ping")
    assert world.decided() == ["01-05 10:00 send", "01-05 10:01 send"]


def test_inactivity_begins_when_the_last_event_leaves_the_window() -> None:
    world = ModelWorld("trigger: t\npurpose: marketing\non: {event: ping, inactive: 30m}\nsend: a\n")
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
