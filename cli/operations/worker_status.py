"""`ebbtide KIND status` and `restart`: the workers and partitions of one instance, as they are now."""

import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from cli.environment import PUBLICATION, SENDERS, STREAMS, Environment
from cli.operations import lane_status
from cli.operations.queue_ages import QueueNotCounted, SpacedCount
from infra.kafka.client import KafkaAway
from infra.kafka.progress import Progress
from infra.service.page_client import read_page
from infra.service.pages import OK
from infra.service.processes import Process
from infra.service.worker_registry import RollingRestart, WorkerKind

POLL_S = 0.2
YOUNG_S = 20.0
"""How long a new worker's pages may be silent before that counts: they come with the first answer of the broker."""


@dataclass(slots=True)
class WorkerStatus:
    """What was found. Workers and partitions are as their `/status` pages have them."""

    supervisor: int | None
    workers: list[dict[str, Any]] = field(default_factory=list)
    partitions: list[dict[str, Any]] = field(default_factory=list)
    switches: list[dict[str, Any]] = field(default_factory=list)
    """Of delivery: what people hold or set, since when, who, why and until when."""
    lanes: dict[str, Any] | None = None
    """Of delivery: what waits on lanes, what binds each, blocks, sources and problems."""
    queue: dict[str, Any] | None = None
    """Of delivery: commands by how long they are due, and by what they wait for."""
    backlog: dict[str, Any] | None = None
    """Of profile workers: what waits to be published, and how far the readers are behind, as the first one knows it."""
    problems: list[str] = field(default_factory=list)

    @property
    def all_run(self) -> bool:
        """Whether there are workers, and all that should run do."""
        return bool(self.workers) and all(worker["state"] not in ("stopped", "silent") for worker in self.workers)


def look(environment: Environment, kind: WorkerKind, count: SpacedCount | None = None) -> WorkerStatus:
    """Asks the workers, and the broker for the partitions that none of them has.

    `count` is what counts the queue of delivery, for somebody who looks again.
    """
    registry = environment.registry(kind)
    supervision, processes = registry.supervision(), registry.workers()
    ports = (supervision.ports if supervision else {}) | {slot: p.port for slot, p in processes.items()}
    found = WorkerStatus(supervision.process.pid if supervision else None)
    reports = []
    for slot, port in sorted(ports.items()):
        worker = _ask_worker(slot, port, processes.get(slot))
        found.partitions += [{**partition, "worker": slot} for partition in worker.pop("partitions", ())]
        if kind is PUBLICATION and "outbox" in worker:
            backlog = {part: worker.pop(part) for part in ("outbox", "behind_s")}
            found.backlog = found.backlog or backlog
        if "lanes" in worker:
            reports.append({part: worker.pop(part) for part in lane_status.PARTS})
        found.workers.append(worker)
    if kind is SENDERS:
        found.lanes = lane_status.merged(reports)
        _count_queue(environment, found, count or SpacedCount())
    by_partition = kind in (STREAMS, SENDERS)
    if by_partition:
        _ask_broker(environment, kind, found)
    if not found.workers:
        lags = "; lags are those of the committed offsets" if by_partition else ""
        found.problems.append(f"no {kind.title} runs: `ebbtide run {kind.name}` starts one{lags}")
    return found


def _count_queue(environment: Environment, found: WorkerStatus, count: SpacedCount) -> None:
    is_apart = environment.ledger_url != environment.database_url
    try:
        found.queue = count(environment.ledger_url, "the ledger's database" if is_apart else "TimescaleDB")
    except QueueNotCounted as problem:
        found.problems.append(problem.line)


def _ask_worker(slot: int, port: int, process: Process | None) -> dict[str, Any]:
    if process is None:
        return {"slot": slot, "pid": None, "state": "stopped", "reason": "its supervisor starts it again"}
    answer = read_page(port, "/status")
    if answer is not None and answer[1].get("pid") == process.pid:
        return dict(answer[1])
    young = time.time() - process.started_at() < YOUNG_S
    state, reason = "starting" if young else "silent", f"its page on port {port} does not answer"
    return {"slot": slot, "pid": process.pid, "state": state, "reason": reason}


def find(environment: Environment, kind: WorkerKind, id_: str) -> dict[str, Any] | None:
    """What the workers of this machine know of the thing with this id; None if none of them has it."""
    for process in environment.registry(kind).workers().values():
        answer = read_page(process.port, f"/find/{quote(id_, safe='')}")
        if answer is not None and answer[0] == OK:
            return dict(answer[1])
    return None


def _ask_broker(environment: Environment, kind: WorkerKind, found: WorkerStatus) -> None:
    """Adds the partitions that no worker has, with their lag by the group's committed offsets."""
    group, topics = _inputs(environment, kind)
    owned = {partition["partition"] for partition in found.partitions}
    try:
        with Progress(environment.kafka) as progress:
            numbers = set().union(*(progress.ends(topic).high for topic in topics))
            lags = progress.lags(group, topics) if numbers - owned else {}
    except KafkaAway as away:
        found.problems.append(str(away))
        return
    if kind is SENDERS:
        found.switches = _switches(environment)
    for number in sorted(numbers - owned):
        lag = sum(lags.get((topic, number), 0) for topic in topics)
        found.partitions.append({"partition": number, "worker": None, "lag": lag})
    found.partitions.sort(key=lambda partition: int(partition["partition"]))


def _switches(environment: Environment) -> list[dict[str, Any]]:
    from cli.operations import control

    now = datetime.now(UTC)
    found = [each for each in control.switches(environment.kafka) if each.paused or each.values]
    return [
        each.model_dump(mode="json", exclude_defaults=True) | {"text": control.switch_line(each)}
        for each in found
        if each.in_force(now)
    ]


def _inputs(environment: Environment, kind: WorkerKind) -> tuple[str, list[str]]:
    """The consumer group of the workers, and the topics that it reads."""
    if kind is STREAMS:
        from streams.decisions.partitioning import INPUTS
        from streams.settings import StreamSettings

        return environment.settings(StreamSettings).streams_group, [topic.name for topic in INPUTS]
    from senders.queue.intake import CommandIntake

    return CommandIntake.group, list(CommandIntake.topics)


def as_json(status: WorkerStatus) -> dict[str, Any]:
    """For programs. What only other kinds of workers have is left out."""
    found = asdict(status) | {"all_run": status.all_run}
    absent = {"backlog"} if status.backlog is None else set()
    absent |= {"lanes", "queue"} if status.lanes is None else set()
    return {key: found[key] for key in found if key not in absent}


def restart(environment: Environment, kind: WorkerKind) -> Iterator[RollingRestart]:
    """Makes the supervisor restart its workers one after the other; yields each step, the last one `done` or `failed`.

    Raises NoSupervisor if none runs, or if it ended meanwhile.
    """
    registry = environment.registry(kind)
    found = registry.require_supervision()
    last, wanted = found.restart, found.restart.number
    if last.state != "running":  # otherwise this follows the one that runs
        wanted += 1
        found.process.signal(signal.SIGHUP)
    while last.number < wanted or last.state == "running":
        step = registry.require_supervision().restart
        if step != last and step.number == wanted:
            yield step
        last = step
        time.sleep(POLL_S)
