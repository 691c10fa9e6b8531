"""What an endpoint's answer means. Pure.

As Standard Webhooks says: 2xx has taken it, 410 wants no more, anything else is sent again; a redirect is not followed.
"""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from schemas.outcomes import Reply
from schemas.vocabulary import DeliveryReason, LedgerState
from senders.channels.channel import SendResult

_ASK_TO_WAIT = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
LONGEST_ASKED = timedelta(days=1)


def answer_of(status: int, retry_after: str | None, now: datetime) -> SendResult:
    """The result of a request that was answered. The reply keeps the status alone: nothing that the endpoint wrote."""
    reply = Reply(code=status, text=_phrase(status))
    if 200 <= status < 300:
        return SendResult(LedgerState.ACCEPTED, reply=reply)
    if status == HTTPStatus.GONE:
        return SendResult(LedgerState.DEFERRED, DeliveryReason.ENDPOINT_GONE, reply)
    asked = asked_wait(retry_after, now) if status in _ASK_TO_WAIT else None
    return SendResult(LedgerState.DEFERRED, DeliveryReason.HTTP_STATUS, reply, asked=asked)


def asked_wait(retry_after: str | None, now: datetime) -> timedelta | None:
    """How long the header Retry-After asks to wait (RFC 9110, 10.2.3); None if it does not say, or cannot be read."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return min(timedelta(seconds=int(text)), LONGEST_ASKED)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # a year or a zone may be any number
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return min(max(at - now, timedelta(0)), LONGEST_ASKED)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
