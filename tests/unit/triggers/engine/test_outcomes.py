"""What outcomes change: suppressions, consent, reservations, and the events that they become."""

from typing import Any

import pytest
from drivers.trigger_world import World, at

from schemas.outcomes import Reply
from schemas.profiles import Consent, Profile
from schemas.vocabulary import OutcomeKind
from triggers.cel.runtime import as_time
from triggers.rules.encoding import decode, encode

PING = "trigger: t\npurpose: marketing\non: ping\n"


def test_a_complaint_and_a_hard_bounce_suppress_and_a_new_address_starts_afresh() -> None:
    hard: dict[str, Any] = {"hard": True}
    for kind, more in ((OutcomeKind.COMPLAINED, {}), (OutcomeKind.BOUNCED, hard), (OutcomeKind.REFUSED, hard)):
        world = World(PING + "send: a\n")
        world.event("2026-01-05 10:00", "ping")
        world.outcome("2026-01-05 10:05", kind, world.commands[0].id, **more)
        world.event("2026-01-05 11:00", "ping")
        world.profile("2026-01-05 11:30", address="new@example.org")
        world.event("2026-01-05 12:00", "ping")
        assert [reason for _, reason in world.decided] == ["send", "drop suppressed", "send"]


@pytest.mark.parametrize("kind", [OutcomeKind.COMPLAINED, OutcomeKind.BOUNCED, OutcomeKind.REFUSED])
def test_an_outcome_of_an_earlier_address_does_not_suppress_the_new_one(kind: OutcomeKind) -> None:
    world = World(PING + "send: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.profile("2026-01-05 10:30", address="new@example.org")
    world.outcome("2026-01-05 10:45", kind, world.commands[0].id, hard=kind is not OutcomeKind.COMPLAINED)
    world.event("2026-01-05 11:00", "ping")
    world.outcome("2026-01-05 11:30", kind, world.commands[1].id, hard=kind is not OutcomeKind.COMPLAINED)
    world.state = decode("u1", encode(world.state)[0])
    world.event("2026-01-05 12:00", "ping")
    assert [reason for _, reason in world.decided] == ["send", "send", "drop suppressed"]


def test_a_bounce_of_an_address_from_the_rule_does_not_suppress_the_users_own() -> None:
    world = World(PING + "send: {template: a, to: '\"team@example.org\"'}\n")
    world.event("2026-01-05 10:00", "ping")
    world.outcome("2026-01-05 10:05", OutcomeKind.BOUNCED, world.commands[0].id, hard=True)
    world.event("2026-01-05 11:00", "ping")
    assert len(world.commands) == 2


def test_a_suppression_that_a_person_lifts_is_lifted_here_too() -> None:
    world = World(PING + "send: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.outcome("2026-01-05 10:05", OutcomeKind.COMPLAINED, world.commands[0].id)
    world.event("2026-01-05 11:00", "ping")
    world.outcome("2026-01-05 11:30", OutcomeKind.REINSTATED, "suppression-audit-1")
    world.event("2026-01-05 12:00", "ping")
    assert [reason for _, reason in world.decided] == ["send", "drop suppressed", "send"]


@pytest.mark.parametrize("kind", [OutcomeKind.BOUNCED, OutcomeKind.REFUSED])
@pytest.mark.parametrize("reply", [Reply(code=550, enhanced="5.1.1"), Reply(code=550, enhanced="5.7.1"), None])
def test_an_outcome_that_is_not_hard_suppresses_nothing_with_any_reply(kind: OutcomeKind, reply: Reply | None) -> None:
    world = World(PING + "send: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.outcome("2026-01-05 10:05", kind, world.commands[0].id, reply=reply, hard=False)
    world.event("2026-01-05 11:00", "ping")
    assert len(world.commands) == 2


@pytest.mark.parametrize(
    ("classification", "suppresses"),
    [
        ("invalid_recipient", True),
        ("bad_domain", True),
        ("moved", True),
        ("no_mail", True),
        ("quota_issues", False),
        ("spam_block", False),
        ("inactive_mailbox", False),
        ("a class of the publisher's", False),
        (None, False),
    ],
)
def test_a_bounce_whose_publisher_does_not_say_is_hard_by_its_class_and_its_reply_is_not_judged_again(
    classification: str | None, suppresses: bool
) -> None:
    world = World(PING + "send: a\n")
    world.event("2026-01-05 10:00", "ping")
    reply = Reply(code=550, enhanced="5.1.1", text="No such user here")
    more: dict[str, Any] = {"reply": reply, "classification": classification}
    world.outcome("2026-01-05 10:05", OutcomeKind.BOUNCED, world.commands[0].id, **more)
    world.event("2026-01-05 11:00", "ping")
    assert len(world.commands) == (1 if suppresses else 2)


def test_an_unsubscribe_takes_back_its_purpose_until_consent_is_given_again() -> None:
    world = World(PING + "send: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.outcome("2026-01-05 10:05", OutcomeKind.UNSUBSCRIBED, world.commands[0].id)
    world.event("2026-01-05 11:00", "ping")
    world.profile("2026-01-05 11:30")
    world.event("2026-01-05 12:00", "ping")
    assert [reason for _, reason in world.decided] == ["send", "drop no_consent", "send"]


@pytest.mark.parametrize(
    ("purpose", "then"), [("news", "send"), ("marketing", "drop no_consent"), (None, "drop no_consent")]
)
def test_an_unsubscribe_by_a_forgotten_mail_takes_back_the_purpose_that_it_names_or_else_all(
    purpose: str | None, then: str
) -> None:
    world = World(PING + "send: a\n", consent=("marketing", "news"))
    world.outcome("2026-01-05 10:05", OutcomeKind.UNSUBSCRIBED, "f" * 32, purpose=purpose)
    world.event("2026-01-05 11:00", "ping")
    assert [reason for _, reason in world.decided] == [then]


def test_a_profile_published_again_does_not_undo_an_unsubscribe() -> None:
    world = World(PING + "send: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.outcome("2026-01-05 10:05", OutcomeKind.UNSUBSCRIBED, world.commands[0].id)
    old = Consent(granted=True, time=as_time(at("2026-01-05 09:00")))
    again = Profile(user_id="u1", address="u1@example.org", zone="UTC", consent={"marketing": old})
    world.evaluator.apply_profile(world.state, again, at("2026-01-05 10:30"))
    world.event("2026-01-05 11:00", "ping")
    assert [reason for _, reason in world.decided] == ["send", "drop no_consent"]


@pytest.mark.parametrize("kind", [OutcomeKind.SUPPRESSED, OutcomeKind.EXPIRED, OutcomeKind.REFUSED, OutcomeKind.FAILED])
def test_a_send_that_was_never_accepted_releases_its_reservation(kind: OutcomeKind) -> None:
    world = World(PING + "cap: {max: 1, per: 1d}\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.outcome("2026-01-05 10:05", kind, world.commands[0].id)
    world.event("2026-01-05 11:00", "ping")
    assert len(world.commands) == 2


@pytest.mark.parametrize("kind", [OutcomeKind.ACCEPTED, OutcomeKind.IN_DOUBT, OutcomeKind.BOUNCED])
def test_doubt_and_later_bounces_give_nothing_back(kind: OutcomeKind) -> None:
    world = World(PING + "cap: {max: 1, per: 1d}\nsend: a\n")
    world.event("2026-01-05 10:00", "ping")
    world.outcome("2026-01-05 10:05", kind, world.commands[0].id)
    world.event("2026-01-05 11:00", "ping")
    assert len(world.commands) == 1


def test_an_outcome_is_an_event_that_names_its_rule() -> None:
    world = World(
        PING + "send: a\n---\ntrigger: u\npurpose: transactional\n"
        "on: {event: email.clicked, where: event.trigger == 't' && event.step == 'a' && event.machine == false}\n"
        "send: {template: b, data: {url: event.url}}\n"
    )
    world.event("2026-01-05 10:00", "ping")
    world.outcome(
        "2026-01-05 10:05", OutcomeKind.CLICKED, world.commands[0].id, machine=False, url="https://shop.example/x"
    )
    assert world.commands[1].data == {"url": "https://shop.example/x"}
    world.outcome("2026-01-05 10:06", OutcomeKind.CLICKED, "f" * 32, machine=False)
    assert world.counts == {"unmatched_outcome": 1}
