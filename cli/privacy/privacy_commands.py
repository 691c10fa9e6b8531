"""`ebbtide privacy`: what is kept of a person, for that person, and its end."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.auditing import audited
from cli.environment import Environment
from cli.options import EXIT_FAILED, AsJson, Instance, console, duration_of, person, print_json
from cli.owner_files import write_for_owner

HELP = "\n\n".join(
    [
        "What is kept of a person: show it to them, or erase it.",
        "docs/privacy.md says what is kept where, and for how long.",
        "Examples:",
        "`ebbtide privacy export u1 --out ./u1`",
        "`ebbtide privacy erase u1 --yes`",
        "`ebbtide privacy readmit u1`",
        "`ebbtide privacy retain rules/privacy.yaml`",
    ]
)

app = typer.Typer(help=HELP, short_help="Export or erase what is kept of a person.", no_args_is_help=True)

By = Annotated[str, typer.Option(help="Who does it, for the audit; by default your login.")]
User = Annotated[str, typer.Argument(metavar="USER", help="The user id.", show_default=False)]


@app.command("export")
def export_person(
    user: User,
    out: Annotated[
        Path | None, typer.Option("--out", help="The folder to write person.json and person.html to.", file_okay=False)
    ] = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Export what is kept of a person, as JSON and as a page to read.

    The files are made for their owner alone to read; --json prints the JSON instead. Exits with 1 if nothing is kept.
    Example: `ebbtide privacy export u1 --out ./u1`
    """
    from cli.privacy import export, export_page
    from cli.privacy.people import open_stores, user_id_of
    from cli.step_printer import StepPrinter

    environment, now, user_id = Environment.of(instance), datetime.now(UTC), user_id_of(user)
    with open_stores(environment) as stores:
        found = export.export_person(environment, stores, user_id, now, StepPrinter(Console(stderr=True)))
    if as_json:
        print_json(found.values())
    if out is not None or not as_json:
        folder = Path(f"person-{now:%Y%m%dT%H%M%S}") if out is None else out
        for name, content in (("person.json", found.json()), ("person.html", export_page.page(found).encode())):
            write_for_owner(folder / name, content)
            typer.echo(str(folder / name), err=as_json)
    if found.is_empty:
        typer.echo("nothing is kept of this user", err=True)
        raise typer.Exit(EXIT_FAILED)


@app.command("erase")
def erase_people(
    users: Annotated[list[str], typer.Argument(metavar="USER...", help="The user ids.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    wait: Annotated[str, typer.Option("--wait", help="How long to wait for workers and for Kafka.")] = "2m",
    lakes: Annotated[
        list[Path] | None, typer.Option("--lake", help="A folder of `ebbtide export`; repeatable.", file_okay=False)
    ] = None,
    by: By = "",
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Erase what is kept of people, everywhere, and print the receipt. It cannot be undone.

    From then on nothing of these users is kept, and no mail goes to them; `readmit` ends that. The receipt names each
    place, what was done, by when it is over and how that was checked, and people by keyed hashes alone. Run it
    again after an interruption: it does what is left. Exits with 1 if another run is needed.

    Example: `ebbtide privacy erase u1 --yes`
    """
    import time

    from cli.privacy.erasure import ErasureRun
    from cli.privacy.lake_erasure import require_lakes
    from cli.privacy.people import open_stores, user_id_of
    from cli.step_printer import StepPrinter

    user_ids, patience = [user_id_of(user) for user in users], duration_of(wait, "--wait")
    require_lakes(lakes or ())
    if not yes:
        typer.confirm("Erase everything of these users? It cannot be undone.", abort=True, err=True)
    environment, until_s = Environment.of(instance), time.monotonic() + patience.total_seconds()
    with open_stores(environment) as stores:
        run = ErasureRun(environment, stores, StepPrinter(Console(stderr=True)), until_s, lakes or ())
        with audited(environment, person(by), "privacy erase", _people(environment, user_ids)):
            receipt = run.erase(user_ids, datetime.now(UTC))
    if as_json:
        print_json(receipt.values())
    else:
        receipt.show(console)
    raise typer.Exit(0 if receipt.is_complete else EXIT_FAILED)


@app.command("reapply")
def reapply_erasures(
    wait: Annotated[str, typer.Option("--wait", help="How long to wait for workers and for Kafka.")] = "2m",
    by: By = "",
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Erase again each erased person of whom something is kept, as after a restore of a backup.

    It hashes every user id in the tables, so it may take minutes. Exits with 1 if another run is needed.

    Example: `ebbtide privacy reapply`
    """
    import time

    from cli.privacy.erasure import ErasureRun
    from cli.privacy.people import erased_and_known, open_stores
    from cli.step_printer import StepPrinter
    from schemas.people import PersonHasher

    environment, until_s = Environment.of(instance), time.monotonic() + duration_of(wait, "--wait").total_seconds()
    with open_stores(environment) as stores:
        users = erased_and_known(stores, PersonHasher(environment.shared_erasure_key.encode()))
        run = ErasureRun(environment, stores, StepPrinter(Console(stderr=True)), until_s)
        with audited(environment, person(by), "privacy reapply", _people(environment, users)):
            receipt = run.erase(users, datetime.now(UTC)) if users else None
    if as_json:
        print_json(None if receipt is None else receipt.values())
    elif receipt is None:
        console.print("nobody who was erased is known", markup=False)
    else:
        receipt.show(console)
    raise typer.Exit(0 if receipt is None or receipt.is_complete else EXIT_FAILED)


@app.command("readmit")
def readmit_person(user: User, by: By = "", instance: Instance = "main") -> None:
    """Let a user who was erased be known again, as when the person signs up anew. Exits with 1 if nobody was erased.

    Example: `ebbtide privacy readmit u1`
    """
    from cli.privacy.people import open_stores, user_id_of
    from schemas.people import PersonHasher
    from web.profiles import erasures

    environment, user_id = Environment.of(instance), user_id_of(user)
    change = audited(environment, person(by), "privacy readmit", _people(environment, [user_id]))
    with open_stores(environment) as stores, change:
        known = erasures.readmit(stores.ledger, PersonHasher(environment.shared_erasure_key.encode()), user_id)
    if not known:
        typer.echo("this user was not erased", err=True)
        raise typer.Exit(EXIT_FAILED)
    console.print("what comes of this user from now on is kept again")


@app.command("retain")
def retain(
    file: Annotated[Path, typer.Argument(help="The privacy file.", dir_okay=False, exists=True, show_default=False)],
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Take from decisions what they looked at, once the time is over for which the privacy file keeps it.

    A decision counts for the events that begin its trigger, by the running rules; one of a trigger that no longer runs,
    for `*` alone. It still says when what was decided about whom, and why. Run it once a day.

    Example: `ebbtide privacy retain rules/privacy.yaml`
    """
    from cli.operations.control import running_rules
    from cli.privacy import retaining
    from cli.privacy.people import open_stores

    environment, privacy = Environment.of(instance), retaining.privacy_rules(file)
    rules = running_rules(environment.kafka)
    with open_stores(environment) as stores:
        kept = retaining.kept_ms(privacy, rules, retaining.decided_triggers(stores.timescale))
        forgotten = retaining.forget(stores.timescale, kept, datetime.now(UTC))
    if as_json:
        print_json(forgotten)
        return
    for trigger, count in forgotten.items():
        console.print(f"{trigger}: {count} decisions", markup=False, soft_wrap=True)
    if not forgotten:
        console.print("no trigger begins by an event that the file names", markup=False)


def _people(environment: Environment, user_ids: Sequence[str]) -> list[str]:
    """The people as the audit names them: by keyed hashes, since it is kept."""
    from schemas.people import PersonHasher

    hasher = PersonHasher(environment.shared_erasure_key.encode())
    return [f"person {hasher(user_id).hex()}" for user_id in user_ids]
