"""A user who asked for no mail for a time: nothing that needs consent is sent until then."""

from drivers.trigger_world import World

from cli.rules.decision_words import headline
from schemas.vocabulary import Gate
from triggers.cases.verification import Verification, verify
from triggers.engine.gates.table import gate_words
from triggers.rules.encoding import decode, encode

RULE = "trigger: t\npurpose: marketing\non: ping\nsend: a\n"
NOON, PAUSED = "2026-01-05 12:00:00", "2026-02-04 12:00:00"


def paused(text: str = RULE) -> World:
    world = World(text)
    world.profile(NOON, paused_until=PAUSED)
    return world


def test_nothing_that_needs_consent_is_sent_before_the_end_of_the_pause() -> None:
    world = paused()
    world.event("2026-02-04 11:59:59.999", "ping")
    assert world.decided == [("2026-02-04 11:59:59", "drop user_paused")]
    world.event(PAUSED, "ping")
    assert world.decided[1:] == [(PAUSED, "send")]


def test_transactional_mail_is_sent_in_the_pause() -> None:
    world = paused(RULE.replace("marketing", "transactional"))
    world.event("2026-01-06 00:00", "ping")
    assert world.decided == [("2026-01-06 00:00:00", "send")]


def test_a_profile_that_names_no_pause_leaves_it() -> None:
    world = paused()
    world.profile("2026-01-06 00:00", plan="gold")
    world.event("2026-01-06 00:01", "ping")
    assert world.decided == [("2026-01-06 00:01:00", "drop user_paused")]


def test_a_pause_ends_by_a_time_that_is_over() -> None:
    world = paused()
    world.profile("2026-01-06 00:00", paused_until="2026-01-06 00:00")
    world.event("2026-01-06 00:01", "ping")
    assert world.decided == [("2026-01-06 00:01:00", "send")]


def test_who_has_not_consented_is_not_merely_paused() -> None:
    world = World(RULE)
    world.profile(NOON, consent=(), paused_until=PAUSED)
    world.event("2026-01-06 00:00", "ping")
    assert world.decided == [("2026-01-06 00:00:00", "drop no_consent")]


def test_the_pause_outlives_a_restart_of_the_worker() -> None:
    world = paused()
    world.state = decode("u1", encode(world.state)[0])
    world.event("2026-01-06 00:00", "ping")
    assert world.decided == [("2026-01-06 00:00:00", "drop user_paused")]


def test_the_decision_says_in_words_until_when() -> None:
    world = paused()
    world.event("2026-01-06 00:00", "ping")
    [decision] = world.decisions
    assert verify(decision) == Verification()
    assert headline(decision) == "2026-01-06 00:00:00 UTC  t, a: not sent: the user asked for no mail for a time"
    [consent] = [answer for answer in decision.gates if answer.gate is Gate.CONSENT]
    assert gate_words(consent) == (
        "granted for marketing, and the user asked for no mail; free again 2026-02-04 12:00:00 UTC"
    )
