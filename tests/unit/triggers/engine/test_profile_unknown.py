"""A user without a profile: "not yet" does not mean "no", so sends that need consent wait for a profile for a time."""

import pytest
from drivers.trigger_world import DAY, World, rules, shown
from hypothesis import given
from hypothesis import strategies as st

from cli.rules.decision_words import headline
from schemas.vocabulary import Gate, OutcomeKind
from streams.settings import StreamSettings
from triggers.cases.verification import Verification, verify
from triggers.engine.evaluator import PROFILE_WAIT_MS, Evaluator
from triggers.engine.gates.table import gate_words
from triggers.rules.encoding import decode, encode

RULE = "trigger: t\npurpose: marketing\non: ping\nsend: a\n"
NOON = "2026-01-05 12:00:00"


def stranger(text: str = RULE, **more: object) -> World:
    """A user without a profile, with an event at noon."""
    world = World(text, known=False, **more)  # type: ignore[arg-type]
    world.event(NOON, "ping")
    return world


def test_a_profile_after_its_event_decides_the_send_at_once() -> None:
    world = stranger()
    world.profile("2026-01-05 12:00:00.004")
    assert world.decided == [(NOON, "defer profile_unknown"), (NOON, "send")]
    assert [shown(int(c.decided_at.timestamp() * 1000)) for c in world.commands] == ["2026-01-05 12:00:00.004"]
    assert world.state.next_due() is None


def test_without_a_profile_the_send_is_dropped_after_half_a_minute_for_a_reason_of_its_own() -> None:
    world = stranger()
    world.until("2026-01-05 12:01")
    assert world.decided == [(NOON, "defer profile_unknown"), ("2026-01-05 12:00:30", "drop profile_unknown")]
    world.profile("2026-01-05 12:02")
    assert world.commands == []
    assert world.state.running == []


def test_a_profile_at_the_same_instant_goes_before_the_timer() -> None:
    world = stranger()
    world.profile("2026-01-05 12:00:30")
    assert world.decided[1:] == [("2026-01-05 12:00:30", "send")]


def test_a_profile_that_does_not_consent_is_a_no_at_once() -> None:
    world = stranger()
    world.profile("2026-01-05 12:00:01", consent=("news",))
    assert world.decided[1:] == [("2026-01-05 12:00:01", "drop no_consent")]


def test_who_is_known_and_has_not_consented_does_not_wait() -> None:
    world = World(RULE, consent=())
    world.event(NOON, "ping")
    assert world.decided == [(NOON, "drop no_consent")]


def test_transactional_mail_needs_no_profile() -> None:
    assert stranger(RULE.replace("marketing", "transactional")).decided == [(NOON, "send")]


@pytest.mark.parametrize(("second", "decided"), [(9, "send"), (11, "drop expired")])
def test_an_expiry_that_comes_first_ends_the_wait(second: int, decided: str) -> None:
    world = stranger(RULE + "expires: 10s\n")
    world.profile(f"2026-01-05 12:00:{second:02d}")
    world.until("2026-01-05 13:00")
    at_second = "2026-01-05 12:00:09" if second == 9 else "2026-01-05 12:00:10"
    assert world.decided == [(NOON, "defer profile_unknown"), (at_second, decided)]
    if decided == "drop expired":
        assert world.decisions[-1].inputs["cause"] == "profile_unknown"


def test_an_event_that_comes_late_waits_as_long() -> None:
    world = World(RULE, known=False)
    world.event("2026-01-05 11:00", "ping", arrives=NOON)
    world.profile("2026-01-05 12:00:29")
    assert world.decided == [(NOON, "defer profile_unknown"), ("2026-01-05 12:00:29", "send")]


def test_a_send_that_settles_or_waits_longer_needs_the_profile_only_when_due() -> None:
    for more in ("settle: 5m\n", "after: 5m\n"):
        world = stranger(RULE + more)
        world.profile("2026-01-05 12:04")
        world.until("2026-01-05 13:00")
        assert world.decided == [("2026-01-05 12:05:00", "send")]


def test_a_journey_is_held_and_goes_on_after_a_drop() -> None:
    world = stranger("trigger: t\npurpose: marketing\non: ping\nsteps: [{send: a}, {wait: 1h}, {send: b}]\n")
    world.profile("2026-01-05 12:30")
    world.until("2026-01-06 00:00")
    assert world.decided == [
        (NOON, "defer profile_unknown"),
        ("2026-01-05 12:00:30", "drop profile_unknown"),
        ("2026-01-05 13:00:30", "send"),
    ]


def test_an_event_that_ends_the_occurrence_ends_the_wait() -> None:
    world = stranger(RULE + "unless: buy\n")
    world.event("2026-01-05 12:00:05", "buy")
    world.profile("2026-01-05 12:00:10")
    assert world.decided == [(NOON, "defer profile_unknown")]
    assert world.state.next_due() is None


def test_a_send_released_by_the_profile_passes_through_every_other_gate() -> None:
    world = stranger(RULE + 'quiet: {from: "11:00", to: "14:00"}\n')
    world.profile("2026-01-05 12:00:10", zone="Europe/Berlin")
    world.until("2026-01-05 18:00")
    assert world.decided == [
        (NOON, "defer profile_unknown"),
        ("2026-01-05 12:00:10", "defer quiet"),
        ("2026-01-05 13:00:00", "send"),
    ]


def test_a_shadow_is_recorded_as_it_would_have_been() -> None:
    world = stranger(RULE + "mode: shadow\n")
    world.profile("2026-01-05 12:00:10")
    assert [reason for _, reason in world.decided] == ["defer profile_unknown", "shadow mode"]


def test_a_restart_waits_again() -> None:
    world = World(RULE + "key: user.id\nafter: 10s\n", known=False)
    world.event(NOON, "ping")
    world.until("2026-01-05 12:00:20")
    world.event("2026-01-05 12:00:30", "ping")
    world.until("2026-01-05 13:00")
    assert world.decided == [
        ("2026-01-05 12:00:10", "defer profile_unknown"),
        ("2026-01-05 12:00:40", "defer profile_unknown"),
        ("2026-01-05 12:01:10", "drop profile_unknown"),
    ]


def test_an_outcome_that_speaks_of_consent_is_a_word_on_it() -> None:
    world = World(RULE + RULE.replace("trigger: t", "---\ntrigger: u").replace("ping", "pong"))
    world.event(NOON, "ping")
    world.outcome("2026-01-05 12:30", OutcomeKind.UNSUBSCRIBED, world.commands[0].id)
    world.state.profiled = False
    world.state = decode("u1", encode(world.state)[0])  # without the zone too
    world.event("2026-01-05 13:00", "pong")
    assert world.decided[1:] == [("2026-01-05 13:00:00", "drop no_consent")]


@pytest.mark.parametrize(("wait_ms", "seconds"), [(0, 0), (5_000, 5)])
def test_how_long_is_a_setting(wait_ms: int, seconds: int) -> None:
    world = World(RULE, known=False)
    world.evaluator = Evaluator(rules(RULE), profile_wait_ms=wait_ms)
    world.event(NOON, "ping")
    world.until("2026-01-05 13:00")
    assert world.decided[-1] == (f"2026-01-05 12:00:{seconds:02d}", "drop profile_unknown")
    assert len(world.decided) == (2 if wait_ms else 1)


def test_the_setting_is_half_a_minute_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert StreamSettings().profile_wait_s * 1000 == PROFILE_WAIT_MS
    monkeypatch.setenv("EBBTIDE_PROFILE_WAIT_S", "2.5")
    assert StreamSettings().profile_wait_s == 2.5


@given(st.lists(st.tuples(st.integers(0, 40_000), st.sampled_from(["ping", "buy", "profile"])), max_size=8))
def test_every_decision_follows_from_its_stored_values_and_state_survives_encoding(
    steps: list[tuple[int, str]],
) -> None:
    world = World(RULE + "unless: buy\nexpires: 40s\n", known=False)
    for gap_ms, what in steps:
        moment = shown(world.now + gap_ms)
        _ = world.profile(moment) if what == "profile" else world.event(moment, what)
        world.state = decode("u1", encode(world.state)[0])
    world.until(world.now + DAY)
    assert [verify(decision) for decision in world.decisions] == [Verification()] * len(world.decisions)
    assert world.state.next_due() is None
    known = False
    for decision in world.decisions:
        assert (decision.reason == "profile_unknown") <= (not known)
        known = known or decision.outcome == "send"


def test_explain_says_what_a_send_waits_for_and_what_did_not_arrive() -> None:
    world = stranger()
    world.until("2026-01-05 13:00")
    waits, dropped = world.decisions
    assert headline(waits).endswith("t, a: waits: the user has no profile yet")
    consent = next(answer for answer in waits.gates if answer.gate is Gate.CONSENT)
    assert gate_words(consent) == (
        "no profile of the user yet, so consent to marketing is unknown; waits for one until 2026-01-05 12:00:30 UTC"
    )
    assert headline(dropped).endswith("t, a: not sent: the user has no profile yet")
    early = stranger(RULE + "expires: 10s\n")
    early.until("2026-01-05 13:00")
    assert headline(early.decisions[-1]).endswith("t, a: not sent: too late (no profile came)")
