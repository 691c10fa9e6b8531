"""Appends events to the broker, and computes without Ebbtide what they must lead to."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from perf.broker import Broker, Ends, Loader, Report
from perf.dense_workloads import AllCountWorkload, EveryEventWorkload
from perf.jobs import CountingJob, EveryEventJob, RuleJob
from perf.workloads import Workload
from schemas.topics import EVENTS

SAMPLE = "events-sample"
BY_HAND: Mapping[type[Workload], Callable[[], CountingJob] | None] = {
    Workload: RuleJob,
    EveryEventWorkload: EveryEventJob,
    AllCountWorkload: None,
}
"""The job that counts the commands of each workload without Ebbtide; None if there is none."""
PACE = 500
"""After so many records the feeder checks whether their time has come."""


@dataclass(frozen=True, slots=True)
class FedEvents:
    """Events in the topic. `sends`: how many of them must lead to a command, if that is counted without Ebbtide."""

    workload: Workload
    partitions: int
    ends: Ends
    match_share: float
    sends: int | None

    def described(self) -> dict[str, Any]:
        """The description of the events in a result."""
        workload = self.workload
        return {
            "workload": workload.name,
            "distribution": workload.distribution,
            "events": workload.events,
            "users": workload.users,
            "partitions": self.partitions,
            "match_share": self.match_share,
        }


class CountedRecords:
    """Records that are counted while they pass. `first` keeps the first few."""

    def __init__(self, workload: Workload, keep: int = 0) -> None:
        self._workload = workload
        by_hand = BY_HAND[type(workload)]
        self._job = None if by_hand is None else by_hand()
        self._matched = 0
        self._keep = keep
        self.first: list[tuple[bytes, bytes]] = []

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        job, now_ms = self._job, self._workload.start_ms + self._workload.span_ms
        for key, value in self._workload.records():
            self._matched += True if job is None else job.apply(key, value, now_ms)[0]
            if len(self.first) < self._keep:
                self.first.append((key, value))
            yield key, value

    def fed(self, broker: Broker) -> FedEvents:
        """The description of the events, after all of them have passed."""
        workload = self._workload
        ends = broker.ends(EVENTS.name)
        sends = None if self._job is None else self._job.sends
        return FedEvents(workload, broker.partitions, ends, self._matched / workload.events, sends)


def feed(
    broker: Broker, workload: Workload, report: Report, *, sample: int = 0, hidden: bool = False
) -> tuple[FedEvents, Loader]:
    """Appends the events, whose times begin now, and the first `sample` of them also to another topic.

    With `hidden`, no reader sees them until the loader reveals them.
    """
    report(f"appending {workload.events:,} events of {workload.users:,} users, {workload.distribution}")
    loader = Loader(broker.kafka, hidden=hidden)
    now = workload.from_now()
    counted = CountedRecords(now, sample)
    loader.send(EVENTS.name, _as_they_happen(now, counted))
    if sample:
        broker.load(broker.topic(SAMPLE, EVENTS), counted.first)
    return counted.fed(broker), loader


def _as_they_happen(workload: Workload, records: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """The records, none before its own time. The delays of a record ahead of the clock would begin in the future."""
    for number, record in enumerate(records):
        if number % PACE == 0:
            last = min(number + PACE, workload.events)
            happens_s = (workload.start_ms + workload.span_ms * last / workload.events) / 1000
            time.sleep(max(0.0, happens_s - time.time()))
        yield record
