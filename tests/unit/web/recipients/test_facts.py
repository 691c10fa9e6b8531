"""Outcomes of recipients: the same request again is the same fact, and none outlives a consent given before it."""

from datetime import UTC, datetime, timedelta

from schemas.outcomes import Outcome
from schemas.vocabulary import Evidence, OutcomeKind
from web.recipients import facts
from web.recipients.evidence import Hit, Signals
from web.recipients.stored import MailOrigin

NOW = datetime(2026, 11, 29, 10, 0, 0, 400_000, tzinfo=UTC)
ORIGIN = MailOrigin("u1", "hello", "marketing", NOW - timedelta(hours=1))
COMMAND = "ab" * 16


def clicked(at: datetime, link: bytes = b"12345678") -> Outcome:
    hit = Hit(
        OutcomeKind.CLICKED, COMMAND, facts.microseconds(at), Signals(navigation=True), link, "https://shop.example/"
    )
    return facts.of_hit(hit, ORIGIN)


def test_a_click_says_which_mail_which_link_and_by_what_evidence() -> None:
    outcome = clicked(NOW)
    assert outcome.model_dump(exclude_defaults=True, exclude={"id"}) == {
        "command_id": COMMAND,
        "user_id": "u1",
        "trigger": "hello",
        "purpose": "marketing",
        "kind": OutcomeKind.CLICKED,
        "time": NOW.replace(microsecond=0),
        "machine": False,
        "evidence": Evidence.NAVIGATION,
        "url": "https://shop.example/",
    }


def test_a_click_again_within_its_second_is_one_fact_and_another_later_or_elsewhere() -> None:
    again = NOW + timedelta(milliseconds=500)
    assert clicked(NOW) == clicked(again)
    assert clicked(NOW).id != clicked(NOW + timedelta(seconds=1)).id
    assert clicked(NOW).id != clicked(NOW, b"87654321").id


def test_an_unsubscribe_counts_from_the_end_of_its_second() -> None:
    at = facts.microseconds(NOW)
    outcome = facts.of_unsubscribe(COMMAND, ORIGIN, at, Evidence.ONE_CLICK)
    assert outcome.time == NOW.replace(microsecond=0) + timedelta(seconds=1)
    assert (outcome.machine, outcome.evidence) == ("unknown", Evidence.ONE_CLICK)
    assert outcome == facts.of_unsubscribe(COMMAND, ORIGIN, at + 500_000, Evidence.ONE_CLICK)
    whole = facts.microseconds(NOW.replace(microsecond=0))
    assert facts.of_unsubscribe(COMMAND, ORIGIN, whole, Evidence.ONE_CLICK).time == NOW.replace(microsecond=0)
