"""`ebbtide suppressions`: which addresses get no mail and why, and how to lift or add one, audited."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cli.auditing import audit_words
from cli.environment import Environment
from cli.options import EXIT_FAILED, AsJson, Instance, console, print_json
from schemas.errors import UserError

if TYPE_CHECKING:
    from psycopg import Connection

    from senders.policy.recipients import AddressHasher

HELP = "\n\n".join(
    [
        "Addresses that get no mail: list them, explain one, lift one, add one.",
        "Delivery suppresses an address for every purpose (scope *) where a receiver says that there is no such "
        "address or its reader complains, and for one purpose where its reader unsubscribes. The list has only a "
        "keyed hash of each address; these commands hash the given address with delivery's EBBTIDE_SUPPRESSION_KEY.",
        "Examples:",
        "`ebbtide suppressions list --reason hard_bounce`",
        "`ebbtide suppressions explain ann@shop.example`",
        '`ebbtide suppressions lift ann@shop.example --reason "ticket 4711" --by ada`',
        '`ebbtide suppressions add press@shop.example --reason "asked by phone" --by ada`',
        '`ebbtide suppressions import list.csv --reason "from the old system" --by ada`',
    ]
)

app = typer.Typer(help=HELP, short_help="List, explain, lift and add addresses that get no mail.", no_args_is_help=True)

SHOWN = 50

Scope = Annotated[str | None, typer.Option(help="Only this scope: a purpose, or '*' for every purpose.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for the audit.", show_default=False)]
By = Annotated[str, typer.Option(help="Who makes the change, for the audit.", show_default=False)]


class SuppressionError(UserError):
    """An argument is wrong, or there is no table; the message says what to do."""


@app.command("list")
def list_suppressions(
    address: Annotated[str | None, typer.Option(help="Only this address.")] = None,
    user: Annotated[str | None, typer.Option(help="Only addresses of this user.")] = None,
    scope: Scope = None,
    reason: Annotated[
        str | None,
        typer.Option(
            help="Only this reason, such as hard_bounce, bounced, complained, unsubscribed, soft_bounces, command."
        ),
    ] = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """List the suppressions, the newest first; --json prints all of them, one a line.

    Example: `ebbtide suppressions list --reason hard_bounce`
    """
    from cli.operations import suppression_text
    from senders.policy import suppressions

    with _open(instance) as (connection, hasher):
        hashes = None
        if address is not None or user is not None:
            wanted = [{hasher(_plain(address))}] if address is not None else []
            if user is not None:
                with _timescale(instance) as timescale:
                    wanted.append(suppressions.hashes_of_user(connection, timescale, hasher, user))
            hashes = set.intersection(*wanted)
        found = suppressions.find(connection, hashes, scope, reason)
    if as_json:
        for each in found:
            print_json(suppression_text.suppression_json(each))
        return
    for each in found[:SHOWN]:
        console.print(suppression_text.suppression_line(each), markup=False, soft_wrap=True)
    more = f", the {SHOWN} newest shown; --json prints all" if len(found) > SHOWN else ""
    console.print(f"{len(found)} suppression{'' if len(found) == 1 else 's'}{more}")


@app.command("explain")
def explain_suppression(
    address: Annotated[str, typer.Argument(help="The address.", show_default=False)],
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Explain why an address gets no mail: which command, which reply, when, which scope, and who changed what.

    Exits with 1 if the address is not suppressed. Example: `ebbtide suppressions explain ann@shop.example`
    """
    from cli.operations import suppression_text
    from senders.policy import suppressions

    with _open(instance) as (connection, hasher):
        address_hash = hasher(_plain(address))
        found = suppressions.find(connection, [address_hash])
        history = suppressions.history(connection, [address_hash])
        with _timescale(instance) as timescale:
            facts = suppressions.facts(connection, timescale, {each.command_id for each in found if each.command_id})
    if as_json:
        print_json(
            {
                "suppressions": [suppression_text.suppression_json(each) for each in found],
                "facts": [asdict(each) for each in facts],
                "history": [suppression_text.change_json(each) for each in history],
            }
        )
    else:
        for each in found:
            suppression_text.show(each, [fact for fact in facts if fact.command_id == each.command_id])
        for change in history:
            console.print(suppression_text.change_line(change), markup=False, soft_wrap=True)
        if not found:
            console.print("not suppressed: no suppression under this key (EBBTIDE_SUPPRESSION_KEY)")
    raise typer.Exit(0 if found else EXIT_FAILED)


@app.command("remove", hidden=True)  # its earlier name
@app.command("lift")
def lift_suppression(
    why: Why,
    by: By,
    address: Annotated[str | None, typer.Argument(help="The address.", show_default=False)] = None,
    command: Annotated[
        str | None, typer.Option(help="Instead of an address: the command that caused it, as `list` prints it.")
    ] = None,
    scope: Scope = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Let an address get mail again: in every scope, or in one. The audit keeps what was lifted.

    Delivery checks the list before each mail. Stream workers learn of it on the topic `outcomes`, kind `reinstated`,
    for each user who has this address now. A withdrawn consent stays withdrawn. Exits with 1 if there was nothing to
    lift.

    Example: `ebbtide suppressions lift ann@shop.example --reason "ticket 4711" --by ada`
    """
    from cli.operations import suppression_lift, suppression_text
    from infra.kafka.publisher import Publisher
    from infra.postgres import audit
    from schemas.codec import encode
    from schemas.topics import OUTCOMES
    from senders.policy import suppressions

    if (address is None) == (command is None):
        raise typer.BadParameter("give an address, or --command", param_hint="ADDRESS")
    environment = Environment.of(instance)
    with _open(instance) as (connection, hasher):
        found = [] if address is not None else suppressions.find(connection, command_id=command)
        hashes = [hasher(_plain(address))] if address is not None else [each.address_hash for each in found]
        who, reason = _required(by, "--by"), _required(why, "--reason")
        lifted, users = suppression_lift.lift(connection, hasher, hashes, scope, who, reason)
        words = audit_words(environment)
        for change in lifted:
            audit.add(connection, words.change(who, "suppressions lift", *suppression_text.audited_lift(change)))
        # Before the commit: if Kafka does not accept the outcomes, nothing is lifted.
        with Publisher(environment.kafka) as publisher:
            for change, user in users:
                publisher.send(OUTCOMES.name, user.encode(), encode(suppression_lift.reinstated(change, user)))
    if as_json:
        print_json(
            {"lifted": [suppression_text.change_json(each) for each in lifted], "users": [user for _, user in users]}
        )
    for each in [] if as_json else lifted:
        console.print(suppression_text.change_line(each), markup=False, soft_wrap=True)
    if not lifted:
        _nothing("nothing to lift: the address is not suppressed and belongs to no user; `ebbtide suppressions list`")


@app.command("add")
def add_suppression(
    why: Why,
    by: By,
    address: Annotated[str, typer.Argument(help="The address.", show_default=False)],
    scope: Annotated[str, typer.Option(help="A purpose, or '*' for every purpose.")] = "*",
    days: Annotated[int | None, typer.Option("--for-days", min=1, help="End it by itself after so many days.")] = None,
    instance: Instance = "main",
) -> None:
    """Suppress an address: delivery sends it no mail. Exits with 1 if it is already suppressed.

    Example: `ebbtide suppressions add press@shop.example --reason "asked by phone" --by ada`
    """
    from infra.postgres import audit
    from senders.policy import suppressions

    words = audit_words(Environment.of(instance))
    with _open(instance) as (connection, hasher):
        address_hash, at = hasher(_plain(address)), datetime.now(UTC)
        who, reason = _required(by, "--by"), _required(why, "--reason")
        ends = None if days is None else at + timedelta(days=days)
        added = suppressions.add(connection, address_hash, scope, who, reason, at, ends)
        if added:
            after = {"scope": scope, "reason": reason, "ends": ends and ends.isoformat()}
            subject = f"address {address_hash.hex()}"
            audit.add(connection, words.change(who, "suppressions add", subject, None, after))
    if not added:
        _nothing(f"already suppressed in scope {scope}; `ebbtide suppressions explain` says why")
    console.print(f"suppressed in scope {scope}", markup=False)


@app.command("import")
def import_suppressions(
    why: Why,
    by: By,
    file: Annotated[Path, typer.Argument(help="A CSV file with a header.", dir_okay=False, exists=True)],
    instance: Instance = "main",
) -> None:
    """Suppress the addresses of a CSV file, all of them or, where a line is wrong, none.

    Columns: address or address_hash, and if you like scope (*), reason (import), since, source (import), expires_at
    and command_id. Hashes are those of the same EBBTIDE_SUPPRESSION_KEY, as `export` writes them. What is suppressed
    already stays as it is.

    Example: `ebbtide suppressions import list.csv --reason "from the old system" --by ada`
    """
    from infra.postgres import audit
    from senders.policy import suppression_files

    words = audit_words(Environment.of(instance))
    with _open(instance) as (connection, hasher):
        now, who, reason = datetime.now(UTC), _required(by, "--by"), _required(why, "--reason")
        try:
            with file.open(encoding="utf-8-sig", newline="") as lines:
                listed = suppression_files.read_list(lines, hasher, _plain, now)
        except UnicodeDecodeError:
            raise SuppressionError(f"{file}: not in UTF-8") from None
        added = suppression_files.add_all(connection, listed, who, reason, now)
        after = {"read": len(listed), "added": added, "reason": reason}
        audit.add(connection, words.change(who, "suppressions import", f"file {file.name}", None, after))
    console.print(f"{len(listed)} read, {added} added, {len(listed) - added} known before")


@app.command("export")
def export_suppressions(instance: Instance = "main") -> None:
    """Write the suppressions to standard output as CSV, with the hashes of the addresses.

    Example: `ebbtide suppressions export > suppressions.csv`
    """
    import csv
    import sys

    from senders.policy import suppression_files

    with _open(instance) as (connection, _):
        csv.writer(sys.stdout, lineterminator="\n").writerows(suppression_files.exported(connection))


@contextmanager
def _open(instance: str) -> "Iterator[tuple[Connection[Any], AddressHasher]]":
    """One transaction on the database of the instance's ledger, and the hasher with the key of its delivery."""
    import psycopg

    from senders.policy.recipients import AddressHasher

    environment = Environment.of(instance)
    hasher = AddressHasher(environment.suppression_key.encode())
    try:
        with psycopg.connect(environment.ledger_url, options="-c timezone=UTC") as connection:
            yield connection, hasher
    except psycopg.errors.UndefinedTable:
        raise SuppressionError("the database has no table of suppressions yet; `ebbtide migrate` creates it") from None


def _timescale(instance: str) -> "Connection[Any]":
    """A connection to the database of the hypertables."""
    import psycopg

    return psycopg.connect(Environment.of(instance).database_url, options="-c timezone=UTC")


def _plain(address: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from schemas.types import Address

    adapter: TypeAdapter[str] = TypeAdapter(Address)
    try:
        return adapter.validate_python(address)
    except ValidationError:
        raise SuppressionError("not a plain mail address; write it as ann@shop.example") from None


def _required(text: str, option: str) -> str:
    if not text.strip():
        raise typer.BadParameter("must not be empty: the audit keeps it", param_hint=option)
    return text.strip()


def _nothing(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(EXIT_FAILED)
