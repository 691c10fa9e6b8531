"""When an event happened, by a client's clock that may be wrong."""

from datetime import UTC, datetime, timedelta

import pytest
from drivers.ingest_calls import NOW, NOW_US

from web.ingest.moments import CallClock, microseconds
from web.ingest.reading import Refused

SAID = "2026-11-29T09:00:00Z"


def ago(**span: float) -> str:
    return (NOW - timedelta(**span)).isoformat()


@pytest.mark.parametrize(
    ("sent_at", "time"),
    [
        (None, SAID),
        ("nonsense", SAID),
        (ago(seconds=4.9), SAID),
        (ago(seconds=-4.9), SAID),
        (ago(seconds=5), "2026-11-29T09:00:05Z"),
        (ago(hours=1), "2026-11-29T10:00:00Z"),
        (ago(hours=-1), "2026-11-29T08:00:00Z"),
        (ago(hours=24), "2026-11-29T10:00:00Z"),  # a day later, which is ahead: the time received
        (ago(hours=-24), "2026-11-28T09:00:00Z"),
        (ago(hours=24.1), SAID),
        (ago(days=365), SAID),
    ],
)
def test_a_clock_that_is_off_by_seconds_to_a_day_is_corrected(sent_at: str | None, time: str) -> None:
    found, note = CallClock(NOW_US, sent_at).time_of(SAID, "timestamp")
    assert found == datetime.fromisoformat(time)
    assert note == (b"" if time == SAID else b'"original_time":"2026-11-29T09:00:00+00:00"')


def test_the_time_of_an_item_s_own_sending_counts_before_the_batch_s() -> None:
    clock = CallClock(NOW_US, ago(hours=2))
    assert clock.time_of("2026-11-29T07:00:00Z", "timestamp")[0] == NOW - timedelta(hours=1)
    assert clock.time_of("2026-11-29T07:00:00Z", "timestamp", ago(hours=1))[0] == NOW - timedelta(hours=2)
    assert clock.time_of("2026-11-29T07:00:00Z", "timestamp", ago(days=9))[0] == NOW - timedelta(hours=3)


def test_what_lies_more_than_five_minutes_ahead_happened_when_it_was_received() -> None:
    clock = CallClock(NOW_US, None)
    assert clock.time_of(ago(minutes=-5), "timestamp") == (NOW + timedelta(minutes=5), b"")
    found, note = clock.time_of(ago(minutes=-5, seconds=-1), "timestamp")
    assert found == NOW
    assert note == b'"original_time":"2026-11-29T10:05:01+00:00"'
    assert clock.time_of("9999-12-31T23:59:59Z", "timestamp")[0] == NOW


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-29T09:00:00", NOW - timedelta(hours=1)),
        ("2026-11-29T11:00:00+02:00", NOW - timedelta(hours=1)),
        ("2026-11-29 09:00:00.25Z", NOW - timedelta(minutes=59, seconds=59.75)),
        ("2026-11-29", NOW - timedelta(hours=10)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_without_an_offset_is_utc(text: str, time: datetime) -> None:
    assert CallClock(NOW_US, None).time_of(text, "timestamp") == (time, b"")


def test_without_a_time_it_is_the_time_received() -> None:
    assert CallClock(NOW_US, ago(hours=1)).time_of(None, "timestamp") == (NOW, b"")
    assert microseconds(NOW) == NOW_US


@pytest.mark.parametrize(
    "text", ["", "now", "1764000000", "2026-02-30T10:00:00Z", "0001-01-01T00:00:00+10:00", "2" * 99]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        CallClock(NOW_US, None).time_of(text, "timestamp")
    assert refused.value.field == "timestamp"


def test_a_correction_out_of_the_calendar_is_refused() -> None:
    with pytest.raises(Refused):
        CallClock(NOW_US, ago(hours=-24)).time_of("0001-01-01T00:00:00Z", "timestamp")
