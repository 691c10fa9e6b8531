"""`ebbtide run`: one part of the system in the foreground."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.environment import Environment
from cli.options import EXIT_FAILED, Instance

app = typer.Typer(help="Run a part in the foreground; Ctrl-C stops it cleanly.", no_args_is_help=True)


@app.command("streams")
def run_streams(
    instance: Instance = "main",
    workers: Annotated[
        int | None, typer.Option(min=1, max=95, help="How many processes, one a core; 1 by default.")
    ] = None,
    slot: Annotated[
        int | None,
        typer.Option(min=0, max=94, help="Run this one worker alone, unsupervised; no two may have one slot."),
    ] = None,
) -> None:
    """Run the Faust workers, which decide.

    A supervisor starts them, and starts again what ends. Ctrl-C stops all in order, a second one kills them; SIGHUP, or
    `ebbtide streams restart`, restarts one after the other. Where something else supervises, such as systemd, give
    each worker its --slot instead.
    """
    if slot is None:
        from cli.operations.stream_supervision import run_supervisor

        raise typer.Exit(run_supervisor(Environment.of(instance), workers or 1))
    if workers is not None:
        raise typer.BadParameter("a --slot is one worker: give --workers or --slot, not both", param_hint="--slot")
    from cli.running import run_streams_worker

    run_streams_worker(Environment.of(instance), slot)


@app.command("senders")
def run_senders(instance: Instance = "main") -> None:
    """Run the delivery worker, which sends and records.

    Exits with 1 where no broker of Kafka answers when it starts: starting it again later helps.
    """
    from cli.running import run_senders_worker
    from infra.kafka.client import KafkaAway

    try:
        run_senders_worker(Environment.of(instance))
    except KafkaAway as away:
        sys.stderr.write(f"ebbtide: {away}\n")
        raise typer.Exit(EXIT_FAILED) from None


@app.command("sink")
def run_sink(
    directory: Annotated[Path | None, typer.Option(help="Where accepted mails are kept.")] = None,
    instance: Instance = "main",
) -> None:
    """Run the SMTP sink: it takes every mail, keeps it, and passes none on."""
    from cli.running import run_sink_server

    environment = Environment.of(instance)
    run_sink_server(environment, directory or environment.home / "sink")
