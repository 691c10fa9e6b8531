"""Notifications of Amazon SES that come by mail."""

import pytest

from senders.bounces.delivery_status import Action
from senders.bounces.notifications import notification_in

BOUNCE = '{"notificationType":"Bounce","bounce":{"bounceType":"%s","bounceSubType":"%s","bouncedRecipients":[%s]}}'
ANN = '{"emailAddress":"ann@shop.example"%s}'


@pytest.mark.parametrize(
    ("kind", "more", "status", "action"),
    [
        (("Permanent", "General"), "", "5.1.1", Action.FAILED),
        (("Permanent", "OnAccountSuppressionList"), "", "5.7.1", Action.FAILED),
        (("Permanent", "General"), ',"status":"5.2.2"', "5.2.2", Action.FAILED),
        (("Transient", "MailboxFull"), "", "5.2.2", Action.DELAYED),
        (("Undetermined", "Undetermined"), "", "4.0.0", Action.DELAYED),
        (("Permanent", "General"), ',"diagnosticCode":"smtp; 550 5.1.10 none"', "5.1.10", Action.FAILED),
    ],
)
def test_a_bounce_has_a_status_for_each_recipient(
    kind: tuple[str, str], more: str, status: str, action: Action
) -> None:
    found = notification_in(BOUNCE % (*kind, ANN % more))
    assert found is not None
    assert [(each.recipient, each.status, each.action) for each in found.statuses] == [
        ("ann@shop.example", status, action)
    ]


def test_a_notification_in_the_envelope_of_sns_is_read() -> None:
    inner = (BOUNCE % ("Permanent", "General", ANN % "")).replace('"', '\\"')
    found = notification_in(f'{{"Type":"Notification","Message":"{inner}"}}\n\n--\nunsubscribe')
    assert found is not None
    assert len(found.statuses) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}",
        "Hello {",
        '{"notificationType":7}',
        '{"a":' * 100_000,
        '{"notificationType":"Bounce","bounce":' + "[" * 100_000,
        '{"Type":"Notification","Message":"nothing"}',
        '{"notificationType":' + "9" * 10_000 + "}",
    ],
)
def test_what_is_no_notification_is_none(text: str) -> None:
    assert notification_in(text) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"notificationType":"Bounce"}',
        '{"notificationType":"Bounce","bounce":[]}',
        '{"notificationType":"Bounce","bounce":{"bouncedRecipients":[1,null]}}',
        '{"notificationType":"Complaint","complaint":{"complainedRecipients":{}}}',
        '{"eventType":"Open","mail":{"destination":[]}}',
    ],
)
def test_a_damaged_notification_names_nobody(text: str) -> None:
    found = notification_in(text)
    assert found is not None
    assert found.statuses == ()
