"""SIGTERM at any moment: `ebbtide run streams` ends in time and in good order, and loses or doubles nothing."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import wait_until
from drivers.running_streams import Streams
from drivers.supervised_workers import is_gone

pytestmark = pytest.mark.servers

BOUND_S = 10.0
"""Above the promise of 5 s by as much as a machine that runs other tests may need. A worker that takes longer than 8 s
is killed by its supervisor, which then ends with status 1."""
LATEST_S = 3.0
"""How long after its start, or after its first work, a process gets the signal at the latest."""
IMPORTING = (-signal.SIGTERM, 128 + signal.SIGTERM)
"""How a process ends that has no work to finish yet: by the signal itself, or by the command line's handler."""
BEGUN = {"--workers": "supervising", "--slot": "recovered"}
"""What the log says once there is something to end in good order."""


@pytest.fixture
def streams(servers: RealServers, tmp_path: Path) -> Iterator[Streams]:
    """Topics of its own, with a rule."""
    with Streams(servers.kafka, servers.ports.web, tmp_path) as made:
        made.apply_rules()
        yield made


def says(streams: Streams, since: int, event: str) -> bool:
    """Whether the log has the event after so many lines."""
    return any(line["event"] == event for line in streams.lines()[since:])


@pytest.mark.parametrize("moments", [3, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("arguments", [("--workers", "2"), ("--slot", "0")], ids=" ".join)
def test_sigterm_at_any_moment_under_load_ends_in_time_and_loses_and_doubles_nothing(
    streams: Streams,
    arguments: tuple[str, ...],
    moments: int,
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    chance = random.Random(seed)
    took, statuses = [], Counter[int]()
    for moment in range(moments):
        streams.publish(300)
        before = len(streams.lines())
        streams.start(*arguments)
        if moment % 3:  # the start takes long: of three moments two are while it works
            wait_until(lambda since=before: says(streams, since, "recovered"), streams.tail())
        time.sleep(chance.uniform(0, LATEST_S))  # the moment is what is tested
        status, took_s = streams.stop()
        took.append(took_s)
        statuses[status] += 1
        log = streams.lines()[before:]
        begun = says(streams, before, BEGUN[arguments[0]])
        where = f"moment {moment}: {status} after {took_s:.1f} s\n{log[-15:]}"
        assert status == 0 or (not begun and status in IMPORTING), where
        assert took_s < BOUND_S, where
        workers = [line["pid"] for line in log if line["event"] == "worker_started"]
        wait_until(lambda pids=workers: all(map(is_gone, pids)), f"no worker is left over, {where}")
    record_property("statuses", dict(statuses))
    record_property("longest_s", round(max(took), 2))
    streams.start(*arguments)
    streams.wait_ready(*range(2 if "2" in arguments else 1))
    streams.wait_drained()
    assert streams.stop()[0] == 0, streams.tail()
    assert streams.decided() == streams.each_once()
