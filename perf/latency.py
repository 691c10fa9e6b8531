"""Latency: from the append time of the event that leads to a command, to the receipt of that command elsewhere.

One worker with one rule at a steady rate, a feeder, and another process that reads committed commands. No process is
pinned: with two cores, a broker that shares its core with a feeder would limit the result. The append time is the
broker's, in whole milliseconds, by the same machine's clock as the receiver's.
"""

import time
from collections.abc import Iterator, Sequence

import orjson
from confluent_kafka import Producer

from infra.kafka.client import client_config
from perf import ebbtide
from perf.broker import Broker, Ends, Report
from perf.command_reader import READY
from perf.feed import CountedRecords
from perf.results import Latency
from perf.rulesets import ONE
from perf.watch import CommitWatch, MeasuredProcess, MeasurementFailed
from perf.workloads import Workload
from schemas.codec import PARTITIONER
from schemas.topics import EVENTS, PROFILES

WARM_S = 10.0
"""Left out at the start: the first transactions, while the JVM still compiles."""
READY_S = 30.0
WRITE_S = 120.0
LATE = 1.1
"""The result is invalid if feeding takes more than this times as long."""
SLICE_S = 0.005
"""How often the feeder appends the records that are due."""


def measure(broker: Broker, workload: Workload, partitions: int, report: Report) -> Latency:
    """Measures the latency of the workload's events, which are fed over its span."""
    broker.fresh(partitions)
    broker.apply(ONE.read())
    seconds = workload.span_ms / 1000
    report(f"latency at {workload.events / seconds:,.0f} events/s for {seconds:g} s")
    profiles = broker.load_profiles(workload)
    file = broker.home / "logs" / "receipts.jsonl"
    receiving = ("perf.command_reader", broker.kafka, str(partitions), str(file))
    with ebbtide.worker(broker, ONE, unpinned=True) as worker:
        with CommitWatch(broker.kafka, ONE.group, PROFILES.name, profiles) as watch:
            watch.until_done([worker], lambda text: report(f"profiles: {text}"))
        counted = CountedRecords(workload.from_now())
        records = list(counted)
        with MeasuredProcess("commands", receiving, None, broker.home / "logs") as reader:
            wait_until_ready(reader)
            took_s = _feed(broker, records, seconds)
            ends = broker.ends(EVENTS.name)
            behind = _finish(broker, ends, worker, report)
            time.sleep(1.0)  # the last commits are still being read
    fed = counted.fed(broker)
    receipts = dict(orjson.loads(line) for line in file.read_bytes().splitlines())
    latencies = sorted(_latencies(broker, ends, receipts))
    if not latencies:
        raise MeasurementFailed(f"no command was received after the first {WARM_S:g} s; feed more events")
    problems = []
    if len(receipts) != fed.sends:
        problems.append(f"{len(receipts)} commands instead of {fed.sends}")
    if took_s > seconds * LATE:
        problems.append(f"the events were to be fed in {seconds:g} s and took {took_s:.1f} s: the machine is too busy")
    return Latency(
        events_per_s=workload.events / took_s,
        seconds=took_s,
        commands=len(receipts),
        p50_ms=at(latencies, 0.5),
        p95_ms=at(latencies, 0.95),
        p99_ms=at(latencies, 0.99),
        max_ms=latencies[-1],
        behind=behind,
        problems=problems,
    )


def wait_until_ready(reader: MeasuredProcess) -> None:
    """Waits until the reader of commands says that it reads."""
    end = time.monotonic() + READY_S
    while not reader.says(READY):
        reader.check()
        if time.monotonic() > end:
            raise MeasurementFailed(f"the reader of commands is not ready; see {reader.log}")
        time.sleep(0.05)


def _feed(broker: Broker, records: Sequence[tuple[bytes, bytes]], seconds: float) -> float:
    """Appends the records evenly over that time; returns how long it took."""
    settings: dict[str, str | int | float | bool] = {
        "partitioner": PARTITIONER,
        "linger.ms": 20,  # before the append time; with less, small batches make the broker the limit
        "delivery.report.only.error": True,
        "compression.type": "lz4",
    }
    producer = Producer(client_config(broker.kafka, **settings))
    began_s, done, total = time.monotonic(), 0, len(records)
    while done < total:
        due = min(total, int((time.monotonic() - began_s) / seconds * total))
        try:
            for key, value in records[done:due]:
                producer.produce(EVENTS.name, value, key)
                done += 1
        except BufferError:
            pass  # the queue is full; the rest is still due after the next poll
        producer.poll(SLICE_S)
    if producer.flush(WRITE_S):
        raise MeasurementFailed("the broker did not take the events")
    return time.monotonic() - began_s


def _finish(broker: Broker, ends: Ends, worker: MeasuredProcess, report: Report) -> int:
    """Waits until all is committed; returns how many events were not when the last was appended."""
    with CommitWatch(broker.kafka, ONE.group, EVENTS.name, ends) as watch:
        behind = watch.total - watch.committed()
        watch.until_done([worker], report)
    return behind


def _latencies(broker: Broker, ends: Ends, receipts: dict[str, float]) -> Iterator[float]:
    first_ms: int | None = None
    for message in broker.since(EVENTS.name, dict.fromkeys(ends, 0)):
        at_ms, value = message.timestamp()[1], message.value() or b""
        first_ms = at_ms if first_ms is None else min(first_ms, at_ms)
        received = receipts.get(orjson.loads(value)["id"])
        if received is not None and at_ms - first_ms > WARM_S * 1000:
            yield received - at_ms


def at(ordered: Sequence[float], share: float) -> float:
    """The value below which this share lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
