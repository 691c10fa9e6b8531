"""Throughput: one contender after the other over the same events, each cold, from its first commit to its last.

All contenders are measured in one way: an outside reader asks the broker every 20 ms how far the group has committed,
and takes the process's CPU time with the first and the last progress that it sees. So start, group join and recovery do
not count. Two contenders time themselves instead, from the first record to the last: the consume limit, which commits
nothing, and Faust as shipped, which commits every 2.8 s, too rarely for the few events that it can process.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perf import ebbtide, programs
from perf.broker import Broker, Report
from perf.feed import SAMPLE, FedEvents, feed
from perf.programs import BARE_RULE, BARE_SPIKE, RUNTIME_LOOP, CommandLine, Program, bare_loop
from perf.results import Throughput
from perf.rulesets import EVERY_EVENT, ONE, TWENTY, BenchRules
from perf.watch import MeasuredProcess
from perf.workloads import Workload
from schemas.topics import EVENTS

FAUST_EVENTS = 30_000
"""The number of events that Faust processes in about ten seconds."""
LEAST_US = 0.05
"""Kinds of threads that take less are left out."""
INSIDE_S = 300.0
"""How long a program that times itself may take."""


@dataclass(frozen=True, slots=True)
class SelfTimed:
    """A program that times itself, over the first `limit` events."""

    name: str
    group: str
    arguments: CommandLine
    limit: int | None = None


Contender = Program | SelfTimed | BenchRules


def _consume(broker: Broker, group: str, events: int) -> Sequence[str]:
    return ("perf.consume_limit", broker.kafka, group, EVENTS.name, str(events))


def _faust(broker: Broker, group: str, events: int) -> Sequence[str]:
    folder = str(broker.faust / "stock")
    return ("perf.stock_faust", broker.kafka, group, SAMPLE, str(broker.partitions), str(events), folder)


CONSUME = SelfTimed("consume limit", "perf-consume", _consume)
FAUST = SelfTimed("Faust as shipped", "perf-faust", _faust, limit=FAUST_EVENTS)
CONTENDERS: dict[str, Contender] = {
    "consume": CONSUME,
    "bare-spike": bare_loop(BARE_SPIKE, "spike", does_the_rule=False),
    "bare-rule": bare_loop(BARE_RULE, "rule", does_the_rule=True),
    "runtime": RUNTIME_LOOP,
    "one-rule": ONE,
    "twenty-rules": TWENTY,
    "faust": FAUST,
}
"""The contenders for the workload in which rules read 5 % of the events."""
EVERY_EVENT_CONTENDERS: tuple[Contender, ...] = (
    bare_loop(BARE_SPIKE, "spike", does_the_rule=False),
    bare_loop(BARE_RULE, "every-event", does_the_rule=True),
    EVERY_EVENT,
)
"""The contenders for the workload in which every event counts."""


def measure(
    broker: Broker, workload: Workload, partitions: int, contenders: Sequence[Contender], report: Report
) -> Iterator[Throughput]:
    """The contenders, in order, on a broker that is emptied for them."""
    broker.fresh(partitions)
    _prepare(broker, workload, [each for each in contenders if isinstance(each, BenchRules)], report)
    sample = max((each.limit or 0 for each in contenders if isinstance(each, SelfTimed)), default=0)
    fed, _ = feed(broker, workload, report, sample=min(sample, workload.events))
    for each in contenders:
        report(f"{each.name}, {workload.name}, {workload.distribution}")
        measured = _measure(broker, fed, each, report)
        report(in_words(measured))
        yield measured


def _prepare(broker: Broker, workload: Workload, ours: Sequence[BenchRules], report: Report) -> None:
    """Has the group of each set of rules apply the profiles, whatever rules are current."""
    if ours:
        broker.apply(ours[0].read())
        profiles = broker.load_profiles(workload)
        for rules in ours:
            ebbtide.prepare(broker, rules, profiles, report)


def _measure(broker: Broker, fed: FedEvents, contender: Contender, report: Report) -> Throughput:
    if isinstance(contender, BenchRules):
        broker.apply(contender.read())
        return ebbtide.measure(broker, fed, contender, report)
    if isinstance(contender, SelfTimed):
        return _inside(broker, fed, contender)
    return programs.measure(broker, fed, contender, report)


def in_words(result: Throughput) -> str:
    """A result as one line."""
    if result.events_per_s is None or result.cpu_us_per_event is None:
        return "  all was committed at once: too few events to measure"
    words = f"  {result.events_per_s:,.0f} events/s, {result.cpu_us_per_event:.1f} µs each, {result.peak_mib:,.0f} MiB"
    if result.warm_events_per_s is not None and result.warm_cpu_us_per_event is not None:
        words += f"; warm {result.warm_events_per_s:,.0f}, {result.warm_cpu_us_per_event:.1f} µs"
    threads = ", ".join(f"{name} {us:.1f}" for name, us in result.cpu_us_by_thread.items() if us >= LEAST_US)
    return f"{words}; {threads}" if threads else words


def _inside(broker: Broker, fed: FedEvents, contender: SelfTimed) -> Throughput:
    events = min(contender.limit or fed.workload.events, fed.workload.events)
    arguments = contender.arguments(broker, contender.group, events)
    with MeasuredProcess(contender.group, arguments, broker.placement.worker, broker.home / "logs") as child:
        result = child.answer(INSIDE_S)
    return Throughput(
        name=contender.name,
        measured="inside",
        **fed.described() | {"events": result["events"]},
        seconds=result["seconds"],
        events_per_s=result["events"] / result["seconds"],
        cpu_us_per_event=result["cpu_s"] / result["events"] * 1e6,
        peak_mib=result["peak_mib"],
    )
