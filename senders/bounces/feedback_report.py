"""Reads complaints: the reports of RFC 5965 (ARF), and the older forms of some providers. Pure."""

from typing import Final

from senders.bounces.delivery_status import first_address
from senders.bounces.mime import Headers, ReturnedMail, split_headers
from senders.bounces.phrases import phrases

COMPLAINTS: Final = frozenset({"abuse", "fraud", "virus", "other", "opt-out", "opt-out-list", "miscategorized", ""})
"""The types by which a reader or a provider objects. `not-spam` takes an objection back, and reports on authentication
(`auth-failure`, `dmarc`) are no reader's: neither suppresses anybody."""


def feedback_type(mail: ReturnedMail) -> str | None:
    """The feedback type of a report in lower case, None if the mail is no report."""
    for part in mail.parts:
        if part.content_type == "message/feedback-report":
            fields, _ = split_headers(part.body.lstrip(b"\n"))
            return fields.get("feedback-type").lower()
    if mail.parameters.get("report-type", "").lower() == "feedback-report":
        return ""
    if "x-hmxmroriginalrecipient" in mail.headers or "x-hmxmroriginalrecipient" in _original(mail):
        return "abuse"
    returned = any(part.returned for part in mail.parts)
    return "abuse" if returned and phrases()["complaint_subject"].within(mail.headers.get("subject")) else None


def complained_recipient(mail: ReturnedMail) -> str:
    """The recipient that a report is about, empty if the provider has removed it."""
    for part in mail.parts:
        if part.content_type == "message/feedback-report":
            fields, _ = split_headers(part.body.lstrip(b"\n"))
            for name in ("original-rcpt-to", "removal-recipient", "redacted-address"):
                if address := first_address(fields.get(name)):
                    return address
    original = _original(mail)
    for fields in (mail.headers, original):
        if address := first_address(fields.get("x-hmxmroriginalrecipient")):
            return address
    return first_address(original.get("to")) or first_address(original.get("delivered-to"))


def signed_addresses(mail: ReturnedMail) -> list[str]:
    """Where a complaint may have the return path of the mail that it is about."""
    found = [first_address(_original(mail).get("return-path"))]
    for part in mail.parts:
        if part.content_type == "message/feedback-report":
            fields, _ = split_headers(part.body.lstrip(b"\n"))
            found.append(first_address(fields.get("original-mail-from")))
    return [address for address in found if address]


def _original(mail: ReturnedMail) -> Headers:
    """The header of the mail that is reported."""
    return next((part.mail for part in mail.parts if part.returned), Headers())
