"""What replies ask for: how long to wait before the next attempt."""

from datetime import timedelta

import pytest

from senders.queue.retry import asked_wait


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Greylisted, please try again in 5 minutes", 300),
        ("greylisted for 300 seconds", 300),
        ("Service unavailable, try again in 60s", 60),
        ("Temporarily deferred; retry after 2 hours", 7200),
        ("Recipient address rejected: Greylisted for 5 minutes (see https://help.example/greylist/42)", 300),
        ("please come back in 00:04:59", 299),
        ("try again later, wait 1 min", 60),
        ("Please wait 30 sec and retry", 30),
        ("try again later", None),
        ("mailbox full: 300 seconds old", None),
        ("message 4XyZ1 of 10 minutes ago is too large", None),
        ("", None),
        ("again " * 200 + "9" * 800, None),
    ],
)
def test_the_wait_that_a_reply_asks_for(text: str, seconds: int | None) -> None:
    assert asked_wait(text) == (None if seconds is None else timedelta(seconds=seconds))
