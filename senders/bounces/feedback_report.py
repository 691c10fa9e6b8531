"""Reads complaints: the reports of RFC 5965 (ARF), and the older forms of some providers. Pure."""

from typing import Final

from senders.bounces.delivery_status import MAX_RECIPIENTS, first_address
from senders.bounces.mime import Headers, MimePart, ReturnedMail, split_headers
from senders.bounces.phrases import phrases

COMPLAINTS: Final = frozenset({"abuse", "fraud", "virus", "other", "opt-out", "opt-out-list", "miscategorized", ""})
"""The types by which a reader or a provider objects. `not-spam` takes an objection back, and reports on authentication
(`auth-failure`, `dmarc`) are no reader's: neither suppresses anybody."""


def feedback_type(mail: ReturnedMail) -> str | None:
    """The feedback type of a report in lower case, None if the mail is no report."""
    for part in mail.parts:
        if part.content_type == "message/feedback-report":
            return _fields(part).get("feedback-type").lower()
    if mail.parameters.get("report-type", "").lower() == "feedback-report":
        return ""
    if "x-hmxmroriginalrecipient" in mail.headers or "x-hmxmroriginalrecipient" in _original(mail):
        return "abuse"
    returned = any(part.returned for part in mail.parts)
    return "abuse" if returned and phrases()["complaint_subject"].within(mail.headers.get("subject")) else None


def complained_recipients(mail: ReturnedMail) -> list[str]:
    """The recipients that a report is about; one that is empty if the provider has removed it."""
    for part in mail.parts:
        if part.content_type == "message/feedback-report":
            fields = _fields(part)
            for name in ("original-rcpt-to", "removal-recipient", "redacted-address"):
                found = dict.fromkeys(first_address(value) for value in fields.all(name)[:MAX_RECIPIENTS])
                if any(found):
                    return [address for address in found if address]
    original = _original(mail)
    for header in (mail.headers, original):
        if address := first_address(header.get("x-hmxmroriginalrecipient")):
            return [address]
    return [first_address(original.get("to")) or first_address(original.get("delivered-to"))]


def signed_addresses(mail: ReturnedMail) -> list[str]:
    """Where a complaint may have the return path of the mail that it is about."""
    reports = [part for part in mail.parts if part.content_type == "message/feedback-report"]
    found = [first_address(_original(mail).get("return-path"))]
    found += [first_address(_fields(part).get("original-mail-from")) for part in reports]
    return [address for address in found if address]


def _original(mail: ReturnedMail) -> Headers:
    """The header of the mail that is reported."""
    return next((part.mail for part in mail.parts if part.returned), Headers())


def _fields(part: MimePart) -> Headers:
    fields, _ = split_headers(part.content.lstrip(b"\n"))
    return fields
