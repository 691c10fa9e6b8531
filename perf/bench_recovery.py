"""Measures how long a worker's recovery takes and how much memory: from the changelog only, and from snapshots.

Writes a changelog of --users states through a transactional producer, then starts a real worker of the runtime on it
twice: first with an empty folder, and then with the snapshots that the first worker wrote before it was killed. The
time is from the first request to the broker until all partitions are loaded. Appends to perf/results/recovery.jsonl.

examples:
  python perf/bench_recovery.py                        one million users on a broker of its own
  python perf/bench_recovery.py --users 100000 --json  quicker; the result as JSON on standard output
  python perf/bench_recovery.py --kafka 127.0.0.1:9092 on a running broker
"""

import argparse
import asyncio
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faust
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # not in its __all__
from mode import Service

from infra.kafka.connection import Connection
from infra.local.kafka.server import KafkaServer
from infra.local.layout import Layout
from infra.local.ports import Ports
from infra.service.logs import configure_logging
from streams.faust.runtime import Runtime
from streams.faust.settings import RuntimeSettings
from streams.runtime.checkpoint import OffsetMetadata

RESULTS = Path(__file__).parent / "results" / "recovery.jsonl"
PORTS_ABOVE = 200
"""How far its broker's ports are above those of this checkout."""
WITHIN_S = 600.0
PACKAGES = ("confluent-kafka", "faust-streaming")


def main() -> None:
    """Runs the measurement, or one of its workers."""
    options = _options()
    if options.worker is not None:
        work(json.loads(options.worker))
        return
    with tempfile.TemporaryDirectory() as folder, _broker(options.kafka, Path(folder)) as kafka:
        result = measure(kafka, Path(folder), options)
    with RESULTS.open("a") as file:
        file.write(json.dumps(result) + "\n")
    print(json.dumps(result) if options.json else table(result))  # noqa: T201 - the result of a program


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000, help="how many users there are (default: 1,000,000)")
    parser.add_argument("--partitions", type=int, default=16, help="of the table (default: 16)")
    parser.add_argument(
        "--updates", type=float, default=1.5, help="changelog records a user, on average (default: 1.5)"
    )
    parser.add_argument("--kafka", help="a broker to use; by default one is started, and removed afterwards")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


@contextmanager
def _broker(kafka: str | None, folder: Path) -> Iterator[str]:
    if kafka is not None:
        yield kafka
        return
    own = KafkaServer(
        Layout.of_project().in_own_partition(folder / "broker"), Ports(Ports.from_env().base + PORTS_ABOVE)
    )
    own.start()
    try:
        yield f"127.0.0.1:{own.port}"
    finally:
        own.stop()


def measure(kafka: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Writes the changelog, then recovers from it and from snapshots."""
    settings = {
        "kafka": kafka,
        "name": f"bench-{uuid.uuid4().hex[:8]}",
        "partitions": options.partitions,
        "users": options.users,
        "data": str(folder / "data"),
    }
    began, load = time.monotonic(), os.getloadavg()[0]
    changelog = fill(settings, int(options.users * options.updates))
    filled_s = time.monotonic() - began
    from_changelog = run_worker(settings, folder, "changelog")
    from_snapshot = run_worker(settings, folder, "snapshot")
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpus": os.cpu_count(),
            "model": _cpu(),
            "memory_mb": _memory_mb(),
            "system": platform.platform(),
            "load": round(load, 1),
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "settings": {"users": options.users, "partitions": options.partitions, "updates": options.updates},
        "changelog": {**changelog, "written_in_s": round(filled_s, 1)},
        "from_changelog": from_changelog,
        "from_snapshot": from_snapshot,
    }


def fill(settings: Mapping[str, Any], records: int) -> dict[str, Any]:
    """Writes each user once, then random users again, in transactions of 50,000 records, with states of 200 to 300
    bytes.

    Commits the group's offsets with them, because a worker refuses state without offsets.
    """
    chance = random.Random(1)
    users, partitions = settings["users"], settings["partitions"]
    changelog, inputs = f"{settings['name']}-users-changelog", f"{settings['name']}-events"
    admin = AdminClient({"bootstrap.servers": settings["kafka"]})
    wanted = [
        NewTopic(changelog, partitions, 1, config={"cleanup.policy": "compact"}),
        NewTopic(inputs, partitions, 1, config={"message.timestamp.type": "LogAppendTime"}),
    ]
    for made in admin.create_topics(wanted).values():
        made.result(30)
    producer = Producer(
        {
            "bootstrap.servers": settings["kafka"],
            "transactional.id": f"{settings['name']}-fill",
            "compression.type": "lz4",
            "linger.ms": 20,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    producer.init_transactions(60)
    size = 0
    for first in range(0, records, 50_000):
        producer.begin_transaction()
        for number in range(first, min(first + 50_000, records)):
            user = number if number < users else chance.randrange(users)
            state = chance.randbytes(chance.randrange(100, 151)).hex().encode()
            size += len(state)
            producer.produce(changelog, state, b"user-%08d" % user, partition=user % partitions)
        if first == 0:
            group = Consumer({"bootstrap.servers": settings["kafka"], "group.id": settings["name"]})
            offsets = [TopicPartition(inputs, partition, 0) for partition in range(partitions)]
            producer.send_offsets_to_transaction(offsets, group.consumer_group_metadata())
            group.close()
        producer.commit_transaction(60)
    return {"records": records, "mean_bytes": round(size / records)}


def run_worker(settings: Mapping[str, Any], folder: Path, kind: str) -> dict[str, Any]:
    """Starts a worker, reads its results after recovery and after its snapshots are written, and kills it."""
    log_file = folder / f"{kind}.log"
    with log_file.open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, __file__, "--worker", json.dumps(settings)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    assert worker.stdout is not None
    try:
        line = worker.stdout.readline()
        found: dict[str, Any] = json.loads(line[line.find(b"{") :])  # Faust writes to the terminal before
        recovered = _line(log_file, "recovered")
        found |= {"recovery_s": recovered["took_s"], "records": recovered["records"]}
        found |= {"snapshots": recovered["snapshots"]}
        found["records_per_s"] = round((found["records"] or found["entries"]) / recovered["took_s"])
        if kind == "changelog":
            found["snapshots_written_s"] = _line(log_file, "snapshots_written")["took_s"]
            files = list(Path(settings["data"]).rglob("*.snapshot"))
            found["snapshots_mb"] = round(sum(file.stat().st_size for file in files) / 1e6, 1)
    except (json.JSONDecodeError, StopIteration):
        raise SystemExit(f"the worker did not recover; its log:\n{log_file.read_text()[-4_000:]}") from None
    finally:
        worker.kill()
        worker.wait()
    return found


def _line(log: Path, event: str) -> dict[str, Any]:
    lines = (json.loads(line) for line in log.read_text().splitlines() if line.startswith("{"))
    return next(line for line in lines if line["event"] == event)


class NoopProcessor:
    """A processor that only counts the partitions that are not loaded yet."""

    def __init__(self, partitions: int) -> None:
        self.left = partitions

    def ready(self, versions: Mapping[str, int]) -> bool:  # noqa: ARG002
        return True

    def loaded(self, partition: int, metadata: OffsetMetadata) -> None:  # noqa: ARG002
        self.left -= 1

    def dropped(self) -> None:
        pass

    def before_batch(self, partition: int, clock_ms: int) -> int:  # noqa: ARG002
        """No rules, no plans."""
        return 0

    def record_handler(self, partition: int, topic: str) -> Callable[[Message, int], None]:  # noqa: ARG002
        return lambda record, now_ms: None  # noqa: ARG005

    def failed(self, partition: int, record: Message, error: Exception, now_ms: int) -> None:
        pass

    def fire(self, partition: int, now_ms: int) -> int:  # noqa: ARG002
        return 0

    def versions(self) -> Mapping[str, int]:
        return {}


class MemoryWatch(Service):
    """Reports the memory of the state, and how long the event loop was blocked while snapshots were written."""

    def __init__(self, runtime: Runtime, processor: NoopProcessor, table: Any, users: int) -> None:
        super().__init__()
        self._runtime, self._processor, self._table, self._users = runtime, processor, table, users

    @Service.task
    async def _watch(self) -> None:
        while self._processor.left or not len(self._table):
            await asyncio.sleep(0.01)
        loaded, cpu_s, gaps = time.monotonic(), time.process_time(), []
        assert len(self._table) == self._users, f"{len(self._table)} users were loaded"
        while not self._written() or time.monotonic() - loaded < 1.0:  # the recovery's memory is freed
            before = time.monotonic()
            await asyncio.sleep(0.001)
            gaps.append(1000 * (time.monotonic() - before - 0.001))
        gaps.sort()
        held = {"p50": gaps[len(gaps) // 2], "p99": gaps[int(len(gaps) * 0.99)], "max": gaps[-1]}
        memory = {"rss_mb": _status_mb("VmRSS"), "peak_mb": _status_mb("VmHWM")}
        found = {
            "entries": self._users,
            "cpu_s": round(cpu_s, 2),
            **memory,
            "loop_held_ms": {name: round(gap, 1) for name, gap in held.items()},
        }
        print(json.dumps(found), flush=True)  # noqa: T201 - to the process that started this one

    def _written(self) -> bool:
        folder = Path(self._runtime.app.conf.tabledir) / self._table.changelog
        return len(list(folder.glob("*.snapshot"))) == self._runtime.settings.partitions


def work(settings: Mapping[str, Any]) -> None:
    """Runs one worker until it is killed."""
    configure_logging()
    partitions = settings["partitions"]
    chosen = RuntimeSettings(
        name=settings["name"],
        slot="0",
        connection=Connection(settings["kafka"]),
        inputs=(f"{settings['name']}-events",),
        partitions=partitions,
        session_timeout_ms=6_000,
        snapshot_s=1.0,
        faust={"web_enabled": False, "datadir": settings["data"]},
    )
    runtime, processor = Runtime(chosen), NoopProcessor(partitions)
    runtime.process_with(processor)
    table = runtime.app.Table("users", partitions=partitions)
    runtime.add_service(MemoryWatch(runtime, processor, table, settings["users"]))
    faust.Worker(runtime.app, loglevel="WARNING", redirect_stdouts=False, quiet=True).execute_from_commandline()


def _status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024, 1)


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _memory_mb() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def table(result: Mapping[str, Any]) -> str:
    """The result for people."""
    settings, changelog = result["settings"], result["changelog"]
    head = f"{settings['users']:,} users, {changelog['records']:,} records of {changelog['mean_bytes']} bytes"
    lines = [f"{head}, {settings['partitions']} partitions; load {result['machine']['load']} when it began"]
    for kind in ("from_changelog", "from_snapshot"):
        found = result[kind]
        lines.append(
            f"{kind.replace('_', ' '):<15} {found['recovery_s']:6.2f} s  {found['records_per_s']:>9,}/s  "
            f"{found['cpu_s']:.1f} s CPU since the process began  "
            f"RSS {found['rss_mb']:.0f} MB, peak {found['peak_mb']:.0f} MB"
        )
    first = result["from_changelog"]
    held = first["loop_held_ms"]
    lines.append(
        f"{'snapshots':<15} {first['snapshots_written_s']:6.2f} s  {first['snapshots_mb']:.0f} MB; the event loop was "
        f"blocked for {held['p50']} ms at p50, {held['p99']} ms at p99, {held['max']} ms at most"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
