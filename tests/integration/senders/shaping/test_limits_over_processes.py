"""A limit that three processes share, while one is killed and another joins."""

import pytest

from perf.bench_limits import measure

pytestmark = pytest.mark.servers


def test_a_limit_is_kept_while_a_process_is_killed_and_another_joins(database_url: str) -> None:

    use = measure(database_url, "100/s", 6, 3, kill=True)

    assert use.most_in_a_second <= 102
    # 98 % is the promise for minutes, which `python -m perf.bench_limits` measures. Of these 5 s the killed process may
    # take the permits of 2 * AHEAD_US = 0.6 s with it, which is 12 %, and one stall of a busy machine costs some more.
    assert use.used_share >= 0.8
