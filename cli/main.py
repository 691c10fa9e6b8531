"""The command line, and with it the composition root: the only place that knows every part."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from cli.columns import aligned
from cli.environment import Environment
from cli.operations import letter_commands, sink_commands, suppression_commands, switch_commands
from cli.options import EXIT_FAILED, EXIT_USAGE, AsJson, Instance, console
from cli.options import print_json as _print_json
from cli.rules import eval_command, manifest_commands, rule_commands
from infra.local.choice import choose_engine
from infra.local.engine import Engine
from schemas.errors import UserError

app = typer.Typer(
    name="ebbtide",
    help="Behavioural email triggers on an event stream.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
run_app = typer.Typer(help="Run a part in the foreground; Ctrl-C stops it cleanly.", no_args_is_help=True)
streams_app = typer.Typer(help="Look at the stream workers, and restart them in turn.", no_args_is_help=True)
publish_app = typer.Typer(help="Publish single facts by hand, to try things out.", no_args_is_help=True)
app.add_typer(run_app, name="run")
app.add_typer(streams_app, name="streams")
app.add_typer(publish_app, name="publish")
app.add_typer(letter_commands.app, name="dead-letters")
app.add_typer(manifest_commands.rules_app, name="rules", rich_help_panel="Rules")
app.add_typer(sink_commands.app, name="sink")
app.add_typer(suppression_commands.app, name="suppressions")
app.command("eval", rich_help_panel="Rules")(eval_command.evaluate)

EngineName = Annotated[str | None, typer.Option("--engine", help="native (default) or compose.")]


def _engine(instance: str, name: str | None) -> tuple[Environment, Engine]:
    environment = Environment.of(instance)
    return environment, choose_engine(name, environment.home, environment.ports)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the versions of Ebbtide and its zone data.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --version: as JSON.")] = False,
) -> None:
    """Behavioural email triggers on an event stream."""
    if as_json and not version:
        raise typer.BadParameter("goes with --version; other commands take it after their name", param_hint="--json")
    if not version:
        return
    if context.invoked_subcommand is not None:
        raise typer.BadParameter("takes no command", param_hint="--version")
    from cli.versions import versions

    found = versions()
    if as_json:
        _print_json(found)
    else:
        console.print("\n".join(f"{name} {number}" for name, number in found.items()), highlight=False)


@app.command(rich_help_panel="Local servers")
def up(instance: Instance = "main", engine: EngineName = None) -> None:
    """Start Kafka and TimescaleDB, migrate, and make the topics. What already runs is left alone.

    Example: `ebbtide up`
    """
    from infra.kafka.client import ensure_topics
    from infra.postgres.migrate import migrate
    from schemas.topics import DEMO_PARTITIONS

    environment, chosen = _engine(instance, engine)
    started = chosen.up(console.print)
    migrate(environment.database_url)
    ensure_topics(environment.kafka, DEMO_PARTITIONS)
    console.print(f"started: {', '.join(started)}" if started else "already running: nothing to do")
    _print_status(environment, chosen)


@app.command(rich_help_panel="Local servers")
def down(instance: Instance = "main", engine: EngineName = None) -> None:
    """Stop the local servers. Their data stays."""
    stopped = _engine(instance, engine)[1].down()
    console.print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


@app.command(rich_help_panel="Local servers")
def status(instance: Instance = "main", engine: EngineName = None, as_json: AsJson = False) -> None:
    """Show what runs, where. Exits with 1 where a server does not run."""
    environment, chosen = _engine(instance, engine)
    found = chosen.status()
    if as_json:
        _print_json([{"name": s.name, "state": s.state, "address": s.address, "pid": s.pid} for s in found])
    else:
        _print_status(environment, chosen)
    if any(s.state != "running" for s in found):
        raise typer.Exit(EXIT_FAILED)


def _print_status(environment: Environment, engine: Engine) -> None:
    rows = [(s.name, s.state, s.address, str(s.pid or ""), s.detail) for s in engine.status()]
    for line in aligned([("server", "state", "address", "pid", ""), *rows]):
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"files  {environment.home}", style="dim", soft_wrap=True)


@app.command(rich_help_panel="Local servers")
def logs(
    instance: Instance = "main",
    engine: EngineName = None,
    lines: Annotated[int, typer.Option("-n", min=1, help="How many lines of each.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until Ctrl-C.")] = False,
) -> None:
    """Show the servers' logs."""
    for line in _engine(instance, engine)[1].logs(lines, follow):
        console.print(line, markup=False, soft_wrap=True)


@app.command(rich_help_panel="Local servers")
def psql(
    arguments: Annotated[list[str] | None, typer.Argument(help="Passed on to psql.", show_default=False)] = None,
    instance: Instance = "main",
) -> None:
    """Open psql on the ledger and the hypertables.

    Example: `ebbtide psql -- -c 'SELECT count(*) FROM deliveries'`
    """
    from infra.local.native import psql_program
    from infra.postgres.migrate import require_database

    environment = Environment.of(instance)
    require_database(environment.database_url)
    program = psql_program(Path(".local").absolute())
    done = subprocess.run([program, environment.database_url, *(arguments or [])], check=False)
    raise typer.Exit(done.returncode)


@app.command(rich_help_panel="Local servers")
def migrate(instance: Instance = "main") -> None:
    """Bring the database's tables up to date."""
    from infra.postgres.migrate import migrate as run_migrations

    applied = run_migrations(Environment.of(instance).database_url)
    console.print(f"applied: {', '.join(applied)}" if applied else "nothing to apply")


@app.command(rich_help_panel="Local servers")
def topics(
    instance: Instance = "main",
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of each user-keyed topic.")] = 16,
    replication: Annotated[int, typer.Option(min=1, help="Copies of each partition.")] = 1,
) -> None:
    """Make the topics that are missing; refuse where one has another partition count."""
    from infra.kafka.client import ensure_topics

    made = ensure_topics(Environment.of(instance).kafka, partitions, replication)
    console.print(f"made: {', '.join(made)}" if made else "all there")


for rule_name, rule_command in rule_commands.COMMANDS.items():
    app.command(rule_name, rich_help_panel=rule_commands.PANEL)(rule_command)


@run_app.command("streams")
def run_streams(
    instance: Instance = "main",
    workers: Annotated[
        int | None, typer.Option(min=1, max=95, help="How many processes, one a core; 1 unless told.")
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
        from cli.operations.supervising import run_supervisor

        raise typer.Exit(run_supervisor(Environment.of(instance), workers or 1))
    if workers is not None:
        raise typer.BadParameter("a --slot is one worker: give --workers or --slot, not both", param_hint="--slot")
    from cli.running import run_streams_worker

    run_streams_worker(Environment.of(instance), slot)


@streams_app.command("status")
def streams_status(instance: Instance = "main", as_json: AsJson = False) -> None:
    """Show the stream workers and each partition's lag, rate, state and timers.

    Exits with 1 where a worker that should run does not, or none does.
    """
    from cli.operations import stream_status

    found = stream_status.look(Environment.of(instance))
    if as_json:
        _print_json(stream_status.as_json(found))
    else:
        stream_status.show(console, found)
    if not found.all_run:
        raise typer.Exit(EXIT_FAILED)


@streams_app.command("restart")
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


@run_app.command("senders")
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


@run_app.command("sink")
def run_sink(
    directory: Annotated[Path | None, typer.Option(help="Where accepted mails are kept.")] = None,
    instance: Instance = "main",
) -> None:
    """Run the SMTP sink: it takes every mail, keeps it, and passes none on."""
    from cli.running import run_sink_server

    environment = Environment.of(instance)
    run_sink_server(environment, directory or environment.home / "sink")


@publish_app.command("event")
def publish_event(
    text: Annotated[str, typer.Argument(metavar="JSON", help="The event; id and time are given where left out.")],
    ago: Annotated[str, typer.Option(help="How long ago it happened, such as 59m50s.")] = "0s",
    instance: Instance = "main",
) -> None:
    """Publish an event.

    Example: `ebbtide publish event '{"type": "product_viewed", "user_id": "u1"}' --ago 59m50s`
    """
    from cli.operations import publish
    from schemas.events import Event

    event = publish.event_of(text, publish.now(), publish.duration(ago))
    publish.publish_event(Environment.of(instance).kafka, event)
    console.print(f"published {event.type} {event.id} of {event.user_id}, {event.time:%Y-%m-%d %H:%M:%S} UTC")
    for unknown in publish.unknown_fields(text, Event):
        typer.echo(f"warning: {unknown}", err=True)


@publish_app.command("profile")
def publish_profile(
    text: Annotated[str, typer.Argument(metavar="JSON", help="The profile.")],
    consent: Annotated[list[str] | None, typer.Option(help="A purpose consented to; may be repeated.")] = None,
    instance: Instance = "main",
) -> None:
    """Publish a profile. It replaces the one before it whole.

    Example: `ebbtide publish profile '{"user_id": "u1", "address": "u1@mail.example"}' --consent marketing`
    """
    from cli.operations import publish
    from schemas.profiles import Profile

    profile = publish.profile_of(text, publish.now(), consent or [])
    publish.publish_profile(Environment.of(instance).kafka, profile)
    console.print(f"published the profile of {profile.user_id}")
    for doubt in (*publish.unknown_fields(text, Profile), *publish.doubts(profile)):
        typer.echo(f"warning: {doubt}", err=True)


for switch_command in (switch_commands.pause, switch_commands.resume, switch_commands.switches):
    app.command(rich_help_panel="Kill switch")(switch_command)


@app.command(rich_help_panel="Try it")
def demo(
    seed: Annotated[int, typer.Option(help="Another seed is another crowd.")] = 1,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the servers running.")] = False,
    engine: EngineName = None,
) -> None:
    """Run the whole pipeline on real servers and a real purchase log, then balance the books.

    Exits with 1 where they do not balance.
    """
    from cli.demo.main import run_demo

    environment, chosen = _engine("demo", engine)
    raise typer.Exit(0 if run_demo(console, environment, chosen, seed, keep) else EXIT_FAILED)


def _refuse(message: str, status: int) -> NoReturn:
    from infra.service.worker_slot import SUPERVISOR

    if SUPERVISOR in os.environ:  # a worker's log is JSON to its end
        import structlog

        structlog.get_logger().critical("refused", reason=message)
    else:
        sys.stderr.write(f"ebbtide: {message}\n")
    raise SystemExit(status)


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def one_line(error: Exception) -> str | None:
    """What to print for an error that a person can act on, with the next step; None for a defect.

    Classes of Kafka's, PostgreSQL's and pydantic's are known by name: to import all three costs a command a second.
    """
    if isinstance(error, UserError):
        return error.line
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}; give another path, or mend this one"
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return f"{str(error.strerror).lower()}: nothing more can be written here"
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if "cimpl.KafkaException" in names:
        return f"Kafka does not answer ({error.args[0].str()}); `make status` tells what runs, `make up` starts it"
    if "psycopg.OperationalError" in names:
        first = str(error).strip().splitlines()[0]
        return f"TimescaleDB does not answer ({first}); `make status` tells what runs, `make up` starts it"
    return _wrong_setting(error, names)


def _wrong_setting(error: Any, names: set[str]) -> str | None:
    if "pydantic_core._pydantic_core.ValidationError" not in names or not error.title.endswith("Settings"):
        return None
    wrong = error.errors(include_input=False)[0]
    message = str(wrong["msg"]).removeprefix("Value error, ")
    if not wrong["loc"]:  # about several settings; it names them
        return message
    return f"setting EBBTIDE_{'_'.join(map(str, wrong['loc'])).upper()}: {message}"


def _terminated(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)  # unwinds, so that whatever was started is stopped


def main() -> None:
    """The console script. Exit status: 0 done, 1 a check failed, 2 it could not be done, 130 interrupted."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app()
    except Exception as error:
        if (line := one_line(error)) is None:
            raise  # a defect keeps its trace
        _refuse(line, error.exit_status if isinstance(error, UserError) else EXIT_USAGE)


if __name__ == "__main__":
    main()
