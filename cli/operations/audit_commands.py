"""`ebbtide audit`: who changed what, and whether that record is whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.environment import Environment
from cli.options import EXIT_FAILED, AsJson, Instance, console, print_json
from schemas.wording import counted

if TYPE_CHECKING:
    from psycopg import Connection

app = typer.Typer(invoke_without_command=True)

SHOWN = 50


@app.callback()
def audit(
    context: typer.Context,
    since: Annotated[str | None, typer.Option(help="Since this time: 2h for two hours ago, or ISO 8601.")] = None,
    who: Annotated[str | None, typer.Option(help="Only by this person.")] = None,
    what: Annotated[str | None, typer.Option(help="Only this: switch, rules, import, keys, keys rotate, …")] = None,
    user: Annotated[str | None, typer.Option(help="Only this user's erasures and readmissions.")] = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """List who changed what, by commands and pages, the newest last; --json prints all of it, one change a line.

    Each change has the values that differ, before and after. People who get mail stand in it by keyed hashes alone.
    `verify` shows whether a row was changed or is missing.

    Examples: `ebbtide audit --since 7d --who ada`, `ebbtide audit --what keys --json`, `ebbtide audit verify`
    """
    if context.invoked_subcommand is not None:
        return
    from cli.operations import audit_text
    from cli.operations.dead_letters import moment
    from cli.operations.publish import now
    from infra.postgres import audit as table

    with _snapshot(instance) as connection:
        about = None if user is None else _hash_of(connection, instance, user)
        most = None if as_json else SHOWN + 1
        found = table.find(connection, moment(since, now()), who, what, about, most)
    if as_json:
        for each in found:
            print_json(each)
        return
    for each in found[-SHOWN:]:
        for line in audit_text.lines(each):
            console.print(line, markup=False, soft_wrap=True)
    more = f"; only the {SHOWN} newest, --json prints all" if len(found) > SHOWN else ""
    console.print(f"{counted(min(len(found), SHOWN), 'change')}{more}")


@app.command("verify")
def verify_audit(
    against: Annotated[
        list[str] | None, typer.Option(help="The end that an earlier `verify` printed; repeatable.", metavar="END")
    ] = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Verify that no row was changed, and none is missing; print the end, to be kept elsewhere.

    A chain cannot show that its own last rows were cut off: an end that was kept elsewhere does. Exits with 1 if
    anything is wrong.

    Example: `ebbtide audit verify --against 1042:9f3c…`
    """
    from infra.postgres import audit as table

    try:
        kept = [table.AuditEnd.parse(text) for text in against or ()]
    except ValueError:
        raise typer.BadParameter("write NUMBER:HASH, as `verify` prints it", param_hint="--against") from None
    with _snapshot(instance) as connection:
        found = table.verify(connection, kept)
    if as_json:
        print_json({"end": str(found.end), "problem": found.problem})
    elif found.problem is None:
        console.print(f"{found.end.number:,} rows: whole; the end is {found.end}", soft_wrap=True)
    else:
        console.print(found.problem, soft_wrap=True)
    raise typer.Exit(EXIT_FAILED if found.problem else 0)


@contextmanager
def _snapshot(instance: str) -> "Iterator[Connection[Any]]":
    import psycopg

    from infra.postgres.migrate import require_migrated

    url = Environment.of(instance).ledger_url
    with require_migrated(), psycopg.connect(url, options="-c timezone=UTC") as connection:
        connection.read_only = True
        yield connection


def _hash_of(connection: "Connection[Any]", instance: str, user: str) -> str:
    """What stands for a user in the audit. Raises OtherErasureKey."""
    from infra.postgres.erased_people import require_key
    from schemas.people import PersonHasher

    hasher = PersonHasher(Environment.of(instance).erasure_key.encode())
    require_key(connection, hasher)
    return hasher(user).hex()
