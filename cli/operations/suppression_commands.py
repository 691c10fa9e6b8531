"""`ebbtide suppressions`: which addresses get no mail and why, and how to lift or add one, audited."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cli.environment import Environment
from cli.options import EXIT_FAILED, AsJson, Instance, console, print_json
from schemas.errors import UserError

if TYPE_CHECKING:
    from psycopg import Connection

    from senders.policy.recipients import AddressHasher
    from senders.policy.suppressions import DeliveryFact, Suppression, SuppressionChange

HELP = "\n\n".join(
    [
        "Addresses that get no mail: list them, explain one, lift one, add one.",
        "Delivery suppresses an address for every purpose (scope *) where a receiver says that there is no such "
        "address or its reader complains, and for one purpose where its reader unsubscribes. The list knows an address "
        "by its keyed hash alone; these commands hash what they are given with delivery's EBBTIDE_SUPPRESSION_KEY.",
        "Examples:",
        "`ebbtide suppressions list --reason hard_bounce`",
        "`ebbtide suppressions explain ann@shop.example`",
        '`ebbtide suppressions lift ann@shop.example --reason "ticket 4711" --by ada`',
        '`ebbtide suppressions add press@shop.example --reason "asked by phone" --by ada`',
    ]
)

app = typer.Typer(help=HELP, short_help="List, explain, lift and add addresses that get no mail.", no_args_is_help=True)

SHOWN = 50

Scope = Annotated[str | None, typer.Option(help="Only this scope: a purpose, or '*' for every purpose.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for the audit.", show_default=False)]
By = Annotated[str, typer.Option(help="Who does it, for the audit.", show_default=False)]


class SuppressionError(UserError):
    """What is to be listed or changed is not named rightly; the message says what to give instead."""


@app.command("list")
def list_suppressions(
    address: Annotated[str | None, typer.Option(help="Only this address.")] = None,
    user: Annotated[str | None, typer.Option(help="Only addresses of this user.")] = None,
    scope: Scope = None,
    reason: Annotated[
        str | None, typer.Option(help="Only this reason: hard_bounce, bounced, complained, unsubscribed or command.")
    ] = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """List the suppressions, the newest first; --json prints all of them, one a line.

    Example: `ebbtide suppressions list --reason hard_bounce`
    """
    from senders.policy import suppressions

    with _open(instance) as (connection, hasher):
        hashes = None
        if address is not None or user is not None:
            wanted = [{hasher(_plain(address))}] if address is not None else []
            wanted += [suppressions.hashes_of_user(connection, hasher, user)] if user is not None else []
            hashes = set.intersection(*wanted)
        found = suppressions.find(connection, hashes, scope, reason)
    if as_json:
        for each in found:
            print_json(_suppression_json(each))
        return
    for each in found[:SHOWN]:
        console.print(_line(each), markup=False, soft_wrap=True)
    more = f", the {SHOWN} newest shown; --json prints all" if len(found) > SHOWN else ""
    console.print(f"{len(found)} suppression{'' if len(found) == 1 else 's'}{more}")


@app.command("explain")
def explain_suppression(
    address: Annotated[str, typer.Argument(help="The address.", show_default=False)],
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Explain why an address gets no mail: which command, which reply, when, which scope, and who changed what.

    Exits with 1 where the address is not suppressed. Example: `ebbtide suppressions explain ann@shop.example`
    """
    from senders.policy import suppressions

    with _open(instance) as (connection, hasher):
        address_hash = hasher(_plain(address))
        found = suppressions.find(connection, [address_hash])
        history = suppressions.history(connection, [address_hash])
        facts = suppressions.facts(connection, {each.command_id for each in found if each.command_id})
    if as_json:
        print_json(
            {
                "suppressions": [_suppression_json(each) for each in found],
                "facts": [asdict(each) for each in facts],
                "history": [_change_json(each) for each in history],
            }
        )
    else:
        for each in found:
            _show(each, [fact for fact in facts if fact.command_id == each.command_id])
        for change in history:
            console.print(_change_line(change), markup=False, soft_wrap=True)
        if not found:
            console.print("not suppressed: no suppression under this key (EBBTIDE_SUPPRESSION_KEY)")
    raise typer.Exit(0 if found else EXIT_FAILED)


@app.command("lift")
def lift_suppression(
    why: Why,
    by: By,
    address: Annotated[str | None, typer.Argument(help="The address.", show_default=False)] = None,
    command: Annotated[
        str | None, typer.Option(help="Instead of an address: the command that brought it, as `list` prints it.")
    ] = None,
    scope: Scope = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Let an address get mail again: in every scope, or in one. What was there is kept in the audit.

    Delivery asks the list before each mail. Stream workers hear of it on the topic `outcomes`, kind `reinstated`, for
    each user whose address this is now. A consent that was withdrawn stays withdrawn. Exits with 1 where there was
    nothing to lift.

    Example: `ebbtide suppressions lift ann@shop.example --reason "ticket 4711" --by ada`
    """
    from infra.kafka.publisher import Publisher
    from schemas.codec import encode
    from schemas.topics import OUTCOMES

    if (address is None) == (command is None):
        raise typer.BadParameter("give an address, or --command", param_hint="ADDRESS")
    environment = Environment.of(instance)
    with _open(instance) as (connection, hasher):
        lifted, users = _lift(connection, hasher, address, command, scope, _said(by, "--by"), _said(why, "--reason"))
        # Before the commit: where Kafka does not take it, nothing is lifted at all.
        with Publisher(environment.kafka) as publisher:
            for change, user in users:
                publisher.send(OUTCOMES.name, user.encode(), encode(_reinstated(change, user)))
    if as_json:
        print_json({"lifted": [_change_json(each) for each in lifted], "users": [user for _, user in users]})
    for each in [] if as_json else lifted:
        console.print(_change_line(each), markup=False, soft_wrap=True)
    if not lifted:
        _nothing("nothing to lift: the address is not suppressed and belongs to no user; `ebbtide suppressions list`")


@app.command("add")
def add_suppression(
    why: Why,
    by: By,
    address: Annotated[str, typer.Argument(help="The address.", show_default=False)],
    scope: Annotated[str, typer.Option(help="A purpose, or '*' for every purpose.")] = "*",
    instance: Instance = "main",
) -> None:
    """Have delivery withhold mail from an address. Exits with 1 where it does so already.

    Example: `ebbtide suppressions add press@shop.example --reason "asked by phone" --by ada`
    """
    from senders.policy import suppressions

    with _open(instance) as (connection, hasher):
        address_hash, at = hasher(_plain(address)), datetime.now(UTC)
        added = suppressions.add(connection, address_hash, scope, _said(by, "--by"), _said(why, "--reason"), at)
    if not added:
        _nothing(f"suppressed already in scope {scope}; `ebbtide suppressions explain` says why")
    console.print(f"suppressed in scope {scope}", markup=False)


def _lift(
    connection: "Connection[Any]",
    hasher: "AddressHasher",
    address: str | None,
    command: str | None,
    scope: str | None,
    by: str,
    why: str,
) -> "tuple[list[SuppressionChange], list[tuple[SuppressionChange, str]]]":
    """The audit's lines, and those that a user's stream worker is to hear of, with the user."""
    from senders.policy import suppressions
    from senders.policy.pipeline import EVERY_PURPOSE

    at = datetime.now(UTC)
    if address is not None:
        hashes = [hasher(_plain(address))]
    else:
        hashes = [each.address_hash for each in suppressions.find(connection, command_id=command)]
    lifted: list[SuppressionChange] = []
    users: list[tuple[SuppressionChange, str]] = []
    for address_hash in hashes:
        known = suppressions.users_at(connection, hasher, address_hash) if scope in (None, EVERY_PURPOSE) else []
        changes = suppressions.lift(connection, address_hash, scope, by, why, at)
        if not changes and known:
            changes = [suppressions.note_lift_in_streams(connection, address_hash, by, why, at)]
        lifted += changes
        users += [(change, user) for change in changes if change.scope == EVERY_PURPOSE for user in known]
    return lifted, users


def _reinstated(change: "SuppressionChange", user_id: str) -> Any:
    from schemas.outcomes import Outcome, outcome_id
    from schemas.vocabulary import OutcomeKind

    named = f"suppression-audit-{change.id}-{user_id}"
    command_id = (change.suppression or {}).get("command_id") or f"suppression-audit-{change.id}"
    kind = OutcomeKind.REINSTATED
    return Outcome(id=outcome_id(named, kind, 0), command_id=command_id, user_id=user_id, kind=kind, time=change.at)


@contextmanager
def _open(instance: str) -> "Iterator[tuple[Connection[Any], AddressHasher]]":
    """One transaction on the instance's database, and the hasher with the key of its delivery."""
    import psycopg

    from senders.policy.recipients import AddressHasher

    environment = Environment.of(instance)
    hasher = AddressHasher(environment.suppression_key.encode())
    try:
        with psycopg.connect(environment.database_url, options="-c timezone=UTC") as connection:
            yield connection, hasher
    except psycopg.errors.UndefinedTable:
        raise SuppressionError("the database has no table of suppressions yet; `ebbtide migrate` makes it") from None


def _plain(address: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from schemas.types import Address

    adapter: TypeAdapter[str] = TypeAdapter(Address)
    try:
        return adapter.validate_python(address)
    except ValidationError:
        raise SuppressionError("not a plain mail address; write it as ann@shop.example") from None


def _said(text: str, option: str) -> str:
    if not text.strip():
        raise typer.BadParameter("is kept in the audit and must not be empty", param_hint=option)
    return text.strip()


def _line(each: "Suppression") -> str:
    about = [f"user {each.user_id}" if each.user_id else "", f"trigger {each.trigger}" if each.trigger else ""]
    about.append(f"command {each.command_id}" if each.command_id else "")
    head = f"{each.since:%Y-%m-%d %H:%M:%S}  {each.scope:<12} {each.reason:<12}  address {each.address_hash.hex()[:12]}"
    return "  ".join(filter(None, [head, *about]))


def _show(each: "Suppression", facts: "list[DeliveryFact]") -> None:
    console.print(_line(each), markup=False, soft_wrap=True, style="bold")
    for fact in facts:
        reply = " ".join(filter(None, [str(fact.code or ""), fact.enhanced, fact.reply]))
        named = f" ({fact.classification})" if fact.classification else ""
        said = f"  {fact.time:%Y-%m-%d %H:%M:%S}  {fact.kind}, purpose {fact.purpose}{named}"
        console.print(f"{said}: {reply}" if reply else said, markup=False, soft_wrap=True)
    if not facts:
        console.print("  nothing is recorded of the command that brought it", style="dim")


def _change_line(change: "SuppressionChange") -> str:
    did = "added" if change.action == "add" else "lifted"
    was = change.suppression
    before = f" (was {was['reason']} since {str(was['since'])[:19].replace('T', ' ')})" if was else ""
    return f"{change.at:%Y-%m-%d %H:%M:%S}  {did} in scope {change.scope} by {change.by}: {change.why}{before}"


def _suppression_json(each: "Suppression") -> dict[str, Any]:
    return asdict(each) | {"address_hash": each.address_hash.hex()}


def _change_json(each: "SuppressionChange") -> dict[str, Any]:
    return asdict(each) | {"address_hash": each.address_hash.hex()}


def _nothing(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(EXIT_FAILED)
