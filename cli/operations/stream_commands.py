"""`ebbtide streams`: the stream workers of an instance, looked at and restarted."""

import typer

from cli.environment import Environment
from cli.options import EXIT_FAILED, AsJson, Instance, console, print_json

app = typer.Typer(help="Look at the stream workers, and restart them one after the other.", no_args_is_help=True)


@app.command("status")
def streams_status(instance: Instance = "main", as_json: AsJson = False) -> None:
    """Show the stream workers and each partition's lag, rate, state and timers.

    Exits with 1 where a worker that should run does not, or none does.
    """
    from cli.operations import stream_status

    found = stream_status.look(Environment.of(instance))
    if as_json:
        print_json(stream_status.as_json(found))
    else:
        stream_status.show(console, found)
    if not found.all_run:
        raise typer.Exit(EXIT_FAILED)


@app.command("restart")
def streams_restart(instance: Instance = "main") -> None:
    """Restart the stream workers one after the other, each when the one before is ready again.

    Exits with 1 where one does not become ready; those after it are left alone.
    """
    from cli.operations import stream_status

    for roll in stream_status.restart(Environment.of(instance)):
        if roll.state == "running" and roll.slot is not None:
            console.print(f"worker {roll.slot} restarts")
        elif roll.state == "failed":
            console.print(roll.reason, soft_wrap=True)
            raise typer.Exit(EXIT_FAILED)
    console.print("all are ready again")
