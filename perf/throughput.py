"""Throughput: one contender after the other over the same events, each cold, from its first commit to its last.

Everybody is watched in one way: a reader outside asks the broker every 20 ms how far the group has committed, and
takes the process's CPU time with the first progress it sees and with the last. That leaves out start, joining and
recovery alike. Two cannot be seen so and time themselves, from the first record to the last: the consume limit, which
commits nothing, and Faust as shipped, which commits every 2.8 s, too coarse for the few events that it can do.
"""

from collections.abc import Callable, Collection, Iterator

from perf import ebbtide
from perf.broker import Broker, Report
from perf.feeding import SAMPLE, Fed, feed
from perf.results import Throughput
from perf.rulesets import rules
from perf.watching import Child, CommitWatch
from perf.workloads import Workload
from schemas.topics import COMMANDS, DECISIONS, EVENTS, JOURNAL, PROFILES, Topic

CONSUME, BARE_SPIKE, BARE_RULE, RUNTIME = (
    "consume limit",
    "bare loop, spike job",
    "bare loop, rule job",
    "runtime, spike job",
)
ONE, TWENTY, FAUST = ebbtide.NAMES[1], ebbtide.NAMES[20], "Faust as shipped"
CONTENDERS = (CONSUME, BARE_SPIKE, BARE_RULE, RUNTIME, ONE, TWENTY, FAUST)
OURS = {ONE: 1, TWENTY: 20}
FAUST_EVENTS = 30_000
"""What Faust does in about ten seconds."""
INSIDE_S = 300.0
"""How long a program that times itself may take."""


def measure(
    broker: Broker, workload: Workload, partitions: int, names: Collection[str], report: Report
) -> Iterator[Throughput]:
    """The named contenders, in order, on a broker that is emptied for them."""
    broker.fresh(partitions)
    ours = [count for name, count in OURS.items() if name in names]
    if ours:
        broker.apply(rules(1))
        profiles = broker.load_profiles(workload)
        for count in ours:
            ebbtide.prepare(broker, count, profiles, report)
    fed, _ = feed(broker, workload, report, sample=min(FAUST_EVENTS, workload.events) if FAUST in names else 0)
    for name in CONTENDERS:
        if name in names:
            report(f"{name}, {workload.distribution}")
            measured = _MEASURES[name](broker, fed, report)
            report(in_words(measured))
            yield measured


def in_words(result: Throughput) -> str:
    """A result as one line."""
    if result.events_per_s is None or result.cpu_us_per_event is None:
        return "  all was committed at once: too few events to measure"
    return f"  {result.events_per_s:,.0f} events/s, {result.cpu_us_per_event:.1f} µs each, {result.peak_mib:,.0f} MiB"


def _consume(broker: Broker, fed: Fed, _: Report) -> Throughput:
    arguments = (broker.kafka, "perf-consume", EVENTS.name, str(fed.workload.events))
    return _inside(broker, fed, CONSUME, ("perf.consume_limit", *arguments))


def _faust(broker: Broker, fed: Fed, _: Report) -> Throughput:
    events = min(FAUST_EVENTS, fed.workload.events)
    folder = str(broker.faust / "stock")
    arguments = (broker.kafka, "perf-faust", SAMPLE, str(broker.partitions), str(events), folder)
    return _inside(broker, fed, FAUST, ("perf.stock_faust", *arguments))


def _inside(broker: Broker, fed: Fed, name: str, module: tuple[str, ...]) -> Throughput:
    """A program that times itself."""
    with Child(module[0].rpartition(".")[2], module, broker.placing.worker, broker.home / "logs") as child:
        said = child.answer(INSIDE_S)
    return Throughput(
        name=name,
        measured="inside",
        **fed.described() | {"events": said["events"]},
        seconds=said["seconds"],
        events_per_s=said["events"] / said["seconds"],
        cpu_us_per_event=said["cpu_s"] / said["events"] * 1e6,
        peak_mib=said["peak_mib"],
    )


def _bare(name: str, job: str) -> Callable[[Broker, Fed, Report], Throughput]:
    def measure_bare(broker: Broker, fed: Fed, report: Report) -> Throughput:
        group = f"perf-bare-{job}"
        arguments = (broker.kafka, group, EVENTS.name, job, str(fed.workload.events))
        outputs = {"changelog": PROFILES, "commands": COMMANDS, "decisions": DECISIONS}
        expected = fed.sends if job == "rule" else None
        return _watched(broker, fed, name, group, ("perf.bare_loop", *arguments), outputs, expected, report)

    return measure_bare


def _runtime(broker: Broker, fed: Fed, report: Report) -> Throughput:
    group = "perf-runtime"
    arguments = (broker.kafka, group, EVENTS.name, str(broker.partitions), str(broker.faust / group))
    outputs = {"commands": COMMANDS, "journal": JOURNAL}
    return _watched(broker, fed, RUNTIME, group, ("perf.runtime_loop", *arguments), outputs, None, report)


def _watched(
    broker: Broker,
    fed: Fed,
    name: str,
    group: str,
    module: tuple[str, ...],
    outputs: dict[str, Topic],
    expected: int | None,
    report: Report,
) -> Throughput:
    """A program that commits as Ebbtide does, to topics of its own."""
    for suffix, like in outputs.items():
        broker.topic(f"{group}-{suffix}", like)
    with (
        Child(group, module, broker.placing.worker, broker.home / "logs") as child,
        CommitWatch(broker.kafka, group, EVENTS.name, fed.ends) as watch,
    ):
        window = watch.until_done([child], report)
    commands = len(broker.since(f"{group}-commands", dict.fromkeys(fed.ends, 0)))
    return Throughput(
        name=name,
        measured="outside",
        **fed.described(),
        seconds=window.seconds,
        events_per_s=window.per_s,
        cpu_us_per_event=window.cpu_us,
        peak_mib=window.peak_mib,
        commands=commands,
        commands_expected=expected,
        problems=[f"{commands} commands instead of {expected}"] if expected not in (None, commands) else [],
    )


def _ours(count: int) -> Callable[[Broker, Fed, Report], Throughput]:
    def measure_ours(broker: Broker, fed: Fed, report: Report) -> Throughput:
        if count > 1:
            broker.apply(rules(count))
        return ebbtide.measure(broker, fed, count, report)

    return measure_ours


_MEASURES = {
    CONSUME: _consume,
    BARE_SPIKE: _bare(BARE_SPIKE, "spike"),
    BARE_RULE: _bare(BARE_RULE, "rule"),
    RUNTIME: _runtime,
    ONE: _ours(1),
    TWENTY: _ours(20),
    FAUST: _faust,
}
