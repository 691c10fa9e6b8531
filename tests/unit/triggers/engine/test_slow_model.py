"""The slow model on histories small enough to check by hand, beside the settled cases (test_settled_cases.py)."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from slow_model.documents import read_book
from slow_model.expressions import Failed, holds, value
from slow_model.localtime import zone_of
from slow_model.past import NEVER_ACCEPTED, Points, faded, measured
from slow_model.rulebook import Curve, Measure, Pattern, Window
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


def at(text: str) -> int:
    """`2026-01-05 10:00`, in UTC, as milliseconds."""
    return ms(datetime.fromisoformat(text).replace(tzinfo=UTC).isoformat())


CONSENT = {"marketing": {"granted": True, "time": "2026-01-01T00:00:00+00:00"}}


class ComparedWorld:
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


@pytest.mark.parametrize(
    ("after", "decided"),
    [
        ("trigger: t\npurpose: marketing\non: seen\nsend: a\n", "11:30 send"),
        (PING.replace("trigger: t", "trigger: p") + "send: a\n", "12:00 drop withdrawn"),
    ],
    ids=["edited", "removed"],
)
def test_what_only_an_earlier_text_reads_concerns_users_as_long_as_its_rule_is_there(after: str, decided: str) -> None:
    world = ComparedWorld(CART, after)
    world.event("2026-01-05 10:00", "cart_updated", cart="c1")
    world.version = 2
    world.event("2026-01-05 11:30", "ordered", cart="c2")
    for looks in (world.timeline.looks, world.timeline.look_positions, world.timeline._look_times):
        looks.pop()  # of one instant, timers are looked at before the first event only
    world.position += 1
    world.timeline.look(world.position, at("2026-01-05 12:00"), world.versions)
    assert world.decided() == [f"01-05 {decided}"]


def test_a_paused_scope_drops_and_one_that_goes_on_sends() -> None:
    world = ComparedWorld(CART)
    world.paused[1] = frozenset({"purpose/marketing"})
    world.event("2026-01-05 10:00", "cart_updated", cart="c1")
    world.control = 1
    world.until("2026-01-05 11:30")
    world.event("2026-01-05 11:30", "cart_updated", cart="c2")
    world.control = 0
    world.until("2026-01-05 13:00")
    assert world.decided() == ["01-05 11:00 drop mode", "01-05 12:30 send"]


def test_22_a_grown_weight_moves_only_users_into_it() -> None:
    def chosen(weights: str) -> list[str]:
        text = f"{PING}experiment: {{variants: {{{weights}}}}}\nsend: a\n"
        rule = ComparedWorld(text).books(Versions(1, 0))[0].rules["t"]
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
    world = ComparedWorld(f"trigger: t\npurpose: marketing\non: {source}\nsend: a\n", begin="2026-01-04 00:00")
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
    world = ComparedWorld(f"trigger: t\npurpose: marketing\non: {source}\nsend: a\n", begin="2026-01-04 00:00")
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
    world = ComparedWorld(f"{PING}after: {wait}\nsend: a\n")
    world.profile("2026-01-05 09:00", zone="UTC", consent=CONSENT, attributes={"trial": "2026-01-07T10:00:00Z"})
    world.event("2026-01-05 10:00", "ping")
    world.profile("2026-01-05 11:00", zone="UTC", consent=CONSENT, attributes={"trial": "2026-01-05T16:00:00Z"})
    world.until("2026-01-06 10:00")
    assert world.decided() == [f"{sent} send"]


def test_a_goal_is_counted_once_within_its_time_and_a_branch_is_taken_as_of_its_due_time() -> None:
    steps = "steps:\n  - if: event.n > 1\n    then: [exit]\n  - send: a\n"
    world = ComparedWorld(f"{PING}goal: {{event: buy, within: 1h}}\n{steps}")
    world.event("2026-01-05 10:00", "ping", n=2)
    world.event("2026-01-05 10:01", "ping", n=1)
    world.event("2026-01-05 11:01", "buy")
    world.event("2026-01-05 11:01", "buy")
    assert world.decided() == ["01-05 10:01 send", "01-05 11:01 goal"]


def test_a_repeated_event_id_changes_nothing_and_is_forgotten_behind_64_others() -> None:
    world = ComparedWorld(f"{PING}send: a\n")
    world.event("2026-01-05 10:00", "ping", event_id="same")
    world.event("2026-01-05 10:01", "ping", event_id="same")
    for number in range(64):
        world.event("2026-01-05 10:02", "ping", event_id=f"other-{number}")
    world.event("2026-01-05 10:03", "ping", event_id="same")
    decided = world.decided()
    assert len(decided) == 66
    assert decided[-1] == "01-05 10:03 drop duplicate"  # the same occurrence, so the same command


@pytest.mark.parametrize("kind", [*NEVER_ACCEPTED, "accepted", "in_doubt"])
def test_an_outcome_that_was_not_accepted_releases_the_cap(kind: str) -> None:
    world = ComparedWorld(PING + "cap: {max: 1, per: 3d}\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.outcome("2026-01-05 10:05", kind, world.written().commands[0]["id"])
    world.event("2026-01-05 10:10", "ping")
    assert world.decided()[-1] == f"01-05 10:10 {'send' if kind in NEVER_ACCEPTED else 'drop cap'}"


def test_a_count_reaches_its_line_once_and_again_after_it_was_below_rearm() -> None:
    world = ComparedWorld(
        "trigger: t\npurpose: marketing\non: {event: ping, within: 1m, reaches: 3, rearm: 2}\nsend: a\n"
    )
    for second in (0, 10, 20, 30):
        world.event(f"2026-01-05 10:00:{second}".ljust(19, "0"), "ping")
    world.event("2026-01-05 10:01:29", "ping")  # of the last minute only the one of :30
    world.event("2026-01-05 10:01:29.500", "ping")
    assert world.decided() == ["01-05 10:00 send", "01-05 10:01 send"]


def test_inactivity_begins_when_the_last_event_leaves_the_window() -> None:
    world = ComparedWorld("trigger: t\npurpose: marketing\non: {event: ping, inactive: 30m}\nsend: a\n")
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
