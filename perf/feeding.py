"""Events appended to the broker, and what is known of them without Ebbtide."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from perf.broker import Broker, Ends, Loader, Report
from perf.jobs import RuleJob
from perf.workloads import Workload
from schemas.topics import EVENTS

SAMPLE = "events-sample"


@dataclass(frozen=True, slots=True)
class Fed:
    """Events that are in the topic. `sends`: how many of them `rules/one` must lead to."""

    workload: Workload
    partitions: int
    ends: Ends
    match_share: float
    sends: int

    def described(self) -> dict[str, Any]:
        """What a result says of its events."""
        workload = self.workload
        return {
            "distribution": workload.distribution,
            "events": workload.events,
            "users": workload.users,
            "partitions": self.partitions,
            "match_share": self.match_share,
        }


def feed(
    broker: Broker, workload: Workload, report: Report, *, sample: int = 0, hidden: bool = False
) -> tuple[Fed, Loader]:
    """Appends the events, and the first `sample` of them to a topic of their own too.

    `hidden`: nobody sees them until the loader reveals them.
    """
    report(f"appending {workload.events:,} events of {workload.users:,} users, {workload.distribution}")
    records = list(workload.records())
    loader = Loader(broker.kafka, hidden=hidden)
    loader.send(EVENTS.name, records)
    if sample:
        broker.load(broker.topic(SAMPLE, EVENTS), records[:sample])
    return described(broker, workload, records), loader


def described(broker: Broker, workload: Workload, records: Iterable[tuple[bytes, bytes]]) -> Fed:
    """The events that were just appended, counted by hand."""
    job, matched, now_ms = RuleJob(), 0, workload.start_ms + workload.span_ms
    for key, value in records:
        matched += job.apply(key, value, now_ms)[0]
    return Fed(workload, broker.partitions, broker.ends(EVENTS.name), matched / workload.events, job.sends)
