"""A limit that three processes share, while one is killed and another joins."""

import pytest

from infra.postgres.migrate import migrate
from perf.bench_limits import measure

pytestmark = pytest.mark.servers


def test_a_limit_is_kept_while_a_process_is_killed_and_another_joins(database_url: str) -> None:
    migrate(database_url)

    use = measure(database_url, "100/s", 6, 3, kill=True)

    assert use.most_in_a_second <= 102
    assert use.used_share >= 0.8, "a busy machine loses permits; `python -m perf.bench_limits` measures how many"
