"""Ebbtide as it is measured: the worker of `ebbtide run streams`, with state for every user before the clock starts."""

from collections.abc import Mapping, Sequence

from perf.broker import Broker, Ends, Report
from perf.commit_progress import MeasuredWindow
from perf.feed import FedEvents, feed
from perf.results import Throughput
from perf.rulesets import EVERY_EVENT, ONE, BenchRules
from perf.watch import CommitWatch, MeasuredProcess
from perf.workloads import Workload
from schemas.topics import COMMANDS, DEAD_LETTERS, DECISIONS, EVENTS, PROFILES

COUNTED_BY_HAND = (ONE, EVERY_EVENT)
"""The rules whose commands are also counted without Ebbtide."""


def worker(
    broker: Broker, rules: BenchRules, slot: int = 0, *, profiled: bool = False, unpinned: bool = False
) -> MeasuredProcess:
    """Starts a worker of the group of these rules."""
    group = rules.group
    variables = {
        "EBBTIDE_KAFKA": broker.kafka,
        "EBBTIDE_STREAMS_GROUP": group,
        "EBBTIDE_WEB_PORT": str(broker.ports.web),
        "EBBTIDE_DATA_DIR": str(broker.faust / group),
    }
    command: Sequence[str] = ("cli.main", "run", "streams", "--slot", str(slot))
    if profiled:
        command = ("perf.profiled_worker", str(slot))
    cores = None if unpinned else broker.placement.worker
    return MeasuredProcess(f"{group}-{slot}", command, cores, broker.home / "logs", variables)


def prepare(broker: Broker, rules: BenchRules, profiles: Ends, report: Report) -> None:
    """Lets the group apply all profiles, then stops it, so that events are decided for known users."""
    _catch_up(broker, rules, PROFILES.name, profiles, lambda text: report(f"profiles: {text}"))


def _catch_up(broker: Broker, rules: BenchRules, topic: str, ends: Ends, report: Report) -> None:
    with worker(broker, rules) as child, CommitWatch(broker.kafka, rules.group, topic, ends) as watch:
        watch.until_done([child], report)


class OutputTopics:
    """The records that Ebbtide writes from now on."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        topics = (COMMANDS.name, DECISIONS.name, DEAD_LETTERS.name)
        self._starts: Mapping[str, Ends] = {topic: broker.ends(topic) for topic in topics}

    def result(
        self, name: str, fed: FedEvents, window: MeasuredWindow, rules: BenchRules, workers: int = 1
    ) -> Throughput:
        """The result, with what was written and the errors in it."""
        commands, decisions, letters = (self._values(topic) for topic in self._starts)
        expected = fed.sends if rules in COUNTED_BY_HAND else None
        problems = []
        if len(set(commands)) < len(commands):
            problems.append(f"{len(commands) - len(set(commands))} commands were written twice")
        if expected is not None and len(commands) != expected:
            problems.append(f"{len(commands)} commands instead of {expected}")
        if len(decisions) < max(1, len(commands)):
            problems.append(f"{len(decisions)} decisions for {len(commands)} commands")
        if letters:
            problems.append(f"{len(letters)} dead letters")
        return Throughput(
            name=name,
            measured="outside",
            **fed.described(),
            rules=rules.count,
            workers=workers,
            **window.measured(),
            commands=len(commands),
            commands_expected=expected,
            decisions=len(decisions),
            problems=problems,
        )

    def _values(self, topic: str) -> list[bytes | None]:
        return [message.value() for message in self._broker.since(topic, self._starts[topic])]


def measure(broker: Broker, fed: FedEvents, rules: BenchRules, report: Report, *, profiled: bool = False) -> Throughput:
    """Measures one worker from its first commit to its last, after the profiles and rules were applied."""
    output = OutputTopics(broker)
    with (
        worker(broker, rules, profiled=profiled) as child,
        CommitWatch(broker.kafka, rules.group, EVENTS.name, fed.ends) as watch,
    ):
        window = watch.until_done([child], report)
    if profiled:
        report("profile: " + child.log.read_text(errors="replace").partition("profile: ")[2])
    return output.result(rules.name, fed, window, rules)


def measure_alone(
    broker: Broker,
    workload: Workload,
    partitions: int,
    rules: BenchRules,
    report: Report,
    *,
    profiled: bool = False,
    history: Workload | None = None,
) -> Throughput:
    """The same on an emptied broker. `history` makes the users' states grow before the clock starts."""
    broker.fresh(partitions)
    broker.apply(rules.read())
    prepare(broker, rules, broker.load_profiles(workload), report)
    if history is not None:
        before, _ = feed(broker, history, report)
        _catch_up(broker, rules, EVENTS.name, before.ends, lambda text: report(f"history: {text}"))
    fed, _ = feed(broker, workload, report)
    return measure(broker, fed, rules, report, profiled=profiled)
