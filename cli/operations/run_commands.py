"""`ebbtide run`: one part of the system in the foreground."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cli.environment import BOUNCES, PUBLICATION, SENDERS, STREAMS, WEB, Environment
from cli.options import EXIT_FAILED, Instance
from infra.service.worker_registry import WorkerKind

Slot = Annotated[
    int | None,
    typer.Option(min=0, max=94, help="Run only this worker, unsupervised; no two workers may have the same slot."),
]

HELP = """Run a part in the foreground; Ctrl-C stops it cleanly.

Examples: `ebbtide run streams --workers 2`, `ebbtide run senders`"""
app = typer.Typer(help=HELP, no_args_is_help=True)


@app.command("streams")
def run_streams(
    instance: Instance = "main",
    workers: Annotated[
        int | None, typer.Option(min=1, max=95, help="How many processes, one a core; 1 by default.")
    ] = None,
    slot: Slot = None,
) -> None:
    """Run the Faust workers, which decide.

    A supervisor starts them, and restarts each that ends. Ctrl-C stops all in order, a second one kills them. SIGHUP,
    or `ebbtide streams restart`, restarts one after the other. If something else supervises, such as systemd, give
    each worker its --slot instead.

    Examples: `ebbtide run streams`, `ebbtide run streams --workers 4`, `ebbtide run streams --slot 0`
    """
    from cli.running import run_streams_worker

    _run(STREAMS, instance, workers, slot, run_streams_worker)


@app.command("senders")
def run_senders(
    instance: Instance = "main",
    workers: Annotated[int | None, typer.Option(min=1, max=95, help="How many processes; 1 by default.")] = None,
    slot: Slot = None,
) -> None:
    """Run the delivery workers, which send and record.

    A supervisor starts them, and restarts each that ends. Ctrl-C stops all in order, a second one kills them. SIGHUP,
    or `ebbtide senders restart`, restarts one after the other. If something else supervises, such as systemd, give
    each worker its --slot instead.

    Exits with 1 if Kafka does not answer at the start: start it again later.

    Examples: `ebbtide run senders`, `ebbtide run senders --workers 2`
    """
    from cli.running import run_senders_worker

    _run_or_come_again(SENDERS, instance, workers, slot, run_senders_worker)


@app.command("bounces")
def run_bounces(
    instance: Instance = "main",
    workers: Annotated[int | None, typer.Option(min=1, max=95, help="How many processes; 1 by default.")] = None,
    slot: Slot = None,
) -> None:
    """Run the listener for bounces and complaints, at EBBTIDE_BOUNCES_PORT.

    Needs EBBTIDE_BOUNCE_DOMAIN and EBBTIDE_BOUNCE_KEYS, which delivery has too. A supervisor starts the processes,
    which share the port, and restarts each that ends.

    Exits with 1 if Kafka does not answer at the start: start it again later.

    Example: `ebbtide run bounces`
    """
    from cli.running import run_bounces_worker

    _run_or_come_again(BOUNCES, instance, workers, slot, run_bounces_worker)


@app.command("web")
def run_web(
    instance: Instance = "main",
    workers: Annotated[
        int | None, typer.Option(min=1, max=95, help="How many processes, one a core; 1 by default.")
    ] = None,
    slot: Slot = None,
) -> None:
    """Run the HTTP processes, which take events and serve the pages of recipients, at EBBTIDE_HTTP_PORT.

    A supervisor starts the processes, which share the port, and restarts each that ends. Ctrl-C stops all in order:
    each request that was taken gets its answer. SIGHUP, or `ebbtide web restart`, restarts one after the other. If
    something else supervises, such as systemd, give each process its --slot instead.

    What calls and recipients change of profiles is published by `ebbtide run profiles`: run that too.

    Exits with 1 if Kafka does not answer at the start: start it again later.

    Examples: `ebbtide run web`, `ebbtide run web --workers 2`
    """
    from cli.running import run_web_worker

    _run_or_come_again(WEB, instance, workers, slot, run_web_worker)


@app.command("profiles")
def run_profiles(
    instance: Instance = "main",
    workers: Annotated[int | None, typer.Option(min=1, max=95, help="How many processes; 1 by default.")] = None,
    slot: Slot = None,
) -> None:
    """Run the profile workers, which publish what HTTP processes and imports store.

    They publish profiles, follow those that backends publish themselves, and forward events of visitors to their users.
    A supervisor starts them, and restarts each that ends. Ctrl-C stops all in order, a second one kills them. SIGHUP,
    or `ebbtide profiles restart`, restarts one after the other. If something else supervises, such as systemd, give
    each worker its --slot instead. A second worker takes over within seconds where one dies.

    Exits with 1 if Kafka does not answer at the start: start it again later.

    Examples: `ebbtide run profiles`, `ebbtide run profiles --workers 2`
    """
    from cli.running import run_profiles_worker

    _run_or_come_again(PUBLICATION, instance, workers, slot, run_profiles_worker)


def _run(
    kind: WorkerKind,
    instance: str,
    workers: int | None,
    slot: int | None,
    run_worker: Callable[[Environment, int], None],
) -> None:
    """Runs the worker of `slot`, or without one a supervisor with `workers` of them."""
    if slot is not None and workers is not None:
        raise typer.BadParameter("a --slot is one worker: give --workers or --slot, not both", param_hint="--slot")
    if slot is not None:
        run_worker(Environment.of(instance), slot)
        return
    from cli.operations.worker_supervision import run_supervisor

    raise typer.Exit(run_supervisor(Environment.of(instance), kind, workers or 1))


def _run_or_come_again(
    kind: WorkerKind,
    instance: str,
    workers: int | None,
    slot: int | None,
    run_worker: Callable[[Environment, int], None],
) -> None:
    """The same, with the exit status that tells a supervisor to come again where Kafka does not answer."""
    from infra.kafka.client import KafkaAway

    try:
        _run(kind, instance, workers, slot, run_worker)
    except KafkaAway as away:
        sys.stderr.write(f"ebbtide: {away}\n")
        raise typer.Exit(EXIT_FAILED) from None


@app.command("sink")
def run_sink(
    directory: Annotated[Path | None, typer.Option(help="Where accepted mails are kept.")] = None,
    instance: Instance = "main",
) -> None:
    """Run the SMTP sink: it accepts and keeps every mail, and delivers none.

    Example: `ebbtide run sink --directory mails`
    """
    from cli.running import run_sink_server

    environment = Environment.of(instance)
    run_sink_server(environment, directory or environment.home / "sink")
