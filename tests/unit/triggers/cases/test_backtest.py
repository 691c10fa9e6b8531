"""Backtests: a history on its own clock, with counts and the decisions that are still due."""

from drivers.trigger_world import DAY, at, event, rules

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
    assert result.events == 4
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
    assert "2 users with timers after the last event" in result.notes


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


def test_progress_and_decisions_are_reported() -> None:
    progress_counts: list[int] = []
    seen: list[str] = []
    backtest(
        rules(RULES),
        EVENTS,
        progress=progress_counts.append,
        every=2,
        on_decision=lambda decision: seen.append(decision.trigger),
    )
    assert progress_counts == [2, 4]
    assert len(seen) == 6


def test_events_without_a_user_are_counted_and_left_out() -> None:
    nobody = EVENTS[0].model_copy(update={"user_id": None, "id": "n"})
    result = backtest(rules(RULES), [*EVENTS, nobody])
    assert (result.events, result.counts["without_user"]) == (5, 1)


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
