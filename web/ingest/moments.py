"""When an event happened: by the client's clock, corrected by how far that clock is off, and never far ahead of ours.

A client says when it sent the call. What lies between that and the time received is the way of the call if it is short,
and the error of the client's clock if it is long; every time of the call is moved by it. Beyond a day it is neither:
an old call was kept and sent again, and its times are right. A time more than five minutes ahead is replaced by
the time received, since a future event would hold back its user's clock. What was sent is kept in `context`.
"""

from datetime import UTC, datetime, timedelta

from web.ingest.reading import Refused

SHORTEST_SHIFT = timedelta(seconds=5)
"""Less is the way of the call through the network."""
LONGEST_SHIFT = timedelta(hours=24)
AHEAD = timedelta(minutes=5)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NO_SHIFT = timedelta(0)


class CallClock:
    """The times of one call's items."""

    def __init__(self, received_us: int, sent_at: str | None) -> None:
        self.received = EPOCH + timedelta(microseconds=received_us)
        self.latest = self.received + AHEAD
        self._shift = self.shift_of(sent_at)
        self.is_right = self._shift is _NO_SHIFT

    def shift_of(self, sent_at: str | None) -> timedelta:
        """By how much the times of a client are moved that sent its call at this time of its own clock."""
        try:
            shift = _NO_SHIFT if sent_at is None else self.received - _utc(datetime.fromisoformat(sent_at))
        except (ValueError, OverflowError):
            return _NO_SHIFT
        return shift if SHORTEST_SHIFT <= abs(shift) <= LONGEST_SHIFT else _NO_SHIFT

    def time_of(self, text: str | None, field: str, sent_at: str | None = None) -> tuple[datetime, bytes]:
        """The time of an item in UTC, and the member of `context` that keeps the original one; empty if it is the same.

        Without a text it is the time received. Raises Refused.
        """
        if text is None:
            return self.received, b""
        try:
            said = datetime.fromisoformat(text)
            if said.tzinfo is not UTC:
                said = _utc(said)
        except (ValueError, OverflowError):
            raise Refused(field, "is not a time by ISO 8601, such as 2026-11-24T10:00:00Z") from None
        shift = self._shift if sent_at is None else self.shift_of(sent_at)
        if shift is _NO_SHIFT and said <= self.latest:
            return said, b""
        return self._moved(said, shift, field), b'"original_time":"%s"' % said.isoformat().encode()

    def _moved(self, said: datetime, shift: timedelta, field: str) -> datetime:
        try:
            time = said + shift
        except OverflowError:
            raise Refused(field, "is outside of the years 1 to 9999") from None
        return time if time <= self.latest else self.received


def microseconds(time: datetime) -> int:
    """Since 1970."""
    return (time - EPOCH) // _MICROSECOND


def _utc(time: datetime) -> datetime:
    """Without an offset it is UTC already. Raises OverflowError."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
