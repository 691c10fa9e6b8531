"""`ebbtide up`, `down`, `status`, `logs`, `psql`, `migrate` and `topics`: local servers, tables and topics."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cli.columns import aligned
from cli.environment import Environment
from cli.options import EXIT_FAILED, AsJson, EngineName, Instance, console, print_json
from infra.local.engine import Engine

PANEL = "Local servers"


def engine_of(instance: str, name: str | None) -> tuple[Environment, Engine]:
    """The environment of an instance, and the engine of its servers."""
    from infra.local.choice import choose_engine

    environment = Environment.of(instance)
    return environment, choose_engine(name, environment.home, environment.ports)


def up(instance: Instance = "main", engine: EngineName = None) -> None:
    """Start Kafka and TimescaleDB, migrate the database, and create the topics. Running servers keep running.

    Example: `ebbtide up`
    """
    from infra.kafka.topic_setup import ensure_topics
    from infra.postgres.migrate import migrate_both
    from schemas.topics import DEMO_PARTITIONS

    environment, chosen = engine_of(instance, engine)
    started = chosen.up(console.print)
    migrate_both(environment.database_url, environment.ledger_url)
    ensure_topics(environment.kafka, DEMO_PARTITIONS)
    console.print(f"started: {', '.join(started)}" if started else "already running: nothing to do")
    _show_status(environment, chosen)


def down(instance: Instance = "main", engine: EngineName = None) -> None:
    """Stop the local servers. Their data stays.

    Example: `ebbtide down`
    """
    stopped = engine_of(instance, engine)[1].down()
    console.print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


def status(instance: Instance = "main", engine: EngineName = None, as_json: AsJson = False) -> None:
    """Show the servers and their addresses. Exits with 1 if a server is not running.

    Examples: `ebbtide status`, `ebbtide status --json`
    """
    environment, chosen = engine_of(instance, engine)
    found = chosen.status()
    if as_json:
        print_json([{"name": s.name, "state": s.state, "address": s.address, "pid": s.pid} for s in found])
    else:
        _show_status(environment, chosen)
    if any(s.state != "running" for s in found):
        raise typer.Exit(EXIT_FAILED)


def _show_status(environment: Environment, engine: Engine) -> None:
    rows = [(s.name, s.state, s.address, str(s.pid or ""), s.detail) for s in engine.status()]
    for line in aligned([("server", "state", "address", "pid", ""), *rows]):
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"files  {environment.home}", style="dim", soft_wrap=True)


def logs(
    instance: Instance = "main",
    engine: EngineName = None,
    lines: Annotated[int, typer.Option("-n", min=1, help="Lines of each log.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Print new lines until Ctrl-C.")] = False,
) -> None:
    """Show the servers' logs.

    Examples: `ebbtide logs -n 200`, `ebbtide logs --follow`
    """
    for line in engine_of(instance, engine)[1].logs(lines, follow):
        console.print(line, markup=False, soft_wrap=True)


def psql(
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments of psql.", show_default=False)] = None,
    instance: Instance = "main",
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Open the database of EBBTIDE_LEDGER_URL, if there is one.")
    ] = False,
    analyst: Annotated[
        bool, typer.Option("--analyst", help="As the role ebbtide_analyst, which reads the schema analytics.")
    ] = False,
) -> None:
    """Open psql on the hypertables, and on the ledger unless that has its own database.

    With --analyst it reads what analysts may and writes nothing; `\\dv` lists their views (docs/analytics.md).

    Example: `ebbtide psql -- -c 'SELECT count(*) FROM deliveries'`
    """
    from cli.analytics.role import OPTIONS
    from infra.local.native import psql_program
    from infra.postgres.migrate import require_database

    environment = Environment.of(instance)
    url = environment.ledger_url if ledger else environment.database_url
    require_database(url)
    program = psql_program(Path(".local").absolute())
    variables = os.environ | ({"PGOPTIONS": OPTIONS} if analyst else {})
    done = subprocess.run([program, url, *(arguments or [])], env=variables, check=False)
    raise typer.Exit(done.returncode)


def migrate(instance: Instance = "main") -> None:
    """Bring the tables up to date, in both databases if the ledger has its own (EBBTIDE_LEDGER_URL).

    Example: `ebbtide migrate`
    """
    from infra.postgres.migrate import migrate_both

    environment = Environment.of(instance)
    applied = migrate_both(environment.database_url, environment.ledger_url)
    console.print(f"applied: {', '.join(applied)}" if applied else "nothing to apply")


def topics(
    instance: Instance = "main",
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of each user-keyed topic.")] = 16,
    replication: Annotated[int, typer.Option(min=1, help="Copies of each partition.")] = 1,
) -> None:
    """Create the missing topics. Fails if a topic has another partition count.

    Example: `ebbtide topics --partitions 128 --replication 3`
    """
    from infra.kafka.topic_setup import ensure_topics

    made = ensure_topics(Environment.of(instance).kafka, partitions, replication)
    console.print(f"created: {', '.join(made)}" if made else "nothing to create: all topics exist")


COMMANDS: dict[str, Callable[..., None]] = {
    "up": up,
    "down": down,
    "status": status,
    "logs": logs,
    "psql": psql,
    "migrate": migrate,
    "topics": topics,
}
"""The commands by name, in the order of the help page."""
