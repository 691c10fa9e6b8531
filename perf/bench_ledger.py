"""`python -m perf.bench_ledger`: what the ledger costs a mail, and how long finding what is due takes."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, LiteralString

import psycopg
import typer
from psycopg import AsyncConnection, Connection
from psycopg.sql import SQL, Identifier
from pydantic import Field

from perf import results
from perf.own_database import DatabaseServer, own_database
from schemas.commands import DEFAULT_PRIORITY, SendCommand, command_id
from schemas.outcomes import Reply
from schemas.vocabulary import DeliveryReason, LedgerState
from senders.queue import attempt_paths, leases, ledger, lines, outbox, transitions
from senders.queue.attempt_paths import AttemptPath
from senders.queue.due_order import DueOrder
from senders.queue.ledger import Admission, DueCommand, DueStatus, QueueClass
from senders.queue.lines import LineOrder, line_of
from senders.queue.transitions import AttemptStart, StateChange

FILE = results.FILE.with_name("ledger.jsonl")
OWNER = "bench-vm-4711-0badcafe"
PARTITIONS = range(16)
OTHERS = range(16, 48)
LANES = 16
"""Mails that begin and end together, as the group commit of a worker with so many connections makes them."""
LINE = line_of("default mx.example.com")
REPLY = Reply(code=250, enhanced="2.0.0", text="Ok: queued as 4XyZ1k2mQpz9")
PATH = AttemptPath('{"source":"default","domain":"example.com","host":"mx.example.com","tls":"TLSv1.3"}')
OPTIONS = "-c timezone=UTC -c synchronous_commit=on"


def main(
    server: DatabaseServer,
    waiting: Annotated[int, typer.Option(min=1, help="Rows deferred, and rows due in partitions of others.")] = 100_000,
    settled: Annotated[int, typer.Option(min=0, help="Settled rows, spread over 35 days.")] = 500_000,
    snapshot: Annotated[int, typer.Option(min=0, help="Commands sent under an open snapshot.")] = 10_000,
    mails: Annotated[int, typer.Option(min=LANES, help="Mails for the figures of one mail.")] = 5_000,
    rounds: Annotated[int, typer.Option(min=2, help="Questions for what is due, for each figure.")] = 300,
    file: Annotated[Path, typer.Option("--record", help="The file that results are appended to.")] = FILE,
) -> None:
    """Measure the ledger on a database of its own, which is dropped at the end.

    Example: `python -m perf.bench_ledger --waiting 1000000 --settled 30000000 --snapshot 60000`
    """
    settings = {"waiting": waiting, "settled": settled, "snapshot": snapshot, "mails": mails, "rounds": rounds}
    run = LedgerRun(versions=results.versions(("psycopg",)), settings=settings)
    with own_database(server, "ledger") as url:
        run.figures = asyncio.run(measure(url, waiting, settled, snapshot, mails, rounds))
    results.append(run, file)
    for name, value in run.figures.items():
        typer.echo(f"{value:>12,.2f}  {name}")


class LedgerRun(results.BenchRun):
    """Everything of one run."""

    settings: dict[str, int]
    figures: dict[str, float] = Field(default_factory=dict)


class _Bench:
    """The ledger of one worker, driven as its scheduler, lanes and relay drive it."""

    def __init__(self, connection: AsyncConnection[Any], intake: Connection[Any], rounds: int) -> None:
        self._connection = connection
        self._intake = intake
        self._rounds = rounds
        self._order = DueOrder()
        self._lines = LineOrder()
        self._sent = 0

    async def own(self) -> None:
        """Hold the partitions."""
        async with self._connection.transaction():
            await leases.renew(self._connection, OWNER, timedelta(hours=5))
            await leases.take_over(self._connection, PARTITIONS, OWNER)
            [PATH.number] = (await attempt_paths.store(self._connection, [PATH])).values()

    async def send(self, count: int, look: Callable[[], Awaitable[None]] | None = None) -> None:
        """Admit, take, begin, answer and publish this many commands; call `look` between the groups."""
        for first in range(0, count, 100):
            admissions = [a_command(self._sent + number) for number in range(min(100, count - first))]
            self._sent += len(admissions)
            now = datetime.now(UTC)
            with self._intake.transaction():
                ledger.admit(self._intake, admissions, now)
            for admission in admissions:
                self._order.rewind(QueueClass(admission.partition, admission.command.priority), now)
            while due := await self.take():
                await self._send_group(due)
            async with self._connection.transaction():
                rows = await outbox.unpublished_rows(self._connection, PARTITIONS, 500)
                await outbox.mark_published(self._connection, [row.message() for row in rows])
            if look is not None:
                await look()

    async def take(self, limit: int = LANES) -> list[DueCommand]:
        """What the scheduler takes: the statuses, then the commands."""
        if not self._order.is_known(PARTITIONS, 0.0):
            self._order.expect(PARTITIONS, 0.0)
            classes = await ledger.queue_classes(self._connection, PARTITIONS)
            self._order.begin(classes | {QueueClass(number, DEFAULT_PRIORITY) for number in PARTITIONS})
        due = await ledger.due_commands(self._connection, self._order.after(), [], datetime.now(UTC), limit)
        self._order.read(due)
        return await ledger.read_commands(self._connection, due) if due else []

    async def _send_group(self, due: Sequence[DueCommand]) -> None:
        now = datetime.now(UTC)
        async with self._connection.transaction():
            starts = [AttemptStart(each, each.command.id.encode(), now) for each in due]
            assert len(await transitions.begin(self._connection, starts, OWNER)) == len(due)
        changes = [
            StateChange(start.due.command.id, start.attempt, LedgerState.ACCEPTED, now, reply=REPLY, path=PATH)
            for start in starts
        ]
        async with self._connection.transaction():
            assert len(await transitions.answer(self._connection, changes, OWNER)) == len(due)

    async def find_ms(self, what: str) -> dict[str, float]:
        """How long finding what is due takes, while one command is."""
        took = []
        for _ in range(self._rounds):
            now = datetime.now(UTC)
            admission = a_command(self._sent)
            self._sent += 1
            with self._intake.transaction():
                ledger.admit(self._intake, [admission], now)
            self._order.rewind(QueueClass(admission.partition, admission.command.priority), now)
            began = time.perf_counter()
            due = await ledger.due_commands(self._connection, self._order.after(), [], datetime.now(UTC), LANES)
            took.append((time.perf_counter() - began) * 1000)
            assert [each.command_id for each in due] == [admission.command.id]
            self._order.read(due)
            await self._send_group(await ledger.read_commands(self._connection, due))
        name = f"find what is due, {what}"
        return {f"{name}: p50 ms": statistics.median(took), f"{name}: p99 ms": statistics.quantiles(took, n=100)[98]}

    async def send_by_line(self, count: int) -> None:
        """Admit this many commands, let them wait in a line, and take them from its head until it is empty."""
        for first in range(0, count, 100):
            await self._join(min(100, count - first))
            while heads := await self._heads(LANES):
                await self._send_group(await ledger.read_commands(self._connection, heads))

    async def head_ms(self, what: str) -> dict[str, float]:
        """How long it takes to find the head of a line in which one command waits."""
        took = []
        for _ in range(self._rounds):
            await self._join(1)
            began = time.perf_counter()
            heads = await self._heads(LANES)
            took.append((time.perf_counter() - began) * 1000)
            assert len(heads) == 1
            await self._send_group(await ledger.read_commands(self._connection, heads))
        name = f"find the head of {what}"
        return {f"{name}: p50 ms": statistics.median(took), f"{name}: p99 ms": statistics.quantiles(took, n=100)[98]}

    async def _join(self, count: int) -> None:
        now = datetime.now(UTC)
        admissions = [a_command(self._sent + number) for number in range(count)]
        self._sent += count
        with self._intake.transaction():
            ledger.admit(self._intake, admissions, now)
        changes = [
            StateChange(
                each.command.id,
                0,
                LedgerState.ADMITTED,
                now,
                DeliveryReason.LIMITED,
                next_attempt_at=now + timedelta(days=1),
                behind=LINE,
            )
            for each in admissions
        ]
        async with self._connection.transaction():
            assert len(await transitions.postpone(self._connection, changes)) == count
        for each in admissions:  # none is admitted before this time by much
            self._lines.rewind(LINE, QueueClass(each.partition, each.command.priority), now)

    async def _heads(self, limit: int) -> list[DueStatus]:
        heads = await lines.heads(self._connection, self._lines, PARTITIONS, {LINE: limit}, [])
        self._lines.read(heads)
        return [status for _, status in heads]


async def measure(url: str, waiting: int, settled: int, snapshot: int, mails: int, rounds: int) -> dict[str, float]:
    """The figures, by what they are."""
    async with await AsyncConnection.connect(url, autocommit=True, options=OPTIONS) as connection:
        with psycopg.connect(url, autocommit=True, options=OPTIONS) as intake:
            bench = _Bench(connection, intake, rounds)
            await bench.own()
            found: dict[str, float] = {}
            await bench.send(500)
            found |= await _of_one_mail(bench, intake, mails)
            found |= await bench.find_ms("empty queue")
            fill_queue(intake, waiting, PARTITIONS, "now() + interval '1 day'")
            found |= await bench.find_ms("deferred rows")
            found |= await bench.head_ms("a line")
            fill_queue(intake, waiting, OTHERS, "now() - interval '1 hour'")
            found |= await bench.find_ms("and due rows of others")
            if settled:
                fill_outcomes(intake, settled)
                found["bytes a settled row, with ids and indexes"] = settled_bytes(intake)
                found |= await bench.find_ms("and settled rows")
                found["admit, with settled rows: ms a command"] = admit_ms(intake)
            found |= await empty_statement_ms(connection, rounds)
            with psycopg.connect(url) as analyst:
                analyst.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                analyst.execute("SELECT count(*) FROM ledger_outbox")
                await bench.send(snapshot)
                found |= await bench.find_ms("under an open snapshot")
                await bench.send_by_line(snapshot)
                found |= await bench.head_ms("a line under an open snapshot")
            return found


async def _of_one_mail(bench: _Bench, connection: Connection[Any], mails: int) -> dict[str, float]:
    connection.execute("CHECKPOINT")
    before = wal(connection)
    await bench.send(mails)
    return {"WAL a mail, bytes": (wal(connection) - before) / mails}


async def empty_statement_ms(connection: AsyncConnection[Any], rounds: int) -> dict[str, float]:
    """How long a statement takes that does nothing: what the machine's other work adds to each figure."""
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        await connection.execute("SELECT 1")
        took.append((time.perf_counter() - began) * 1000)
    return {"SELECT 1: p50 ms": statistics.median(took), "SELECT 1: p99 ms": statistics.quantiles(took, n=100)[98]}


def wal(connection: Connection[Any]) -> int:
    """How many bytes were written to the log so far."""
    row = connection.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
    assert row is not None
    return int(row[0])


def a_command(number: int) -> Admission:
    """A command as a rule makes them: ten values, 600 bytes."""
    now = datetime.now(UTC)
    user = f"user-{number:08}"
    return Admission.of(
        number % len(PARTITIONS),
        SendCommand(
            id=command_id("abandoned-cart", user, str(number), "remind"),
            trigger="abandoned-cart",
            rule_hash="5f0c9d3a77e1b2468ace",
            occurrence=f"{now:%Y-%m-%dT%H:%M:%S}-{number}",
            step="remind",
            user_id=user,
            template="cart",
            template_hash="c0ffee" * 8,
            purpose="marketing",
            data={f"value_{key}": f"{key} of {number}" for key in range(10)},
            decided_at=now,
            expires_at=now + timedelta(days=1),
        ),
    )


def fill_queue(connection: Connection[Any], rows: int, partitions: range, due: LiteralString) -> None:
    """Rows that wait in these partitions."""
    connection.execute(
        SQL(
            """INSERT INTO ledger_queue (command_id, partition, priority, attempt, admitted_at, decided_at,
                                         next_attempt_at, state_at, state, user_id, trigger, purpose, command)
               SELECT gen_random_uuid(), {first} + n %% {count}, 50, 1, now(), now(), {due} + n * interval '1 ms',
                      now(), 'deferred', 'user-' || n, 'abandoned-cart', 'marketing', %s
               FROM generate_series(1, %s::int) AS n"""
        ).format(first=partitions.start, count=len(partitions), due=SQL(due)),
        [a_command(0).raw, rows],
    )
    connection.execute("VACUUM ANALYZE ledger_queue")


def fill_outcomes(connection: Connection[Any], rows: int) -> None:
    """Settled rows and their ids, spread over 35 days."""
    connection.execute("SELECT ledger_add_partitions((now() - interval '36 days')::date, now()::date)")
    connection.execute(
        "CREATE TEMP TABLE fill AS SELECT gen_random_uuid() AS id, n FROM generate_series(1, %s::int) AS n", [rows]
    )
    connection.execute("INSERT INTO ledger_ids SELECT id, (now() - n % 35 * interval '1 day')::date FROM fill")
    connection.execute(
        """INSERT INTO ledger_outcomes (recorded_at, admitted_at, started_at, state_at, command_id, partition, attempt,
                                        hard, state, address_hash, reply, path, user_id, trigger, purpose)
           SELECT at, at, at, at, id, n %% 16, 1, false, 'accepted', sha256(id::text::bytea), %s, %s, 'user-' || n,
                  'abandoned-cart', 'marketing'
           FROM (SELECT *, now() - n %% 35 * interval '1 day' AS at FROM fill) AS fill""",
        [REPLY.model_dump_json(), PATH.number],
    )
    connection.execute("DROP TABLE fill")
    for table in ("ledger_ids", "ledger_outcomes"):
        connection.execute(SQL("VACUUM ANALYZE {}").format(Identifier(table)))


def settled_bytes(connection: Connection[Any]) -> float:
    """The bytes of a settled row: its outcome, its id, and their indexes."""
    row = connection.execute(
        """SELECT sum(pg_total_relation_size(inhrelid)) / (SELECT count(*) FROM ledger_outcomes)
           FROM pg_inherits WHERE inhparent IN ('ledger_outcomes'::regclass, 'ledger_ids'::regclass)"""
    ).fetchone()
    assert row is not None
    return float(row[0])


def admit_ms(connection: Connection[Any]) -> float:
    """The median time to admit one of 500 commands that are new, and none of which stays."""
    took = []
    for _ in range(10):
        admissions = [a_command(10_000_000 + number) for number in range(500)]
        began = time.perf_counter()
        with connection.transaction(force_rollback=True):
            ledger.admit(connection, admissions, datetime.now(UTC))
            took.append((time.perf_counter() - began) * 1000 / 500)
    return statistics.median(took)


if __name__ == "__main__":
    typer.run(main)
