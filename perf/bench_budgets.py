"""`python -m perf.bench_budgets`: what a budget costs the admission of a command, beside one without."""

import statistics
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from psycopg import Connection
from pydantic import Field

from perf import results
from perf.bench_ledger import OPTIONS, a_command, wal
from perf.own_database import DatabaseServer, own_database
from schemas.budgets import Budget
from senders.queue import admission
from senders.queue.ledger import Admission

FILE = results.FILE.with_name("budgets.jsonl")
BATCH = 500
"""As many as an intake admits at once."""
ROOM = Budget(name="trigger/with-room", max=1_000_000_000, per_ms=86_400_000)
POLICY = Budget(name="policy/with-room", max=1_000_000_000, unit="day", zone="Europe/Berlin")
FULL = Budget(name="trigger/full", max=0, per_ms=86_400_000)
KINDS: dict[str, tuple[Budget, ...]] = {"none": (), "one": (ROOM,), "two": (ROOM, POLICY), "full": (FULL,)}


class BudgetRun(results.BenchRun):
    """Everything of one run."""

    settings: dict[str, int]
    figures: dict[str, float] = Field(default_factory=dict)


def main(
    server: DatabaseServer,
    batches: Annotated[int, typer.Option(min=2, help="Batches of 500 commands of each kind, interleaved.")] = 40,
    workers: Annotated[int, typer.Option(min=2, help="Workers that admit within one budget at once.")] = 4,
    file: Annotated[Path, typer.Option("--record", help="The file that results are appended to.")] = FILE,
) -> None:
    """Measure admission with and without budgets on a database of its own, which is dropped at the end.

    Example: `python -m perf.bench_budgets --batches 100`
    """
    run = BudgetRun(versions=results.versions(("psycopg",)), settings={"batches": batches, "workers": workers})
    with own_database(server, "budgets") as url:
        run.figures = measure(url, batches) | together(url, batches, workers)
    results.append(run, file)
    for name, value in run.figures.items():
        typer.echo(f"{value:>12,.3f}  {name}")


def measure(url: str, batches: int) -> dict[str, float]:
    """One worker: the time and the log of a command, by how many budgets it has."""
    took: dict[str, list[float]] = {kind: [] for kind in KINDS}
    logged: Counter[str] = Counter()
    with psycopg.connect(url, autocommit=True, options=OPTIONS) as connection:
        for number, budgets in enumerate(KINDS.values()):
            admit(connection, commands(-1 - number, budgets))
        connection.execute("CHECKPOINT")
        for number in range(batches):
            for offset, (kind, budgets) in enumerate(KINDS.items()):
                made = commands(number * len(KINDS) + offset, budgets)
                before, began = wal(connection), time.perf_counter()
                admit(connection, made)
                took[kind].append((time.perf_counter() - began) * 1000 / BATCH)
                logged[kind] += wal(connection) - before
    found = {f"{kind} budget: ms a command, p50": statistics.median(of_kind) for kind, of_kind in took.items()}
    return found | {f"{kind} budget: WAL a command, bytes": logged[kind] / batches / BATCH for kind in KINDS}


def together(url: str, batches: int, workers: int) -> dict[str, float]:
    """Several workers at once, without a budget and within one: commands a second."""
    found = {}
    for kind in ("none", "one"):
        begin = threading.Barrier(workers + 1)

        def work(worker: int, kind: str = kind, begin: threading.Barrier = begin) -> None:
            first = (worker + 1) * 1_000_000 + (kind == "one") * 500_000
            made = [commands(first + number, KINDS[kind]) for number in range(batches)]
            with psycopg.connect(url, autocommit=True, options=OPTIONS) as connection:
                begin.wait()
                for each in made:
                    admit(connection, each)

        with ThreadPoolExecutor(workers) as pool:
            working = [pool.submit(work, worker) for worker in range(workers)]
            begin.wait()
            began = time.perf_counter()
            for each in working:
                each.result()
            found[f"{workers} workers, {kind} budget: commands/s"] = (
                workers * batches * BATCH / (time.perf_counter() - began)
            )
    return found


def commands(batch: int, budgets: tuple[Budget, ...]) -> Sequence[Admission]:
    """A batch of new commands, all with these budgets."""
    made = (a_command((batch + 1) * BATCH + number) for number in range(BATCH))
    return [
        each if not budgets else Admission.of(each.partition, each.command.model_copy(update={"budgets": budgets}))
        for each in made
    ]


def admit(connection: Connection[Any], made: Sequence[Admission]) -> None:
    """Admit them as the intake does."""
    with connection.transaction():
        admission.admit(connection, made, datetime.now(UTC))


if __name__ == "__main__":
    typer.run(main)
