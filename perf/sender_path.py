"""The whole path of delivery, from commands on Kafka to rows in `deliveries`: what a mail costs, and how fast they go.

A contender is a revision of this project. Its workers are started first and deliver some mails, so that start-up,
imports and connections do not count. Then all commands are published at once, and the clock runs from the first to the
last row in `deliveries`.
"""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from pydantic import BaseModel

from infra.local.layout import PROJECT_ROOT
from infra.local.sink_process import ProviderSink
from infra.local.sink_receipts import RECEIPTS
from perf import sender_mails
from perf.broker import Loader, Report
from perf.sender_servers import SenderServers, cpu_of
from perf.watch import MeasuredProcess, MeasurementFailed
from schemas.codec import encode
from schemas.topics import COMMANDS, PROFILES, RULES
from senders.content.dkim import generate_key

CONNECTIONS = 16
WARM_UP_MAILS = 300
NO_PROGRESS_S = 60.0
LOOK_S = 0.05
_PROGRAM = (
    sys.executable,
    "-P",  # without the current directory, so that a revision's own tree comes first
    "-c",
    "from senders.app import main; from senders.settings import SenderSettings; main(SenderSettings())",
)


@dataclass(frozen=True, slots=True)
class Contender:
    """A revision, and where its files are."""

    name: str
    tree: Path = PROJECT_ROOT


class PathCost(BaseModel):
    """One contender over one kind of mail. CPU is in milliseconds a mail, of sender processes and of PostgreSQL."""

    contender: str
    size_kb: int
    processes: int
    mails: int
    sender_ms: float
    postgres_ms: float
    per_cpu_s: float
    mails_per_s: float
    wal_bytes: float
    ledger_wal_bytes: float
    settled_row_bytes: float
    problems: list[str]


class PathLatency(BaseModel):
    """From publishing a command to its mail at the receiver, at a steady load, in milliseconds."""

    contender: str
    mails_per_s: float
    mails: int
    p50_ms: float
    p99_ms: float


class SenderPath:
    """One contender on fresh servers."""

    def __init__(self, servers: SenderServers, contender: Contender, size_kb: int, report: Report) -> None:
        self._servers, self._contender, self._size_kb, self._report = servers, contender, size_kb, report
        self._numbers = count()

    @contextmanager
    def running(self, processes: int) -> Iterator[tuple[Sequence[MeasuredProcess], "ArrivalCount"]]:
        """The contender's workers, warm."""
        servers = self._servers
        servers.fresh(self._contender.tree)
        loader = Loader(servers.kafka)
        loader.send(RULES.name, [sender_mails.template_record(self._size_kb)])
        loader.send(PROFILES.name, sender_mails.profiles())
        with servers.sink("path") as sink, ExitStack() as stack:
            workers = [stack.enter_context(self._worker(number)) for number in range(processes)]
            arrived = ArrivalCount(sink)
            self._publish(loader, WARM_UP_MAILS)
            arrived.wait(WARM_UP_MAILS, workers, self._report)
            self._recorded(WARM_UP_MAILS, workers)
            yield workers, arrived

    def _worker(self, number: int) -> MeasuredProcess:
        servers, tree = self._servers, self._contender.tree
        key = servers.home / "dkim.pem"
        if not key.exists():
            generate_key(key)
        settings = {
            "kafka": servers.kafka,
            "database_url": servers.database_url,
            "smtp_port": str(servers.sink_port),
            "dkim_domain": sender_mails.FROM_DOMAIN,
            "dkim_key": str(key),
            "mail_from": f"Harbour <hello@{sender_mails.FROM_DOMAIN}>",
            "unsubscribe_url": f"https://{sender_mails.FROM_DOMAIN}/u/{{command_id}}",
            "suppression_key": "a secret of the benchmark alone",
            "connections": str(CONNECTIONS),
            "senders_web_port": str(servers.web_port + number),
            "sender_instance": f"bench-{number}",
        }
        variables = {f"EBBTIDE_{name.upper()}": value for name, value in settings.items()}
        name = f"{self._contender.name}-{number}".replace(" ", "-")
        variables |= {"PYTHONPATH": str(tree), "EBBTIDE_SENDERS_DIR": str(servers.home / "workers")}
        return MeasuredProcess(name, (), None, servers.home / "logs", variables, program=_PROGRAM)

    def _publish(self, loader: Loader, mails: int) -> list[str]:
        commands = [sender_mails.command(next(self._numbers), self._size_kb) for _ in range(mails)]
        loader.send(COMMANDS.name, [(each.user_id.encode(), encode(each)) for each in commands])
        return [each.id for each in commands]

    def _recorded(self, mails: int, workers: Sequence[MeasuredProcess]) -> None:
        end = time.monotonic() + NO_PROGRESS_S
        while self._servers.delivered() < mails:
            for worker in workers:
                worker.check()
            if time.monotonic() > end:
                raise MeasurementFailed(f"{self._contender.name}: {self._servers.delivered()} of {mails} are recorded")
            time.sleep(LOOK_S)

    def cost(self, mails: int, processes: int) -> PathCost:
        """What a mail costs, and how many go in a second."""
        servers = self._servers
        with self.running(processes) as (workers, arrived):
            loader = Loader(servers.kafka)
            rows_before = servers.ledger_bytes()
            database, cpu_s, began = servers.database_use(), _cpu_s(workers), time.monotonic()
            ids = self._publish(loader, mails)
            arrived.wait(WARM_UP_MAILS + mails, workers, self._report)
            took_s = time.monotonic() - began
            self._recorded(WARM_UP_MAILS + mails, workers)
            sender_s, after = _cpu_s(workers) - cpu_s, servers.database_use()
            every, ledger = servers.wal_bytes(database, after)
            return PathCost(
                contender=self._contender.name,
                size_kb=self._size_kb,
                processes=processes,
                mails=mails,
                sender_ms=round(sender_s / mails * 1000, 3),
                postgres_ms=round((after.cpu_s - database.cpu_s) / mails * 1000, 3),
                per_cpu_s=round(mails / (sender_s + after.cpu_s - database.cpu_s), 1),
                mails_per_s=round(mails / took_s, 1),
                wal_bytes=round(every / mails),
                ledger_wal_bytes=round(ledger / mails),
                settled_row_bytes=round((servers.ledger_bytes() - rows_before) / mails),
                problems=arrived.problems(ids),
            )

    def latency(self, mails_per_s: float, seconds: float) -> PathLatency:
        """How long a command takes to its mail at this load, which one process publishes evenly."""
        with self.running(1) as (workers, arrived):
            loader = Loader(self._servers.kafka)
            published: dict[str, float] = {}
            began = time.time()
            for number in range(int(mails_per_s * seconds)):
                time.sleep(max(0.0, began + number / mails_per_s - time.time()))
                command = sender_mails.command(next(self._numbers), self._size_kb)
                published[command.id] = time.time()
                loader.send_soon(COMMANDS.name, command.user_id.encode(), encode(command))
            arrived.wait(WARM_UP_MAILS + len(published), workers, self._report)
            taken = sorted(
                1000 * (receipt.at - published[receipt.command])
                for receipt in arrived.sink.receipts()
                if receipt.what == "mail" and receipt.command in published
            )
        return PathLatency(
            contender=self._contender.name,
            mails_per_s=round(mails_per_s, 1),
            mails=len(taken),
            p50_ms=round(_rank(taken, 0.50), 1),
            p99_ms=round(_rank(taken, 0.99), 1),
        )


class ArrivalCount:
    """Counts the mails that a sink took, by reading only what is new in its file."""

    def __init__(self, sink: ProviderSink) -> None:
        self.sink = sink
        self._file = (sink.directory / RECEIPTS).open("rb")
        self._mails = 0

    def mails(self) -> int:
        """How many mails came so far."""
        self._mails += self._file.read().count(b'"what":"mail"')
        return self._mails

    def wait(self, mails: int, workers: Sequence[MeasuredProcess], report: Report) -> None:
        """Waits until so many mails came; raises MeasurementFailed if none comes for a minute."""
        seen, moved_s, reported_s = -1, time.monotonic(), time.monotonic()
        while (now := self.mails()) < mails:
            for worker in workers:
                worker.check()
            if now > seen:
                seen, moved_s = now, time.monotonic()
            elif time.monotonic() - moved_s > NO_PROGRESS_S:
                logs = ", ".join(str(worker.log) for worker in workers)
                raise MeasurementFailed(f"{now:,} of {mails:,} mails came; see {logs}")
            if time.monotonic() - reported_s > 5.0:
                reported_s = time.monotonic()
                report(f"{now:,} of {mails:,} mails")
            time.sleep(LOOK_S)

    def problems(self, ids: Sequence[str]) -> list[str]:
        """Commands whose mail did not come, or came twice."""
        came = [receipt.command for receipt in self.sink.receipts() if receipt.what == "mail" and receipt.kept]
        lost, doubled = len(set(ids) - set(came)), len(came) - len(set(came))
        return [text for number, text in ((lost, f"{lost} lost"), (doubled, f"{doubled} doubled")) if number]


def _cpu_s(workers: Sequence[MeasuredProcess]) -> float:
    return sum(cpu_of(pid, with_children=False) for worker in workers for pid in worker.pids())


def _rank(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan
