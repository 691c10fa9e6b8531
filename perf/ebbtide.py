"""Ebbtide as it is measured: the worker that `ebbtide run streams` runs, with state for every user before the clock."""

from collections.abc import Mapping, Sequence

from perf.broker import Broker, Ends, Report
from perf.feeding import Fed, feed
from perf.results import Throughput
from perf.rulesets import rules
from perf.watching import Child, CommitWatch, MeasuredWindow
from perf.workloads import Workload
from schemas.topics import COMMANDS, DEAD_LETTERS, DECISIONS, EVENTS, PROFILES

NAMES = {1: "one rule", 20: "twenty rules", 100: "a hundred rules"}


def group_of(count: int) -> str:
    """The group that decides by a set of `count` rules."""
    return f"perf-{count}-rules"


def worker(broker: Broker, count: int, slot: int = 0, *, profiled: bool = False, unpinned: bool = False) -> Child:
    """Starts a worker of the group for `count` rules."""
    group = group_of(count)
    variables = {
        "EBBTIDE_KAFKA": broker.kafka,
        "EBBTIDE_STREAMS_GROUP": group,
        "EBBTIDE_WEB_PORT": str(broker.ports.web),
        "EBBTIDE_DATA_DIR": str(broker.faust / group),
    }
    command: Sequence[str] = ("cli.main", "run", "streams", "--slot", str(slot))
    if profiled:
        command = ("perf.profiled_worker", str(slot))
    cores = None if unpinned else broker.placing.worker
    return Child(f"{group}-{slot}", command, cores, broker.home / "logs", variables)


def prepare(broker: Broker, count: int, profiles: Ends, report: Report) -> None:
    """Has the group apply all profiles, and stops it: its events are then decided for users who are known."""
    with worker(broker, count) as child, CommitWatch(broker.kafka, group_of(count), PROFILES.name, profiles) as watch:
        watch.until_done([child], lambda text: report(f"profiles: {text}"))


class OutputTopics:
    """What Ebbtide writes from now on."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        topics = (COMMANDS.name, DECISIONS.name, DEAD_LETTERS.name)
        self._starts: Mapping[str, Ends] = {topic: broker.ends(topic) for topic in topics}

    def result(self, name: str, fed: Fed, window: MeasuredWindow, count: int, workers: int = 1) -> Throughput:
        """The result, with what it wrote and what is wrong with that."""
        commands, decisions, letters = (self._values(topic) for topic in self._starts)
        expected = fed.sends if count == 1 else None
        problems = []
        if len(set(commands)) < len(commands):
            problems.append(f"{len(commands) - len(set(commands))} commands are there twice")
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
            rules=count,
            workers=workers,
            seconds=window.seconds,
            events_per_s=window.per_s,
            cpu_us_per_event=window.cpu_us,
            peak_mib=window.peak_mib,
            commands=len(commands),
            commands_expected=expected,
            decisions=len(decisions),
            problems=problems,
        )

    def _values(self, topic: str) -> list[bytes | None]:
        return [message.value() for message in self._broker.since(topic, self._starts[topic])]


def measure(broker: Broker, fed: Fed, count: int, report: Report, *, profiled: bool = False) -> Throughput:
    """One worker, from its first commit to its last. Its group has applied the profiles; its rules are current."""
    output = OutputTopics(broker)
    with (
        worker(broker, count, profiled=profiled) as child,
        CommitWatch(broker.kafka, group_of(count), EVENTS.name, fed.ends) as watch,
    ):
        window = watch.until_done([child], report)
    if profiled:
        report("profile: " + child.log.read_text(errors="replace").partition("profile: ")[2])
    return output.result(NAMES[count], fed, window, count)


def measure_alone(
    broker: Broker, workload: Workload, partitions: int, count: int, report: Report, *, profiled: bool = False
) -> Throughput:
    """The same on a broker that is emptied for it."""
    broker.fresh(partitions)
    broker.apply(rules(count))
    prepare(broker, count, broker.load_profiles(workload), report)
    fed, _ = feed(broker, workload, report)
    return measure(broker, fed, count, report, profiled=profiled)
