"""Reads what Amazon SES says by mail through SNS: bounces, delays and complaints in JSON. Pure, raises nothing."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from senders.bounces.delivery_status import MAX_RECIPIENTS, Action, RecipientStatus, first_address, status_in

_STATUS_OF: Final = {
    "MailboxFull": "5.2.2",
    "MessageTooLarge": "5.3.4",
    "ContentRejected": "5.6.0",
    "AttachmentRejected": "5.6.1",
}
"""What the kinds of a bounce mean that has no status of its own (Amazon SES, notification contents)."""


@dataclass(frozen=True, slots=True)
class Notification:
    """What a notification says of whom. One with neither is about a delivery, an opening or the like."""

    statuses: tuple[RecipientStatus, ...] = ()
    complained: tuple[str, ...] = ()
    complaint_type: str = ""
    delivered_to: str = ""


def notification_in(text: str) -> Notification | None:
    """The notification in a text, None if there is none. What follows it, as SNS adds, is not read."""
    if not text.lstrip().startswith("{"):
        return None
    fields = _object(text.lstrip())
    if isinstance(fields.get("Message"), str):
        fields = _object(fields["Message"].lstrip())
    kind = fields.get("notificationType") or fields.get("eventType")
    if not isinstance(kind, str):
        return None
    return _notification(kind, fields)


def _object(text: str) -> dict[str, Any]:
    """The first object of a JSON text; empty if it is damaged, or nested too deep. A line broken in a string stays."""
    try:
        found, _ = json.JSONDecoder(strict=False).raw_decode(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _notification(kind: str, fields: Mapping[str, Any]) -> Notification:
    if kind == "Bounce":
        bounce = _part(fields, "bounce")
        return Notification(tuple(_bounced(bounce))[:MAX_RECIPIENTS])
    if kind == "DeliveryDelay":
        delayed = _recipients(_part(fields, "deliveryDelay"), "delayedRecipients")
        return Notification(tuple(_status(each, Action.DELAYED, "4.4.7") for each in delayed)[:MAX_RECIPIENTS])
    if kind == "Complaint":
        complaint = _part(fields, "complaint")
        names = [_text(each, "emailAddress") for each in _recipients(complaint, "complainedRecipients")]
        return Notification(
            complained=tuple(map(first_address, names[:MAX_RECIPIENTS])) or ("",),
            complaint_type=_text(complaint, "complaintFeedbackType").lower(),
        )
    destination = _part(fields, "mail").get("destination")
    return Notification(
        delivered_to=first_address(str(destination[0])) if isinstance(destination, list) and destination else ""
    )


def _bounced(bounce: Mapping[str, Any]) -> Iterator[RecipientStatus]:
    """The recipients of a bounce. What SES calls transient may pass, whatever the words of its codes."""
    action = Action.FAILED if _text(bounce, "bounceType") == "Permanent" else Action.DELAYED
    general = "5.1.1" if action is Action.FAILED else "4.0.0"
    kind = _text(bounce, "bounceSubType")
    for each in _recipients(bounce, "bouncedRecipients"):
        yield _status(each, action, _STATUS_OF.get(kind, "5.7.1" if kind.startswith("OnAccount") else general))


def _status(recipient: Mapping[str, Any], action: Action, otherwise: str) -> RecipientStatus:
    diagnostic = _text(recipient, "diagnosticCode").removeprefix("smtp;").strip()
    status = status_in(_text(recipient, "status")) or status_in(diagnostic) or ("" if diagnostic else otherwise)
    return RecipientStatus(first_address(_text(recipient, "emailAddress")), action, status, diagnostic)


def _part(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = fields.get(name)
    return found if isinstance(found, dict) else {}


def _recipients(fields: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = fields.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _text(fields: Mapping[str, Any], name: str) -> str:
    found = fields.get(name)
    return found if isinstance(found, str) else ""
