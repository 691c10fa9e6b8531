"""`ebbtide streams`, `senders`, `web` and `profiles`: look at the workers of an instance, and restart them."""

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from cli.environment import PUBLICATION, SENDERS, STREAMS, WEB, Environment
from cli.options import EXIT_FAILED, AsJson, Instance, console, print_json
from infra.service.worker_registry import WorkerKind

if TYPE_CHECKING:
    from cli.operations.queue_ages import SpacedCount


def _group(name: str, workers: str) -> typer.Typer:
    """The group of commands about workers of one kind."""
    text = f"""Look at the {workers}, and restart them one after the other.

Examples: `ebbtide {name} status`, `ebbtide {name} restart`"""
    return typer.Typer(help=text, no_args_is_help=True)


streams_app = _group("streams", "stream workers")
senders_app = _group("senders", "delivery workers")
web_app = _group("web", "HTTP processes")
profiles_app = _group("profiles", "profile workers")


@streams_app.command("status")
def streams_status(instance: Instance = "main", as_json: AsJson = False) -> None:
    """Show the stream workers and each partition's lag, rate, state and timers.

    Exits with 1 if a worker is missing, or if none runs.

    Examples: `ebbtide streams status`, `ebbtide streams status --json`
    """
    _status(instance, STREAMS, as_json)


@streams_app.command("restart")
def streams_restart(instance: Instance = "main") -> None:
    """Restart the stream workers one after the other, each when the one before is ready again.

    Exits with 1 if a worker does not become ready; the workers after it are not restarted.

    Example: `ebbtide streams restart`
    """
    _restart(instance, STREAMS)


@senders_app.command("status")
def senders_status(
    instance: Instance = "main",
    as_json: AsJson = False,
    watch: Annotated[
        float | None, typer.Option("--watch", min=0.5, help="Show it again every so many seconds, until Ctrl-C.")
    ] = None,
) -> None:
    """Show the delivery workers and their partitions, and what waits where.

    The queue by age; each lane with what binds it and its rate against its limit; sources, blocks and suspensions with
    their end; what people pause or set; problems of routes. Lanes are those of the workers on this machine, with what
    waits in their memory; what waits for longer is in the queue. Exits with 1 if a worker is missing, or if none runs.

    With --watch, the queue is counted less often if that takes long; then its age is shown.

    Examples: `ebbtide senders status`, `ebbtide senders status --watch 2`, `ebbtide senders status --json`
    """
    from cli.operations.queue_ages import SpacedCount

    count = SpacedCount()
    while watch is not None:
        if console.is_terminal and not as_json:
            console.clear()
        with suppress(typer.Exit):
            _status(instance, SENDERS, as_json, count)
        time.sleep(watch)
    _status(instance, SENDERS, as_json)


@senders_app.command("restart")
def senders_restart(instance: Instance = "main") -> None:
    """Restart the delivery workers one after the other, each when the one before is ready again.

    Exits with 1 if a worker does not become ready; the workers after it are not restarted.

    Example: `ebbtide senders restart`
    """
    _restart(instance, SENDERS)


@web_app.command("status")
def web_status(instance: Instance = "main", as_json: AsJson = False) -> None:
    """Show the HTTP processes, and what waits in each.

    Exits with 1 if a process is missing, or if none runs.

    Examples: `ebbtide web status`, `ebbtide web status --json`
    """
    _status(instance, WEB, as_json)


@web_app.command("restart")
def web_restart(instance: Instance = "main") -> None:
    """Restart the HTTP processes one after the other, each when the one before is ready again. No request is lost.

    Exits with 1 if a process does not become ready; the processes after it are not restarted.

    Example: `ebbtide web restart`
    """
    _restart(instance, WEB)


@profiles_app.command("status")
def profiles_status(instance: Instance = "main", as_json: AsJson = False) -> None:
    """Show the profile workers, what waits to be published, and how far their readers are behind.

    Exits with 1 if a worker is missing, or if none runs.

    Examples: `ebbtide profiles status`, `ebbtide profiles status --json`
    """
    _status(instance, PUBLICATION, as_json)


@profiles_app.command("restart")
def profiles_restart(instance: Instance = "main") -> None:
    """Restart the profile workers one after the other, each when the one before is ready again.

    Exits with 1 if a worker does not become ready; the workers after it are not restarted.

    Example: `ebbtide profiles restart`
    """
    _restart(instance, PUBLICATION)


def _status(instance: str, kind: WorkerKind, as_json: bool, count: "SpacedCount | None" = None) -> None:
    from cli.operations import worker_status, worker_tables

    found = worker_status.look(Environment.of(instance), kind, count)
    if as_json:
        print_json(worker_status.as_json(found))
    else:
        worker_tables.show(console, found, kind)
    if not found.all_run:
        raise typer.Exit(EXIT_FAILED)


def _restart(instance: str, kind: WorkerKind) -> None:
    from cli.operations import worker_status

    for restart in worker_status.restart(Environment.of(instance), kind):
        if restart.state == "running" and restart.slot is not None:
            console.print(f"worker {restart.slot} restarts")
        elif restart.state == "failed":
            console.print(restart.reason, soft_wrap=True)
            raise typer.Exit(EXIT_FAILED)
    console.print("all are ready again")
