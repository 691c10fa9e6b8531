"""The status of workers and their partitions as tables for people."""

from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console

from cli.columns import aligned
from cli.environment import STREAMS
from cli.operations import lane_tables
from cli.operations.worker_status import WorkerStatus
from infra.service.worker_registry import WorkerKind

MIB = 1024 * 1024


def show(console: Console, status: WorkerStatus, kind: WorkerKind) -> None:
    """Prints both tables, and the problems."""
    if status.workers:
        _print(console, _workers(status))
        console.print()
    if status.partitions:
        _print(console, _partitions(status, STREAM_COLUMNS if kind is STREAMS else SENDER_COLUMNS))
    if status.lanes is not None:
        _print(console, list(lane_tables.lines(status.lanes, status.queue)))
    if status.backlog is not None:
        _print(console, list(_backlog(status.backlog)))
    if status.switches:
        console.print()
    for switch in status.switches:
        what = "set" if switch.get("values") else "paused"
        console.print(f"{what}  {switch['text']}", markup=False, soft_wrap=True)
    for problem in status.problems:
        console.print(problem, markup=False, soft_wrap=True)


def _print(console: Console, lines: list[str]) -> None:
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _workers(status: WorkerStatus) -> list[str]:
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


def _backlog(backlog: dict[str, Any]) -> Iterator[str]:
    """What waits in the outbox, and how far readers are behind."""
    outbox = [(kind, _number(each["entries"]), _seconds(each["oldest_s"])) for kind, each in backlog["outbox"].items()]
    yield from aligned([("outbox", "entries", "oldest"), *outbox], right=(1, 2))
    yield ""
    readers = [(reader, _seconds(behind_s)) for reader, behind_s in backlog["behind_s"].items()]
    yield from aligned([("reader", "behind"), *readers], right=(1,))


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _mib(value: float) -> str:
    return f"{value / MIB:,.1f} MiB"


def _seconds(value: float) -> str:
    return f"{value:,.1f} s"


Column = tuple[str, str, Callable[[float], str], Callable[[list[float]], float] | None]
"""Its heading, the key on the page, its text, and what the last row shows of all partitions."""
STREAM_COLUMNS: tuple[Column, ...] = (
    ("lag", "lag", _number, sum),
    ("records/s", "rate", _number, sum),
    ("users", "entries", _number, sum),
    ("timers", "timers", _number, sum),
    ("state", "state_bytes", _mib, sum),
    ("behind", "clock_lag_s", _seconds, None),
)
SENDER_COLUMNS: tuple[Column, ...] = (
    ("lag", "lag", _number, sum),
    ("due", "due", _number, sum),
    ("oldest due", "oldest_due_age_s", _seconds, max),
    ("waiting", "waiting", _number, sum),
    ("outbox", "outbox", _number, sum),
    ("in doubt", "in_doubt", _number, sum),
    ("view behind", "view_age_s", _seconds, max),
)


def _partitions(status: WorkerStatus, columns: tuple[Column, ...]) -> list[str]:
    rows: list[tuple[str, ...]] = [("partition", "worker", *(heading for heading, *_ in columns))]
    for partition in status.partitions:
        cells = (_cell(partition, key, text) for _, key, text, _ in columns)
        rows.append((str(partition["partition"]), _text(partition["worker"]), *cells))
    rows.append(("all", "", *(_of_all(status, column) for column in columns)))
    return aligned(rows, right=range(2 + len(columns)))


def _cell(partition: dict[str, Any], key: str, text: Callable[[float], str]) -> str:
    value = partition.get(key)
    return "-" if value is None else text(value)


def _of_all(status: WorkerStatus, column: Column) -> str:
    _, key, text, combine = column
    values = [float(partition[key]) for partition in status.partitions if partition.get(key) is not None]
    if combine is None:
        return ""
    return text(combine(values)) if values else text(0)


def duration(seconds: float) -> str:
    """Seconds as people read them, such as 2h05m."""
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{left:02}s" if minutes else f"{left}s"
