"""`ebbtide export`: decisions, deliveries and engagement as Parquet files by day."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli.environment import Environment
from cli.options import AsJson, Instance, console, print_json
from cli.step_printer import StepPrinter
from schemas.errors import UserError

if TYPE_CHECKING:
    from cli.lake.iceberg_tables import IcebergTable
    from cli.lake.lake_folder import LakeFolder
    from schemas.decisions import Decision
    from schemas.outcomes import Outcome

PANEL = "Analytics"


class NoParquet(UserError):
    """The package that writes Parquet is not installed."""


class LakeFormat(StrEnum):
    """What the lake is made of."""

    PARQUET = "parquet"
    ICEBERG = "iceberg"


def export(
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="A new folder, or that of an earlier export.")],
    form: Annotated[LakeFormat, typer.Option("--format", help="Files by day, or Iceberg tables.")] = LakeFormat.PARQUET,
    catalog: Annotated[
        str | None, typer.Option("--catalog", help="For Iceberg: a catalogue of pyiceberg's configuration.")
    ] = None,
    accept_gaps: Annotated[
        bool, typer.Option("--accept-gaps", help="Go on where Kafka has deleted records before they were exported.")
    ] = False,
    as_json: AsJson = False,
    instance: Instance = "main",
) -> None:
    """Export decisions, deliveries and engagement as Parquet files by day, from the topics.

    The folder keeps how far it was exported, in one commit with the files: the next call adds what came since, each
    record once, also after a crash. Facts of erased people are left out. Run it more often than the topics keep
    records: decisions 7 days, outcomes 30.
    DuckDB, polars and Spark read the files: `SELECT * FROM read_parquet('lake/decisions/*/*.parquet')`.

    Example: `ebbtide export --to lake`
    """
    if catalog is not None and form is not LakeFormat.ICEBERG:
        raise typer.BadParameter("use it with --format iceberg", param_hint="--catalog")
    try:
        with _parts(to, form, catalog) as parts:
            run = _Export(Environment.of(instance), accept_gaps, as_json)
            for part in parts:
                run.write(part)
    except ImportError as error:
        raise NoParquet(f"this needs the package {error.name}: pip install 'ebbtide[{form}]'") from None
    if as_json:
        print_json({"folder": str(to), "rows": run.rows, "unreadable": run.unreadable})
        return
    console.print(", ".join(f"{name}: {rows:,} new rows" for name, rows in run.rows.items()))
    if run.unreadable:
        console.print(
            f"{run.unreadable:,} records cannot be read and were passed over; see `ebbtide dead-letters list`"
        )


@contextmanager
def _parts(to: Path, form: LakeFormat, catalog: str | None) -> Iterator[Sequence["LakeFolder | IcebergTable"]]:
    """What keeps offsets of its own: a folder as a whole, or each Iceberg table."""
    if form is LakeFormat.ICEBERG:
        from cli.lake.iceberg_tables import iceberg_tables

        with iceberg_tables(to, catalog) as tables:
            yield tables
    else:
        from cli.lake.lake_folder import LakeFolder

        with LakeFolder.opened(to) as folder:
            yield [folder]


class _Export:
    """One run: what it has written so far."""

    def __init__(self, environment: Environment, accept_gaps: bool, as_json: bool) -> None:
        from cli.lake.lake_tables import SCHEMAS

        self._environment = environment
        self._accept_gaps = accept_gaps
        self._steps = StepPrinter(Console(stderr=True) if as_json else console)
        self.rows = dict.fromkeys(SCHEMAS, 0)
        self.unreadable = 0

    def write(self, part: "LakeFolder | IcebergTable") -> None:
        """Bring one part up to the ends of its topics."""
        from cli.lake.lake_tables import by_day
        from cli.lake.lake_topics import LakeTopics

        kafka, records = self._environment.kafka, 0
        topics = LakeTopics(kafka, part.topics, part.offsets, accept_gaps=self._accept_gaps)
        with self._steps.step(f"read {' and '.join(part.topics)}, write files", topics.total) as step:
            for batch in topics.batches():
                for table, rows in part.add(by_day(self._of_known(batch.facts)), batch.offsets).items():
                    self.rows[table] += rows
                self.unreadable += batch.unreadable
                records += batch.records
                step.at(records)

    def _of_known(self, facts: "Sequence[Decision | Outcome]") -> "list[Decision | Outcome]":
        """The facts without those of people who were erased."""
        import psycopg

        from infra.postgres.erased_people import erased_among, require_key
        from infra.postgres.migrate import CONNECT_S, require_migrated
        from schemas.people import PersonHasher

        hasher = PersonHasher(self._environment.erasure_key.encode())
        with require_migrated(), psycopg.connect(self._environment.ledger_url, connect_timeout=CONNECT_S) as connection:
            require_key(connection, hasher)
            erased = erased_among(connection, hasher, {fact.user_id for fact in facts})
        return [fact for fact in facts if fact.user_id not in erased]


COMMANDS = {"export": export}
