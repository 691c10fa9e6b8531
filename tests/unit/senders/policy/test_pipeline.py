"""The stages of policy: which one answers, and what."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.commands import SendCommand
from schemas.vocabulary import DeliveryReason, LedgerState, SuppressionReason
from senders.content.recipient import Recipient
from senders.policy.pipeline import ASK_AGAIN, Delay, DeliveryRequest, PolicyAnswer, Stop, apply

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
GRANTED = {"marketing": {"granted": True}}


def command(**changes: Any) -> SendCommand:
    fields: dict[str, Any] = {
        "id": "ab" * 16,
        "trigger": "cart",
        "rule_hash": "r",
        "occurrence": "o",
        "step": "s",
        "user_id": "u1",
        "template": "t",
        "template_hash": "h",
        "purpose": "marketing",
        "decided_at": NOW - timedelta(seconds=1),
        "expires_at": NOW + timedelta(hours=1),
    }
    return SendCommand(**(fields | changes))


def recipient(**changes: Any) -> Recipient:
    fields: dict[str, Any] = {"address": "ann@example.net", "attributes": {}, "consent": GRANTED}
    return Recipient(**({"user_id": "u1", "zone": None, "locale": None} | fields | changes))


def request(command: SendCommand, recipient: Recipient | None, **changes: Any) -> DeliveryRequest:
    fields: dict[str, Any] = {
        "now": NOW,
        "admitted_at": NOW - timedelta(seconds=1),
        "suppressed_scopes": frozenset(),
        "view_as_of": NOW,
        "stale_after": timedelta(seconds=5),
    }
    return DeliveryRequest(command=command, recipient=recipient, **(fields | changes))


def test_a_consenting_user_gets_the_mail() -> None:
    assert apply(request(command(), recipient())) is None


def test_the_expiry_is_checked_first() -> None:
    late = request(command(expires_at=NOW), None, view_as_of=None)
    assert apply(late) == Stop(LedgerState.EXPIRED)


@pytest.mark.parametrize("to", [None, "other@example.net"])
def test_what_was_decided_before_its_user_was_removed_ends(to: str | None) -> None:
    before = command(purpose="transactional", to=to)
    gone = Stop(LedgerState.SUPPRESSED, SuppressionReason.NO_RECIPIENT)
    assert apply(request(before, recipient(), removed_at=NOW)) == gone, "also if there is a newer profile"
    assert apply(request(before, None, removed_at=before.decided_at)) == gone
    assert apply(request(before, recipient(), removed_at=before.decided_at - timedelta(milliseconds=1))) is None


def test_a_command_for_another_channel_fails_and_names_it() -> None:
    assert apply(request(command(channel="sms"), recipient())) == Stop(
        LedgerState.FAILED, DeliveryReason.CHANNEL, "sms"
    )


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(hours=-1)])
def test_the_age_of_the_view_is_taken_by_the_clock_that_dates_it(ahead: timedelta) -> None:
    def answer(age: timedelta) -> PolicyAnswer:
        lasting = command(expires_at=NOW + timedelta(days=1))
        return apply(request(lasting, recipient(), now=NOW + ahead, clock_ahead=ahead, view_as_of=NOW - age))

    assert answer(timedelta(seconds=4.9)) is None
    assert answer(timedelta(seconds=5.1)) == Delay(DeliveryReason.CONSENT_STALE, NOW + ahead + ASK_AGAIN)


@pytest.mark.parametrize("as_of", [None, NOW - timedelta(seconds=5.1)])
def test_marketing_waits_while_the_view_is_behind(as_of: datetime | None) -> None:
    answer = apply(request(command(), recipient(), view_as_of=as_of))
    assert answer == Delay(DeliveryReason.CONSENT_STALE, NOW + ASK_AGAIN)


def test_transactional_mail_to_a_known_user_does_not_wait_for_the_view() -> None:
    assert apply(request(command(purpose="transactional"), recipient(consent={}), view_as_of=None)) is None


def test_a_command_to_an_unknown_user_waits_until_the_view_is_as_new_as_its_decision() -> None:
    behind = request(command(purpose="transactional"), None, view_as_of=NOW - timedelta(seconds=2))
    assert apply(behind) == Delay(DeliveryReason.VIEW_BEHIND, NOW + ASK_AGAIN)
    conclusive = request(command(purpose="transactional"), None, view_as_of=NOW)
    assert apply(conclusive) == Stop(LedgerState.SUPPRESSED, SuppressionReason.NO_RECIPIENT)


def test_a_decision_from_the_future_waits_only_until_the_view_is_as_new_as_its_admission() -> None:
    ahead = command(purpose="transactional", decided_at=NOW + timedelta(hours=1))
    assert apply(request(ahead, None)) == Stop(LedgerState.SUPPRESSED, SuppressionReason.NO_RECIPIENT)


def test_an_address_in_the_command_needs_no_profile_but_marketing_still_needs_consent() -> None:
    to = command(to="desk@example.net", purpose="transactional")
    assert apply(request(to, None)) is None
    marketing = request(command(to="desk@example.net"), None)
    assert apply(marketing) == Stop(LedgerState.SUPPRESSED, SuppressionReason.NO_CONSENT)


@pytest.mark.parametrize(
    ("scopes", "purpose", "stopped"),
    [
        ({"*"}, "marketing", True),
        ({"*"}, "transactional", True),
        ({"marketing"}, "marketing", True),
        ({"digest"}, "marketing", False),
        ({"marketing"}, "transactional", False),
    ],
)
def test_a_suppression_stops_mail_of_its_scope(scopes: set[str], purpose: str, stopped: bool) -> None:
    answer = apply(request(command(purpose=purpose), recipient(), suppressed_scopes=frozenset(scopes)))
    assert (answer == Stop(LedgerState.SUPPRESSED, SuppressionReason.SUPPRESSED)) is stopped


@pytest.mark.parametrize(
    "consent", [{}, {"marketing": {"granted": False}}, {"digest": {"granted": True}}, {"marketing": {"granted": "yes"}}]
)
def test_marketing_without_a_consent_of_true_stops(consent: dict[str, Any]) -> None:
    answer = apply(request(command(), recipient(consent=consent)))
    assert answer == Stop(LedgerState.SUPPRESSED, SuppressionReason.NO_CONSENT)


def test_a_pause_of_the_user_holds_what_needs_consent_by_the_clock_of_the_database() -> None:
    def answer(until: datetime, **changes: Any) -> PolicyAnswer:
        lasting = command(expires_at=NOW + timedelta(days=1), **changes)
        ahead = timedelta(hours=1)
        known = recipient(paused_until=until)
        return apply(request(lasting, known, now=NOW + ahead, clock_ahead=ahead, view_as_of=NOW))

    paused = Stop(LedgerState.SUPPRESSED, SuppressionReason.USER_PAUSED)
    assert answer(NOW + timedelta(milliseconds=1)) == paused
    assert answer(NOW) is None
    assert answer(NOW + timedelta(days=30), purpose="transactional") is None
