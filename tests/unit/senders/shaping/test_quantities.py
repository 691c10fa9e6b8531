"""Rates and durations as people write them."""

from datetime import timedelta

import pytest

from senders.shaping.quantities import SendRate, duration_text, parse_duration


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/s", SendRate(100, 1)),
        ("50/min", SendRate(50, 60)),
        ("1,000/hr,max_burst=1", SendRate(1000, 3600)),
        ("1,000/h, max_burst = 20", SendRate(1000, 3600, 20)),
        ("10_000/d", SendRate(10_000, 86_400)),
        (" 7 / minutes ", SendRate(7, 60)),
    ],
)
def test_a_rate_is_read_as_kumomta_writes_it(text: str, rate: SendRate) -> None:
    assert SendRate.parse(text) == rate
    assert SendRate.parse(str(rate)) == rate


@pytest.mark.parametrize(
    "text",
    [
        *("", "100", "100/", "/s", "0/s", "1/week", "-1/s", "1.5/s", "100 per s", "1/s,burst=2", "1/s,max_burst=2"),
        *("local:10/s", "9999999999/s", "1/s" + " " * 100, "1/s,max_burst=0", "\u0661/s"),
    ],
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|a rate is from|max_burst"):
        SendRate.parse(text)


@pytest.mark.parametrize(
    ("text", "seconds", "shown"),
    [
        ("60s", 60, "1m"),
        ("90m", 5400, "1h 30m"),
        ("2 hours", 7200, "2h"),
        ("3 days", 259_200, "3d"),
        ("1h30m", 5400, "1h 30m"),
        ("0.5s", 0.5, "0.5s"),
        ("0s", 0, "0s"),
    ],
)
def test_a_duration_has_a_unit(text: str, seconds: float, shown: str) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)
    assert duration_text(timedelta(seconds=seconds)) == shown


@pytest.mark.parametrize("text", ["", "60", "s", "1y", "-1s", "1s x", "999999d", "1e9s", "1" * 70 + "s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|days"):
        parse_duration(text)
