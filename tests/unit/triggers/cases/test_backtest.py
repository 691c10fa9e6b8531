"""Backtests: a history on its own clock, with counts and the decisions that are still due."""

from drivers.trigger_world import DAY, at, event, rules

from schemas.outcomes import Outcome
from schemas.profiles import Consent, Profile
from triggers.cases.backtest import backtest
from triggers.cel.runtime import as_time

RULES = """
score: s
decay: {curve: exponential, half_life: 1d}
add: {event: ping, points: 1}
---
trigger: fallen
purpose: marketing
on: {score: s, falls_below: 0.2, rearm: 0.5}
max_age: 10m
cap: {max: 1, per: 30d}
send: a
---
trigger: thanks
purpose: transactional
on: ping
send: b
"""
START = at("1997-01-01 12:00")
EVENTS = [
    event("ping", START + 20 * DAY, "e3", "u1"),
    event("ping", START, "e1", "u1"),
    event("ping", START + DAY, "e2", "u2"),
    event("ping", START + 21 * DAY, "e4", "u2"),
]


def test_timers_fire_between_the_events_at_their_own_instants() -> None:
    result = backtest(rules(RULES), EVENTS)
    assert result.extent.events == 4
    assert result.sends == {
        ("thanks", "1997-W01"): 2,
        ("thanks", "1997-W04"): 2,
        ("fallen", "1997-W01"): 2,
    }
    assert result.decisions == {("thanks", "send", ""): 4, ("fallen", "send", ""): 2}


def test_what_is_due_after_the_last_event_is_left_in_the_states() -> None:
    result = backtest(rules(RULES), EVENTS)
    due = result.state("u1").next_due()
    assert due is not None
    assert START + 22 * DAY < due < START + 23 * DAY
    assert "2 users with timers after the end" in result.notes


def test_without_profiles_consent_is_assumed_and_it_says_so() -> None:
    assert any("consent to marketing assumed" in note for note in backtest(rules(RULES), EVENTS).notes)


def test_with_profiles_a_user_without_a_consent_record_has_not_consented() -> None:
    result = backtest(rules(RULES), EVENTS, {"u1": Profile(user_id="u1")})
    assert result.by_reason() == {
        "send": 4,
        "drop no_consent": 1,
        "defer profile_unknown": 1,
        "drop profile_unknown": 1,
    }
    note = "1 user without a profile: what needs consent waits for one (30 s), then drops with profile_unknown"
    assert note in result.notes


def test_order_given_keeps_the_log_s_order_under_a_clock_that_never_goes_back() -> None:
    result = backtest(rules(RULES), EVENTS, order="given")
    assert result.sends_by_trigger() == {"thanks": 2}
    assert result.counts["stale"] == 3, "two late pings, and the crossing that fell between them and the clock"


def test_decisions_are_shown_user_by_user() -> None:
    seen: list[tuple[str, str]] = []
    backtest(rules(RULES), EVENTS, on_decision=lambda decision: seen.append((decision.user_id, decision.trigger)))
    assert seen == [(user, trigger) for user in ("u1", "u2") for trigger in ("thanks", "fallen", "thanks")]


def test_events_without_a_user_are_counted_and_left_out() -> None:
    nobody = EVENTS[0].model_copy(update={"user_id": None, "id": "n"})
    result = backtest(rules(RULES), [*EVENTS, nobody])
    assert (result.extent.events, result.counts["without_user"]) == (5, 1)


DAILY = 'trigger: daily\npurpose: marketing\non: {every: day, at: "09:00"}\nsend: a\n'


def test_slots_come_for_everybody_with_a_profile_from_the_first_event_to_the_last() -> None:
    consent = {"marketing": Consent(granted=True, time=as_time(0))}
    profiles = {user: Profile(user_id=user, consent=consent) for user in ("u1", "quiet")}
    events = [event("ping", START, "e1", "u1"), event("ping", START + 3 * DAY, "e2", "u2")]
    result = backtest(rules(DAILY), events, profiles)
    assert result.decisions == {("daily", "send", ""): 6}  # three mornings of two users; u2 has no profile
    assert set(result.states) == {"u1", "u2", "quiet"}


def test_without_profiles_slots_come_for_everybody_who_has_an_event() -> None:
    events = [event("ping", START, "e1", "u1"), event("ping", START + 3 * DAY, "e2", "u2")]
    assert backtest(rules(DAILY), events).decisions == {("daily", "send", ""): 6}


def test_a_profile_with_an_instant_holds_from_then_on() -> None:
    consent = {"marketing": Consent(granted=True, time=as_time(0))}
    events = [event("ping", START, "e1"), event("ping", START + 3 * DAY, "e2")]
    given = [(START + DAY, Profile(user_id="u1", consent=consent))]
    assert backtest(rules(DAILY), events, given).sends_by_day == {(START + n * DAY) // DAY: 1 for n in (2, 3)}


def test_quiet_hours_and_hours_of_the_week_are_where_the_user_is() -> None:
    night = 'trigger: t\npurpose: transactional\non: ping\nquiet: {from: "20:00", to: "08:00"}\nsend: a\n'
    found = backtest(
        rules(night),
        [event("ping", at("2026-01-05 22:00"), "e1")],
        {"u1": Profile(user_id="u1", zone="America/New_York")},
        until_ms=at("2026-01-07 00:00"),
    )
    assert found.decisions == {("t", "send", ""): 1}
    assert found.hours == {17: 1}, "Monday 17:00 in New York"


def test_an_unsubscription_and_a_bounce_of_the_past_stop_what_follows() -> None:
    consent = {"marketing": Consent(granted=True, time=as_time(0))}
    people = {user: Profile(user_id=user, consent=consent) for user in ("u1", "u2", "u3")}
    events = [event("ping", START, f"a{user}", user) for user in people]
    events += [event("ping", START + 2 * DAY, f"b{user}", user) for user in people]
    outcomes = [
        Outcome(
            id="o1", command_id="x", user_id="u1", kind="unsubscribed", purpose="marketing", time=as_time(START + 1)
        ),
        Outcome(id="o2", command_id="y", user_id="u2", kind="bounced", hard=True, time=as_time(START + 1)),
    ]
    asked = RULES.replace("transactional", "marketing").replace("falls_below: 0.2", "falls_below: 0.001")
    found = backtest(rules(asked), events, people, outcomes)
    assert found.by_reason() == {"send": 4, "drop no_consent": 1, "drop suppressed": 1}
    assert not [note for note in found.notes if "no outcomes" in note]


def test_an_end_after_the_last_event_lets_timers_fire_and_an_earlier_one_leaves_events_out() -> None:
    later = backtest(rules(RULES), EVENTS, until_ms=START + 30 * DAY)
    assert later.by_reason()["send"] == 4 + 2
    earlier = backtest(rules(RULES), EVENTS, until_ms=START + 2 * DAY)
    assert (earlier.extent.events, earlier.counts["after_end"]) == (2, 2)
    assert "2 records after the end left out" in earlier.notes


def test_an_event_without_a_user_meets_everybody_who_waits_for_it_then() -> None:
    waits = (
        "trigger: back\npurpose: news\non: ping\nsteps:\n  - wait_for: {event: restocked, same: sku}\n    up_to: 2d\n"
    )
    events = [
        event("restocked", START - 1, "r0", sku=7).model_copy(update={"user_id": None}),
        event("ping", START, "e1", "u1", sku=7),
        event("ping", START + 1, "e2", "u2", sku=8),
        event("restocked", START + DAY, "r1", sku=7).model_copy(update={"user_id": None}),
        event("ping", START + DAY + 1, "e3", "u3", sku=7),
        event("ping", START + 9 * DAY, "e4", "u4", sku=9),
    ]
    found = backtest(rules(waits + "    then: [{send: a}]\n"), events)
    assert found.sends_by_day == {(START + DAY) // DAY: 1}
    assert found.counts == {"without_user": 2, "reached": 1}
