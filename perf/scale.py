"""Scale: one group of 1, 2 and 4 workers with one rule, which share the machine's cores with the broker.

Workers that start one after the other would be measured while they rebalance. So all of them wait in one stable group
that knows every user, for events that are appended in one transaction and become visible at once.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack

from perf import ebbtide
from perf.broker import Broker, Report
from perf.feed import feed
from perf.results import Throughput
from perf.rulesets import ONE
from perf.watch import CommitWatch, MeasuredProcess, MeasurementFailed
from perf.workloads import Workload
from schemas.topics import EVENTS, PROFILES

NAMES = {1: "one worker", 2: "two workers", 4: "four workers"}
WORKERS = tuple(NAMES)
RECOVERED = "recovered"
"""A worker logs this when it begins to process its partitions."""
JOIN_S = 60.0


def measure(broker: Broker, workload: Workload, partitions: int, workers: int, report: Report) -> Throughput:
    """Measures the throughput of all workers together, and their CPU time for an event."""
    broker.fresh(partitions)
    broker.apply(ONE.read())
    with ExitStack() as started:
        children = [started.enter_context(ebbtide.worker(broker, ONE, slot, unpinned=True)) for slot in range(workers)]
        _wait_until_joined(children)
        with CommitWatch(broker.kafka, ONE.group, PROFILES.name, broker.load_profiles(workload)) as watch:
            watch.until_done(children, lambda text: report(f"profiles: {text}"))
        fed, loader = feed(broker, workload, report, hidden=True)
        output = ebbtide.OutputTopics(broker)
        with CommitWatch(broker.kafka, ONE.group, EVENTS.name, fed.ends) as watch:
            watch.begin(children)
            loader.reveal()
            window = watch.until_done(children, report)
    return output.result(NAMES[workers], fed, window, ONE, workers)


def _wait_until_joined(children: Sequence[MeasuredProcess]) -> None:
    end = time.monotonic() + JOIN_S
    while not all(child.says(RECOVERED) for child in children):
        for child in children:
            child.check()
        if time.monotonic() > end:
            raise MeasurementFailed(f"not every worker began; see {children[0].log.parent}")
        time.sleep(0.1)
