"""`ebbtide streams status` and `restart`: the workers and partitions of one instance, as they are now."""

import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console

from cli.columns import aligned
from cli.environment import Environment
from infra.kafka.client import KafkaAway
from infra.kafka.progress import Progress
from infra.service.processes import Process
from infra.service.stream_workers import NoSupervisor, Records, Roll, Supervision, ask
from streams.decisions.partitioning import INPUTS
from streams.settings import StreamSettings

LOOK_S = 0.2
YOUNG_S = 20.0
"""How long a worker's page may be silent before that is worth a word: it comes with the first answer of the broker."""
MIB = 1024 * 1024
NO_WORKER = "no stream worker runs: `ebbtide run streams` starts one"


@dataclass(slots=True)
class Status:
    """What was found. Workers and partitions are as their `/status` pages have them."""

    supervisor: int | None
    workers: list[dict[str, Any]] = field(default_factory=list)
    partitions: list[dict[str, Any]] = field(default_factory=list)
    problem: str | None = None

    @property
    def all_run(self) -> bool:
        """Whether there are workers, and all that should run do."""
        return bool(self.workers) and all(worker["state"] not in ("stopped", "silent") for worker in self.workers)


def look(environment: Environment) -> Status:
    """Asks the workers, and the broker for the partitions that none of them has."""
    records = Records(environment.data_dir)
    supervision, processes = records.supervision(), records.workers()
    ports = (supervision.ports if supervision else {}) | {slot: p.port for slot, p in processes.items()}
    found = Status(supervision.process.pid if supervision else None)
    for slot, port in sorted(ports.items()):
        worker = _ask_worker(slot, port, processes.get(slot))
        found.partitions += [{**partition, "worker": slot} for partition in worker.pop("partitions", ())]
        found.workers.append(worker)
    _ask_broker(environment, found)
    return found


def _ask_worker(slot: int, port: int, process: Process | None) -> dict[str, Any]:
    if process is None:
        return {"slot": slot, "pid": None, "state": "stopped", "reason": "its supervisor starts it again"}
    answer = ask(port, "/status")
    if answer is not None and answer[1].get("pid") == process.pid:
        return dict(answer[1])
    young = time.time() - process.started_at() < YOUNG_S
    state, reason = "starting" if young else "silent", f"its page on port {port} does not answer"
    return {"slot": slot, "pid": process.pid, "state": state, "reason": reason}


def _ask_broker(environment: Environment, found: Status) -> None:
    """Adds the partitions that no worker has, with their lag as the group's committed offsets leave it."""
    topics = [topic.name for topic in INPUTS]
    owned = {partition["partition"] for partition in found.partitions}
    try:
        with Progress(environment.kafka) as progress:
            numbers = set().union(*(progress.ends(topic).high for topic in topics))
            lags = progress.lags(StreamSettings().streams_group, topics) if numbers - owned else {}
    except KafkaAway as away:
        found.problem = str(away)
        return
    for number in sorted(numbers - owned):
        lag = sum(lags.get((topic, number), 0) for topic in topics)
        found.partitions.append({"partition": number, "worker": None, "lag": lag})
    found.partitions.sort(key=lambda partition: int(partition["partition"]))
    if not found.workers:
        found.problem = f"{NO_WORKER}; lags are those of the committed offsets"


def as_json(status: Status) -> dict[str, Any]:
    """For programs."""
    return asdict(status) | {"all_run": status.all_run}


def show(console: Console, status: Status) -> None:
    """For people."""
    if status.workers:
        _print(console, _workers(status))
        console.print()
    if status.partitions:
        _print(console, _partitions(status))
    if status.problem:
        console.print(status.problem, soft_wrap=True)


def _print(console: Console, lines: list[str]) -> None:
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _workers(status: Status) -> list[str]:
    rows = [("worker", "pid", "state", "up", "memory", "restarts", "partitions", "")]
    for worker in status.workers:
        held = sum(1 for partition in status.partitions if partition["worker"] == worker["slot"])
        up_s, memory = worker.get("uptime_s"), worker.get("memory_bytes")
        rows.append(
            (
                str(worker["slot"]),
                _text(worker["pid"]),
                worker["state"],
                _text(up_s and duration(up_s)),
                _text(memory and f"{memory / MIB:,.0f} MiB"),
                _text(worker.get("restarts")),
                str(held),
                worker.get("reason") or "",
            )
        )
    return aligned(rows, right=(0, 1, 3, 4, 5, 6))


def _partitions(status: Status) -> list[str]:
    rows = [("partition", "worker", "lag", "records/s", "users", "timers", "state", "behind")]
    for partition in status.partitions:
        size, clock_lag_s = partition.get("state_bytes"), partition.get("clock_lag_s")
        rows.append(
            (
                str(partition["partition"]),
                _text(partition["worker"]),
                _number(partition["lag"]),
                _number(partition.get("rate")),
                _number(partition.get("entries")),
                _number(partition.get("timers")),
                "-" if size is None else f"{size / MIB:,.1f} MiB",
                "-" if clock_lag_s is None else f"{clock_lag_s:,.1f} s",
            )
        )
    lag, rate, entries, timers = (
        _number(sum(p.get(name) or 0 for p in status.partitions)) for name in ("lag", "rate", "entries", "timers")
    )
    size = sum(p.get("state_bytes") or 0 for p in status.partitions)
    rows.append(("all", "", lag, rate, entries, timers, f"{size / MIB:,.1f} MiB", ""))
    return aligned(rows, right=range(8))


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Seconds as people read them, such as 2h05m."""
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{left:02}s" if minutes else f"{left}s"


def restart(environment: Environment) -> Iterator[Roll]:
    """Has the supervisor restart its workers one after the other; gives each step, the last one `done` or `failed`.

    Raises NoSupervisor where none runs, or it ended meanwhile.
    """
    records = Records(environment.data_dir)
    found = _supervision(records, environment.instance)
    said, wanted = found.roll, found.roll.number
    if said.state != "running":  # else the one that runs is followed
        wanted += 1
        found.process.signal(signal.SIGHUP)
    while said.number < wanted or said.state == "running":
        roll = _supervision(records, environment.instance).roll
        if roll != said and roll.number == wanted:
            yield roll
        said = roll
        time.sleep(LOOK_S)


def _supervision(records: Records, instance: str) -> Supervision:
    found = records.supervision()
    if found is None:
        raise NoSupervisor(
            f"no supervisor of stream workers runs for instance {instance}: `ebbtide run streams --workers N` is one"
        )
    return found
