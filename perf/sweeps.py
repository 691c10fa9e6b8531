"""Sweeps: throughput and memory of one worker over users, rules and partitions, one of them varied at a time."""

from collections.abc import Iterator
from dataclasses import replace

from perf import ebbtide
from perf.broker import Broker, Report
from perf.results import Throughput
from perf.rulesets import HUNDRED, ONE, TWENTY
from perf.workloads import Workload

USERS = (10_000, 100_000, 1_000_000)
RULES = {rules.count: rules for rules in (ONE, TWENTY, HUNDRED)}
PARTITIONS = (4, 16, 64)
BASE_USERS, BASE_RULES, BASE_PARTITIONS = 100_000, 1, 16
SWEEPS = {"users": USERS, "rules": tuple(RULES), "partitions": PARTITIONS}


def measure(broker: Broker, base: Workload, smaller: float, report: Report) -> Iterator[tuple[str, Throughput]]:
    """Measures each point of each sweep, with variations of `base`. All numbers of users are multiplied by
    `smaller`."""
    middle: Throughput | None = None
    for name, values in SWEEPS.items():
        for value in values:
            users, rules, partitions = _point(name, value)
            in_the_middle = (users, rules, partitions) == (BASE_USERS, BASE_RULES, BASE_PARTITIONS)
            if not in_the_middle or middle is None:
                workload = replace(base, users=max(100, round(users * smaller)))
                report(f"{workload.users:,} users, {rules} rules, {partitions} partitions")
                point = ebbtide.measure_alone(broker, workload, partitions, RULES[rules], report)
                middle = point if in_the_middle else middle
            else:
                point = middle
            yield name, point


def _point(name: str, value: int) -> tuple[int, int, int]:
    changed = {"users": BASE_USERS, "rules": BASE_RULES, "partitions": BASE_PARTITIONS} | {name: value}
    return changed["users"], changed["rules"], changed["partitions"]
