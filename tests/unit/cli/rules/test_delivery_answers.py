"""What became of a command, in plain words."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.rules.delivery_answers import Delivery, delivery_lines
from schemas.vocabulary import DeliveryReason, LedgerState, SuppressionReason

AT = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


def event(kind: str, minute: int, **more: Any) -> dict[str, Any]:
    about = dict.fromkeys(("code", "enhanced", "reply", "url", "machine", "evidence"))
    return {**about, "kind": kind, "time": AT + timedelta(minutes=minute), **more}


def test_a_mail_without_an_address_names_the_field_that_should_have_it() -> None:
    found = Delivery(state=LedgerState.SUPPRESSED, at=AT, reason="no_recipient")
    assert found.headline.startswith("not sent, delivery withheld it: the user has no address")
    assert list(delivery_lines(found)) == [
        "2026-11-28 12:00:00 UTC suppressed; the user has no address; a profile gives it in the field `address`"
    ]


def test_actions_of_the_receiver_and_the_reader_follow_the_answer() -> None:
    reply = {"code": 250, "enhanced": "2.0.0", "text": "ok"}
    events = [
        event("accepted", 0, code=250, enhanced="2.0.0", reply="ok"),
        event("opened", 1, evidence="proxy"),
        event("opened", 2, machine=True),
        event("clicked", 3, url="https://shop.example/a", machine=False, evidence="navigation"),
    ]
    found = Delivery(state=LedgerState.ACCEPTED, at=AT, attempt=1, reply=reply, events=events)
    assert found.headline == "sent"
    assert list(delivery_lines(found)) == [
        "2026-11-28 12:00:00 UTC accepted; 250 2.0.0 ok",
        "2026-11-28 12:01:00 UTC opened (proxy)",
        "2026-11-28 12:02:00 UTC opened, by software",
        "2026-11-28 12:03:00 UTC clicked (navigation): https://shop.example/a",
    ]
    bounced = Delivery(state=LedgerState.ACCEPTED, at=AT, events=[event("bounced", 9, code=550)])
    assert bounced.headline == "sent, and bounced"


def test_a_deferral_shows_the_receiver_s_reply_and_the_time_of_the_next_attempt() -> None:
    reply = {"code": 451, "enhanced": "4.7.1", "text": "try later"}
    found = Delivery(LedgerState.DEFERRED, AT, attempt=2, next_attempt_at=AT + timedelta(minutes=5), reply=reply)
    assert list(delivery_lines(found)) == [
        "2026-11-28 12:00:00 UTC deferred; 451 4.7.1 try later; attempt 2; next attempt 2026-11-28 12:05:00 UTC"
    ]


def test_a_command_without_a_row_was_not_taken_by_delivery() -> None:
    assert "has not read the command yet" in next(delivery_lines(Delivery()))
    assert Delivery().headline == "to be sent, not yet read by delivery"


@pytest.mark.parametrize("state", LedgerState)
def test_every_state_has_words(state: LedgerState) -> None:
    assert Delivery(state=state, at=AT).headline
    assert list(delivery_lines(Delivery(state=state, at=AT))) == [f"2026-11-28 12:00:00 UTC {state}"]


@pytest.mark.parametrize("reason", [*SuppressionReason, *DeliveryReason])
def test_every_reason_has_words(reason: str) -> None:
    found = Delivery(state=LedgerState.SUPPRESSED, at=AT, reason=str(reason))
    assert not found.headline.endswith(str(reason))
