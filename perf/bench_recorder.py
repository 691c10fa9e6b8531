"""`python -m perf.bench_recorder`: what recording costs a row, with rollups, beside the rows that are there already.

Facts are made as bytes first. Then processes decode them and write them as the recorder does, a batch in a transaction.
CPU of the server is that of all its processes, so also of what it writes later.
"""

import multiprocessing
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from psycopg import Connection
from pydantic import BaseModel, Field

from perf import results
from perf.own_database import DatabaseServer, own_database
from schemas import codec
from schemas.decisions import Decision, GateAnswer
from schemas.digests import digest
from schemas.outcomes import Outcome, Reply
from schemas.vocabulary import DecisionOutcome, Evidence, Gate, OutcomeKind
from senders.recording.recorder import Recorded, Recorder

FILE = results.FILE.with_name("recorder.jsonl")
BEGAN = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=2)
KINDS = ("decisions", "deliveries", "engagement", "mixed")
RETURNS = ((Evidence.PROXY, "unknown"), (Evidence.NAVIGATION, False), (Evidence.BURST, True))


class RecorderCost(BaseModel):
    """What a row costs."""

    kind: str
    rows: int
    batch: int
    processes: int
    rows_before: int
    rows_per_s: float
    server_us: float
    client_us: float
    """CPU of the processes that decode and write."""


class RecorderRun(results.BenchRun):
    """Everything of one run."""

    settings: dict[str, Any]
    costs: list[RecorderCost] = Field(default_factory=list)


def main(
    server: DatabaseServer,
    rows: Annotated[int, typer.Option(min=1_000, help="Facts of each kind for each process.")] = 200_000,
    before: Annotated[int, typer.Option(min=0, help="Mails that are recorded already, each with an open.")] = 5_000_000,
    batch: Annotated[int, typer.Option(min=1, help="Facts in a transaction.")] = Recorder.batch,
    processes: Annotated[list[int] | None, typer.Option(help="How many recorders; repeatable.")] = None,
    kinds: Annotated[list[str] | None, typer.Option("--kind", help=f"{', '.join(KINDS)}; repeatable.")] = None,
    file: Annotated[Path, typer.Option("--record", help="The file that results are appended to.")] = FILE,
) -> None:
    """Measure the recorder on a database of its own, which is dropped at the end.

    Example: `python -m perf.bench_recorder --rows 50000 --before 0`
    """
    run = RecorderRun(versions=results.versions(("psycopg", "pydantic")), settings={"before": before, "batch": batch})
    with own_database(server, "recorder") as url:
        fill(url, before)
        with closing(psycopg.connect(url)) as connection:
            names = ("shared_buffers", "max_wal_size", "synchronous_commit")
            run.settings |= {name: connection.execute(f"SHOW {name}".encode()).fetchall()[0][0] for name in names}
        for count in processes or [1, 2]:
            for kind in kinds or KINDS:
                cost = measure(url, kind, rows, batch, count, before)
                run.costs.append(cost)
                typer.echo(
                    f"{kind:>12} × {count}: {cost.rows_per_s:>8,.0f} rows/s, {cost.server_us:5.1f} µs server, "
                    f"{cost.client_us:5.1f} µs client"
                )
    results.append(run, file)


_FILL = """
INSERT INTO deliveries (id, time, command_id, user_id, trigger, purpose, step, decided_at, kind, provider, attempt)
SELECT md5('d' || n), %(began)s - n::float8 / %(all)s * interval '60 days', md5(n::text), 'user-' || n,
       'hello', 'news', 'first', %(began)s, 'accepted', 'gmail', 1 FROM generate_series(%(from)s, %(to)s) AS n;
INSERT INTO engagement (id, time, command_id, user_id, trigger, purpose, step, kind, provider, machine)
SELECT md5('e' || n), %(began)s - n::float8 / %(all)s * interval '60 days', md5(n::text), 'user-' || n,
       'hello', 'news', 'first', 'opened', '', false FROM generate_series(%(from)s, %(to)s) AS n;
INSERT INTO mails (command, sent, decided_at, accepted_at, seen, user_id, trigger, step, variant, purpose, brand,
                   provider)
SELECT md5(n::text)::uuid, %(began)s, %(began)s, %(began)s, 1, 'user-' || n, 'hello', 'first', '', 'news', '', 'gmail'
FROM generate_series(%(from)s, %(to)s) AS n"""


def fill(url: str, mails: int) -> None:
    """Have so many mails, over two months."""
    with psycopg.connect(url, autocommit=True) as connection, psycopg.ClientCursor(connection) as cursor:
        for first in range(1, mails + 1, 500_000):
            cursor.execute(
                _FILL.encode(), {"began": BEGAN, "all": mails, "from": first, "to": min(mails, first + 499_999)}
            )
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")


def measure(url: str, kind: str, rows: int, batch: int, processes: int, before: int) -> RecorderCost:
    """Let processes record so many facts each."""
    context = multiprocessing.get_context("fork")
    start, done = context.Barrier(processes + 1), context.Barrier(processes + 1)
    spent = context.Array("d", processes)
    workers = [
        context.Process(target=_record, args=(url, kind, rows, batch, number, start, done, spent))
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        [[backend]] = connection.execute("SELECT pg_backend_pid()").fetchall()
        start.wait()
        began_s, server_s = time.monotonic(), server_cpu_s(backend)
        done.wait()
        took_s, server_s = time.monotonic() - began_s, server_cpu_s(backend) - server_s
    for worker in workers:
        worker.join()
    total = rows * processes
    return RecorderCost(
        kind=kind,
        rows=total,
        batch=batch,
        processes=processes,
        rows_before=before,
        rows_per_s=total / took_s,
        server_us=server_s / total * 1e6,
        client_us=sum(spent[:]) / total * 1e6,
    )


def _record(url: str, kind: str, rows: int, batch: int, number: int, start: Barrier, done: Barrier, spent: Any) -> None:
    records = list(facts(kind, rows, f"{kind}-{os.getpid()}", random.Random(number)))
    recorder: Recorder = object.__new__(Recorder)
    with psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as connection:
        _write(recorder, connection, records[:1])
        start.wait()
        began_s = time.process_time()
        for first in range(1, len(records), batch):
            _write(recorder, connection, records[first : first + batch])
        spent[number] = time.process_time() - began_s
        done.wait()


def _write(recorder: Recorder, connection: Connection[Any], records: Sequence[tuple[bool, bytes]]) -> None:
    items: list[Recorded] = [
        codec.decode(Decision, raw) if decides else codec.decode(Outcome, raw) for decides, raw in records
    ]
    with connection.transaction():
        recorder.write(connection, items)


def server_cpu_s(backend: int) -> float:
    """The CPU time of the server's processes, also of those that have ended."""
    postmaster = _stat(backend)[1]
    while True:
        reaped = _stat(postmaster)[13:15]
        ticks = _ticks(postmaster)
        if _stat(postmaster)[13:15] == reaped:  # else one ended meanwhile, and counts twice or not at all
            return ticks / os.sysconf("SC_CLK_TCK")


def _ticks(postmaster: int) -> int:
    ticks = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = _stat(int(entry.name))
        except OSError:
            continue
        if int(entry.name) == postmaster:
            ticks += sum(stat[11:15])
        elif stat[1] == postmaster:
            ticks += sum(stat[11:13])
    return ticks


def _stat(pid: int) -> list[int]:
    """The numbers of /proc/PID/stat (proc(5)), from the state on, which is 0 here."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return [0, *map(int, fields[1:])]


def facts(kind: str, rows: int, name: str, chance: random.Random) -> Iterator[tuple[bool, bytes]]:
    """Facts as bytes, in the order of their time as they come; whether each is a decision."""
    for number in range(rows):
        at = BEGAN + timedelta(milliseconds=number * 5)
        one = KINDS[number % 3] if kind == "mixed" else kind
        mail = number // 3 if kind == "mixed" else number
        yield one == "decisions", codec.encode(_fact(one, f"{name}-{mail}", at, chance))


def _fact(kind: str, mail: str, at: datetime, chance: random.Random) -> Recorded:
    command, user, trigger = digest([mail]), f"user-{mail}", f"trigger-{chance.randrange(50)}"
    if kind == "decisions":
        return Decision(
            id=digest([mail, "decision"]),
            trigger=trigger,
            rule_hash="9" * 32,
            user_id=user,
            occurrence=digest([mail, "occurrence"]),
            step="first",
            outcome=DecisionOutcome.SEND,
            gates=[GateAnswer(gate=gate, passed=True, observed=1, limit=3) for gate in Gate],
            event_ids=[digest([mail, "event"])],
            inputs={"zone": "Europe/Berlin", "variant": chance.choice("ab"), "due": at.isoformat()},
            decided_at=at,
            command_id=command,
        )
    about: dict[str, Any] = {"command_id": command, "user_id": user, "trigger": trigger, "purpose": "news"}
    about |= {
        "step": "first",
        "variant": chance.choice("ab"),
        "decided_at": at - timedelta(seconds=chance.expovariate(0.1)),
    }
    if kind == "deliveries":
        reply = Reply(code=250, enhanced="2.0.0", text="Ok: queued as 4XyZ1k2mQpz9")
        return Outcome(
            id=digest([mail, "accepted"]),
            kind=OutcomeKind.ACCEPTED,
            time=at,
            provider=chance.choice(["gmail", "yahoo", "outlook"]),
            reply=reply,
            hard=False,
            classifier_hash="8" * 32,
            attempt=1,
            **about,
        )
    evidence, machine = chance.choice(RETURNS)
    clicked = chance.random() < 0.2
    return Outcome(
        id=digest([mail, "reader", at.isoformat()]),
        kind=OutcomeKind.CLICKED if clicked else OutcomeKind.OPENED,
        time=at + timedelta(minutes=5),
        machine=machine,
        evidence=evidence,
        url="https://shop.example/products/42?utm_source=mail" if clicked else None,
        **about,
    )


if __name__ == "__main__":
    typer.run(main)
