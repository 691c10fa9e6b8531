"""`python -m perf.bench_broadcasts`: an event without a user meets some of a million who wait, while others go on.

A real worker on a broker of its own. First every user begins to wait for a product. Then orders come at a steady
rate, and two products are restocked: the first event is the one for which the worker makes its index, the second finds
it there. The time is from the event's append time to the receipt of the last command by another process; of orders, to
that of each. Appends to perf/results/broadcasts.jsonl.
"""

import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import orjson
import typer
from pydantic import BaseModel, Field

from perf import ebbtide, results
from perf.broker import Broker, Loader
from perf.cpu_placement import CpuPlacement
from perf.goals import at_most
from perf.inside import peak_mib
from perf.latency import at, wait_until_ready
from perf.results import PerformanceGoal
from perf.rulesets import BenchRules
from perf.watch import CommitWatch, MeasuredProcess, MeasurementFailed
from schemas.topics import EVENTS

FILE = results.FILE.with_name("broadcasts.jsonl")
RULES = BenchRules("waiting", "waiting", 2)
MET_WITHIN_S = 5.0
APART_S = 15.0
"""Between the start of the orders and the first event, between both events, and from the second to the end."""


class Reached(BaseModel):
    """How one event reached those who waited for it."""

    index: str
    """`made`, if it was the first of its type for the worker, or `there`."""
    met: int
    first_ms: float
    last_ms: float
    orders_p99_ms: float
    """Of the orders that came between this event and the next."""


class BroadcastRun(results.BenchRun):
    """Everything of one run."""

    waiting: int
    partitions: int
    orders_per_s: float
    orders_alone_p99_ms: float = 0.0
    """Before the first event."""
    reached: list[Reached] = Field(default_factory=list)
    peak_mib: float = 0.0
    goals: list[PerformanceGoal] = Field(default_factory=list)


def main(
    waiting: Annotated[int, typer.Option(min=1, help="The users who wait.")] = 1_000_000,
    met: Annotated[int, typer.Option(min=1, help="How many of them each event meets.")] = 10_000,
    per_s: Annotated[int, typer.Option("--per-s", min=1, help="Orders a second meanwhile.")] = 2_000,
    partitions: Annotated[int, typer.Option(min=1, help="The partitions, all of one worker.")] = 16,
    record: Annotated[Path, typer.Option("--record", help="The file that results are appended to.")] = FILE,
) -> None:
    """Measure how fast an event without a user reaches those who wait for it.

    Example: `python -m perf.bench_broadcasts --waiting 100000 --met 1000`
    """
    run = BroadcastRun(versions=results.versions(), waiting=waiting, partitions=partitions, orders_per_s=per_s)
    with Broker(CpuPlacement(), _report) as broker:
        broker.fresh(partitions)
        broker.apply(RULES.read())
        _measure(broker, run, max(1, waiting // met))
    run.goals = [
        at_most(f"{each.met:,} of {waiting:,} reached, the index {each.index}", each.last_ms / 1000, MET_WITHIN_S, "s")
        for each in run.reached
    ]
    results.append(run, record)
    sys.stdout.write(run.model_dump_json(indent=2) + "\n")


def _measure(broker: Broker, run: BroadcastRun, products: int) -> None:
    file = broker.home / "logs" / "receipts.jsonl"
    receiving = ("perf.command_reader", broker.kafka, str(run.partitions), str(file))
    with ebbtide.worker(broker, RULES, unpinned=True) as worker:
        _catch_up(broker, worker, _views(run.waiting, products))
        with MeasuredProcess("commands", receiving, None, broker.home / "logs") as reader:
            wait_until_ready(reader)
            began = dict(broker.ends(EVENTS.name))
            feed = threading.Thread(target=_feed, args=(broker, run.orders_per_s, 3 * APART_S))
            feed.start()
            loader = Loader(broker.kafka)
            for number in range(2):
                time.sleep(APART_S)
                loader.send_soon(EVENTS.name, None, _event(f"restocked-{number}", "restocked", None, number))
            feed.join()
            _catch_up(broker, worker, iter(()))
            time.sleep(1.0)  # the last commits are still being read
        run.peak_mib = sum(map(peak_mib, worker.pids()))
    appended = {_id(message.value()): message.timestamp()[1] for message in broker.since(EVENTS.name, began)}
    receipts = [(name, at_ms) for name, at_ms in map(orjson.loads, file.read_bytes().splitlines())]
    _evaluate(run, appended, receipts)


def _evaluate(run: BroadcastRun, appended: dict[str, int], receipts: list[tuple[str, float]]) -> None:
    restocked = [appended[f"restocked-{number}"] for number in range(2)]
    orders = [(appended[name], at_ms - appended[name]) for name, at_ms in receipts if name.startswith("order")]
    borders = [0, *restocked, time.time() * 1000]
    parts = [sorted(took for at_ms, took in orders if begin <= at_ms < end) for begin, end in pairwise(borders)]
    run.orders_alone_p99_ms = at(parts[0], 0.99)
    for number, index in enumerate(("made", "there")):
        took = sorted(at_ms - restocked[number] for name, at_ms in receipts if name == f"restocked-{number}")
        if not took:
            raise MeasurementFailed("nobody was reached")
        run.reached.append(
            Reached(
                index=index,
                met=len(took),
                first_ms=took[0],
                last_ms=took[-1],
                orders_p99_ms=at(parts[number + 1], 0.99),
            )
        )


def _catch_up(broker: Broker, worker: MeasuredProcess, records: Iterator[tuple[bytes, bytes]]) -> None:
    ends = broker.load(EVENTS.name, records)
    with CommitWatch(broker.kafka, RULES.group, EVENTS.name, ends) as watch:
        watch.until_done([worker], _report)


def _views(users: int, products: int) -> Iterator[tuple[bytes, bytes]]:
    for number in range(users):
        user = f"user-{number:07d}"
        yield user.encode(), _event(f"viewed-{number}", "viewed", user, number % products)


def _feed(broker: Broker, per_s: float, seconds: float) -> None:
    """Orders at a steady rate."""
    loader, began_s, done = Loader(broker.kafka), time.monotonic(), 0
    while (passed_s := time.monotonic() - began_s) < seconds:
        while done < passed_s * per_s:
            user = f"buyer-{done % 10_000}"
            loader.send_soon(EVENTS.name, user.encode(), _event(f"order-{done}", "ordered", user, 0))
            done += 1
        time.sleep(0.002)
    loader.send(EVENTS.name, ())


def _event(event_id: str, kind: str, user: str | None, product: int) -> bytes:
    time_now = datetime.now(UTC)
    properties = {"product": f"product-{product}"}
    return b"%b" % orjson.dumps(
        {"id": event_id, "type": kind, "user_id": user, "time": time_now, "properties": properties}
    )


def _id(value: bytes | None) -> str:
    return str(orjson.loads(value or b"{}")["id"])


def _report(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    typer.run(main)
