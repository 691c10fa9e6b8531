"""What `perf.bench_limits` counts: mails in any window, and whether a limit was kept."""

import pytest

from perf.bench_limits import LimitUse, most_within

USE = LimitUse(
    rate="100/s",
    workers=3,
    seconds=60,
    killed=True,
    begun=6000,
    most_in_a_second=102,
    most_in_a_minute=6000,
    used_share=0.98,
)


def test_a_window_has_its_beginning_and_not_its_end() -> None:
    assert most_within([0, 10, 20], 20) == 2
    assert most_within([0, 10, 20], 21) == 3
    assert most_within([], 5) == 0


@pytest.mark.parametrize(
    ("changed", "met"),
    [
        ({}, True),
        ({"most_in_a_second": 103}, False),
        ({"most_in_a_minute": 6001}, False),
        ({"used_share": 0.9799}, False),
    ],
)
def test_a_limit_is_kept_if_no_window_sees_more_and_98_per_cent_is_used(changed: dict[str, float], met: bool) -> None:
    assert USE.model_copy(update=changed).met is met
