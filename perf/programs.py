"""Other programs than Ebbtide that commit to a consumer group and write commands, each to its own topics."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from perf.broker import Broker, Report
from perf.feed import FedEvents
from perf.results import Throughput
from perf.watch import PYTHON_MODULE, CommitWatch, MeasuredProcess, MeasurementFailed
from schemas.topics import COMMANDS, DECISIONS, EVENTS, JOURNAL, PROFILES, Topic

BARE_SPIKE, BARE_RULE, RUNTIME = "bare loop, spike job", "bare loop, rule job", "runtime, spike job"
KAFKA_STREAMS, FLINK = "Kafka Streams", "Flink"
COMMIT_S = 30.0


class CommandLine(Protocol):
    """Makes a program's arguments."""

    def __call__(self, broker: Broker, group: str, events: int) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Program:
    """A program that reads the events as the group `group`. Its topics are called after the group."""

    name: str
    group: str
    arguments: CommandLine
    outputs: Mapping[str, Topic]
    """What it writes, by the end of the topic's name, with the topic whose settings it takes."""
    does_the_rule: bool = False
    """Whether it does the work of the rule, so that the number of its commands is known."""
    program: Sequence[str] = PYTHON_MODULE
    late_last_commit: bool = False
    """Whether its last commit comes long after its last event."""


def bare_loop(name: str, job: str, *, does_the_rule: bool) -> Program:
    """The bare loop with one of its jobs."""

    def arguments(broker: Broker, group: str, events: int) -> Sequence[str]:
        return ("perf.bare_loop", broker.kafka, group, EVENTS.name, job, str(events))

    outputs = {"changelog": PROFILES, "commands": COMMANDS, "decisions": DECISIONS}
    return Program(name, f"perf-bare-{job}", arguments, outputs, does_the_rule)


def _runtime(broker: Broker, group: str, events: int) -> Sequence[str]:  # noqa: ARG001 - it ends with a signal
    return ("perf.runtime_loop", broker.kafka, group, EVENTS.name, str(broker.partitions), str(broker.faust / group))


RUNTIME_LOOP = Program(RUNTIME, "perf-runtime", _runtime, {"commands": COMMANDS, "journal": JOURNAL})


def measure(broker: Broker, fed: FedEvents, what: Program, report: Report) -> Throughput:
    """Runs the program over all events, from its first commit to its last, and counts its commands."""
    for suffix, like in what.outputs.items():
        broker.topic(f"{what.group}-{suffix}", like)
    arguments = what.arguments(broker, what.group, fed.workload.events)
    logs = broker.home / "logs"
    commands_topic = f"{what.group}-commands"
    with (
        MeasuredProcess(what.group, arguments, broker.placement.worker, logs, program=what.program) as child,
        CommitWatch(broker.kafka, what.group, EVENTS.name, fed.ends) as watch,
    ):
        window = watch.until_done([child], report, late_last_commit=what.late_last_commit)
        _wait_until_committed(broker, commands_topic)
    commands = len(broker.since(commands_topic, dict.fromkeys(fed.ends, 0)))
    expected = fed.sends if what.does_the_rule else None
    return Throughput(
        name=what.name,
        measured="outside",
        **fed.described(),
        **window.measured(),
        commands=commands,
        commands_expected=expected,
        problems=[f"{commands} commands instead of {expected}"] if expected not in (None, commands) else [],
    )


def _wait_until_committed(broker: Broker, topic: str) -> None:
    """Flink commits its offsets first and its output then."""
    end = time.monotonic() + COMMIT_S
    while not broker.is_all_committed(topic):
        if time.monotonic() > end:
            raise MeasurementFailed(f"a transaction on {topic} is still open after {COMMIT_S:g} s")
        time.sleep(0.1)
